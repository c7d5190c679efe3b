import numpy as np
import pytest

from snn_delays.data.binning import Binning
from snn_delays.data.encoders.rate_free import RateFreeRecordings, RateFreeRule
from snn_delays.data.events import Events, Sample
from snn_delays.data.formats.shd import shd_recordings, write_shd_hdf5
from snn_delays.data.loaders import bin_recordings, load_binned
from snn_delays.data.opening import open_recordings
from snn_delays.data.recordings import FeatureRecordings
from snn_delays.errors import ConfigError, DataError

RULE = RateFreeRule(least_spikes=2, max_short=0.2)


def recordings(path, n, seed):
    """``n`` recordings of four busy channels and one that is mostly silent; the first fires too little."""
    random = np.random.default_rng(seed)
    samples = []
    for i in range(n):
        counts = random.integers(3, 9, 4) if i else np.array([1, 3, 3, 3])
        channel = np.concatenate([np.repeat(np.arange(4), counts), [4] * int(random.random() < 0.3)])
        t_us = random.permutation(1000)[: channel.size] * 500
        order = np.argsort(t_us)
        samples.append(Sample(Events(t_us[order], channel[order], 700), i % 20, i % 3))
    write_shd_hdf5(path, samples, n)
    return shd_recordings(path, "own")


@pytest.fixture
def both(tmp_path):
    return recordings(tmp_path / "train.h5", 12, 0), recordings(tmp_path / "test.h5", 8, 1)


def test_counts_are_equal_in_both_splits_and_spikes_are_those_recorded(both):
    for given in both:
        thinned = RateFreeRecordings(given, both[0], RULE)
        assert thinned.left_out.tolist() == [0]
        assert len(thinned) == len(given) - 1
        for i, sample in enumerate(thinned):
            assert np.array_equal(np.bincount(sample.events.channel, minlength=700), thinned.fitted.spikes)
            n = i + 1  # its number in the recordings given, which its draw depends on
            assert (sample.label, sample.speaker) == (given[n].label, given[n].speaker)
            draw = np.random.default_rng(np.random.SeedSequence((RULE.seed, n)))
            assert sample.events == thinned.fitted.thin(given[n].events, draw)
            before = set(zip(given[n].events.t_us.tolist(), given[n].events.channel.tolist()))
            assert set(zip(sample.events.t_us.tolist(), sample.events.channel.tolist())) < before
    assert thinned.fitted.spikes[:4].min() >= 2
    assert thinned.source() == "unidentified, rate-free (7 of 8 recordings)"


def test_a_recording_is_thinned_the_same_whenever_it_is_read_and_otherwise_with_another_seed(both):
    training, test = both
    thinned = RateFreeRecordings(test, training, RULE)
    assert thinned[3] == thinned[3] == list(thinned)[3]
    other = RateFreeRecordings(test, training, RateFreeRule(2, 0.2, seed=1))
    assert any(a != b for a, b in zip(thinned, other))
    sums = {r.checksum() for r in (thinned, other, test, RateFreeRecordings(training, training, RULE))}
    assert len(sums) == 4


def test_the_checksum_knows_what_it_was_fitted_on(both, tmp_path):
    training, test = both
    other = RateFreeRecordings(test, recordings(tmp_path / "other.h5", 12, 9), RULE)
    assert other.checksum() != RateFreeRecordings(test, training, RULE).checksum()


def test_a_damaged_recording_raises_when_it_is_asked_for_and_does_not_count_before(both):
    class Damaged(type(both[0])):
        def __getitem__(self, i):
            if i == 3:
                raise DataError("recording 3 is damaged")
            return super().__getitem__(i)

    damaged = Damaged(both[0].path)
    thinned = RateFreeRecordings(damaged, damaged, RULE)
    assert len(thinned) == len(damaged) - 1
    binned = bin_recordings(thinned, Binning(channel_group=1), on_bad="skip")
    assert binned.skipped == ("recording 3 is damaged",)
    assert len(binned) == len(damaged) - 2
    with pytest.raises(DataError, match="recording 3 is damaged"):
        bin_recordings(thinned, Binning(channel_group=1))


def test_by_name_from_the_cache_and_fitted_on_training_data():
    rule = RateFreeRule()
    test = load_binned("shd-regenerated-subset", "test", Binning(), reader="own", rate_free=rule)
    assert test.source == "SHD-regenerated (bundled subset), rate-free (270 of 300 recordings)"
    totals = np.add.reduceat(test.counts.astype(int).sum(1), test.offsets[:-1])
    assert set(totals.tolist()) == {747}
    again = load_binned("shd-regenerated-subset", "test", Binning(), reader="own", rate_free=rule)
    assert np.array_equal(test.counts, again.counts)
    plain = load_binned("shd-regenerated-subset", "test", Binning(), reader="own")
    assert plain.checksum != test.checksum


def test_features_have_no_rates(both):
    class Features(FeatureRecordings):
        path, sensor, class_names = both[0].path, (4,), ("a",)

        def __len__(self):
            return 0

        def frames(self, i):
            raise IndexError

    with pytest.raises(ConfigError, match="holds features, not spikes"):
        RateFreeRecordings(Features(), both[0], RULE)


def test_what_is_made_here_says_so_and_what_is_drawn_needs_no_file():
    drawn = open_recordings("synthetic-ordering", "valid")
    assert (len(drawn), drawn.source()) == (400, "synthetic-ordering")
    for split in ("train", "test"):
        other = open_recordings("synthetic-ordering", split)
        assert other.checksum() != drawn.checksum()
