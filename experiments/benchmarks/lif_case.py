"""The case of the LIF layer."""

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial

import torch
from torch import Tensor

from experiments.benchmarks import peer_neurons
from experiments.benchmarks.run import Case, Side
from experiments.benchmarks.sides import assert_active, assert_close, forward_backward, gradients, missing
from experiments.benchmarks.sizes import Sizes
from snn_delays.errors import BackendUnavailableError
from snn_delays.nn import LIF
from snn_delays.ops.backends import use_backend
from snn_delays.ops.lif import OPERATION
from snn_delays.ops.surrogate import FastSigmoid

TAU_STEPS = 2.0
Run = Callable[[Tensor], Tensor]


@dataclass(frozen=True)
class Neurons:
    """A side: current ``[time, batch, neuron]`` to spikes, and our layer in the setting that is its equation."""

    name: str
    equation: str
    run: Run
    ours: LIF


def lif_layer(sizes: Sizes, device: torch.device) -> Case:
    """LIF forward and backward, ours with every backend that serves, SpikingJelly, snntorch and Norse."""
    shape = (sizes.steps, sizes.lif_batch, sizes.neurons)
    current = (torch.randn(shape, generator=torch.Generator().manual_seed(0)) * 1.2 + 0.2).to(device).requires_grad_()
    ours, notes = _ours(current)
    peers, left_out = _peers(current)
    sides = tuple(
        Side(
            one.name,
            f"T={shape[0]}, B={shape[1]}, N={shape[2]}, float32, tau 2 steps; {one.equation}",
            forward_backward(partial(one.run, current), current),
        )
        for one in (*ours, *peers)
    )

    def check() -> None:
        few = current.detach()[:, : sizes.check_batch]
        for one in (*ours, *peers):
            _check(one, few, torch.float64 if one in peers else torch.float32)

    return Case("LIF layer, forward + backward", sides, check, (*notes, *left_out))


def _ours(current: Tensor) -> tuple[list[Neurons], list[str]]:
    layer, equation = LIF(TAU_STEPS), "hard detached reset, ATan(5)"

    def forced(name: str) -> Run:
        def run(x: Tensor) -> Tensor:
            with use_backend(lif=name):
                return layer(x)[0]

        return run

    sides, notes = [Neurons("snn_delays", equation, lambda x: layer(x)[0], layer)], []
    for backend in OPERATION.backends:
        run = forced(backend.name)
        try:
            run(current)
        except BackendUnavailableError as error:
            notes.append(f"left out: {error}")
        else:
            sides.append(Neurons(f"snn_delays {backend.name}", equation, run, layer))
    return sides, notes


def _peers(current: Tensor) -> tuple[list[Neurons], list[str]]:
    sides, notes = [], []
    if line := missing("spikingjelly"):
        notes.append(line)
    else:
        how = f"hard detached reset, ATan(5); its implementation: {peer_neurons.spikingjelly_path(current.device)}"
        run = peer_neurons.spikingjelly_run(TAU_STEPS)
        sides.append(Neurons("spikingjelly LIFNode 'm'", how, run, LIF(TAU_STEPS)))
    if line := missing("snntorch"):
        notes.append(line)
    else:
        how = "hard reset in the same step (reset_delay=False), not detached, fires above the threshold only, ATan(5)"
        run = peer_neurons.snntorch_run(TAU_STEPS, current.device)
        sides.append(Neurons("snntorch Leaky loop", how, run, LIF(TAU_STEPS, strict=True, detach_reset=False)))
    if line := missing("norse"):
        notes.append(line)
    else:
        how = "input scaled by 1 / tau, hard reset not detached, fires above the threshold only, SuperSpike"
        run = peer_neurons.norse_run(TAU_STEPS, current.device)
        ours = LIF(TAU_STEPS, strict=True, detach_reset=False, decay_input=True, surrogate=FastSigmoid(1.0))
        sides.append(Neurons("norse LIFBoxCell loop", how, run, ours))
    return sides, notes


def _check(one: Neurons, current: Tensor, dtype: torch.dtype) -> None:
    """Same spikes and gradient as the reference in the side's own equation.

    Ours in float32, which is what their kernels run in, where a membrane may round across the threshold; peers in
    float64, where they must agree in every spike.
    """
    x = current.to(dtype).requires_grad_()
    with use_backend(lif="reference"):
        want = one.ours(x)[0]
    got = one.run(x).to(dtype)
    assert_active(want, one.name)
    differ = float((got != want).double().mean())
    assert differ <= (0 if dtype == torch.float64 else 1e-5), f"{one.name}: {differ:.2%} of the spikes differ"
    if differ == 0:
        tolerance = 1e-6 if dtype == torch.float64 else 1e-4
        assert_close(gradients(got, [x])[0], gradients(want, [x])[0], tolerance, f"{one.name}, gradient")
