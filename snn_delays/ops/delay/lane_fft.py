"""Real Fourier transforms along time of many lanes at once, in Numba.

A lane is one (row, column) pair of ``[time, row, column]``. Lanes lie next to each other in memory, so every butterfly
is one vectorised loop over a block of them and nothing is transposed. Two real lanes of a row travel as one complex
one; lanes of different rows (samples) never meet, so a NaN stays in its sample. Sequences longer than a transform are
cut into blocks: overlap-save on the way in, overlap-add on the way back.

A spectrum is an array ``[frequency, 2, row, column]``: real and imaginary part of the n // 2 + 1 frequencies. Block
``k`` of row ``r`` is row ``k * rows + r`` of the spectrum.

Source: Stockham's self-sorting transform with radices 4, 2 and 3 (Van Loan, 1992, section 1.7).
"""

from functools import lru_cache

import numpy as np
from numba import njit, prange

from snn_delays.compiling import cached_njit

LANES = 128  # complex lanes of a block: long enough to vectorise, short enough for the second-level cache


@lru_cache(maxsize=64)
def tables(n: int, dtype: str) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Radices of a transform of length n, and cosine and sine of ``-2 pi k / n``."""
    radices, rest = [], n
    for radix in (4, 2, 3):
        while rest % radix == 0 and rest > 1:
            radices.append(radix)
            rest //= radix
    angle = -2 * np.pi * np.arange(n) / n
    return np.array(radices, np.int64), np.cos(angle).astype(dtype), np.sin(angle).astype(dtype)


@cached_njit(parallel=True)
def rfft(x, x_row, rows, scale, n, blocks, hop, silence, place, take, radices, cosine, sine, first_row, spectrum):  # type: ignore[no-untyped-def]
    """Spectrum of blocks of ``scale * x`` behind some silence, of ``rows`` rows from ``x_row`` on.

    Block k holds ``x[k hop + j - silence]`` at step ``place + j`` for ``j < take``.
    """
    steps, _, columns = x.shape
    half, zero = spectrum.dtype.type(0.5), spectrum.dtype.type(0)
    pieces = (columns + 2 * LANES - 1) // (2 * LANES)
    lanes = (columns + 2 * pieces - 1) // (2 * pieces)
    for item in prange(blocks * rows * pieces):
        piece, row, block = item % pieces, (item // pieces) % rows, item // (pieces * rows)
        a = piece * 2 * lanes
        left, right = min(lanes, columns - a), max(0, min(lanes, columns - a - lanes))
        buffer = np.empty((4, n * lanes), spectrum.dtype)
        real, imag = buffer[0], buffer[1]
        begin = block * hop - silence
        last = max(0, min(take, steps - begin))
        first = min(max(0, -begin), last)
        real[: (place + first) * lanes] = zero
        imag[: (place + first) * lanes] = zero
        for j in range(first, last):
            line = x[begin + j, x_row + row]
            to_real = real[(place + j) * lanes : (place + j + 1) * lanes]
            to_imag = imag[(place + j) * lanes : (place + j + 1) * lanes]
            from_left, from_right = line[a : a + left], line[a + left : a + left + right]
            for i in range(left):
                to_real[i] = scale * from_left[i]
            for i in range(right):
                to_imag[i] = scale * from_right[i]
            to_real[left:] = zero
            to_imag[right:] = zero
        real[(place + last) * lanes :] = zero
        imag[(place + last) * lanes :] = zero
        at = _transform(buffer, n, lanes, radices, cosine, sine)
        real, imag = buffer[at], buffer[at + 1]
        r = first_row + block * rows + row
        for f in range(n // 2 + 1):
            g = (n - f) % n
            zr, zi = real[f * lanes : (f + 1) * lanes], imag[f * lanes : (f + 1) * lanes]
            cr, ci = real[g * lanes : (g + 1) * lanes], imag[g * lanes : (g + 1) * lanes]
            out_r, out_i = spectrum[f, 0, r, a : a + left], spectrum[f, 1, r, a : a + left]
            for i in range(left):
                out_r[i] = half * (zr[i] + cr[i])
                out_i[i] = half * (zi[i] - ci[i])
            b = a + left
            out_r, out_i = spectrum[f, 0, r, b : b + right], spectrum[f, 1, r, b : b + right]
            for i in range(right):
                out_r[i] = half * (zi[i] + ci[i])
                out_i[i] = half * (cr[i] - zr[i])


@cached_njit(parallel=True)
def irfft(spectrum, n, blocks, hop, silence, skip, take, radices, cosine, sine, first_row, y, y_row, rows):  # type: ignore[no-untyped-def]
    """Add up the blocks of a spectrum: step ``skip + j`` of block k goes to ``y[k hop + j - silence]``.

    The spectrum has ``rows`` rows of ``y``, from ``y_row`` on.
    """
    steps, _, columns = y.shape
    zero, share = y.dtype.type(0), y.dtype.type(1.0 / n)
    pieces = (columns + 2 * LANES - 1) // (2 * LANES)
    lanes = (columns + 2 * pieces - 1) // (2 * pieces)
    for item in prange(rows * pieces):
        piece, row = item % pieces, item // pieces
        a = piece * 2 * lanes
        left, right = min(lanes, columns - a), max(0, min(lanes, columns - a - lanes))
        b = a + left
        buffer = np.empty((4, n * lanes), spectrum.dtype)
        written = 0
        for block in range(blocks):
            r = first_row + block * rows + row
            # The inverse is the forward transform with real and imaginary part swapped on both sides.
            imag, real = buffer[0], buffer[1]
            for f in range(n // 2 + 1):
                g = (n - f) % n
                zr, zi = real[f * lanes : (f + 1) * lanes], imag[f * lanes : (f + 1) * lanes]
                cr, ci = real[g * lanes : (g + 1) * lanes], imag[g * lanes : (g + 1) * lanes]
                ar, ai = spectrum[f, 0, r, a:b], spectrum[f, 1, r, a:b]
                br, bi = spectrum[f, 0, r, b : b + right], spectrum[f, 1, r, b : b + right]
                real_only = g == f  # frequency 0 and, for even n, the last one
                for i in range(right):
                    zr[i] = ar[i] if real_only else ar[i] - bi[i]
                    zi[i] = br[i] if real_only else ai[i] + br[i]
                for i in range(right, left):
                    zr[i] = ar[i]
                    zi[i] = zero if real_only else ai[i]
                zr[left:] = zero
                zi[left:] = zero
                if not real_only:
                    for i in range(right):
                        cr[i] = ar[i] + bi[i]
                        ci[i] = br[i] - ai[i]
                    for i in range(right, left):
                        cr[i] = ar[i]
                        ci[i] = -ai[i]
                    cr[left:] = zero
                    ci[left:] = zero
            at = _transform(buffer, n, lanes, radices, cosine, sine)
            imag, real = buffer[at], buffer[at + 1]
            begin = block * hop - silence
            last = min(take, steps - begin)
            for j in range(max(0, -begin), last):
                t = begin + j
                to_left, to_right = y[t, y_row + row, a:b], y[t, y_row + row, b : b + right]
                from_real = real[(skip + j) * lanes : (skip + j + 1) * lanes]
                from_imag = imag[(skip + j) * lanes : (skip + j + 1) * lanes]
                if t < written:
                    for i in range(left):
                        to_left[i] += share * from_real[i]
                    for i in range(right):
                        to_right[i] += share * from_imag[i]
                else:
                    for i in range(left):
                        to_left[i] = share * from_real[i]
                    for i in range(right):
                        to_right[i] = share * from_imag[i]
            written = max(written, begin + last)


@njit
def _transform(buffer, n, lanes, radices, cosine, sine):  # type: ignore[no-untyped-def]
    """Complex transform of ``buffer[0] + i buffer[1]``; the result is at the index returned, 0 or 2."""
    at, length, stride = 0, n, 1
    for radix in radices:
        x, u, y, v = buffer[at], buffer[at + 1], buffer[2 - at], buffer[3 - at]
        if radix == 4:
            _radix4(x, u, y, v, length, stride, lanes, cosine, sine)
        elif radix == 2:
            _radix2(x, u, y, v, length, stride, lanes, cosine, sine)
        else:
            _radix3(x, u, y, v, length, stride, lanes, cosine, sine)
        length //= radix
        stride *= radix
        at = 2 - at
    return at


@njit
def _radix2(x, u, y, v, length, stride, lanes, cosine, sine):  # type: ignore[no-untyped-def]
    m, w = length // 2, stride * lanes
    for p in range(m):
        c, s = cosine[p * stride], sine[p * stride]
        ar, ai = x[p * w : (p + 1) * w], u[p * w : (p + 1) * w]
        br, bi = x[(p + m) * w : (p + m + 1) * w], u[(p + m) * w : (p + m + 1) * w]
        o = 2 * p * w
        yr, yi = y[o : o + w], v[o : o + w]
        zr, zi = y[o + w : o + 2 * w], v[o + w : o + 2 * w]
        for j in range(w):
            dr, di = ar[j] - br[j], ai[j] - bi[j]
            yr[j] = ar[j] + br[j]
            yi[j] = ai[j] + bi[j]
            zr[j] = dr * c - di * s
            zi[j] = dr * s + di * c


@njit
def _radix3(x, u, y, v, length, stride, lanes, cosine, sine):  # type: ignore[no-untyped-def]
    m, w = length // 3, stride * lanes
    half, turn = x.dtype.type(0.5), x.dtype.type(np.sqrt(3.0) / 2)
    for p in range(m):
        c1, s1 = cosine[p * stride], sine[p * stride]
        c2, s2 = cosine[2 * p * stride], sine[2 * p * stride]
        ar, ai = x[p * w : (p + 1) * w], u[p * w : (p + 1) * w]
        br, bi = x[(p + m) * w : (p + m + 1) * w], u[(p + m) * w : (p + m + 1) * w]
        cr, ci = x[(p + 2 * m) * w : (p + 2 * m + 1) * w], u[(p + 2 * m) * w : (p + 2 * m + 1) * w]
        o = 3 * p * w
        yr, yi = y[o : o + w], v[o : o + w]
        zr, zi = y[o + w : o + 2 * w], v[o + w : o + 2 * w]
        qr, qi = y[o + 2 * w : o + 3 * w], v[o + 2 * w : o + 3 * w]
        for j in range(w):
            tr, ti = br[j] + cr[j], bi[j] + ci[j]
            mr, mi = ar[j] - half * tr, ai[j] - half * ti
            dr, di = turn * (br[j] - cr[j]), turn * (bi[j] - ci[j])
            yr[j] = ar[j] + tr
            yi[j] = ai[j] + ti
            er, ei = mr + di, mi - dr
            zr[j] = er * c1 - ei * s1
            zi[j] = er * s1 + ei * c1
            er, ei = mr - di, mi + dr
            qr[j] = er * c2 - ei * s2
            qi[j] = er * s2 + ei * c2


@njit
def _radix4(x, u, y, v, length, stride, lanes, cosine, sine):  # type: ignore[no-untyped-def]
    m, w = length // 4, stride * lanes
    for p in range(m):
        c1, s1 = cosine[p * stride], sine[p * stride]
        c2, s2 = cosine[2 * p * stride], sine[2 * p * stride]
        c3, s3 = cosine[3 * p * stride], sine[3 * p * stride]
        ar, ai = x[p * w : (p + 1) * w], u[p * w : (p + 1) * w]
        br, bi = x[(p + m) * w : (p + m + 1) * w], u[(p + m) * w : (p + m + 1) * w]
        cr, ci = x[(p + 2 * m) * w : (p + 2 * m + 1) * w], u[(p + 2 * m) * w : (p + 2 * m + 1) * w]
        dr, di = x[(p + 3 * m) * w : (p + 3 * m + 1) * w], u[(p + 3 * m) * w : (p + 3 * m + 1) * w]
        o = 4 * p * w
        y0, v0 = y[o : o + w], v[o : o + w]
        y1, v1 = y[o + w : o + 2 * w], v[o + w : o + 2 * w]
        y2, v2 = y[o + 2 * w : o + 3 * w], v[o + 2 * w : o + 3 * w]
        y3, v3 = y[o + 3 * w : o + 4 * w], v[o + 3 * w : o + 4 * w]
        for j in range(w):
            pr, pi, mr, mi = ar[j] + cr[j], ai[j] + ci[j], ar[j] - cr[j], ai[j] - ci[j]
            qr, qi = br[j] + dr[j], bi[j] + di[j]
            jr, ji = di[j] - bi[j], br[j] - dr[j]  # i (b - d)
            y0[j] = pr + qr
            v0[j] = pi + qi
            er, ei = mr - jr, mi - ji
            y1[j] = er * c1 - ei * s1
            v1[j] = er * s1 + ei * c1
            er, ei = pr - qr, pi - qi
            y2[j] = er * c2 - ei * s2
            v2[j] = er * s2 + ei * c2
            er, ei = mr + jr, mi + ji
            y3[j] = er * c3 - ei * s3
            v3[j] = er * s3 + ei * c3
