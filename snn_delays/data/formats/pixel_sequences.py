"""Sequential and permuted MNIST as recordings: idx files in, the spikes of their pixels out."""

import hashlib
import json
import tempfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from snn_delays.data.catalogue.lookup import UNIDENTIFIED, Card
from snn_delays.data.catalogue.parts import check_parts
from snn_delays.data.encoders.sequential_mnist import ThresholdCrossing, encode_pixels, permutation
from snn_delays.data.events import Events, Sample
from snn_delays.data.formats.idx import read_mnist
from snn_delays.data.formats.tonic import through_tonic
from snn_delays.data.recordings import Reader, Recordings
from snn_delays.errors import DataError

_SETTINGS = {"n_channels", "dt_us", "steps_per_pixel", "permutation_seed"}


class PixelSequences(Recordings):
    """The digits of MNIST as :func:`encode_pixels` has them, one pixel after another, in the order of the files.

    ``settings``: arguments of :class:`ThresholdCrossing`, and ``permutation_seed`` where the pixels come in another
    order than row by row. Raises DataError for settings that are none, or files that are missing or damaged.
    """

    def __init__(
        self, path: Path, split: Literal["train", "test"], settings: Mapping[str, Any], card: Card | None = None
    ) -> None:
        if unknown := sorted(set(settings) - _SETTINGS):
            raise DataError(f"setting {unknown[0]!r} of sequential MNIST is unknown; there are {sorted(_SETTINGS)}")
        self.path, self.split, self.settings, self._card = path, split, dict(settings), card
        self.order = permutation(settings.get("permutation_seed"))
        self.encoding = ThresholdCrossing(**{k: v for k, v in settings.items() if k != "permutation_seed"})
        self.images, self.labels = read_mnist(path, split)
        self.class_names = tuple(str(digit) for digit in range(10))
        self.sensor = (self.encoding.n_channels,)

    def __len__(self) -> int:
        return len(self.images)

    def __getitem__(self, i: int) -> Sample:
        i = self.number(i)
        return Sample(self._events(i), int(self.labels[i]))

    def _events(self, i: int) -> Events:
        return encode_pixels(self.images[i], self.encoding, self.order)

    def checksum(self) -> str:
        """sha256 of images, labels and settings: equal whether the files are gzipped or not."""
        digest = hashlib.sha256(json.dumps(self.settings, sort_keys=True).encode())
        digest.update(self.images.tobytes())
        digest.update(self.labels.tobytes())
        return digest.hexdigest()

    def source(self) -> str:
        """Display name of the data set if the files have the md5 on its card, else ``"unidentified"``."""
        if self._card is None:
            return UNIDENTIFIED
        try:
            check_parts(self._card, self._card.split(self.split))
        except DataError:
            return UNIDENTIFIED
        return self._card.display_name


class _TonicPixelSequences(PixelSequences):
    """The same through Tonic's SMNIST, whose events of one image come neither sorted nor permuted."""

    def __init__(self, path: Path, split: Literal["train", "test"], settings: Mapping[str, Any], card: Card) -> None:
        from tonic.datasets import SMNIST

        super().__init__(path, split, settings, card)
        encoding = self.encoding
        if encoding.steps_per_pixel > 2:
            raise DataError(
                f"Tonic's SMNIST has 1 or 2 steps a pixel, not {encoding.steps_per_pixel}; use reader='own'"
            )
        with tempfile.TemporaryDirectory() as folder:  # Tonic reads plain files, and only while it is made
            first = "train" if split == "train" else "t10k"
            home = Path(folder, "smnist")
            home.mkdir()
            pixels = self.images.reshape(len(self), -1)[:, self.order]
            _write_idx(home / f"{first}-images-idx3-ubyte", 2051, self.images.shape, pixels)
            _write_idx(home / f"{first}-labels-idx1-ubyte", 2049, self.labels.shape, self.labels)
            self._dataset = SMNIST(
                folder, split == "train", encoding.steps_per_pixel == 2, encoding.n_channels, encoding.dt_us
            )

    def _events(self, i: int) -> Events:
        events, _ = self._dataset[i]
        by_time = np.lexsort((events["x"], events["t"]))
        return Events(events["t"][by_time], events["x"][by_time], self.encoding.n_channels)


def open_pixel_sequences(card: Card, split: str, path: Path, reader: Reader) -> PixelSequences:
    """A split of a card, whose settings are those of :class:`PixelSequences`. Both readers give equal events."""
    which: Literal["train", "test"] = "train" if split == "train" else "test"
    return (_TonicPixelSequences if through_tonic(reader) else PixelSequences)(path, which, card.settings, card)


def _write_idx(path: Path, magic: int, shape: tuple[int, ...], values: NDArray[np.uint8]) -> None:
    path.write_bytes(np.array([magic, *shape], dtype=">u4").tobytes() + np.ascontiguousarray(values).tobytes())
