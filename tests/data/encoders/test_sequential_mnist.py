import gzip
import struct
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from snn_delays.data.encoders.sequential_mnist import ThresholdCrossing, encode_pixels, permutation
from snn_delays.errors import ConfigError, DataError

MNIST = Path(__file__).resolve().parents[4] / "shared" / "data" / "mnist"


def stroke(seed: int) -> np.ndarray:
    """A blurred line on black, with white and every grey in between, as a pen would leave it."""
    random = np.random.default_rng(seed)
    y, x = np.mgrid[:28, :28]
    angle, at = random.uniform(0, np.pi), random.uniform(10, 18, 2)
    distance = np.abs((x - at[0]) * np.sin(angle) - (y - at[1]) * np.cos(angle))
    return np.clip(np.rint(320 - 130 * distance), 0, 255).astype(np.uint8)


def by_the_definition(image: np.ndarray, encoding: ThresholdCrossing, order: np.ndarray) -> list[tuple[int, int]]:
    """(time, channel), pixel by pixel and threshold by threshold."""
    n, half = encoding.n_channels, encoding.n_channels // 2
    grey = [int(image.flat[i]) for i in order]
    spikes = []
    for i, value in enumerate(grey):
        channels = [0] if value == 255 else []
        for k in range(half):
            theta = 254 * k // (half - 1)
            if i + 1 < len(grey) and value < theta <= grey[i + 1]:
                channels.append(n - k)
            if i + 1 < len(grey) and grey[i + 1] < theta <= value:
                channels.append(n - half - k)
        for repeat in range(encoding.steps_per_pixel):
            spikes += [((i * encoding.steps_per_pixel + repeat) * encoding.dt_us, channel) for channel in channels]
    return sorted(spikes)


def spikes_of(events) -> list[tuple[int, int]]:
    return list(zip(events.t_us.tolist(), events.channel.tolist()))


@pytest.mark.parametrize("seed", [None, 0, 5])
@pytest.mark.parametrize("encoding", [ThresholdCrossing(), ThresholdCrossing(21, 500, 1), ThresholdCrossing(5, 1, 3)])
def test_spikes_are_those_of_the_definition(encoding, seed):
    image, order = stroke(1), permutation(seed)
    got = encode_pixels(image, encoding, order)
    assert spikes_of(got) == by_the_definition(image, encoding, order)
    assert len(got) > 50
    assert got.n_channels == encoding.n_channels


@given(st.integers(0, 1000))
def test_ups_and_downs_alternate_and_count_the_change_of_grey(seed):
    encoding = ThresholdCrossing(steps_per_pixel=1)
    image = stroke(seed)
    events = encode_pixels(image, encoding)
    ups, downs = events.channel > 50, (events.channel > 1) & (events.channel <= 49)
    level = np.searchsorted(encoding.thresholds, image.reshape(-1), side="right")
    step = np.diff(level)
    assert ups.sum() == step[step > 0].sum()
    assert downs.sum() == -step[step < 0].sum()
    assert (events.channel == 0).sum() == (image == 255).sum()


def test_a_grey_image_is_silent_and_a_white_one_only_touches():
    assert len(encode_pixels(np.full((28, 28), 77, np.uint8))) == 0
    white = encode_pixels(np.full((28, 28), 255, np.uint8))
    assert len(white) == 2 * 784
    assert not white.channel.any()
    assert white.t_us.tolist() == list(range(0, 2 * 784 * 1000, 1000))


def test_permutations_are_fixed_by_their_seed():
    assert permutation(None).tolist() == list(range(784))
    assert permutation(0)[:6].tolist() == [269, 11, 403, 600, 196, 608]
    assert np.array_equal(permutation(3), permutation(3))
    assert sorted(permutation(3)) == list(range(784))
    assert not np.array_equal(permutation(3), permutation(4))
    assert (permutation(0) == np.arange(784)).mean() < 0.02


def test_permuting_the_image_and_permuting_the_order_are_the_same():
    order = permutation(2)
    shuffled = stroke(4).reshape(-1)[order].reshape(28, 28)
    assert encode_pixels(stroke(4), order=order) == encode_pixels(shuffled)
    assert encode_pixels(stroke(4), order=order) != encode_pixels(stroke(4))


@pytest.mark.parametrize("arguments", [{"n_channels": 98}, {"n_channels": 3}, {"dt_us": 0}, {"steps_per_pixel": 0}])
def test_impossible_encodings_are_refused(arguments):
    with pytest.raises(ConfigError, match="must be"):
        ThresholdCrossing(**arguments)


def test_wrong_images_and_orders_are_refused():
    with pytest.raises(DataError, match=r"uint8 of shape \(28, 28\), got float64 of shape \(28, 28\)"):
        encode_pixels(np.zeros((28, 28)))
    with pytest.raises(DataError, match="shape"):
        encode_pixels(np.zeros((27, 28), np.uint8))
    with pytest.raises(DataError, match="each of the 784 pixels once"):
        encode_pixels(stroke(0), order=np.zeros(784, np.int64))


@pytest.mark.parametrize(("n_channels", "duplicate"), [(99, True), (99, False), (95, True)])
def test_events_are_those_of_tonic(tmp_path, n_channels, duplicate):
    datasets = pytest.importorskip("tonic.datasets")
    images = np.stack([stroke(seed) for seed in range(10)])
    folder = tmp_path / "smnist"
    folder.mkdir()
    (folder / "train-images-idx3-ubyte").write_bytes(struct.pack(">4I", 2051, *images.shape) + images.tobytes())
    (folder / "train-labels-idx1-ubyte").write_bytes(struct.pack(">2I", 2049, 10) + bytes(range(10)))
    theirs = datasets.SMNIST(str(tmp_path), train=True, duplicate=duplicate, num_neurons=n_channels)
    encoding = ThresholdCrossing(n_channels, steps_per_pixel=2 if duplicate else 1)
    for i in range(10):
        events, label = theirs[i]
        ours = spikes_of(encode_pixels(images[i], encoding))
        assert label == i
        assert len(ours) > 100
        assert sorted(zip(events["t"].tolist(), events["x"].tolist())) == ours
        # the comparison can fail: a grey value that equals a threshold, counted as below it
        assert spikes_of(encode_pixels(images[i] - (images[i] > 0), encoding)) != ours


@pytest.mark.shared
@pytest.mark.skipif(not MNIST.is_dir(), reason="MNIST is not at hand")
def test_real_digits_equal_tonic_too(tmp_path):
    datasets = pytest.importorskip("tonic.datasets")
    folder = tmp_path / "smnist"
    folder.mkdir()
    for name in ("t10k-images-idx3-ubyte", "t10k-labels-idx1-ubyte"):
        (folder / name).write_bytes(gzip.decompress((MNIST / f"{name}.gz").read_bytes()))
    theirs = datasets.SMNIST(str(tmp_path), train=False)
    for i in range(0, 10_000, 250):
        events, _ = theirs[i]
        ours = encode_pixels(theirs.image_data[i].reshape(28, 28))
        assert sorted(zip(events["t"].tolist(), events["x"].tolist())) == spikes_of(ours)
