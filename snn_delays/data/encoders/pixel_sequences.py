"""Sequential and permuted MNIST as recordings: idx files in, the spikes of their pixels out."""

import hashlib
import json
import tempfile
from collections.abc import Mapping
from functools import partial
from pathlib import Path
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from snn_delays.data.card import Card
from snn_delays.data.encoders.sequential_mnist import ThresholdCrossing, encode_pixels, permutation
from snn_delays.data.events import Sample
from snn_delays.data.formats.idx import read_mnist
from snn_delays.data.formats.tonic import TonicRecordings, through_tonic
from snn_delays.data.recordings import Reader, Recordings
from snn_delays.errors import DataError

_SETTINGS = {"n_channels", "dt_us", "steps_per_pixel", "permutation_seed"}


class PixelSequences(Recordings):
    """The digits of MNIST as :func:`encode_pixels` encodes them, one pixel after another, in the order of the files.

    ``settings``: arguments of :class:`ThresholdCrossing`, and ``permutation_seed`` where the pixels come in another
    order than row by row. Raises DataError for settings that are none, or files that are missing or damaged.
    """

    def __init__(self, path: Path, split: Literal["train", "test"], settings: Mapping[str, Any]) -> None:
        if unknown := sorted(set(settings) - _SETTINGS):
            raise DataError(f"setting {unknown[0]!r} of sequential MNIST is unknown; there are {sorted(_SETTINGS)}")
        self.path, self.split, self.settings = path, split, dict(settings)
        self.order = permutation(settings.get("permutation_seed"))
        self.encoding = ThresholdCrossing(**{k: v for k, v in settings.items() if k != "permutation_seed"})
        self.images, self.labels = read_mnist(path, split)
        self.class_names = tuple(str(digit) for digit in range(10))
        self.sensor = (self.encoding.n_channels,)

    def __len__(self) -> int:
        return len(self.images)

    def __getitem__(self, i: int) -> Sample:
        i = self.number(i)
        return Sample(encode_pixels(self.images[i], self.encoding, self.order), int(self.labels[i]))

    def checksum(self) -> str:
        """sha256 of images, labels and settings: equal whether the files are gzipped or not."""
        digest = hashlib.sha256(json.dumps(self.settings, sort_keys=True).encode())
        digest.update(self.images.tobytes())
        digest.update(self.labels.tobytes())
        return digest.hexdigest()


def tonic_dataset(of: PixelSequences) -> Any:
    """Tonic's SMNIST of the same images, their pixels in the same order."""
    from tonic.datasets import SMNIST

    with tempfile.TemporaryDirectory() as folder:  # Tonic reads plain files, and only while it is made
        first = "train" if of.split == "train" else "t10k"
        home = Path(folder, "smnist")
        home.mkdir()
        pixels = of.images.reshape(len(of), -1)[:, of.order]
        _write_idx(home / f"{first}-images-idx3-ubyte", 2051, of.images.shape, pixels)
        _write_idx(home / f"{first}-labels-idx1-ubyte", 2049, of.labels.shape, of.labels)
        encoding = of.encoding
        return SMNIST(folder, of.split == "train", encoding.steps_per_pixel == 2, encoding.n_channels, encoding.dt_us)


def open_pixel_sequences(card: Card, split: str, path: Path, reader: Reader) -> Recordings:
    """A split of a card, whose settings are those of :class:`PixelSequences`. Both readers give equal events.

    Raises DataError for settings that Tonic does not have, if it is to read them.
    """
    recordings = PixelSequences(path, "train" if split == "train" else "test", card.settings)
    if not through_tonic(reader):
        return recordings
    if (steps := recordings.encoding.steps_per_pixel) > 2:
        raise DataError(f"Tonic's SMNIST has 1 or 2 steps a pixel, not {steps}; use reader='own'")
    return TonicRecordings(recordings, partial(tonic_dataset, recordings), by_channel=True)


def _write_idx(path: Path, magic: int, shape: tuple[int, ...], values: NDArray[np.uint8]) -> None:
    path.write_bytes(np.array([magic, *shape], dtype=">u4").tobytes() + np.ascontiguousarray(values).tobytes())
