"""Small networks that are active, and spikes to feed them."""

import torch
from torch import Tensor

from snn_delays.models import DelayClassifier
from snn_delays.nn import LIF, BatchNorm, DelayedLinear, LeakyIntegrator, Sequential, layers_of, record


def poisson(steps: int, batch: int, features: int, rate: float = 0.3, seed: int = 0) -> Tensor:
    """Counts 0, 1, 2.. in float64, ``[time, batch, feature]``."""
    draw = torch.Generator().manual_seed(seed)
    return torch.poisson(torch.full((steps, batch, features), rate, dtype=torch.float64), generator=draw)


def firing_rates(network: Sequential, x: Tensor) -> dict[str, float]:
    """Mean spikes a step of every LIF layer."""
    with torch.no_grad():
        outputs = record(network, x)
    return {name: float(outputs[name].mean()) for name, layer in layers_of(network) if isinstance(layer, LIF)}


def assert_active(network: Sequential, x: Tensor) -> None:
    """Every LIF layer fires between 2 % and 60 % of the time; a silent network obeys every law."""
    rates = firing_rates(network, x)
    assert rates, "no neurons that fire"
    for name, rate in rates.items():
        assert 0.02 < rate < 0.6, f"{name} fires {100 * rate:.1f} % of the time"


def warmed_classifier(seed: int = 0, x: Tensor | None = None, **changes) -> DelayClassifier:
    """A classifier in float64 and evaluation mode, its norms' statistics taken from its own activity."""
    torch.manual_seed(seed)
    arguments = {"in_features": 6, "hidden": (9, 7), "classes": 4, "max_delay_steps": 5, "sigma_steps": 1.0}
    network = DelayClassifier(**{**arguments, **changes}).double()
    x = poisson(40, 4, network.hidden1.synapse.in_features, seed=seed) if x is None else x
    norms = [module for module in network.modules() if isinstance(module, BatchNorm)]
    with torch.no_grad():
        for norm in norms:
            norm.momentum = 1.0  # one pass then sets the statistics
        network.train()(x)
        for norm in norms:  # neither the identity nor alike for all neurons
            norm.momentum = 0.1
            norm.weight.uniform_(0.7, 1.3)
            norm.bias.uniform_(-0.3, 0.3)
    return network.eval()


def plain_chain(seed: int = 0, **changes) -> Sequential:
    """Delayed synapse, LIF, delayed synapse, integrator, without norms or biases: silent input leaves it at rest."""
    torch.manual_seed(seed)
    arguments = {"max_delay_steps": 5, "sigma_steps": 1.0, **changes}
    network = Sequential(
        synapse=DelayedLinear(6, 12, **arguments), neuron=LIF(2.5, reset="soft" if seed % 2 else "hard"),
        out=DelayedLinear(12, 3, **arguments), readout=LeakyIntegrator(3.0),
    ).double().eval()  # fmt: skip
    with torch.no_grad():
        network.synapse.weight += 0.25
    return network
