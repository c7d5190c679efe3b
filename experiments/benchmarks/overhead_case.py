"""The case of what a call costs: layers of 64 neurons on a step of one sample, without gradients."""

from collections.abc import Callable
from typing import Any

import torch
from torch import nn

from experiments.benchmarks.peer_neurons import spikingjelly_lif
from experiments.benchmarks.run import Case, Side
from experiments.benchmarks.sides import assert_close, missing
from experiments.benchmarks.sizes import Sizes
from snn_delays.nn import LIF, DelayedLinear
from snn_delays.ops.backends import use_backend

CALLS, NEURONS, WINDOW, TAU_STEPS = 200, 64, 25, 2.0


def call_overhead(_: Sizes, device: torch.device) -> Case:
    """Our layers one step at a time beside ``nn.Linear`` and SpikingJelly's neuron; a measurement is 200 calls."""
    x = torch.rand(1, 1, NEURONS, generator=torch.Generator().manual_seed(0)).to(device) * 3
    learned = DelayedLinear(NEURONS, NEURONS, max_delay_steps=WINDOW - 1, device=device)
    fixed = DelayedLinear(
        NEURONS, NEURONS, max_delay_steps=WINDOW - 1, taps="linear", learn_delay=False,
        delay_init="hammouamri_2024_rounded", device=device,
    )  # fmt: skip
    neuron, linear = LIF(TAU_STEPS), nn.Linear(NEURONS, NEURONS, bias=False, device=device)
    size = f"{NEURONS} neurons, one step, B=1, float32, {CALLS} calls"
    layers: list[tuple[str, str, Any]] = [
        ("snn_delays DelayedLinear", f"K={WINDOW}, Gaussian taps, sigma {learned.sigma.item():g}", learned),
        ("snn_delays DelayedLinear, integer delays", f"K={WINDOW}, one tap", fixed),
        ("snn_delays LIF", "tau 2 steps, hard reset", neuron),
    ]
    sides = [Side(name, f"{what}; {size}", _calls(layer, x, layer(x)[1])) for name, what, layer in layers]
    sides.append(Side("torch nn.Linear", f"without delays; {size}", _calls(linear, x)))
    notes = [line] if (line := missing("spikingjelly")) else []
    node = None if notes else spikingjelly_lif(TAU_STEPS)
    if node is not None:
        sides.append(Side("spikingjelly LIFNode 'm'", f"tau 2 steps, hard reset; {size}", _calls(node, x)))

    @torch.no_grad()
    def check() -> None:
        for name, _, layer in layers:
            state = layer(x)[1]
            with use_backend("reference"):
                want = layer(x, state)[0]
            assert_close(layer(x, state)[0], want, 1e-5, name)
        if node is not None:
            node.reset()
            assert torch.equal(node(x), neuron(x)[0]), "spikes of spikingjelly's neuron"
            assert 0 < float(neuron(x)[0].mean()) < 1

    return Case("a call: 200 steps, one at a time, without gradients", tuple(sides), check, tuple(notes))


def _calls(layer: nn.Module, *given: Any) -> Callable[[], None]:
    @torch.no_grad()
    def work() -> None:
        for _ in range(CALLS):
            layer(*given)

    return work
