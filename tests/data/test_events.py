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
        ([0.5], [0], r"t_us\[0\] is 0.5, not an integer"),
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


# Cameras

SENSOR = (2, 720, 1280)


def camera_fields(n=500, dtype=np.uint16):
    random = np.random.default_rng(3)
    t = np.sort(random.integers(0, 10**6, n))
    return t - t[0], *(random.integers(0, size, n).astype(dtype) for size in SENSOR[::-1])


@pytest.mark.parametrize("dtype", [np.uint16, np.int16, np.uint32, np.int64, np.float32])
def test_fields_of_a_camera_meet_their_pixels_whatever_their_type(dtype):
    t, x, y, p = camera_fields(dtype=dtype)
    events = Events.from_camera(t, x, y, p, sensor=np.array(SENSOR))
    at = np.unravel_index(events.channel, SENSOR)
    assert [a.tolist() for a in at] == [p.tolist(), y.tolist(), x.tolist()]
    assert events.t_us.tolist() == t.tolist()
    assert (events.sensor, events.n_channels) == (SENSOR, 2 * 720 * 1280)
    assert type(events.n_channels) is type(events.sensor[0]) is int


def test_every_code_of_the_polarity_means_the_same():
    t, x, y, p = camera_fields()
    expected = Events.from_camera(t, x, y, p, sensor=SENSOR)
    for code in (p.astype(bool), p.astype(np.int8) * 2 - 1, p.astype(float), p.tolist()):
        assert Events.from_camera(t, x, y, code, sensor=SENSOR) == expected
    alone = Events.from_camera(t, x, y, sensor=(1, 720, 1280))
    assert alone == Events.from_camera(t, x, y, np.zeros(500, bool), sensor=(1, 720, 1280))


@pytest.mark.parametrize(
    ("scale", "origin", "dtype", "unit"),
    [
        (1, 0, np.int64, "us"),
        (1, 1_764_000_000_000_000, np.uint64, "us"),
        (1000, 1_764_000_000_123_456_789, np.uint64, "ns"),
        (1000, 2**64 - 2 * 10**9, np.uint64, "ns"),
        (1, -5_000_000, np.int64, "us"),
        (1e-6, 1_764_000_000.5, np.float64, "s"),
        (1e-3, 17.25, np.float64, "ms"),
        (1, 1 << 30, np.uint32, "us"),
    ],
)
def test_any_clock_will_do(scale, origin, dtype, unit):
    t, x, y, p = camera_fields()
    clock = (t.astype(object) * scale + origin).astype(dtype)
    events = Events.from_camera(clock, x, y, p, sensor=SENSOR, unit=unit)
    assert np.abs(events.t_us - t).max() <= (1 if dtype is np.float64 else 0)
    later = Events.from_camera(clock, x, y, p, sensor=SENSOR, unit=unit, origin=clock[0])
    assert later == events
    with pytest.raises(DataError, match="cannot be negative"):
        Events.from_camera(clock, x, y, p, sensor=SENSOR, unit=unit, origin=clock[400])


def test_structured_arrays_and_events_out_of_order():
    t, x, y, p = camera_fields()
    expected = Events.from_camera(t, x, y, p, sensor=SENSOR)
    for names in (("t", "x", "y", "p"), ("timestamp", "x", "y", "polarity")):
        kinds = list(zip(names, (np.int64, np.int16, np.int16, bool)))
        array = np.zeros(500, dtype=kinds)
        for name, values in zip(names, (t, x, y, p)):
            array[name] = values
        assert Events.from_camera(array, sensor=SENSOR) == expected
        shuffled = array[::-1]
        with pytest.raises(DataError, match=r"t\[1\] = .* comes before t\[0\] = .*sort=True"):
            Events.from_camera(shuffled, sensor=SENSOR)
        assert np.array_equal(Events.from_camera(shuffled, sensor=SENSOR, sort=True).t_us, t)
    with pytest.raises(DataError, match="x is not in"):
        Events.from_camera(np.zeros(2, dtype=[("t", int), ("y", int)]), sensor=SENSOR)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"x": [0, 1280]}, "event 1 has x = 1280; the sensor has x from 0 to 1279"),
        ({"x": [0, -1]}, "event 1 has x = -1"),
        ({"sensor": (2, 1280, 720), "x": [0, 1000]}, "x = 1000; .* are height and width swapped"),
        ({"p": [0, 2]}, "event 1 has p = 2; the sensor has p from 0 to 1"),
        ({"p": [-1, 0]}, r"p\[1\] is 0 beside others of -1; polarities are -1 and 1, 0 and 1, or bool"),
        ({"p": None}, "2 polarities, but no p"),
        ({"p": [0]}, "of equal length, got"),
        ({"y": [0.5, 0]}, r"y\[0\] is 0.5, not an integer"),
        ({"x": None}, "need t, x and y"),
        ({"t": [0.0, 0.25]}, r"t\[1\] is 0.25 us, not an integer; is it in seconds"),
        ({"t": [0.0, np.nan]}, r"t\[1\] is nan"),
        ({"t": np.array([0, 1], "datetime64[us]")}, "dtype datetime64"),
        ({"t": [[0, 1]]}, "one axis"),
        ({"unit": "minutes"}, "unknown unit of time 'minutes'"),
        ({"sensor": (720, 1280)}, r"sensor must be \(polarities, height, width\)"),
        ({"sensor": (2, 720.5, 1280)}, r"sensor must be \(polarities, height, width\)"),
        ({"origin": 0.5}, "must be one, got 0.5"),
    ],
)
def test_impossible_events_of_a_camera_are_refused(change, message):
    right = {"t": [0, 1], "x": [0, 1], "y": [0, 1], "p": [0, 1], "sensor": SENSOR}
    with pytest.raises(DataError, match=message):
        Events.from_camera(**(right | change))
