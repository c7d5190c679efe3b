"""The tasks: the class is in the times of spikes and nowhere else, and the planted delays read it."""

from dataclasses import replace
from itertools import pairwise

import numpy as np
import pytest
import torch

from snn_delays.data.binning import Binning, bin_events
from snn_delays.data.loaders import bin_recordings
from snn_delays.data.synthetic import SPLITS, TASKS, Coincidence, Ordering, PatternDetection
from snn_delays.data.synthetic.recordings import SyntheticRecordings
from snn_delays.data.synthetic.tasks import alike, distinct_orders
from snn_delays.errors import ConfigError
from snn_delays.nn import LIF, DelayedLinear, Sequential

every_task = pytest.mark.parametrize("task", TASKS.values(), ids=list(TASKS))
MORE = [Coincidence(n_channels=9, n_classes=6, spacing_ms=2, jitter_ms=1), Ordering(n_channels=4, n_classes=5)]


def counts_of(samples):
    return np.stack([np.bincount(s.events.channel, minlength=s.events.n_channels) for s in samples])


def labels_of(samples):
    return np.array([sample.label for sample in samples])


def nearest_mean(train, train_labels, test, test_labels):
    """Accuracy of the class whose training mean is nearest: a linear readout."""
    means = np.stack([train[train_labels == k].mean(0) for k in np.unique(train_labels)])
    guess = ((test[:, None] - means) ** 2).sum(2).argmin(1)
    return (guess == test_labels).mean()


def least_squares(train, train_labels, test, test_labels):
    """Accuracy of the best linear map to one-hot classes."""
    with_one = [np.column_stack([x, np.ones(len(x))]) for x in (train, test)]
    answer = np.linalg.lstsq(with_one[0], np.eye(train_labels.max() + 1)[train_labels], rcond=None)[0]
    return ((with_one[1] @ answer).argmax(1) == test_labels).mean()


@every_task
def test_the_seed_is_the_sample_and_classes_are_balanced(task):
    first, second, other = task.generate(41, 5), task.generate(41, 5), task.generate(41, 6)
    assert [s.label for s in first] == [s.label for s in second]
    assert all(a.events == b.events for a, b in zip(first, second))
    assert any(a.events != b.events for a, b in zip(first, other))
    sizes = np.bincount(labels_of(first), minlength=len(task.class_names))
    assert sizes.sum() == 41
    assert sizes.max() - sizes.min() <= 1
    assert len(set(task.class_names)) == len(sizes)


@every_task
def test_splits_are_draws_of_their_own(task):
    splits = {name: task.split(name) for name in SPLITS}
    assert {name: len(samples) for name, samples in splits.items()} == SPLITS
    seen = [(s.events.t_us.tobytes(), s.events.channel.tobytes()) for samples in splits.values() for s in samples]
    assert len(set(seen)) > 0.99 * len(seen)  # a few may come up twice by chance
    assert task.split("test", seed=1, n_samples=10)[0].events != splits["test"][0].events


@pytest.mark.parametrize("task", [*TASKS.values(), *MORE], ids=lambda t: t.name)
def test_every_sample_has_its_planted_spikes_inside_its_duration(task):
    quiet = replace(task, background_hz=0.0)
    for sample in quiet.generate(200, 0):
        assert sorted(sample.events.channel) == list(range(task.channels))
        assert sample.events.t_us[-1] < 1000 * task.duration_ms
    noisy = task.generate(300, 0)
    extra = counts_of(noisy).mean() - 1
    assert extra == pytest.approx(task.background_hz * task.duration_ms / 1000, rel=0.15, abs=1e-9)


@every_task
def test_counts_say_nothing(task):
    quiet = replace(task, background_hz=0.0)
    assert (counts_of(quiet.generate(100, 1)) == 1).all()  # exactly equal before noise, which knows no class
    train, test = task.split("train", n_samples=2000), task.split("test", n_samples=2000)
    classes = len(task.class_names)
    chance = 1 / classes
    spread = 4 * np.sqrt(chance * (1 - chance) / 2000)
    for read in (nearest_mean, least_squares):
        accuracy = read(counts_of(train), labels_of(train), counts_of(test), labels_of(test))
        assert abs(accuracy - chance) < spread, read.__name__


@every_task
def test_the_rate_of_all_channels_in_time_says_nothing(task):
    """Times of all spikes together, from the first: the same distribution in every class."""
    quiet = replace(task, background_hz=0.0)
    samples = quiet.generate(4000, 2)
    labels = labels_of(samples)
    times = np.stack([s.events.t_us - s.events.t_us[0] for s in samples])
    means = np.stack([times[labels == k].mean(0) for k in range(len(task.class_names))])
    error = times.std(0) / np.sqrt(len(samples) / len(task.class_names))
    assert (np.abs(means - times.mean(0)) <= 4.5 * error + 1e-9).all()


def test_canary_the_readouts_see_counts_that_differ():
    samples = TASKS["synthetic-coincidence"].split("train", n_samples=400)
    labels, counts = labels_of(samples), counts_of(samples)
    counts[np.arange(400), labels] += 2
    for read in (nearest_mean, least_squares):
        assert read(counts[:200], labels[:200], counts[200:], labels[200:]) > 0.8


def solve(task, delays, weight, threshold, classes_of, samples, after=0):
    """Highest spike count of hand-built LIF units, one or more a class; ``delays`` ``[unit, channel, synapse]``."""
    units, channels, count = delays.shape
    synapse = DelayedLinear(channels, units, max_delay_steps=int(delays.max()), delay_count=count, taps="linear")
    network = Sequential(synapse, LIF(1.005, threshold=threshold))
    with torch.no_grad():
        synapse.delay.copy_(torch.as_tensor(delays).float())
        synapse.weight.copy_(torch.as_tensor(weight).float())
        x = torch.zeros(task.duration_ms + after, len(samples), channels)
        for i, sample in enumerate(samples):
            binned = bin_events(sample.events, Binning("fixed", dt_ms=1.0, channel_group=1))
            x[: len(binned), i] = torch.from_numpy(binned).float()
        spikes = network(x)[0].sum(0).numpy()
    return np.stack([spikes[:, classes_of == k].sum(1) for k in np.unique(classes_of)], 1)


def test_planted_delays_solve_coincidence():
    task = Coincidence()
    samples = task.generate(400, 3)
    delays = task.delays_ms[..., None]
    fired = solve(task, delays, np.ones(delays.shape), task.n_channels - 1.5, np.arange(task.n_classes), samples)
    labels = labels_of(samples)
    assert (fired.argmax(1) == labels).mean() > 0.99
    assert fired[np.arange(400), labels].min() >= 1  # the unit of the class fires in every sample
    wrong = np.roll(delays, 1, axis=1)  # canary: the delays of one channel given to the next
    fired = solve(task, wrong, np.ones(delays.shape), task.n_channels - 1.5, np.arange(task.n_classes), samples)
    assert fired.mean() < 0.05


def test_planted_delays_solve_pattern_detection():
    task = PatternDetection()
    samples = task.generate(400, 3)
    delays = task.delays_ms[None, :, None]
    fired = solve(task, delays, np.ones(delays.shape), task.n_channels - 1.5, np.zeros(1), samples)[:, 0]
    assert ((fired > 0) == labels_of(samples)).mean() > 0.99


@pytest.mark.parametrize("task", [Ordering(), Ordering(n_channels=4, n_classes=6)], ids=["2", "4"])
def test_planted_delays_solve_ordering(task):
    """One unit for each pair that are neighbours in an order, with a synapse for every gap from the earlier one."""
    gaps = task.delays_ms
    pairs = [(k, a, b) for k, order in enumerate(task.orders) for a, b in pairwise(order)]
    delays = np.zeros((len(pairs), task.channels, gaps.size))
    weight = np.zeros(delays.shape)
    for unit, (_, earlier, later) in enumerate(pairs):
        delays[unit, earlier], weight[unit, earlier] = gaps, 1
        weight[unit, later, 0] = 1
    samples = task.generate(400, 3)
    fired = solve(task, delays, weight, 1.5, np.array([k for k, _, _ in pairs]), samples)
    assert (fired.argmax(1) == labels_of(samples)).mean() > 0.95


def test_planted_numbers_are_as_documented():
    task = Coincidence(task_seed=4)
    assert (np.sort(task.lags_ms, axis=1) == np.arange(6) * 4).all()
    assert ((task.delays_ms + task.lags_ms) == 20).all()
    assert max(alike(a, b) for i, a in enumerate(task.lags_ms) for b in task.lags_ms[:i]) <= 2
    assert not np.array_equal(task.lags_ms, Coincidence(task_seed=5).lags_ms)
    quiet = Coincidence(background_hz=0)
    for sample in quiet.generate(40, 0):
        by_channel = np.empty(6, dtype=np.int64)
        by_channel[sample.events.channel] = sample.events.t_us
        assert ((by_channel - by_channel.min()) == 1000 * quiet.lags_ms[sample.label]).all()
    pattern = PatternDetection(background_hz=0)
    for sample in pattern.generate(100, 0):
        by_channel = np.empty(8, dtype=np.int64)
        by_channel[sample.events.channel] = sample.events.t_us
        same = alike(by_channel, 1000 * pattern.lags_ms)
        assert same == 8 if sample.label else same <= 3
    assert Ordering().class_names == ("A before B", "B before A")
    assert len({tuple(order) for order in Ordering(n_channels=3, n_classes=6).orders}) == 6
    assert distinct_orders(3, 6, np.random.default_rng(0)).shape == (6, 3)


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: Coincidence(n_channels=1), "at least 2 channels"),
        (lambda: Coincidence(n_channels=2, n_classes=3), "no 3 orders"),
        (lambda: Coincidence(n_classes=1), "n_classes"),
        (lambda: Coincidence(spacing_ms=0), "spacing of 1 ms"),
        (lambda: Coincidence(background_hz=-1), "background_hz"),
        (lambda: Coincidence(jitter_ms=-1), "jitter_ms"),
        (lambda: Coincidence(onset_range_ms=0), "onset_range_ms"),
        (lambda: PatternDetection(max_alike=8), r"max_alike must lie in 2\.\.7"),
        (lambda: PatternDetection(n_channels=400, max_alike=2), "larger max_alike"),
        (lambda: Ordering(min_gap_ms=5, max_gap_ms=4), "max_gap_ms"),
        (lambda: Ordering(n_classes=3), "2 orders"),
        (lambda: Coincidence().generate(3, 0), "3 samples cannot hold 4 classes"),
        (lambda: Coincidence().generate(10, -1), "seed"),
        (lambda: Coincidence().split("validation"), "unknown split"),
    ],
)
def test_impossible_tasks_are_refused(call, message):
    with pytest.raises(ConfigError, match=message):
        call()


@every_task
def test_a_task_reads_as_a_data_set(task):
    recordings = SyntheticRecordings(task, "valid")
    assert len(recordings) == SPLITS["valid"]
    assert recordings.class_names == task.class_names
    assert recordings[3].events == task.split("valid")[3].events
    assert recordings.checksum() == SyntheticRecordings(task, "valid").checksum()
    assert len({SyntheticRecordings(task, split).checksum() for split in SPLITS}) == 3
    binned = bin_recordings(recordings, Binning("fixed", dt_ms=1.0, channel_group=1))
    assert binned.source == task.name
    assert binned.counts.sum() == sum(len(sample.events) for sample in recordings)
