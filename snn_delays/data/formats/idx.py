"""The idx files of MNIST, plain or gzipped: a big-endian header, then one byte a pixel or label.

LeCun, Cortes and Burges, "The MNIST database": magic 2051 for images (count, rows, columns), 2049 for labels (count).
"""

import gzip
import math
import os
import struct
import zlib
from pathlib import Path
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from snn_delays.data.numbers import first_true
from snn_delays.errors import DataError
from snn_delays.reading import open_regular, read_at_most, room_for

_MAGIC = {"images": 2051, "labels": 2049}
_AXES = {"images": 3, "labels": 1}
_FIRST_NAME = {"train": "train", "test": "t10k"}


def read_idx(path: Path, kind: Literal["images", "labels"]) -> NDArray[np.uint8]:
    """Contents of an idx file: uint8 ``[image, row, column]``, or labels uint8 ``[image]``.

    Whether the file is gzipped, its first bytes decide, not its name. Raises DataError naming the file if it cannot be
    read, is no idx file of this kind, or does not hold exactly what its header announces.
    """
    content = _unpacked(path)
    header = 4 + 4 * _AXES[kind]
    if len(content) < header:
        raise DataError(f"{path} has {len(content)} bytes, too few for an idx header of {header}; fetch it again")
    magic, *shape = struct.unpack(f">{header // 4}I", content[:header])
    if magic != _MAGIC[kind]:
        other = next((f", which is that of {name}" for name, number in _MAGIC.items() if number == magic), "")
        raise DataError(
            f"{path} opens with magic {magic}{other}; {kind} have {_MAGIC[kind]}: give the idx file of the {kind}"
        )
    found, announced = len(content) - header, math.prod(shape)
    if found != announced:
        what = "truncated" if found < announced else "followed by foreign bytes"
        raise DataError(
            f"{path} is {what}: its header announces {' x '.join(map(str, shape))} = {announced} bytes, "
            f"{found} follow; fetch it again"
        )
    return np.frombuffer(content, dtype=np.uint8, offset=header).reshape(shape)


def read_mnist(folder: Path, split: Literal["train", "test"]) -> tuple[NDArray[np.uint8], NDArray[np.uint8]]:
    """Images uint8 ``[image, row, column]`` and labels uint8 ``[image]`` of a split of MNIST.

    The files have MNIST's names, ``train-images-idx3-ubyte`` and so on (``t10k-`` for test), with or without ``.gz``.
    Raises DataError if one is missing or damaged, or if they do not belong together.
    """
    if split not in _FIRST_NAME:
        raise DataError(f"MNIST has the splits train and test, not {split!r}")
    image_path, label_path = (
        _find(folder, f"{_FIRST_NAME[split]}-{kind}-idx{_AXES[kind]}-ubyte") for kind in ("images", "labels")
    )
    images, labels = read_idx(image_path, "images"), read_idx(label_path, "labels")
    if len(images) != len(labels):
        raise DataError(
            f"{image_path} holds {len(images)} images and {label_path} {len(labels)} labels; "
            "take both from the same download"
        )
    if (i := first_true(labels > 9)) is not None:
        raise DataError(f"{label_path}: label {i} is {labels[i]}, not a digit; fetch it again")
    return images, labels


def _find(folder: Path, name: str) -> Path:
    for path in (folder / name, folder / f"{name}.gz"):
        if path.is_file():
            return path
    raise DataError(f"{folder / name} is missing, with or without .gz; place MNIST's four idx files in {folder}")


def _unpacked(path: Path) -> bytes:
    try:
        with open_regular(path) as file:
            room = room_for(os.fstat(file.fileno()).st_size)
            packed = file.read(2) == b"\x1f\x8b"
            file.seek(0)
            return read_at_most(gzip.GzipFile(fileobj=file) if packed else file, room)
    except (EOFError, ValueError, gzip.BadGzipFile, zlib.error) as error:
        raise DataError(f"{path} is truncated or not a gzip file ({error}); fetch it again") from error
    except OSError as error:
        raise DataError(f"cannot read {path}: {error.strerror}") from error
