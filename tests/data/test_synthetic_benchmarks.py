"""Generated benchmarks are what their sources say, drawn again from the same seed, and open as data sets."""

import numpy as np
import pytest

from snn_delays.data.binning import Binning, bin_events
from snn_delays.data.opening import open_recordings
from snn_delays.data.synthetic import BENCHMARKS, AutonomousLocalization, CoincidenceXor, YinYang
from snn_delays.errors import ConfigError


def walk(actions: np.ndarray) -> int:
    """The label by walking: an agent with a heading and a place, an action after the other."""
    headings, place = [(0, 1), (1, 0), (0, -1), (-1, 0)], [0, 0]
    heading = 0
    for action in actions:
        if action == 1:
            place = [a + b for a, b in zip(place, headings[heading])]
        heading = (heading + (action == 3) - (action == 2)) % 4
    return int(place[0] > 0)


def test_autonomous_localization_is_a_walk() -> None:
    task, generator = AutonomousLocalization(), np.random.default_rng(0)
    actions = task.draw(100, generator)
    labels = task.labels(actions)
    assert labels.tolist() == [walk(row) for row in actions]
    wrong = np.roll(actions, 1, axis=1)  # canary: turns that act a step later end elsewhere
    assert task.labels(wrong).tolist() != labels.tolist()
    assert 0.3 < labels.mean() < 0.6
    shares = np.bincount(actions.ravel(), minlength=4) / actions.size
    assert np.abs(shares - [0.45, 0.45, 0.05, 0.05]).max() < 5 * np.sqrt(0.25 / actions.size)
    sample = task.split("test", 0, 3)[2]
    again = task.draw(3, np.random.default_rng((0, 2)))[2]
    counts = bin_events(sample.events, Binning("fixed", 1.0, 1))
    assert counts.shape[1] == 3
    assert counts.tolist() == np.eye(4, dtype=int)[again[: len(counts)]][:, 1:].tolist()


def test_yin_yang_has_its_areas_classes_and_times() -> None:
    task = YinYang()
    points = task.draw(1500, np.random.default_rng(1))
    labels = task.labels(points)
    assert (np.hypot(*(points - 0.5).T) <= 0.5).all()
    assert np.abs(np.bincount(labels) / 1500 - 1 / 3).max() < 0.05
    for at, label in (((0.25, 0.5), 2), ((0.75, 0.5), 2), ((0.5, 0.9), 0), ((0.5, 0.1), 1), ((0.75, 0.65), 1),
                      ((0.25, 0.35), 0), ((0.75, 0.61), 1), ((0.25, 0.39), 0)):  # fmt: skip
        assert task.labels(np.array([at]))[0] == label, at
    turned = 1 - points  # the symbol turned by half is itself, with yin and yang exchanged
    assert (task.labels(turned) == np.array([1, 0, 2])[labels]).all()
    sample = task.split("valid", 0, 4)[3]
    x, y = task.draw(4, np.random.default_rng((0, 1)))[3]
    when = dict(zip(sample.events.channel.tolist(), sample.events.t_us.tolist()))
    assert when == {c: round(1000 + 20000 * u) for c, u in enumerate((x, y, 1 - x, 1 - y))}


def test_xor_is_in_both_lags_and_in_neither() -> None:
    task = CoincidenceXor(background_hz=0)
    samples = task.generate(400, 0)
    times = np.array([s.events.t_us[np.argsort(s.events.channel)] for s in samples]) // 1000
    lags = np.stack([times[:, 1] - times[:, 0], times[:, 3] - times[:, 2]], 1)
    labels = np.array([s.label for s in samples])
    assert set(np.unique(lags)) == {4, 12}
    assert ((lags[:, 0] != lags[:, 1]) == labels).all()
    for pair in lags.T:
        assert abs((pair[labels == 0] == 4).mean() - (pair[labels == 1] == 4).mean()) < 0.15
    with pytest.raises(ConfigError, match="short_ms < long_ms"):
        CoincidenceXor(short_ms=20)


@pytest.mark.parametrize("name", BENCHMARKS)
def test_they_are_data_sets(name: str) -> None:
    task = BENCHMARKS[name]
    first, second = (open_recordings(name, "test") for _ in range(2))
    assert first[7].events == second[7].events
    assert (len(first), first.class_names) == (len(task.split("test")), task.class_names)
    assert first[0].events != task.split("train", 0, len(first.class_names))[0].events
