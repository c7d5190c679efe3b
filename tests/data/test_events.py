import numpy as np
import pytest

from snn_delays.data.events import Events
from snn_delays.errors import DataError


def test_events_are_kept_as_read_only_int64_copies():
    times = np.array([0, 5, 5, 9], dtype=np.uint32)
    events = Events(times, [1.0, 0.0, 2.0, 2.0], 3)
    times[0] = 7
    assert events.t_us.dtype == events.channel.dtype == np.int64
    assert events.t_us.tolist() == [0, 5, 5, 9]
    assert len(events) == 4
    with pytest.raises(ValueError, match="read-only"):
        events.t_us[0] = 1
    assert events == Events([0, 5, 5, 9], [1, 0, 2, 2], 3)
    assert events != Events([0, 5, 5, 9], [1, 0, 2, 1], 3)
    assert len(Events([], [], 3)) == 0


@pytest.mark.parametrize(
    ("t_us", "channel", "message"),
    [
        ([0.0, np.nan], [0, 0], r"t_us\[1\] is nan"),
        ([0.0, 1.0, np.inf], [0, 0, 0], r"t_us\[2\] is inf"),
        ([0, -3], [0, 0], r"t_us\[1\] is -3"),
        ([0, 9, 8], [0, 0, 0], r"t_us\[2\] = 8 comes before t_us\[1\] = 9"),
        ([0.5], [0], r"t_us\[0\] is 0.5, not a whole number"),
        ([0, 1], [0, 3], r"channel\[1\] is 3; expected 0 to 2"),
        ([0, 1], [-1, 0], r"channel\[0\] is -1"),
        ([0, 1], [0], "t_us has 2 events and channel 1"),
        ([[0, 1]], [0, 1], "one axis"),
        (["a"], [0], "dtype"),
        ([True], [0], "dtype bool"),
        (np.array([2**64 - 1], dtype=np.uint64), [0], "64 bits"),
    ],
)
def test_impossible_events_are_refused_with_the_index(t_us, channel, message):
    with pytest.raises(DataError, match=message):
        Events(t_us, channel, 3)


def test_channels_must_exist():
    with pytest.raises(DataError, match="n_channels"):
        Events([], [], 0)
