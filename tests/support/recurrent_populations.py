"""Recurrent populations of every kind, active, for the tests of the layer."""

from itertools import pairwise

import torch
from torch import Tensor

from snn_delays.nn import (
    LIF,
    DelayedLinear,
    Recurrent,
    RecurrentState,
)

STEPS, BATCH, NEURONS = 30, 3, 8
OPTIONS = {
    "one step": {"max_delay_steps": 1, "min_delay_steps": 1},
    "gaussian": {"max_delay_steps": 5, "min_delay_steps": 1, "sigma_steps": 0.8},
    "later": {"max_delay_steps": 6, "min_delay_steps": 3, "sigma_steps": 1.5, "sharing": "dendrite"},
    "fixed": {"max_delay_steps": 4, "min_delay_steps": 4},
    "two synapses": {
        "max_delay_steps": 5,
        "min_delay_steps": 2,
        "delay_count": 2,
        "taps": "triangle",
        "sharing": "axon",
    },
    "longer than the recording": {"max_delay_steps": 45, "min_delay_steps": 1, "sigma_steps": 9.0},
}
NEURON = {
    "hard": {"tau_steps": 2.5},
    "soft": {"tau_steps": 4.0, "reset": "soft", "threshold": 0.25, "v_reset": -0.125, "decay_input": True},
    "strict": {"tau_steps": 1.25, "threshold": 0.5, "strict": True, "detach_reset": False},
}


def population(options: str = "gaussian", neuron: str = "hard", seed: int = 0, **changes) -> Recurrent:
    torch.manual_seed(seed)
    synapse = DelayedLinear(NEURONS, NEURONS, **{**OPTIONS[options], **changes})
    with torch.no_grad():
        synapse.weight.mul_(0.6)
    return Recurrent(synapse, LIF(**NEURON[neuron])).double()


def discrete(seed: int = 0, neuron: str = "hard", **changes) -> Recurrent:
    """Integer delays, weights in 64ths: every sum is exact."""
    layer = population("gaussian", neuron, seed, taps="linear", delay_init="uniform_rounded", **changes)
    with torch.no_grad():
        layer.synapse.weight.copy_((layer.synapse.weight * 64).round() / 64)
    return layer


def currents(seed: int = 0, steps: int = STEPS, batch: int = BATCH, neurons: int = NEURONS) -> Tensor:
    """In 64ths, negative now and then."""
    draw = torch.Generator().manual_seed(seed)
    return torch.randint(-20, 50, (steps, batch, neurons), generator=draw).double() / 64


def assert_active(spikes: Tensor) -> None:
    rate = float(spikes.detach().mean())
    assert 0.02 < rate < 0.6, f"the population fires {100 * rate:.1f} % of the time"


def in_chunks(layer: Recurrent, x: Tensor, ends: list[int], forget: bool = False) -> tuple[Tensor, RecurrentState]:
    state, parts = None, []
    for a, b in pairwise([0, *sorted(ends), len(x)]):
        part, state = layer(x[a:b], None if forget else state)
        parts.append(part)
    return torch.cat(parts), state
