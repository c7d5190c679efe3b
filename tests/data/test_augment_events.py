"""Augmentations on events: seeded, sorted, the input untouched, and each does what its equation says."""

import numpy as np
import pytest

from experiments.studies import augmentation_gallery as gallery
from snn_delays.data.augment_events import (
    channel_shift,
    crop,
    jitter,
    poisson_noise,
    polarity_flip,
    spatial_flip,
    spatial_shift,
    spike_drop,
    time_scale,
    time_shift,
    uniform_noise,
)
from snn_delays.data.events import Events
from snn_delays.errors import ConfigError

SENSOR = (2, 8, 12)
ROW = [
    lambda e, g: jitter(e, 500.0, g),
    lambda e, g: time_shift(e, -2000, 3000, g),
    lambda e, g: time_scale(e, 0.5, 2.0, g),
    lambda e, g: channel_shift(e, 20, g),
    lambda e, g: spike_drop(e, 0.3, g),
    lambda e, g: poisson_noise(e, 300.0, 10_000, g),
    lambda e, g: uniform_noise(e, 50, 10_000, g),
]
CAMERA = [
    lambda e, g: polarity_flip(e, 0.5, g),
    lambda e, g: spatial_flip(e, 0.5, g),
    lambda e, g: spatial_flip(e, 0.5, g, "y"),
    lambda e, g: spatial_shift(e, 3, g),
    lambda e, g: crop(e, 5, 7, g),
]


def generator(seed=0):
    return np.random.default_rng(seed)


@pytest.fixture
def events():
    draw = generator(5)
    return Events(np.sort(draw.integers(0, 10_000, 600)), draw.integers(0, 192, 600), 192)


@pytest.fixture
def camera(events):
    return Events(events.t_us, events.channel, 192, SENSOR)


def place(events):
    return np.stack(np.unravel_index(events.channel, events.sensor), 1)


@pytest.mark.parametrize("change", [*ROW, *CAMERA])
def test_the_seed_is_the_result_and_the_input_stays(change, events, camera):
    given = camera if change in CAMERA else events
    before = Events(given.t_us, given.channel, given.n_channels, given.sensor)
    results = [change(given, generator(seed)) for seed in range(12)]
    assert results[3] == change(given, generator(3))
    assert any(other != results[0] for other in results)
    assert given == before
    global_state = np.random.get_state()[1].copy()  # noqa: NPY002
    change(given, generator(1))
    assert np.array_equal(global_state, np.random.get_state()[1])  # noqa: NPY002
    for result in results:  # Events has checked that times are sorted, >= 0, and channels inside
        assert result.n_channels == np.prod(result.sensor)


@pytest.mark.parametrize("change", [*ROW, *CAMERA])
def test_silence_is_no_error(change):
    silent = Events([], [], 192, SENSOR if change in CAMERA else ())
    changed = change(silent, generator())
    assert len(changed) in (0, 50) or change is ROW[5]


def test_jitter_moves_each_spike_on_its_own():
    events = Events(np.full(20_000, 50_000), np.arange(20_000), 20_000)
    moved = jitter(events, 3000.0, generator())
    assert len(moved) == 20_000
    by_channel = np.empty(20_000)
    by_channel[moved.channel] = moved.t_us - 50_000
    assert abs(by_channel.mean()) < 100
    assert by_channel.std() == pytest.approx(3000, rel=0.03)
    assert abs(np.corrcoef(by_channel[:-1], by_channel[1:])[0, 1]) < 0.03
    assert jitter(events, 0.0, generator()) == events


def test_spikes_that_leave_are_dropped_and_not_gathered_at_the_edge():
    events = Events(np.full(10_000, 1000), np.zeros(10_000, dtype=int), 1)
    moved = jitter(events, 1000.0, generator())
    assert 0.80 < len(moved) / 10_000 < 0.88  # P(e > -1000) = 0.841
    assert (moved.t_us == 0).sum() < 20
    ended = jitter(events, 1000.0, generator(), end_us=2000)
    assert 0.65 < len(ended) / 10_000 < 0.71  # P(|e| < 1000) = 0.683
    assert ended.t_us.max() < 2000


def test_time_shift_keeps_intervals(events):
    shifts = []
    for seed in range(300):
        moved = time_shift(events, 0, 4, generator(seed))
        shift = moved.t_us - events.t_us
        assert (shift == shift[0]).all()
        assert np.array_equal(moved.channel, events.channel)
        shifts.append(int(shift[0]))
    assert sorted(set(shifts)) == [0, 1, 2, 3, 4]
    early = time_shift(events, -3000, -3000, generator())
    kept = events.t_us >= 3000
    assert np.array_equal(early.t_us, events.t_us[kept] - 3000)
    assert np.array_equal(early.channel, events.channel[kept])
    assert time_shift(events, 500, 500, generator(), end_us=10_000).t_us.max() < 10_000


def test_time_scale_stretches(events):
    assert np.array_equal(time_scale(events, 2.0, 2.0, generator()).t_us, 2 * events.t_us)
    factors = [time_scale(events, 0.5, 1.5, generator(seed)).t_us[-1] / events.t_us[-1] for seed in range(200)]
    assert 0.5 <= min(factors) < 0.55
    assert 1.45 < max(factors) <= 1.5


def test_channel_shift_wraps_nothing(events):
    seen = set()
    for seed in range(200):
        moved = channel_shift(events, 3, generator(seed))
        for k in range(-3, 4):
            inside = (events.channel + k >= 0) & (events.channel + k < 192)
            if np.array_equal(moved.channel, events.channel[inside] + k):
                assert np.array_equal(moved.t_us, events.t_us[inside])
                seen.add(k)
    assert seen == set(range(-3, 4))


def test_spike_drop_drops_its_share(events):
    left = [len(spike_drop(events, 0.3, generator(seed))) for seed in range(100)]
    assert np.mean(left) == pytest.approx(420, abs=5)
    assert 5 < np.std(left) < 18  # binomial: 11.2
    assert len(spike_drop(events, 1.0, generator())) == 0
    assert spike_drop(events, 0.0, generator()) == events


def test_noise_is_added_and_nothing_is_lost(events):
    noisy = uniform_noise(events, 5000, 20_000, generator())
    assert len(noisy) == 5600
    times, channels = np.histogram(noisy.t_us, 4, (0, 20_000))[0], np.bincount(noisy.channel, minlength=192)
    assert np.abs(times[2:] - 1250).max() < 150
    assert channels.min() > 5
    original = set(zip(events.t_us.tolist(), events.channel.tolist()))
    assert original <= set(zip(noisy.t_us.tolist(), noisy.channel.tolist()))
    added = [len(poisson_noise(events, 50.0, 100_000, generator(seed))) - 600 for seed in range(200)]
    assert np.mean(added) == pytest.approx(960, abs=10)  # 50 Hz * 0.1 s * 192
    assert np.std(added) == pytest.approx(np.sqrt(960), rel=0.2)
    assert poisson_noise(events, 0.0, 1000, generator()) == events


def test_flips_mirror_once_and_back(camera):
    for flip, column, size in (
        (polarity_flip, 0, 2),
        (spatial_flip, 2, 12),
        (lambda e, p, g: spatial_flip(e, p, g, "y"), 1, 8),
    ):
        mirrored = flip(camera, 1.0, generator())
        expected = place(camera)
        expected[:, column] = size - 1 - expected[:, column]
        assert np.array_equal(place(mirrored), expected)
        assert mirrored != camera
        assert flip(mirrored, 1.0, generator()) == camera
        assert flip(camera, 0.0, generator()) == camera
        changed = [flip(camera, 0.3, generator(seed)) != camera for seed in range(300)]
        assert 0.2 < np.mean(changed) < 0.4


def test_spatial_shift_reaches_every_place_and_wraps_nothing(camera):
    seen = set()
    for seed in range(200):
        moved = spatial_shift(camera, 1, generator(seed))
        assert moved.sensor == SENSOR
        for dy in (-1, 0, 1):
            for dx in (-1, 0, 1):
                p, y, x = (place(camera) + (0, dy, dx)).T
                inside = (y >= 0) & (y < 8) & (x >= 0) & (x < 12)
                if np.array_equal(place(moved), np.stack([p, y, x], 1)[inside]):
                    seen.add((dy, dx))
    assert len(seen) == 9


def test_crop_is_a_window_of_the_recording(camera):
    corners = set()
    for seed in range(300):
        small = crop(camera, 7, 10, generator(seed))
        assert small.sensor == (2, 7, 10)
        for top in (0, 1):
            for left in (0, 1, 2):
                p, y, x = place(camera).T
                inside = (y >= top) & (y < top + 7) & (x >= left) & (x < left + 10)
                if np.array_equal(place(small), np.stack([p, y - top, x - left], 1)[inside]):
                    corners.add((top, left))
                    assert np.array_equal(small.t_us, camera.t_us[inside])
    assert len(corners) == 6
    assert crop(camera, 8, 12, generator()) == camera


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda e, c, g: jitter(e, -1.0, g), "sigma_us"),
        (lambda e, c, g: jitter(e, float("nan"), g), "sigma_us"),
        (lambda e, c, g: jitter(e, 1.0, g, end_us=0), "end_us"),
        (lambda e, c, g: time_shift(e, 2, 1, g), "low_us"),
        (lambda e, c, g: time_scale(e, 0.0, 1.0, g), "factors of time"),
        (lambda e, c, g: channel_shift(e, 192, g), "0 to 191"),
        (lambda e, c, g: channel_shift(c, 1, g), "use spatial_shift"),
        (lambda e, c, g: spike_drop(e, 1.1, g), "probability"),
        (lambda e, c, g: poisson_noise(e, -1.0, 10, g), "rate_hz"),
        (lambda e, c, g: poisson_noise(e, 1.0, 0, g), "duration_us"),
        (lambda e, c, g: uniform_noise(e, -1, 10, g), "spikes >= 0"),
        (lambda e, c, g: polarity_flip(e, 0.5, g), r"sensor of \(polarity, height, width\)"),
        (lambda e, c, g: spatial_flip(c, 0.5, g, "z"), "axis"),
        (lambda e, c, g: spatial_flip(c, -0.5, g), "probability"),
        (lambda e, c, g: spatial_shift(c, 8, g), "0 to 7 pixels"),
        (lambda e, c, g: crop(c, 9, 4, g), "9 x 4 does not fit 8 x 12"),
    ],
)
def test_impossible_arguments_are_refused(call, message, events, camera):
    with pytest.raises(ConfigError, match=message):
        call(events, camera, generator())


def test_the_gallery_shows_every_augmentation(tmp_path, samples):
    recordings, labels = [s.events for s in samples], [s.label for s in samples]
    table = gallery.statistics(recordings, labels).splitlines()
    rows = [[cell.strip() for cell in line.strip("|").split("|")] for line in table[2:]]
    assert len(rows) == 2 + len(gallery.ON_EVENTS) + len(gallery.ON_BATCH)
    mean = np.mean([len(events) for events in recordings])
    assert [row[2] for row in rows if row[0] == "none"] == [f"{mean:,.0f}"] * 2
    figure = gallery.events_figure(recordings[0])
    assert [ax.get_title("left") for ax in figure.axes] == ["as recorded", *gallery.ON_EVENTS]
    assert len(gallery.camera_figure(gallery.moving_letter()).axes) == 6
    batch = gallery.batch_figure(gallery.batch_of(recordings, labels))
    assert [ax.get_title("left") for ax in batch.axes if ax.get_visible()] == ["as binned", *gallery.ON_BATCH]
