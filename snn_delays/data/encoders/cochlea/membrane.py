"""Basilar membrane: sound to the velocity of the membrane at every place along the cochlea.

N. Sieroka, H. G. Dosch, A. Rupp, J. Acoust. Soc. Am. 120(1), 297 (2006), with the constants of Cramer et al. (2020).
"""

from collections.abc import Iterator
from dataclasses import dataclass
from functools import lru_cache

import numpy as np
from numpy.typing import NDArray

from snn_delays.data.encoders.cochlea.audio import need

Complex = NDArray[np.complex128]

# Beyond this frequency of a channel its response stays below 1e-5 of its peak, less than the noise of 16-bit sound.
NEGLIGIBLE = 1e-5
_COARSE = 512  # frequencies at which that limit is looked for
_PLACES = 50  # channels handed on at a time
# Samples of the membrane (24 kHz). Its low channels ring for 0.1 s; longer recordings are cut into segments.
RINGING = 2400
SEGMENT = 49_152 - 2 * RINGING


@dataclass(frozen=True)
class Membrane:
    """Constants of the shallow-water cochlea in cgs units; places run from 0 (base, high frequencies) to ``apex``."""

    c0: float = 1e9
    alpha: float = 3.0
    a: float = 3500.0
    m: float = 0.05
    delta: float = 0.15
    rho: float = 1.0
    h: float = 0.1
    apex: float = 3.5

    def places(self, channels: int) -> NDArray[np.float64]:
        """Position of every channel."""
        return np.linspace(0.0, self.apex, channels)


class TransferFunction:
    """V(w, c): velocity of the membrane at place c per sound, for frequencies ``w`` [frequency] in rad/s, > 0.

    S(c) = C0 exp(-alpha c) - a;  R(c) = delta sqrt(C0 m) exp(-alpha c / 2);  xi(w, c) = S - m w^2 - i w R;
    g(w, c) = w sqrt(rho / (h xi));  G(w, c) = 2 g(w, 0) / alpha + the integral of g(w, c') from 0 to c;
    p(w, c) = sqrt(G / g) H0(G) with the Hankel function of the first kind;  q(w) = (2 w / alpha) sqrt(2 / (h C0));
    Z(w) = sqrt(2 C0 / h) (i J0(q) + Y0(q)) / (J1(q) - i Y1(q));  V = (2 w / xi) p(w, c) / p(w, 0) Z.
    """

    def __init__(self, w: NDArray[np.float64], of: Membrane) -> None:
        special = need("scipy.special")
        self.w, self.of = w, of
        # In u = exp(-alpha c / 2), xi is the quadratic ``constant + linear u + C0 u^2``.
        self._linear = -1j * w * of.delta * np.sqrt(of.c0 * of.m)
        self._constant = -(of.a + of.m * w * w)
        self._root = -1j * np.sqrt(-self._constant)
        self._slope = w * np.sqrt(of.rho / of.h)
        self._at_base = 2 / of.alpha * (self.g(0.0) - self._integral(1.0))
        q = 2 * w / of.alpha * np.sqrt(2 / (of.h * of.c0))
        stapes = np.sqrt(2 * of.c0 / of.h) * (1j * special.j0(q) + special.y0(q)) / (special.j1(q) - 1j * special.y1(q))
        self._base = self.G(0.0)
        self._factor = 2 * w * stapes / (np.sqrt(self._base / self.g(0.0)) * special.hankel1e(0, self._base))

    def xi(self, c: float, stop: int | None = None) -> Complex:
        """Impedance xi(w, c) [frequency], for the first ``stop`` frequencies."""
        u = np.exp(-self.of.alpha * c / 2)
        return self._constant[:stop] + self._linear[:stop] * u + self.of.c0 * u * u

    def g(self, c: float, stop: int | None = None) -> Complex:
        """Wave number g(w, c) [frequency], the root with a positive imaginary part: the wave dies out."""
        return self._slope[:stop] / np.sqrt(self.xi(c, stop))

    def G(self, c: float, stop: int | None = None) -> Complex:
        """Phase G(w, c) [frequency] in closed form: dc = -2 du / (alpha u), and 1 / (u sqrt(xi)) has an integral."""
        return self._at_base[:stop] + 2 / self.of.alpha * self._integral(np.exp(-self.of.alpha * c / 2), stop)

    def _integral(self, u: float, stop: int | None = None) -> Complex:
        constant, linear, root = self._constant[:stop], self._linear[:stop], self._root[:stop]
        xi = constant + linear * u + self.of.c0 * u * u
        return self._slope[:stop] / root * np.log((2 * constant + linear * u + 2 * root * np.sqrt(xi)) / u)

    def at(self, c: float, stop: int | None = None) -> Complex:
        """V(w, c) [frequency], for the first ``stop`` frequencies."""
        phase = self.G(c, stop)
        # hankel1e(z) = H0(z) exp(-i z): a quotient of such neither overflows nor vanishes before the exponential does.
        pressure = np.sqrt(phase / self.g(c, stop)) * need("scipy.special").hankel1e(0, phase)
        return self._factor[:stop] / self.xi(c, stop) * pressure * np.exp(1j * (phase - self._base[:stop]))


def _velocity(rows: list[NDArray[np.complex64]], spectrum: NDArray[np.complex64], n: int) -> NDArray[np.float32]:
    """Velocity [channel, time] at half the rate of the sound, ``n`` samples of a period, by transfer functions.

    The real part of the inverse DFT of length n of Y = V x spectrum is the inverse real FFT of what Y and the mirrored
    conjugate of Y have in common.
    """
    folded = np.zeros((len(rows), n // 2 + 1), dtype=np.complex64)
    for out, row in zip(folded, rows):
        y = row * spectrum[: row.size]
        low = y[: n // 2 + 1]
        out[: low.size] = low
        high = y[n - n // 2 :]  # bins n - n // 2 ... mirrored to n // 2 ... 1
        if high.size:
            out[n // 2 : n // 2 - high.size : -1] += high.conj()
        out[0] += y[0].conj()
        out /= 2
    return need("scipy.fft").irfft(folded, n, axis=1, overwrite_x=True)


@lru_cache(maxsize=4)  # some 40 MB each
def _table(of: Membrane, channels: int, n: int, rate: int, causal: bool) -> list[NDArray[np.complex64]]:
    """Transfer functions for one padded length, each up to the frequency beyond which it is negligible."""
    w = 2 * np.pi * np.linspace(1.0, rate / 2, n)
    coarse = np.linspace(0, n - 1, min(_COARSE, n)).astype(int)
    sketch, full = TransferFunction(w[coarse], of), TransferFunction(w, of)
    rows = []
    for c in of.places(channels):
        size = np.abs(sketch.at(c))
        last = int(np.flatnonzero(size > NEGLIGIBLE * size.max())[-1])
        row = full.at(c, coarse[min(last + 1, coarse.size - 1)] + 1)
        rows.append((row.conj() if causal else row).astype(np.complex64))
    return rows


def velocities(
    sound: NDArray[np.float32], of: Membrane, channels: int, rate: int, *, causal: bool
) -> Iterator[tuple[int, slice, NDArray[np.float32]]]:
    """Velocity of the membrane in blocks: (segment, channels, velocity [channel, time]), at ``rate / 2``.

    As published, the real part of the inverse DFT of length n of V times the first n bins of the sound's DFT, at n
    frequencies w = 2 pi linspace(1, rate / 2, n); there n = N // 2 + 1 for N samples of sound. Here the sound is padded
    with zeros to 2 n samples for one of a few n, so that V is computed once for many recordings and the velocity has
    exactly half the rate of the sound. A recording longer than 1.8 s is cut into segments that share 0.1 s on either
    side; all channels of a segment come before the next segment.
    """
    steps = sound.size // 2 + 1
    starts = range(0, steps, SEGMENT)
    n = _padded(min(steps, SEGMENT) + (2 if steps > SEGMENT else 1) * RINGING)
    table = _table(of, channels, n, rate, causal)
    fft = need("scipy.fft")
    for segment, start in enumerate(starts):
        before = min(start, RINGING)
        stop = min(start + SEGMENT, steps)
        piece = sound[2 * (start - before) : 2 * (stop + RINGING)]
        spectrum = fft.rfft(piece, 2 * n)
        for first in range(0, channels, _PLACES):
            block = slice(first, min(first + _PLACES, channels))
            velocity = _velocity(table[block], spectrum, n)
            yield segment, block, velocity[:, before : before + stop - start]


def _padded(n: int) -> int:
    """The next of the lengths 2^k (1, 5/4, 3/2, 7/4), of which each octave has four."""
    quarter = max((1 << (n - 1).bit_length()) // 8, 256)
    return -(-n // quarter) * quarter
