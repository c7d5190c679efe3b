import gzip
import os
import struct
from pathlib import Path

import numpy as np
import pytest

from snn_delays.data.formats.idx import read_idx, read_mnist
from snn_delays.errors import DataError

MNIST = Path(__file__).resolve().parents[4] / "shared" / "data" / "mnist"


def images_bytes(images: np.ndarray) -> bytes:
    return struct.pack(">4I", 2051, *images.shape) + images.tobytes()


def labels_bytes(labels: np.ndarray) -> bytes:
    return struct.pack(">2I", 2049, len(labels)) + labels.astype(np.uint8).tobytes()


@pytest.fixture
def images() -> np.ndarray:
    return np.random.default_rng(0).integers(0, 256, (20, 28, 28), dtype=np.uint8)


@pytest.fixture
def folder(images, tmp_path) -> Path:
    (tmp_path / "train-images-idx3-ubyte").write_bytes(images_bytes(images))
    (tmp_path / "train-labels-idx1-ubyte.gz").write_bytes(gzip.compress(labels_bytes(np.arange(20) % 10)))
    return tmp_path


def test_plain_and_gzipped_files_come_back(folder, images):
    got, labels = read_mnist(folder, "train")
    assert got.dtype == labels.dtype == np.uint8
    assert np.array_equal(got, images)
    assert labels.tolist() == list(range(10)) * 2


def test_the_content_tells_a_gzip_file_whatever_its_name(folder, images):
    path = folder / "train-images-idx3-ubyte"
    path.write_bytes(gzip.compress(images_bytes(images)))
    assert np.array_equal(read_idx(path, "images"), images)


@pytest.mark.parametrize(
    ("damage", "says"),
    [
        (lambda b: b[:-1], "truncated: its header announces 20 x 28 x 28 = 15680 bytes, 15679 follow"),
        (lambda b: b + b"x", "foreign bytes"),
        (lambda b: b[:10], "10 bytes, too few for an idx header of 16"),
        (lambda b: b"", "0 bytes"),
        (lambda b: struct.pack(">I", 2049) + b[4:], "magic 2049, which is that of labels; images have 2051"),
        (lambda b: b"PK" + b[2:], "give the idx file of the images"),
        (lambda b: gzip.compress(b)[:-20], "truncated or not a gzip"),
        (lambda b: gzip.compress(b)[:12] + b"\0" * 100, "truncated or not a gzip"),
    ],
)
def test_a_damaged_file_is_named_with_the_remedy(folder, images, damage, says):
    path = folder / "train-images-idx3-ubyte"
    path.write_bytes(damage(images_bytes(images)))
    with pytest.raises(DataError, match=says) as caught:
        read_mnist(folder, "train")
    assert str(path) in str(caught.value)


def test_a_missing_file_says_where_it_belongs(folder):
    with pytest.raises(DataError, match=r"t10k-images-idx3-ubyte is missing, with or without \.gz; place"):
        read_mnist(folder, "test")
    with pytest.raises(DataError, match="splits train and test, not 'valid'"):
        read_mnist(folder, "valid")  # type: ignore[arg-type]
    with pytest.raises(DataError, match="cannot read"):
        read_idx(folder / "none", "images")


def test_files_that_do_not_belong_together(folder):
    path = folder / "train-labels-idx1-ubyte.gz"
    path.write_bytes(labels_bytes(np.arange(19) % 10))
    with pytest.raises(DataError, match=r"20 images and .* 19 labels"):
        read_mnist(folder, "train")
    path.write_bytes(labels_bytes(np.array([0] * 5 + [11] + [0] * 14)))
    with pytest.raises(DataError, match="label 5 is 11, not a digit"):
        read_mnist(folder, "train")


@pytest.mark.shared
@pytest.mark.skipif(not MNIST.is_dir(), reason="MNIST is not at hand")
def test_mnist_itself():
    images, labels = read_mnist(MNIST, "test")
    assert images.shape == (10_000, 28, 28)
    assert labels[:5].tolist() == [7, 2, 1, 0, 4]
    assert np.bincount(labels).tolist() == [980, 1135, 1032, 1010, 982, 892, 958, 1028, 974, 1009]


def test_a_file_that_unpacks_to_absurdly_much_is_refused(folder):
    path = folder / "train-images-idx3-ubyte"
    path.write_bytes(gzip.compress(bytes(80 << 20)))
    with pytest.raises(DataError, match="unpacks to more than"):
        read_idx(path, "images")


def test_pipes_and_devices_are_refused(tmp_path):
    os.mkfifo(tmp_path / "pipe")
    for path in (tmp_path / "pipe", Path("/dev/zero")):
        with pytest.raises(DataError, match="no regular file"):
            read_idx(path, "images")
