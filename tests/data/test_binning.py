import json
from dataclasses import asdict

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from snn_delays.data.binning import Binning, bin_events
from snn_delays.data.events import Events
from snn_delays.errors import ConfigError, DataError

RULES = ("fixed", "event_anchored_v2023")


@st.composite
def recordings(draw):
    times = sorted(draw(st.lists(st.integers(0, 200_000), max_size=120)))
    channels = draw(st.lists(st.integers(0, 19), min_size=len(times), max_size=len(times)))
    return Events(times, channels, 20)


def slow_fixed(events, dt_us, group):
    n_steps = max((int(t) // dt_us + 1 for t in events.t_us), default=0)
    counts = np.zeros((n_steps, events.n_channels // group), dtype=np.int64)
    for k in range(n_steps):
        for t, c in zip(events.t_us, events.channel):
            counts[k, c // group] += k * dt_us <= t < (k + 1) * dt_us
    return counts


def slow_anchored(events, dt_us, group, inclusive=True):
    """Frame after frame, event after event, as one would do it by hand."""
    frames = []
    opened = None
    for t, c in zip(events.t_us, events.channel):
        if opened is None or not (t - opened <= dt_us if inclusive else t - opened < dt_us):
            opened = t
            frames.append(np.zeros(events.n_channels // group, dtype=np.int64))
        frames[-1][c // group] += 1
    return np.array(frames).reshape(len(frames), events.n_channels // group)


@given(recordings(), st.sampled_from(RULES), st.sampled_from([0.5, 1.0, 7.3, 10.0]), st.sampled_from([1, 5, 20]))
def test_binning_conserves_counts(events, rule, dt_ms, group):
    counts = bin_events(events, Binning(rule, dt_ms, group))
    assert counts.dtype == np.uint8
    assert counts.sum() == len(events)
    assert counts.shape[1] == 20 // group
    by_channel = np.bincount(events.channel // group, minlength=20 // group)
    assert (counts.sum(0) == by_channel).all()
    assert len(events) == 0 or counts[-1].any()


@given(recordings(), st.sampled_from([1.0, 10.0]), st.sampled_from([1, 5]))
def test_both_rules_equal_a_loop_over_the_events(events, dt_ms, group):
    dt_us = round(1000 * dt_ms)
    assert np.array_equal(bin_events(events, Binning("fixed", dt_ms, group)), slow_fixed(events, dt_us, group))
    anchored = bin_events(events, Binning("event_anchored_v2023", dt_ms, group))
    assert np.array_equal(anchored, slow_anchored(events, dt_us, group))
    if len(events):
        assert all(frame.any() for frame in anchored)  # silences have vanished


def test_fixed_steps_are_half_open_and_start_at_stimulus_onset():
    events = Events([9_999, 10_000, 35_000], [0, 0, 1], 2)
    assert bin_events(events, Binning("fixed", 10.0, 1)).tolist() == [[1, 0], [1, 0], [0, 0], [0, 1]]


def test_an_event_exactly_dt_after_the_first_is_in_its_frame():
    events = Events([5_000, 15_000, 15_001, 90_000], [0, 1, 0, 1], 2)
    binned = bin_events(events, Binning("event_anchored_v2023", 10.0, 1))
    assert binned.tolist() == [[1, 1], [1, 0], [0, 1]]
    # the comparison can fail: a rule that leaves the end out gives something else
    assert binned.tolist() != slow_anchored(events, 10_000, 1, inclusive=False).tolist()


def test_neighbouring_channels_are_summed_not_clipped():
    events = Events([0, 0, 0, 1], [0, 4, 4, 5], 10)
    assert bin_events(events, Binning("fixed", 10.0, 5)).tolist() == [[3, 1]]


def test_no_events_give_no_steps():
    for rule in RULES:
        assert bin_events(Events([], [], 10), Binning(rule, 10.0, 5)).shape == (0, 2)


def test_255_fit_and_256_do_not():
    assert bin_events(Events([3] * 255, [7] * 255, 10), Binning()).max() == 255
    with pytest.raises(DataError, match=r"more than 255 events fall into the step of event 255 .*, channel 1"):
        bin_events(Events([3] * 256, [7] * 256, 10), Binning())


@pytest.mark.parametrize(
    ("t_us", "dt_ms", "n_channels", "n_steps"),
    [
        (60_000_000_000, 0.01, 700, "6,000,000,001 steps of 700"),
        (900_000_000_000_000, 10.0, 64, "90,000,000,001 steps of 64"),
        ((1 << 20) * 10_000, 10.0, 1, "1,048,577 steps of 1"),
        ((1 << 16) * 10_000, 10.0, 1 << 15, "65,537 steps of 32,768"),
        (600_000_000, 10.0, 2 * 128 * 128, "60,001 steps of 32,768"),
    ],
)
def test_a_time_out_of_range_is_refused_before_it_fills_the_memory(t_us, dt_ms, n_channels, n_steps):
    events = Events([0, t_us], [0, 0], n_channels)
    with pytest.raises(
        DataError, match=rf"last event is at .* s, which makes {n_steps} counts for 2 events; .*it is damaged, or"
    ):
        bin_events(events, Binning("fixed", dt_ms, 1))
    assert bin_events(events, Binning("event_anchored_v2023", dt_ms, 1)).shape == (2, n_channels)
    if n_channels == 1:
        assert len(bin_events(Events([0, t_us - 1], [0, 0], 1), Binning("fixed", dt_ms, 1))) == 1 << 20


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"rule": "fixd"}, "unknown binning rule 'fixd'"),
        ({"dt_ms": 0.0}, "positive"),
        ({"dt_ms": float("nan")}, "positive"),
        ({"dt_ms": 0.0003}, "integer number of microseconds"),
        ({"channel_group": 0}, "channel_group"),
        ({"channel_group": 2.5}, "channel_group"),
        ({"channel_group": True}, "channel_group"),
        ({"channel_group": "5"}, "channel_group"),
        ({"dt_ms": 2e9}, "1e\\+09 at most"),
        ({"dt_ms": "10"}, "dt_ms must be a number"),
        ({"dt_ms": torch.tensor(10.0)}, "dt_ms must be a number"),
    ],
)
def test_impossible_binnings_are_refused(arguments, message):
    with pytest.raises(ConfigError, match=message):
        Binning(**arguments)


def test_groups_must_divide_the_channels():
    with pytest.raises(ConfigError, match="does not divide the 7 channels"):
        bin_events(Events([0], [0], 7), Binning())


@pytest.mark.parametrize("rule", ["fixed", "event_anchored_v2023"])
def test_a_camera_keeps_its_axes_and_sums_squares_of_pixels(rule):
    random = np.random.default_rng(3)
    sensor, n = (2, 4, 6), 300
    events = Events(np.sort(random.integers(0, 50_000, n)), random.integers(0, 48, n), 48, sensor)
    fine = bin_events(events, Binning(rule, 10.0, 1))
    assert fine.shape[1:] == sensor
    row = bin_events(Events(events.t_us, events.channel, 48), Binning(rule, 10.0, 1))
    assert np.array_equal(fine.reshape(len(fine), -1), row)
    polarity, y, x = np.unravel_index(events.channel, sensor)
    assert fine[:, 1, 2, 3].sum() == ((polarity == 1) & (y == 2) & (x == 3)).sum() > 0
    coarse = bin_events(events, Binning(rule, 10.0, 2))
    assert np.array_equal(coarse, fine.reshape(-1, 2, 2, 2, 3, 2).sum((3, 5)))
    with pytest.raises(ConfigError, match="channel_group 4 does not divide the 4 x 6 pixels"):
        bin_events(events, Binning(rule, 10.0, 4))


def test_a_sensor_has_the_channels_of_its_events():
    with pytest.raises(DataError, match=r"sensor of shape \(2, 3\) has not 7 channels"):
        Events([0], [0], 7, (2, 3))
    assert Events([0], [0], 6).sensor == (6,)
    assert Events([0], [0], 6) != Events([0], [0], 6, (2, 3))


def test_settings_are_equal_whichever_library_their_numbers_came_from():
    plain = Binning("fixed", 10.0, 5)
    for kind in (np.float32, np.float64, np.int64, np.uint8):
        other = Binning("fixed", kind(10), np.int16(5))
        assert (other, hash(other), json.dumps(asdict(other))) == (plain, hash(plain), json.dumps(asdict(plain)))


def test_a_recording_of_many_events_may_have_many_counts():
    t_us = np.arange(80_000) * 5_000  # 6.7 minutes of a small camera, two events a step
    counts = bin_events(Events(t_us, np.zeros(t_us.size), 8192), Binning("fixed", 10.0, 1))
    assert counts.shape == (40_000, 8192)
    assert counts.sum() == 80_000
