"""Equal counts, kept timing: what stays was in the recording, and a readout of counts is left with nothing."""

import numpy as np
import pytest

from snn_delays.data.encoders.rate_free import balance_classes, fit_rate_free, rate_free, spike_counts
from snn_delays.data.events import Events, Sample
from snn_delays.data.opening import open_recordings
from snn_delays.errors import ConfigError, DataError


def generator(seed=0):
    return np.random.default_rng(seed)


def sample_of(counts, label=0, seed=0):
    """A recording with so many spikes in each channel, some at equal times."""
    draw = generator(seed)
    channel = draw.permutation(np.repeat(np.arange(len(counts)), counts))
    return Sample(Events(np.sort(draw.integers(0, 50, channel.size)), channel, len(counts)), label=label, speaker=7)


@pytest.fixture
def samples():
    draw = generator(3)
    return [sample_of([6 + draw.integers(5), 3 + draw.integers(3), draw.integers(2), 9], i % 3, i) for i in range(60)]


@pytest.mark.parametrize("keep", ["minimum", "equal"])
def test_counts_are_equal_and_everything_kept_was_there(samples, keep):
    fitted = fit_rate_free(samples, keep=keep)
    thinned = rate_free(samples, fitted, generator())
    assert len(thinned.samples) == 60
    assert fitted.short.size == thinned.left_out.size == 0
    assert fitted.channels.tolist() == [0, 1, 3]
    assert fitted.spikes.tolist() == ([6, 3, 0, 9] if keep == "minimum" else [2, 2, 0, 2])
    assert (spike_counts(thinned.samples) == fitted.spikes).all()
    for before, after in zip(samples, thinned.samples):
        assert (after.label, after.speaker) == (before.label, before.speaker)
        assert is_subsequence(after.events, before.events)


def is_subsequence(part, whole):
    left = iter(zip(whole.t_us.tolist(), whole.channel.tolist()))
    return all(spike in left for spike in zip(part.t_us.tolist(), part.channel.tolist()))


def test_canary_a_moved_spike_is_noticed():
    whole = Events([1, 2, 3], [0, 1, 0], 2)
    assert is_subsequence(Events([1, 3], [0, 0], 2), whole)
    assert not is_subsequence(Events([1, 2], [0, 0], 2), whole)


def test_each_spike_is_kept_equally_often(samples):
    fitted = fit_rate_free(samples[:1], least_spikes=3, keep="equal")
    events = samples[0].events
    draw, kept = generator(), np.zeros(len(events))
    for _ in range(3000):
        kept += np.isin(np.arange(len(events)), where(fitted.thin(events, draw), events))
    expected = (fitted.spikes / np.bincount(events.channel, minlength=4).clip(1))[events.channel]
    assert np.abs(kept / 3000 - expected).max() < 0.05


def where(part, whole):
    """Places in the whole of a part, whose spikes are all different."""
    key = whole.t_us * whole.n_channels + whole.channel
    return np.flatnonzero(np.isin(key, part.t_us * part.n_channels + part.channel))


def test_the_published_rule():
    """Of 200: channel 0 is short in 1 % (those go), channel 1 in more (1 spike stays), channel 2 is silent."""
    samples = [sample_of([5, 4, 0], seed=i) for i in range(200)]
    samples[3], samples[9] = sample_of([1, 4, 0]), sample_of([0, 4, 0])
    for i in (20, 30, 40):
        samples[i] = sample_of([5, 1, 0])
    fitted = fit_rate_free(samples)
    assert fitted.short.tolist() == [3, 9]
    assert fitted.spikes.tolist() == [5, 1, 0]
    assert fit_rate_free(samples, keep="equal").spikes.tolist() == [2, 0, 0]
    thinned = rate_free(samples, fitted, generator())
    assert thinned.left_out.tolist() == [3, 9]
    assert len(thinned.samples) == 198


def test_the_seed_is_the_draw_and_the_input_stays(samples):
    fitted = fit_rate_free(samples)
    before = [Events(s.events.t_us, s.events.channel, 4) for s in samples]
    first, second, other = (rate_free(samples, fitted, generator(seed)).samples for seed in (1, 1, 2))
    assert all(a.events == b.events for a, b in zip(first, second))
    assert any(a.events != b.events for a, b in zip(first, other))
    assert all(a == s.events for a, s in zip(before, samples))


def test_balancing_keeps_as_many_of_each_class_in_their_order(samples):
    uneven = samples[:40] + [s for s in samples[40:] if s.label != 1]
    even = balance_classes(uneven, generator())
    assert np.bincount([s.label for s in even]).tolist() == [13, 13, 13]
    places = [next(i for i, s in enumerate(uneven) if s is one) for one in even]
    assert places == sorted(places)
    assert balance_classes([], generator()) == []


def test_a_readout_of_counts_is_left_with_nothing_on_spoken_digits():
    source = open_recordings("shd-regenerated-subset", "train")
    chosen = generator().permutation(len(source))[:400]
    in_file_order = {i: source[i] for i in sorted(chosen.tolist())}  # blocks are read once
    samples = [in_file_order[i] for i in chosen.tolist()]
    fitted = fit_rate_free(samples[:280])
    assert fitted.channels.size > 100
    train, test = (rate_free(part, fitted, generator(1)) for part in (samples[:280], samples[280:]))
    assert train.left_out.tolist() == fitted.short.tolist()
    assert 60 < len(test.samples) == 120 - test.left_out.size
    assert (spike_counts(train.samples + test.samples) == fitted.spikes).all()
    before = [without(part, left_out.left_out) for part, left_out in ((samples[:280], train), (samples[280:], test))]
    assert accuracy(*(np.sqrt(spike_counts(part)) for part in before), *before) > 0.2
    after = train.samples, test.samples
    assert accuracy(*(np.sqrt(spike_counts(part)) for part in after), *after) < 0.12  # the share of one class
    assert accuracy(*(mean_times(part)[:, fitted.channels] for part in after), *after) > 0.15  # times still say it


def without(part, left_out):
    return [sample for i, sample in enumerate(part) if i not in left_out]


def mean_times(part):
    rows = [np.bincount(s.events.channel, s.events.t_us / 1e5, s.events.n_channels) for s in part]
    return np.stack(rows) / spike_counts(part).clip(1)


def accuracy(x, queries, train, test):
    """Of a linear readout: ridge regression of one-hot classes on standardised features. Chance is 0.05."""
    labels, expected = (np.array([s.label for s in part]) for part in (train, test))
    mean, spread = x.mean(0), x.std(0) + 1e-9
    x, queries = (x - mean) / spread, (queries - mean) / spread
    answer = np.linalg.solve(x.T @ x + 1000 * np.eye(x.shape[1]), x.T @ np.eye(20)[labels])
    return ((queries @ answer).argmax(1) == expected).mean()


@pytest.mark.parametrize(
    ("call", "error", "message"),
    [
        (lambda m: fit_rate_free(m, least_spikes=0), ConfigError, "least_spikes"),
        (lambda m: fit_rate_free(m, max_short=1.0), ConfigError, "max_short"),
        (lambda m: fit_rate_free(m, keep="most"), ConfigError, "minimum or equal"),
        (lambda m: fit_rate_free([]), DataError, "no recordings"),
        (lambda m: fit_rate_free([m[0], sample_of([1, 2])]), DataError, r"different numbers of channels: \[2, 4\]"),
        (lambda m: fit_rate_free(m, least_spikes=50), DataError, "0 of 4 channels fire 50 times"),
        (lambda m: rate_free([sample_of([9, 9])], fit_rate_free(m), generator()), DataError, "fitted on 4 channels"),
    ],
)
def test_what_cannot_be_is_refused(samples, call, error, message):
    with pytest.raises(error, match=message):
        call(samples)
