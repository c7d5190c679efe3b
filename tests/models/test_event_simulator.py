"""The discrete network agrees spike for spike with an event-driven simulator, on recorded digits too."""

from pathlib import Path

import numpy as np
import pytest
import torch
from torch import Tensor

from snn_delays.discrete import DiscreteNetwork, discretize
from snn_delays.nn import LIF, DelayedLinear, layers_of, record
from tests.oracles.event_simulator import Population, simulate
from tests.support.networks import firing_rates, poisson, warmed_classifier

CLOSE = 1e-9  # |h - threshold| below which powers and repeated products may round to different spikes


def populations_of(network: DiscreteNetwork) -> list[Population]:
    """The network's numbers in the simulator's terms."""
    found, layers = [], layers_of(network)
    for (_, synapse), (_, neuron) in zip(layers[::2], layers[1::2]):
        assert isinstance(synapse, DelayedLinear)
        fires = isinstance(neuron, LIF)
        bias = np.zeros(synapse.out_features) if synapse.bias is None else synapse.bias.numpy()
        options = (
            {"threshold": neuron.threshold, "v_reset": neuron.v_reset, "soft_reset": neuron.reset == "soft"}
            if fires else {}
        )  # fmt: skip
        found.append(Population(synapse.weight.numpy(), synapse.delay.numpy(), bias, neuron.decay, **options))
    return found


def disagreement(network: DiscreteNetwork, populations: list[Population], x: Tensor) -> tuple[int, int, float]:
    """Run both on a batch; returns spikes compared, samples that differ at a close call, and the closest call.

    Fails where spikes differ first at a membrane that is not a close call, or readouts differ.
    """
    outputs = record(network, x)
    names = [name for name, layer in layers_of(network) if isinstance(layer, LIF)]
    compared, excused, closest = 0, 0, np.inf
    for b in range(x.shape[1]):
        theirs = simulate(populations, x[:, b].numpy())
        closest = min(closest, *(min(m.values()) for m in theirs.margins[: len(names)]))
        ours = [set(map(tuple, outputs[name][:, b].nonzero().tolist())) for name in names]
        first = min(
            ((step, layer, n) for layer in range(len(names)) for step, n in ours[layer] ^ theirs.spikes[layer]),
            default=None,
        )
        if first is not None:
            step, layer, n = first
            margin = theirs.margins[layer].get((step, n), np.inf)
            assert margin < CLOSE, f"sample {b}: {names[layer]}[{n}] differs at step {step}, margin {margin:.3g}"
            excused += 1
            continue
        compared += sum(map(len, ours))
        readout = outputs[next(reversed(outputs))][:, b].numpy()
        np.testing.assert_allclose(readout, theirs.readout, rtol=1e-9, atol=1e-9)
    return compared, excused, float(closest)


def assert_agree(network: DiscreteNetwork, x: Tensor, at_least: int = 500) -> None:
    compared, excused, closest = disagreement(network, populations_of(network), x)
    assert compared >= at_least, f"only {compared} spikes were compared (closest call {closest:.3g})"
    assert excused <= 0.05 * x.shape[1], f"{excused} of {x.shape[1]} samples differ at close calls"


@pytest.mark.parametrize(
    "changes",
    [
        {},
        {"reset": "soft", "tau_steps": 5.0, "delay_count": 2},
        {"tau_steps": 1.0, "sharing": "axon"},
        {"tau_steps": 1.005, "sharing": "dendrite", "max_delay_steps": 20},
        {"max_delay_steps": 0, "sigma_steps": None},
    ],
    ids=lambda changes: ",".join(f"{k}={v}" for k, v in changes.items()) or "plain",
)
def test_agrees_on_random_spikes(changes: dict) -> None:
    network = discretize(warmed_classifier(1, **changes))
    x = poisson(40, 4, 6, seed=9)
    rates = firing_rates(network, x)
    assert all(0.02 < rate < 0.6 for rate in rates.values()), rates
    assert_agree(network, x, at_least=300)


def test_neurons_driven_by_their_bias_alone() -> None:
    """Silence in: every spike of the first layer is one that the simulator had to foresee."""
    network = discretize(warmed_classifier(2, tau_steps=6.0))
    with torch.no_grad():
        network.hidden1.synapse.bias.copy_(torch.linspace(0.1, 0.9, 9))
    assert_agree(network, torch.zeros(60, 1, 6, dtype=torch.float64), at_least=50)


@pytest.fixture(scope="module")
def digits(tmp_path_factory: pytest.TempPathFactory) -> Tensor:
    """Counts of eight bundled test recordings, ``[time, sample, 140]``."""
    from snn_delays.data.binning import Binning
    from snn_delays.data.loaders import load_binned

    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("SNN_DELAYS_CACHE", str(tmp_path_factory.mktemp("cache")))
        patch.delenv("SNN_DELAYS_DATA", raising=False)
        dataset = load_binned("shd-regenerated-subset", "test", Binning("fixed", 10.0, 5), reader="own")
    return dataset.batch(np.arange(8) * 30).counts.double()


def small_shd_network(digits: Tensor) -> DiscreteNetwork:
    return discretize(
        warmed_classifier(
            0, digits, in_features=140, hidden=(16, 12), classes=20, max_delay_steps=24, sigma_steps=1.0,
            tau_steps=1.005,
        )
    )  # fmt: skip


def test_agrees_on_the_bundled_digits(digits: Tensor) -> None:
    network = small_shd_network(digits)
    rates = firing_rates(network, digits)
    assert all(0.02 < rate < 0.6 for rate in rates.values()), rates
    assert_agree(network, digits, at_least=2000)


@pytest.mark.parametrize("wrong", ["delay", "weight", "decay", "threshold"])
def test_the_comparison_can_fail(digits: Tensor, wrong: str) -> None:
    network, x = small_shd_network(digits), digits[:, :1]
    populations = populations_of(network)
    first = populations[0]
    if wrong == "delay":
        first.delay = first.delay + 1
    elif wrong == "weight":
        first.weight = first.weight * 1.02
    elif wrong == "decay":
        populations[1].decay += 0.05
    else:
        populations[1].threshold += 0.01
    with pytest.raises(AssertionError, match="differs at step"):
        disagreement(network, populations, x)
    disagreement(network, populations_of(network), x)


def test_the_simulator_by_hand() -> None:
    """Two inputs, one neuron, one readout: arrivals at steps 2 and 3, a spike, its arrival three steps later."""
    hidden = Population(np.array([[[0.6], [0.7]]]), np.array([[[2.0], [1.0]]]), np.zeros(1), 0.5, threshold=1.0)
    readout = Population(np.array([[[2.0]]]), np.array([[[3.0]]]), np.zeros(1), 0.5)
    counts = np.zeros((8, 2))
    counts[0, 0] = counts[2, 1] = 1
    recording = simulate([hidden, readout], counts)  # h: 0.6 at step 2, 0.3 + 0.7 at step 3
    assert recording.spikes == [{(3, 0)}, set()]
    assert recording.readout[:, 0].tolist() == [0, 0, 0, 0, 0, 0, 2, 1]
    assert recording.margins[0][2, 0] == pytest.approx(0.4)


def test_the_simulator_shares_nothing_with_the_package() -> None:
    source = (Path(__file__).parents[1] / "oracles" / "event_simulator.py").read_text()
    assert not {"torch", "snn_delays", "convolve", "@", "matmul", "einsum"} & set(source.split())
    assert "import snn_delays" not in source
    assert "from snn_delays" not in source
