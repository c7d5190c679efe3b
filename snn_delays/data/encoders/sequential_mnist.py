"""Sequential and permuted MNIST as spikes: an image read pixel after pixel, each grey value crossing thresholds.

Encoding: Bellec, Salaj, Subramoney, Legenstein and Maass, "Long short-term memory and learning-to-learn in networks of
spiking neurons", NeurIPS 2018, supplement. Permuted task: Le, Jaitly and Hinton, arXiv:1504.00941, section 4.2.
"""

import hashlib
import json
import tempfile
from collections.abc import Mapping
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from snn_delays.data.card import Card
from snn_delays.data.events import Events, Sample
from snn_delays.data.formats.idx import read_mnist
from snn_delays.data.formats.tonic import TonicRecordings, through_tonic
from snn_delays.data.numbers import plain_numbers
from snn_delays.data.recordings import FeatureRecordings, Reader, Recordings
from snn_delays.errors import ConfigError, DataError

N_PIXELS = 28 * 28
_SETTINGS = {"n_channels", "dt_us", "steps_per_pixel", "permutation_seed"}


@dataclass(frozen=True)
class ThresholdCrossing:
    """How grey values become spikes.

    With ``n = (n_channels - 1) / 2`` thresholds ``theta_k = floor(254 k / (n - 1))``, k = 0 .. n - 1, and the grey
    values ``g_0, g_1, ...`` of the pixels in their order, at pixel i fire:

    - channel ``n_channels - k`` for k = 1 .. n - 1 if ``g_i < theta_k <= g_{i+1}`` (up);
    - channel ``n_channels - n - k`` if ``g_{i+1} < theta_k <= g_i`` (down);
    - channel 0 if ``g_i = 255`` (touch).

    theta_0 = 0 is never crossed, so channels 1 and n + 1 are always silent. A pixel lasts ``steps_per_pixel`` steps of
    ``dt_us``, and its spikes are repeated in each. These are the events, here in the order of time, of Tonic's
    ``SMNIST(num_neurons=n_channels, dt=dt_us, duplicate=True)`` for two steps a pixel and ``duplicate=False`` for one.

    Raises ConfigError for an even number of channels or fewer than 5, or numbers below 1.
    """

    n_channels: int = 99
    dt_us: int = 1000
    steps_per_pixel: int = 2

    def __post_init__(self) -> None:
        plain_numbers(self)
        if self.n_channels < 5 or self.n_channels % 2 == 0:
            raise ConfigError(f"n_channels must be odd and at least 5, got {self.n_channels}")
        if self.dt_us < 1 or self.steps_per_pixel < 1:
            raise ConfigError(f"dt_us and steps_per_pixel must be >= 1, got {self.dt_us} and {self.steps_per_pixel}")

    @property
    def thresholds(self) -> NDArray[np.int64]:
        """Grey values theta_k, int64 ``[(n_channels - 1) / 2]``."""
        return np.linspace(0.0, 254.0, self.n_channels // 2).astype(np.int64)


def permutation(seed: int | None = 0) -> NDArray[np.int64]:
    """The order in which pixels are read, int64 ``[784]``: row by row for None, else the permutation of that seed.

    It is the argsort of 784 numbers of NumPy's PCG64 raw stream, which no later version changes. A result on permuted
    MNIST names its seed: other orders are other tasks.
    """
    if seed is None:
        return np.arange(N_PIXELS)
    return np.argsort(np.random.PCG64(seed).random_raw(N_PIXELS), kind="stable")


def encode_pixels(
    image: NDArray[np.uint8], encoding: ThresholdCrossing | None = None, order: NDArray[np.int64] | None = None
) -> Events:
    """Spikes of an image uint8 ``[28, 28]`` read in ``order`` (row by row if None), as :class:`ThresholdCrossing` says.

    Events of equal time are in the order of their channels. Raises DataError for another shape or type, or an order
    that is no permutation of the pixels.
    """
    encoding = encoding or ThresholdCrossing()
    image = np.asarray(image)
    if image.shape != (28, 28) or image.dtype != np.uint8:
        raise DataError(f"an image must be uint8 of shape (28, 28), got {image.dtype} of shape {image.shape}")
    grey = image.reshape(-1)
    if order is not None:
        if not np.array_equal(np.sort(np.asarray(order).reshape(-1)), np.arange(N_PIXELS)):
            raise DataError(f"order must hold each of the {N_PIXELS} pixels once; use permutation(seed)")
        grey = grey[order]
    n_channels, thresholds, repeats = encoding.n_channels, encoding.thresholds, encoding.steps_per_pixel
    above = grey[:, None] >= thresholds
    up_at, up = np.nonzero(~above[:-1] & above[1:])
    down_at, down = np.nonzero(above[:-1] & ~above[1:])
    touch_at = np.flatnonzero(grey == 255)
    pixel = np.concatenate([up_at, down_at, touch_at])
    channel = np.concatenate([n_channels - up, n_channels - thresholds.size - down, np.zeros_like(touch_at)])
    step = (pixel[:, None] * repeats + np.arange(repeats)).reshape(-1)
    channel = np.repeat(channel, repeats)
    by_time = np.lexsort((channel, step))
    return Events(step[by_time] * encoding.dt_us, channel[by_time], n_channels)


class PixelSequences(Recordings):
    """The digits of MNIST as :func:`encode_pixels` encodes them, one pixel after another, in the order of the files.

    ``settings``: arguments of :class:`ThresholdCrossing`, and ``permutation_seed`` where the pixels come in another
    order than row by row. Raises DataError for settings that are none, or files that are missing or damaged.
    """

    class_names = tuple("0123456789")

    def __init__(self, path: Path, split: Literal["train", "test"], settings: Mapping[str, Any]) -> None:
        if unknown := sorted(set(settings) - _SETTINGS):
            raise DataError(f"setting {unknown[0]!r} of sequential MNIST is unknown; there are {sorted(_SETTINGS)}")
        self.path, self.split, self.settings = path, split, dict(settings)
        self.order = permutation(settings.get("permutation_seed"))
        self.encoding = ThresholdCrossing(**{k: v for k, v in settings.items() if k != "permutation_seed"})
        self.images, self.labels = read_mnist(path, split)
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


class PixelValues(FeatureRecordings):
    """The digits of MNIST as one number a step, grey value / 255, float32 ``[784, 1]``; a step counts as 1 ms.

    ``permutation_seed``: see :func:`permutation`. As DelRec reads them, arXiv:2509.24852. Raises DataError for files
    that are missing or damaged.
    """

    class_names = tuple("0123456789")
    frame_ms, rule, sensor = 1.0, "values", (1,)

    def __init__(self, path: Path, split: Literal["train", "test"], permutation_seed: int | None = None) -> None:
        self.path, self.permutation_seed, self.order = path, permutation_seed, permutation(permutation_seed)
        self.images, self.labels = read_mnist(path, split)

    def __len__(self) -> int:
        return len(self.images)

    def frames(self, i: int) -> tuple[NDArray[np.float32], int, int]:
        """Grey values in the order in which pixels are read, label, and no speaker."""
        i = self.number(i)
        return self.images[i].reshape(-1, 1)[self.order] / np.float32(255), int(self.labels[i]), -1

    def checksum(self) -> str:
        """sha256 of images, labels and order: equal whether the files are gzipped or not."""
        digest = hashlib.sha256(f"values, permutation {self.permutation_seed}".encode())
        digest.update(self.images.tobytes())
        digest.update(self.labels.tobytes())
        return digest.hexdigest()


def open_pixel_values(card: Card, split: str, path: Path, reader: Reader) -> PixelValues:
    """A split of a card, whose only setting is ``permutation_seed``; there is one reader."""
    del reader
    return PixelValues(path, "train" if split == "train" else "test", **card.settings)


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


def tonic_dataset(of: PixelSequences) -> Any:
    """Tonic's SMNIST of the same images, their pixels in the same order."""
    from tonic.datasets import SMNIST

    with tempfile.TemporaryDirectory() as folder:  # Tonic reads plain files, and only while it is made
        first = "train" if of.split == "train" else "t10k"
        pixels = of.images.reshape(len(of), -1)[:, of.order]
        Path(folder, "smnist").mkdir()
        for name, magic, shape, values in (
            ("images-idx3", 2051, of.images.shape, pixels),
            ("labels-idx1", 2049, of.labels.shape, of.labels),
        ):
            header = np.array([magic, *shape], dtype=">u4").tobytes()
            Path(folder, "smnist", f"{first}-{name}-ubyte").write_bytes(header + np.ascontiguousarray(values).tobytes())
        encoding = of.encoding
        return SMNIST(folder, of.split == "train", encoding.steps_per_pixel == 2, encoding.n_channels, encoding.dt_us)
