"""Sounds for the tests of the cochlea, made on the spot."""

import math
from pathlib import Path

import numpy as np
from numpy.typing import NDArray


def vowel(seconds: float, seed: int = 0, rate: int = 48_000) -> NDArray[np.float32]:
    """A voice-like sound: harmonics of about 120 Hz under three formants, fading in and out, and a little noise."""
    rng = np.random.default_rng(seed)
    t = np.arange(int(seconds * rate)) / rate
    pitch = 120 * rng.uniform(0.9, 1.1) if seed else 120
    sound = 0.01 * rng.standard_normal(t.size)
    for k in range(1, 40):
        strength = sum(math.exp(-(((pitch * k - formant) / 150) ** 2)) for formant in (500, 1500, 2600))
        if pitch * k < rate / 2:
            sound += (strength + 0.01) * np.sin(2 * np.pi * pitch * k * t + k * k)
    return (0.1 * sound * np.sin(np.pi * t / seconds) ** 2).astype(np.float32)


def write(path: Path, samples: NDArray[np.float32], rate: int = 48_000, subtype: str | None = None) -> Path:
    """A sound file of the format that its suffix names."""
    import soundfile

    path.parent.mkdir(parents=True, exist_ok=True)
    soundfile.write(path, samples, rate, subtype=subtype)
    return path
