"""Any data set of Tonic as a binned one: a stand-in of each kind, and Tonic's own classes on files made here."""

import importlib.util

import numpy as np
import pytest
from torch.utils.data import Subset

from snn_delays.data import BinnedDataset, Binning, bin_events, from_tonic
from snn_delays.data.encoders.sequential_mnist import PixelSequences, tonic_dataset
from snn_delays.data.events import Events
from snn_delays.data.formats.shd import read_shd_hdf5, shd_recordings, write_shd_hdf5
from snn_delays.data.formats.tonic import tonic_dataset as through_tonic
from snn_delays.data.loaders import bin_recordings
from snn_delays.errors import DataError

needs_tonic = pytest.mark.skipif(importlib.util.find_spec("tonic") is None, reason="tonic is not installed")
FINE = Binning("fixed", dt_ms=1.0, channel_group=1)


class Audio:
    """Three recordings of five channels, the fields in another order than in Tonic's own and the times unsorted."""

    sensor_size = (5, 1, 1)
    dtype = np.dtype([("x", np.uint16), ("p", bool), ("t", np.uint32)])

    def __init__(self, targets=(2, 0, 1), **attributes):
        self.targets = targets
        self.__dict__.update(attributes)

    def __len__(self):
        return len(self.targets)

    def __getitem__(self, i):
        rows = [(4, True, 2500 + i), (i, True, 100), (3, True, 1700)]
        return np.array(rows, self.dtype), self.targets[i]


class Camera(Audio):
    sensor_size = (4, 2, 2)
    dtype = np.dtype([("t", np.int64), ("y", np.int16), ("x", np.int16), ("p", np.int8)])

    def __getitem__(self, i):
        return np.array([(1_000_000, 1, 3, 1), (1_000_900, 0, i, 0)], self.dtype), self.targets[i]


def test_events_of_channels_in_any_order_of_fields_and_times():
    made = from_tonic(Audio(), FINE)
    assert isinstance(made, BinnedDataset)
    assert (len(made), made.sensor, made.labels.tolist(), made.class_names) == (3, (5,), [2, 0, 1], ("0", "1", "2"))
    for i in range(3):
        expected = bin_events(Events([100, 1700, 2500 + i], [i, 3, 4], 5), FINE)
        assert np.array_equal(made.sample(i), expected)
    assert made.source == "Tonic's Audio"
    assert made.checksum != from_tonic(Audio((1, 0, 2)), FINE).checksum


def test_events_of_a_camera_keep_their_axes_and_may_begin_with_the_first_event():
    late = from_tonic(Camera(), FINE)
    assert late.counts.shape[1:] == (2, 2, 4)
    assert late.lengths().tolist() == [1001] * 3
    first = from_tonic(Camera(), FINE, start="first_event")
    assert first.lengths().tolist() == [1] * 3
    assert np.argwhere(first.sample(2)[0]).tolist() == [[0, 0, 2], [1, 1, 3]]
    assert first.counts.sum() == late.counts.sum() == 6


def test_targets_names_and_wrapped_data_sets():
    words = from_tonic(Audio(("no", "yes", "no")), FINE)
    assert (words.labels.tolist(), words.class_names) == ([0, 1, 0], ("no", "yes"))
    pairs = Audio(((3, "adam"), (1, "eva"), (3, "eva")))
    with pytest.raises(DataError, match=r"sample 0: its target is tuple \(3, 'adam'\), not an integer .*target="):
        from_tonic(pairs, FINE)
    assert from_tonic(pairs, FINE, target=lambda pair: pair[1]).labels.tolist() == [0, 1, 1]
    with pytest.raises(DataError, match=r"sample 0: target\(\) returned float 3.0"):
        from_tonic(pairs, FINE, target=lambda pair: float(pair[0]))
    named = from_tonic(Subset(Audio(classes=["a", "b", "c", "d"]), [2, 0]), FINE)
    assert (named.labels.tolist(), named.class_names) == ([1, 2], ("a", "b", "c", "d"))
    assert from_tonic(Audio(), FINE, class_names=["u", "v", "w"], source="mine").source == "mine"


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"sensor_size": None}, r"the sensor of Audio is not known .*give sensor_size=\(width, height, polarities\)"),
        ({"sensor_size": (4, 1, 1)}, r"sample 0: channel\[2\] is 4; expected 0 to 3"),
        ({"dtype": np.dtype([("x", int), ("p", int), ("when", int)])}, "sample 0: .*needs the fields t, x"),
        ({"targets": (True, 0, 1)}, "sample 0: its target is bool True"),
    ],
)
def test_what_is_no_data_set_of_tonics_is_refused(change, message):
    with pytest.raises(DataError, match=message):
        from_tonic(Audio(**{"targets": (2, 0, 1), **change}), FINE)


def test_frames_lists_and_empty_recordings_are_refused():
    with pytest.raises(DataError, match=r"sample 0 holds ndarray (?s:.*)leave out the transform"):
        from_tonic([(np.zeros((3, 2)), 0)], FINE, sensor_size=(2, 1, 1))
    with pytest.raises(DataError, match="sample 0 is int; expected a pair"):
        from_tonic([3], FINE, sensor_size=(2, 1, 1))
    with pytest.raises(DataError, match="sample 0: has no events"):
        from_tonic([(np.zeros(0, Audio.dtype), 0)], FINE, sensor_size=(2, 1, 1))
    with pytest.raises(DataError, match="start is 'recorded' or 'first_event'"):
        from_tonic(Audio(), FINE, start="now")
    epoch = np.array([(3, True, 4_000_000_000)], Audio.dtype)
    with pytest.raises(DataError, match=r"sample 0: the last event is at 4000 s.*start='first_event'"):
        from_tonic([(epoch, 0)], FINE, sensor_size=(5, 1, 1))


@needs_tonic
def test_tonics_own_classes(tmp_path, samples):
    path = tmp_path / "shd_train.h5"
    write_shd_hdf5(path, samples, len(samples))
    dataset = through_tonic("SHD", {"train_zip": f"{path}.zip"})
    made, ours = from_tonic(dataset, FINE), bin_recordings(shd_recordings(path, "own"), FINE)
    assert made.source == "Tonic's SHD"
    assert np.array_equal(made.counts, ours.counts)
    assert made.labels.tolist() == [sample.label for sample in read_shd_hdf5(path)]
    folder = tmp_path / "mnist"
    folder.mkdir()
    images = np.random.default_rng(0).integers(0, 256, (3, 28, 28), dtype=np.uint8)
    for name, magic, values in (("images-idx3", 2051, images), ("labels-idx1", 2049, np.array([4, 0, 9], np.uint8))):
        header = np.array([magic, *values.shape], ">u4").tobytes()
        (folder / f"train-{name}-ubyte").write_bytes(header + values.tobytes())
    sequences = PixelSequences(folder, "train", {})
    made = from_tonic(tonic_dataset(sequences), FINE)
    assert np.array_equal(made.counts, bin_recordings(sequences, FINE).counts)
    assert made.labels.tolist() == [4, 0, 9]
