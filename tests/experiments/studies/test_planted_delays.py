"""What the delays are for: on the synthetic tasks a network without them fails, one that learns them finds the plan."""

import numpy as np
import pytest
import torch
import torch.nn.functional as F

from experiments.studies.planted_delays import dense, find_delays, synapses_per_pair
from experiments.studies.planted_delays_figure import planted_delays
from snn_delays.data.synthetic import Coincidence, Ordering, PatternDetection
from snn_delays.discrete import discretize
from snn_delays.errors import ShapeError
from snn_delays.models import DelayClassifier
from snn_delays.nn import layers_with_delays
from snn_delays.training.objective import class_scores
from tests.support.networks import firing_rates


def off_by(planted, found):
    """Steps between learned and planted delays of the strong synapses, each unit's common offset taken off."""
    delays, weight = found.delay_steps[-len(planted) :, :, 0], found.weight[-len(planted) :, :, 0]
    strong = weight >= 0.5 * weight.max(1, keepdims=True)
    apart = np.stack([row - np.median(row[here]) for row, here in zip(delays - planted, strong)])
    return np.abs(apart[strong]), strong.mean()


@pytest.mark.parametrize("seed", [0, 1])
def test_coincidence_finds_the_planted_lags(seed):
    task = Coincidence()
    found = find_delays(task, seed=seed)
    apart, strong = off_by(task.delays_ms, found)
    assert found.accuracy > 0.98
    assert strong > 0.75
    assert apart.max() <= 1
    assert off_by(np.roll(task.delays_ms, 1, axis=0), found)[0].max() > 3  # canary: the plan of the next class
    assert abs(find_delays(task, delays=False, seed=seed).accuracy - 0.25) < 0.1


def test_pattern_detection_finds_the_planted_lags():
    task = PatternDetection()
    found = find_delays(task)
    apart, strong = off_by(task.delays_ms[None], found)
    assert found.accuracy > 0.97
    assert strong > 0.7
    assert apart.max() <= 1
    assert abs(find_delays(task, delays=False).accuracy - 0.5) < 0.1


def test_ordering_needs_delays():
    task = Ordering()
    assert find_delays(task, delay_count=synapses_per_pair(task)).accuracy > 0.8
    assert abs(find_delays(task, delays=False, delay_count=synapses_per_pair(task)).accuracy - 0.5) < 0.1


@pytest.mark.parametrize("delays", [True, False])
def test_spiking_networks_too(delays):
    """Two layers, a hidden one that spikes, as the recipes train: with delays and without."""
    task = Coincidence()
    window = 24 if delays else 0
    steps = task.duration_ms + 2 * window
    x, labels = dense(task.split("train", n_samples=600), steps)
    torch.manual_seed(0)
    network = DelayClassifier(task.channels, (16,), 4, max_delay_steps=window, tau_steps=1.005)
    layers = list(layers_with_delays(network).values())
    others = [p for name, p in network.named_parameters() if not name.endswith("delay")]
    groups = [{"params": others, "lr": 0.02}, {"params": [layer.delay for layer in layers], "lr": 0.3}]
    optimiser = torch.optim.Adam(groups if delays else groups[:1])
    valid = torch.ones(steps, 50, dtype=torch.bool)
    for epoch in range(15):
        for layer in layers:
            layer.set_sigma(12 * (0.5 / 12) ** min(epoch / 9, 1.0))
        for chosen in torch.randperm(len(labels)).split(50):
            scores = class_scores(network(x[:, chosen])[0], valid, "membrane_max")
            loss = F.cross_entropy(scores, labels[chosen])
            optimiser.zero_grad()
            loss.backward()
            optimiser.step()
            for layer in layers:
                layer.clamp_delays_()
    discrete = discretize(network.eval())
    x, labels = dense(task.split("test"), steps)
    with torch.no_grad():
        right = discrete(x)[0].amax(0).argmax(1) == labels
    if delays:
        assert right.float().mean() > 0.85
        assert all(0.02 < rate < 0.6 for rate in firing_rates(discrete, x).values())
    else:
        assert abs(right.float().mean() - 0.25) < 0.1


def test_the_picture_takes_off_the_offset_and_counts():
    planted = np.array([[0.0, 4.0, 8.0], [8.0, 0.0, 4.0]])
    learned = planted + np.array([[3.0], [1.5]])
    learned[1, 0] = 0.0
    weight = np.array([[1.0, 1.0, 0.1], [1.0, 1.0, 1.0]])
    ax = planted_delays(planted, learned, weight, dt_ms=1.0, title="task")
    assert ax.get_title("left") == "task\n4 of 5 strong synapses within a step; 1 of 6 weak"
    drawn = ax.collections[0].get_offsets()
    np.testing.assert_allclose(np.asarray(drawn)[:, 1], [0.0, 4.0])
    with pytest.raises(ShapeError, match="one shape"):
        planted_delays(planted, learned[:1], weight, dt_ms=1.0)
