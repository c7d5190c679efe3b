"""Sound to log-mel features, as the published results on Speech Commands had them.

Hammouamri, Khalfaoui-Hassani and Masquelier, ICLR 2024, and the code published with it. Mel scale: O'Shaughnessy 1987,
as in HTK. The resampler is a windowed sinc (Smith, "Digital Audio Resampling", CCRMA).
"""

import math
from dataclasses import dataclass
from functools import lru_cache

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from snn_delays.data.numbers import plain_numbers
from snn_delays.errors import ConfigError, DataError

_ZERO_CROSSINGS, _ROLLOFF = 6, 0.99  # of the windowed sinc
_LEAST_POWER = 1e-10  # -100 dB, the floor of a silent channel


@dataclass(frozen=True)
class LogMel:
    """From a waveform to ``10 log10(max(power, 1e-10))`` of mel channels, a frame every ``hop_samples``.

    1. padded with zeros or cut to ``length_samples`` at ``rate_hz``;
    2. resampled to ``resampled_hz``, which divides it, by a windowed sinc of 6 zero crossings, cut at 0.99 of the new
       Nyquist frequency;
    3. ``|STFT|^2`` with a periodic Hann window of ``window_samples``, frames centred, the ends mirrored;
    4. ``n_mels`` triangles, evenly spaced on the mel scale 2595 log10(1 + f / 700) from ``f_min_hz`` to ``f_max_hz``.

    The defaults are the published ones. **Published f_max lies above the Nyquist frequency** of the resampled sound, 4
    kHz: 53 of the 140 channels see nothing and are a constant -100 dB. :data:`PUBLISHED` keeps that, as results compare
    only so. :data:`WITHIN_NYQUIST` has f_max 4 kHz, where 7 of the narrowest triangles fall between two bins.

    Raises ConfigError for numbers that cannot be.
    """

    rate_hz: int = 16_000
    length_samples: int = 16_000
    resampled_hz: int = 8_000
    window_samples: int = 256
    hop_samples: int = 80
    n_mels: int = 140
    f_min_hz: float = 50.0
    f_max_hz: float = 14_000.0

    def __post_init__(self) -> None:
        plain_numbers(self)
        counts = (self.rate_hz, self.length_samples, self.resampled_hz, self.hop_samples, self.n_mels)
        if min(counts) < 1 or self.window_samples < 2:
            raise ConfigError(f"rates, lengths and n_mels must be at least 1 and the window 2, got {self}")
        if self.rate_hz % self.resampled_hz:
            raise ConfigError(f"resampled_hz {self.resampled_hz} must divide rate_hz {self.rate_hz}")
        if not 0 <= self.f_min_hz < self.f_max_hz < math.inf:
            raise ConfigError(f"0 <= f_min_hz < f_max_hz is required, got {self.f_min_hz} and {self.f_max_hz}")
        if self.length_samples * self.resampled_hz // self.rate_hz <= self.window_samples // 2:
            raise ConfigError(f"{self.length_samples} samples are too few to mirror half a window at their ends")

    @property
    def frame_ms(self) -> float:
        """Milliseconds from one frame to the next."""
        return 1000 * self.hop_samples / self.resampled_hz

    @property
    def n_frames(self) -> int:
        """Frames of every recording."""
        return 1 + -(-self.length_samples * self.resampled_hz // self.rate_hz) // self.hop_samples


PUBLISHED = LogMel()
WITHIN_NYQUIST = LogMel(f_max_hz=4_000.0)
VARIANTS = {"published": PUBLISHED, "within_nyquist": WITHIN_NYQUIST}


def log_mel(waveform: NDArray[np.float32], settings: LogMel = PUBLISHED) -> NDArray[np.float32]:
    """Log-mel features in dB, float32 ``[n_frames, n_mels]``, of a waveform ``[sample]`` with values in -1..1.

    Raises DataError for another shape, an empty waveform or values that are not finite.
    """
    samples = np.asarray(waveform, dtype=np.float32)
    if samples.ndim != 1 or samples.size == 0:
        raise DataError(f"a waveform must have one axis [sample] and at least one, got shape {samples.shape}")
    if not np.isfinite(samples).all():
        i = int((~np.isfinite(samples)).argmax())
        raise DataError(f"sample {i} of the waveform is {samples[i]}; every sample needs a finite number")
    fitted = np.zeros(settings.length_samples, dtype=np.float32)
    fitted[: samples.size] = samples[: fitted.size]
    window = torch.hann_window(settings.window_samples, periodic=True)
    spectrum = torch.stft(
        resample(torch.from_numpy(fitted), settings.rate_hz // settings.resampled_hz),
        settings.window_samples, settings.hop_samples, window=window, center=True, pad_mode="reflect",
        return_complex=True,
    )  # fmt: skip
    mel = mel_filters(settings).T @ spectrum.abs().square()
    decibels: NDArray[np.float32] = (10 * torch.log10(mel.clamp(min=_LEAST_POWER))).T.contiguous().numpy()
    return decibels


def resample(waveform: Tensor, factor: int) -> Tensor:
    """Every ``factor``-th sample of a waveform ``[sample]`` after a low-pass, ``ceil(sample / factor)`` of them.

    ``y[m] = sum_n x[n] h(n - m factor)``, ``h(k) = (c / factor) sinc(u) cos^2(pi u / 12)`` for ``|u| < 6``, with
    ``u = c k / factor`` and c = 0.99.
    """
    if factor == 1:
        return waveform
    width = math.ceil(_ZERO_CROSSINGS * factor / _ROLLOFF)
    u = _ROLLOFF * torch.arange(-width, width + 1, dtype=torch.float64) / factor
    kernel = torch.sinc(u) * torch.cos(math.pi * u.clamp(-6, 6) / (2 * _ZERO_CROSSINGS)).square() * _ROLLOFF / factor
    padded = torch.nn.functional.pad(waveform, (width, width + factor))
    low = torch.nn.functional.conv1d(padded[None, None], kernel.to(waveform.dtype)[None, None], stride=factor)[0, 0]
    return low[: -(-waveform.numel() // factor)]


@lru_cache(maxsize=4)
def mel_filters(settings: LogMel) -> Tensor:
    """Triangles of height 1 over the bins of the STFT, float32 ``[window_samples // 2 + 1, n_mels]``.

    In single precision throughout, as published: where a triangle only grazes a bin, that is worth hundredths of a dB.
    """
    lowest, highest = (2595 * math.log10(1 + f / 700) for f in (settings.f_min_hz, settings.f_max_hz))
    mel = torch.linspace(lowest, highest, settings.n_mels + 2)
    corner = 700 * (10 ** (mel / 2595) - 1)
    bins = torch.linspace(0, settings.resampled_hz / 2, settings.window_samples // 2 + 1)
    low, centre, high = corner[:-2], corner[1:-1], corner[2:]
    rising = (bins[:, None] - low) / (centre - low)
    falling = (high - bins[:, None]) / (high - centre)
    return torch.minimum(rising, falling).clamp(min=0)
