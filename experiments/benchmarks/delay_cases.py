"""The cases of the delay layer: Gaussian taps of several widths, and integer delays."""

import copy
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any

import torch
from torch import Tensor, nn

from experiments.benchmarks import peers
from experiments.benchmarks.run import Case, Side
from experiments.benchmarks.sides import assert_close, forward_backward, gradients, missing, spikes
from experiments.benchmarks.sizes import Sizes
from snn_delays.nn import DelayedConv2d, DelayedLinear
from snn_delays.ops import delay, delay_conv
from snn_delays.ops.backends import Operation, use_backend

TOLERANCE = 1e-4  # of the largest value, float32 against float64


@dataclass(frozen=True)
class Contender:
    """A side: input to current, both ``[time, batch, neuron]``.

    ``parameters`` are those that correspond to our layer's trained ones, in their order; ``signs`` what their
    gradients have to be multiplied by (a DCLS position runs against the delay).
    """

    name: str
    note: str
    run: Callable[[Tensor], Tensor]
    parameters: tuple[Tensor, ...]
    signs: tuple[int, ...] = (1, 1)


def delay_layer(sigma_steps: float, sizes: Sizes, device: torch.device) -> Case:
    """Forward and backward with learned delays and Gaussian taps."""
    layer = _layer(sizes, device, sigma_steps=sigma_steps)
    return _case(f"delay layer, sigma {sigma_steps:g}, forward + backward", layer, sizes, device, trains=True)


def integer_training(sizes: Sizes, device: torch.device) -> Case:
    """Forward and backward with fixed integer delays and learned weights."""
    layer = _layer(sizes, device, taps="linear", learn_delay=False, delay_init="uniform_rounded")
    name = "delay layer, fixed integer delays, forward + backward (weights learned)"
    return _case(name, layer, sizes, device, trains=True)


def integer_inference(sizes: Sizes, device: torch.device) -> Case:
    """Forward alone with integer delays: a layer of the discretised network."""
    layer = _layer(sizes, device, taps="linear", learn_delay=False, delay_init="uniform_rounded").requires_grad_(False)
    return _case("delay layer, integer delays, inference", layer, sizes, device, trains=False)


def delay_call(layer: DelayedLinear | DelayedConv2d, x: Tensor) -> dict[str, Any]:
    """The arguments of the operation when the layer receives ``x`` from rest."""
    in_space = {"stride": layer.stride, "padding": layer.padding} if isinstance(layer, DelayedConv2d) else {}
    return {
        "x": x, "history": None, "weight": layer.weight, "delay": layer.delay, "sigma": layer.sigma,
        "max_delay_steps": layer.max_delay_steps, "taps": layer.taps,
        **in_space,
    }  # fmt: skip


def operation(layer: DelayedLinear | DelayedConv2d) -> Operation:
    """What the layer calls."""
    return delay_conv.OPERATION if isinstance(layer, DelayedConv2d) else delay.OPERATION


def chosen_backend(layer: DelayedLinear | DelayedConv2d, x: Tensor) -> str:
    """Backend that the planner takes for the layer."""
    return operation(layer).choose(delay_call(layer, x)).name


def _layer(sizes: Sizes, device: torch.device, **options: Any) -> DelayedLinear:
    torch.manual_seed(0)
    return DelayedLinear(sizes.neurons, sizes.neurons, max_delay_steps=sizes.window - 1, **options).to(device)


def _case(name: str, layer: DelayedLinear, sizes: Sizes, device: torch.device, trains: bool) -> Case:
    x = spikes(sizes.steps, sizes.batch, sizes.neurons, device).requires_grad_(trains)
    floor = nn.Linear(sizes.neurons, sizes.neurons, bias=False, device=device).requires_grad_(trains)
    linear = Contender("torch Linear (floor)", "no delays: what the layer would cost at best", floor, (floor.weight,))
    shape = f"T={sizes.steps}, B={sizes.batch}, {sizes.neurons} -> {sizes.neurons}"
    others, left_out = _peers(layer)
    return layer_case(name, layer, x, shape, others, linear, sizes, trains, (*left_out, _of_snntorch()))


def layer_case(
    name: str, layer: DelayedLinear | DelayedConv2d, x: Tensor, shape: str, others: Sequence[Contender],
    floor: Contender, sizes: Sizes, trains: bool, left_out: Sequence[str],
) -> Case:  # fmt: skip
    """A layer with every backend of ours that serves, its peers, and the same without delays."""
    with torch.set_grad_enabled(trains):
        ours, notes = _ours(layer, delay_call(layer, x))
    everyone = [*ours, *others]

    def side(one: Contender, what: str) -> Side:
        run = partial(one.run, x)
        work = forward_backward(run, x, *one.parameters) if trains else partial(_without_gradients, run)
        return Side(one.name, f"{shape}, {what}float32, input at 5 %; {one.note}", work)

    def check() -> None:
        few = x.detach()[:, : sizes.check_batch]
        expected = _expected(layer, few, trains)
        for one in everyone:
            _check(one, few, expected, trains)

    sides = (*(side(one, f"K={layer.max_delay_steps + 1}, ") for one in everyone), side(floor, ""))
    return Case(name, sides, check, (*notes, *left_out))


def _without_gradients(run: Callable[[], Tensor]) -> None:
    with torch.no_grad():
        run()


def _ours(layer: DelayedLinear | DelayedConv2d, call: Mapping[str, Any]) -> tuple[list[Contender], list[str]]:
    parameters = tuple(p for p in (layer.weight, layer.delay) if p.requires_grad)

    def forced(name: str | None, x: Tensor) -> Tensor:
        if name is None:
            return layer(x)[0]
        with use_backend(**{of.name: name}):
            return layer(x)[0]

    of = operation(layer)
    sides = [Contender("snn_delays (planner)", f"chosen: {of.choose(call).name}", partial(forced, None), parameters)]
    notes = []
    for backend in of.backends:
        if reason := backend.refuses(call):
            notes.append(f"left out: {backend.name}: {reason}")
        else:
            run = partial(forced, backend.name)
            sides.append(Contender(f"snn_delays {backend.name}", "requested by name", run, parameters))
    return sides, notes


def _peers(layer: DelayedLinear) -> tuple[list[Contender], list[str]]:
    if line := missing("dcls"):
        return [], [line]
    if layer.taps == "gaussian":
        peer, how = peers.dcls_layer(layer), "gauss, SIG = sigma - 0.27"
    else:
        peer, how = peers.dcls_evaluated(peers.dcls_layer(layer)), "evaluation mode: max, SIG = 0, rounded positions"
    peer.weight.requires_grad_(layer.weight.requires_grad)
    peer.P.requires_grad_(layer.delay.requires_grad)
    parameters = tuple(p for p in (peer.weight, peer.P) if p.requires_grad)
    pad = layer.max_delay_steps

    def run(x: Tensor) -> Tensor:
        return peers.convolve(peer, x, pad, 0)

    return [Contender("dcls Dcls1d", f"{how}, causal padding", run, parameters, (1, -1))], []


def _of_snntorch() -> str:
    """Why snntorch has no side here."""
    if line := missing("snntorch"):
        return line
    import snntorch

    if hasattr(snntorch, "SynapticDelay"):
        return "left out: snntorch's SynapticDelay has a delay per channel, this layer one per synapse"
    return f"left out: snntorch {snntorch.__version__} has no SynapticDelay"


def _expected(layer: DelayedLinear | DelayedConv2d, x: Tensor, trains: bool) -> list[Tensor]:
    """Output and gradients of the reference in float64."""
    exact = copy.deepcopy(layer).double()
    x = x.double().requires_grad_(trains)
    with use_backend("reference"):
        y = exact(x)[0]
    leaves = [x, *(p for p in (exact.weight, exact.delay) if p.requires_grad)]
    return [y, *(gradients(y, leaves) if trains else [])]


def _check(one: Contender, x: Tensor, expected: list[Tensor], trains: bool) -> None:
    x = x.detach().clone().requires_grad_(trains)
    with torch.set_grad_enabled(trains):
        y = one.run(x)
    got = [y]
    if trains:
        of_x, *others = gradients(y, [x, *one.parameters])
        got += [of_x, *(sign * g for sign, g in zip(one.signs, others))]
    for what, mine, theirs in zip(("output", "gradient of the input", "of the weight", "of the delay"), got, expected):
        assert_close(mine.reshape(theirs.shape), theirs, TOLERANCE, f"{one.name}, {what}")
