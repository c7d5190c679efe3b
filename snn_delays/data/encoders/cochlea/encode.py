"""The whole cochlea: one recording to the spikes of its channels."""

import hashlib
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal, get_args

import numpy as np
from numpy.typing import NDArray

from snn_delays.data.encoders.cochlea.audio import prepare, read_audio
from snn_delays.data.encoders.cochlea.cells import (
    BushyCell,
    Fibres,
    HairCell,
    bushy_spikes,
    fibre_spikes,
    firing_probability,
)
from snn_delays.data.encoders.cochlea.membrane import Membrane, velocities
from snn_delays.data.events import Events
from snn_delays.data.numbers import plain_numbers
from snn_delays.errors import ConfigError
from snn_delays.reading import open_regular

AUDIO_RATE = 48_000
RATE = AUDIO_RATE // 2  # of the membrane and of everything after it

Window = Literal["none", "hann"]


@dataclass(frozen=True)
class Cochlea:
    """From sound to spikes as for the Spiking Heidelberg Digits (Cramer et al., IEEE TNNLS 2020).

    Root mean square set to ``rms`` -> window -> basilar membrane -> hair cells -> fibres -> bushy cells, at 24 kHz from
    48 kHz sound. Channel 0 is the base of the cochlea, the high frequencies.

    ``channels`` places from base to apex. ``window``: ``"hann"`` over the whole file, as the published program has it,
    costs many of the spikes; without it there are as many as in SHD-regenerated (docs/cochlea.md). ``tick_us``: times
    are rounded to integer ticks (500 us as in SHD-regenerated); no channel fires twice within 1 ms. ``causal``: the
    published membrane responds before the sound, by up to 20 ms in the low channels; True turns it round, for systems
    that listen while the sound goes on. ``max_seconds``, ``max_clipped``: see :func:`read_audio`.

    Raises ConfigError for a value that cannot be.
    """

    channels: int = 700
    window: Window = "none"
    rms: float = 0.3
    tick_us: int = 500
    causal: bool = False
    max_seconds: float = 600.0
    max_clipped: float = 0.01
    membrane: Membrane = field(default_factory=Membrane)
    hair_cell: HairCell = field(default_factory=HairCell)
    fibres: Fibres = field(default_factory=Fibres)
    bushy: BushyCell = field(default_factory=BushyCell)

    def __post_init__(self) -> None:
        plain_numbers(self)
        if not 1 <= self.channels <= 1 << 16:
            raise ConfigError(f"channels must lie in 1 to 65536, got {self.channels}")
        if self.window not in get_args(Window):
            raise ConfigError(f"unknown window {self.window!r}; choose none or hann")
        if not 0 < self.rms <= 10:
            raise ConfigError(f"rms must lie above 0 and up to 10, got {self.rms}")
        if not 1 <= self.tick_us <= 1000:
            raise ConfigError(
                f"tick_us must lie in 1 to 1000, got {self.tick_us}; longer ticks would merge spikes of a channel"
            )
        if not 0 <= self.max_clipped <= 1:
            raise ConfigError(f"max_clipped is a share of the samples, 0 to 1, got {self.max_clipped}")
        if not self.max_seconds > 0:
            raise ConfigError(f"max_seconds must be above 0, got {self.max_seconds}")

    def encode(self, path: Path | str, seed: int = 0) -> Events:
        """Spikes of a WAV or FLAC file, times in us. Equal contents and ``seed`` give equal spikes, whatever the path.

        Raises DataError naming the file and the remedy (see :func:`read_audio`).
        """
        path = Path(path)
        sound = read_audio(path, AUDIO_RATE, max_seconds=self.max_seconds, max_clipped=self.max_clipped)
        return self._spikes(sound, fingerprint(path), seed)

    def encode_samples(self, samples: NDArray[Any], sample_rate: int, seed: int = 0) -> Events:
        """Spikes of samples [time] or [time, channel] within -1..1 at ``sample_rate`` Hz, times in us.

        Raises DataError if they are silent, clipped, too short or not finite.
        """
        sound = prepare(samples, sample_rate, AUDIO_RATE, max_clipped=self.max_clipped)
        return self._spikes(sound, hashlib.sha256(sound.tobytes()).digest(), seed)

    def _spikes(self, sound: NDArray[np.float32], content: bytes, seed: int) -> Events:
        # The draws depend on what was recorded, not on when or by which process it is encoded.
        rng = np.random.Generator(np.random.PCG64([seed, *np.frombuffer(content, dtype="<u4").tolist()]))
        sound = sound * np.float32(self.rms / np.sqrt(np.mean(np.square(sound, dtype=np.float64))))
        if self.window == "hann":
            sound *= np.hanning(sound.size).astype(np.float32)
        dt_s = 1 / RATE
        cells = self.hair_cell.at_rest(self.channels)
        recent = self.fibres.at_rest(self.channels, dt_s)
        bushies = self.bushy.at_rest(self.channels)
        steps, channels = [], []
        starts = {0: 0}
        for segment, block, velocity in velocities(sound, self.membrane, self.channels, AUDIO_RATE, causal=self.causal):
            starts.setdefault(segment + 1, starts[segment] + velocity.shape[1])
            probability = firing_probability(velocity, cells[block], self.hair_cell, dt_s)
            count = fibre_spikes(probability, recent[block], self.fibres, rng)
            fired = bushy_spikes(count, bushies[block], self.bushy, self.fibres.per_channel, dt_s)
            channel, step = np.nonzero(fired)
            steps.append(step + starts[segment])
            channels.append(channel + block.start)
        step, channel = np.concatenate(steps), np.concatenate(channels)
        # Half a tick is added before the division: step / RATE seconds to the nearest tick, in integers.
        t_us = (2_000_000 * step + RATE * self.tick_us) // (2 * RATE * self.tick_us) * self.tick_us
        order = np.lexsort((channel, t_us))
        return Events(t_us[order], channel[order], self.channels)


def fingerprint(path: Path) -> bytes:
    """sha256 of a file's contents."""
    digest = hashlib.sha256()
    with open_regular(path) as file:
        while block := file.read(1 << 20):
            digest.update(block)
    return digest.digest()


def encode(path: Path | str, cochlea: Cochlea | None = None, seed: int = 0) -> Events:
    """Spikes of one recording; see :meth:`Cochlea.encode`."""
    return (cochlea or Cochlea()).encode(path, seed)
