"""Statistics of recordings whose numbers are known, and of the bundled subset."""

from pathlib import Path

import numpy as np
import pytest

from snn_delays.data.binning import Binning
from snn_delays.data.events import Events, Sample
from snn_delays.data.opening import open_recordings
from snn_delays.data.recordings import FeatureRecordings, Recordings
from snn_delays.data.statistics import Spread, statistics
from snn_delays.errors import ConfigError, DataError

EVERY_10_MS = Binning(dt_ms=10.0, channel_group=1)


class Made(Recordings):
    """Recordings from a list; an error in it is raised when it is read."""

    path, sensor, class_names = Path("made"), (4,), ("a", "b", "c")

    def __init__(self, samples, sensor=(4,)):
        self.samples, self.sensor = samples, sensor

    def __len__(self):
        return len(self.samples)

    def __getitem__(self, i):
        if isinstance(self.samples[i], Exception):
            raise self.samples[i]
        return self.samples[i]


class MadeFeatures(FeatureRecordings):
    path, sensor, class_names, frame_ms = Path("made"), (3,), ("a", "b"), 10.0

    def __init__(self, arrays):
        self.arrays = arrays

    def __len__(self):
        return len(self.arrays)

    def frames(self, i):
        return self.arrays[i], i % 2, -1


def sample(t_us, channel, label, speaker=-1):
    return Sample(Events(t_us, channel, 4), label, speaker)


def test_numbers_that_can_be_counted_by_hand():
    made = Made(
        [
            sample([0, 1_000, 20_000], [0, 0, 3], 0, speaker=7),
            sample([5_000], [3], 1, speaker=7),
            sample([0, 9_999, 10_000, 10_000, 500_000], [0, 1, 1, 1, 0], 0, speaker=8),
        ]
    )
    found = statistics(made, EVERY_10_MS)
    assert (found.samples, found.looked_at, found.class_counts, found.speakers) == (3, 3, (2, 1, 0), 2)
    assert found.events == Spread(1, 3, 3, 5)
    assert found.duration_ms == Spread(5, 20, 175, 500)
    assert found.frames == Spread(1, 3, pytest.approx(55 / 3), 51)
    # 4, 3, 0 and 2 events in 525 ms
    assert np.allclose(found.channel_values, np.array([4, 3, 0, 2]) / 0.525)
    assert (found.constant_channels, found.values, found.errors) == (1, None, ())
    assert statistics(made, Binning(dt_ms=250.0, channel_group=1)).frames == Spread(1, 1, pytest.approx(5 / 3), 3)


def test_a_limit_looks_evenly_over_the_whole():
    made = Made([sample([i * 1_000], [0], i // 34) for i in range(100)])
    found = statistics(made, EVERY_10_MS, limit=12)
    assert (found.samples, found.looked_at, found.class_counts) == (100, 12, (4, 4, 4))
    assert (found.duration_ms.least, found.duration_ms.most) == (0, 99)
    assert statistics(made, EVERY_10_MS, limit=100).class_counts == (34, 34, 32)
    assert statistics(made, EVERY_10_MS, limit=1000).looked_at == 100
    with pytest.raises(ConfigError, match="limit must be at least 1, got 0"):
        statistics(made, EVERY_10_MS, limit=0)


def test_recordings_that_cannot_be_used_are_counted_and_named():
    made = Made([DataError("made: the first is damaged"), sample([], [], 1), sample([1], [2], 2)])
    calls = []
    found = statistics(made, EVERY_10_MS, progress=lambda done, total: calls.append((done, total)))
    assert (found.samples, found.looked_at, found.class_counts) == (3, 1, (0, 0, 1))
    assert found.errors == (
        "made: the first is damaged",
        "made: sample 1 has no events; a recording without spikes cannot be classified",
    )
    assert calls == [(1, 3), (2, 3), (3, 3)]
    with pytest.raises(DataError, match="none of 2 recordings can be used; made: the first is damaged"):
        statistics(Made(made.samples[:2]), EVERY_10_MS)


def test_a_recording_with_an_impossible_time_is_left_out():
    made = Made([sample([900_000_000_000_000], [0], 0), sample([1], [2], 2)])
    found = statistics(made, EVERY_10_MS)
    assert (found.looked_at, found.frames, found.events) == (1, Spread(1, 1, 1, 1), Spread(1, 1, 1, 1))
    assert found.errors[0].startswith("made: sample 0: the last event is at 9e+08 s, which makes 90,000,000,001 steps")


def test_events_at_time_zero_alone_have_no_rate():
    found = statistics(Made([sample([0, 0], [1, 2], 0)]), EVERY_10_MS)
    assert found.duration_ms == Spread(0, 0, 0, 0)
    assert not found.channel_values.any()
    assert found.constant_channels == 2


def test_a_camera_is_counted_by_pixel():
    events = Events([0, 100_000, 1_000_000], [0, 5, 5], 8, (2, 2, 2))
    found = statistics(Made([Sample(events, 0)], (2, 2, 2)), EVERY_10_MS)
    assert found.channel_values.tolist() == [1, 0, 0, 0, 0, 2, 0, 0]
    assert found.constant_channels == 6


def test_features_have_values_and_constant_channels():
    a = np.array([[0, -100, 1], [2, -100, 1]], dtype=np.float32)
    b = np.array([[4, -100, 3]], dtype=np.float32)
    found = statistics(MadeFeatures([a, b]), EVERY_10_MS)
    assert np.allclose(found.channel_values, [2, -100, 5 / 3])
    assert found.values == pytest.approx((-100, (2 - 100 + 5 / 3) / 3, 4))
    assert (found.constant_channels, found.class_counts, found.speakers) == (1, (1, 1), 0)
    assert found.frames == Spread(1, 1.5, 1.5, 2)
    assert (found.events, found.duration_ms) == (None, None)


def test_the_bundled_subset():
    found = statistics(open_recordings("shd-regenerated-subset", "test", reader="own"), EVERY_10_MS)
    assert (found.looked_at, found.class_counts, found.speakers) == (300, (15,) * 20, 2)
    assert found.events.mean * 300 == 2_395_023
    assert found.constant_channels == 0
    assert 700 < found.duration_ms.mean < 800
    assert found.frames.most == found.duration_ms.most // 10 + 1
