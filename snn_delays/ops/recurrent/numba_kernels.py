"""Numba kernels of a recurrent population: all steps of a sample, forward and in reverse.

Delays of axons share their taps with all targets. Then a step is one product, of the weights with the trace of each
source, its spikes spread over the steps to come. Where every synapse has delays of its own, a spike adds the currents
that it will cause, step by step of the window, to those that are under way.
"""

import numpy as np
from numba import njit

from snn_delays.compiling import cached_njit
from snn_delays.ops.lif.numba_neuron import after_reset, slopes, spike, through_reset


@njit(fastmath={"contract"})
def _add_rows(factor, rows, which, total):  # type: ignore[no-untyped-def]
    """``total = sum_j factor[j] rows[j]``, over the factors that are not 0."""
    count, zero = 0, factor.dtype.type(0)
    for j in range(factor.size):
        which[count] = j
        count += factor[j] != zero
    total[:] = zero
    for k in range(0, count - 3, 4):
        a, b, c, d = which[k], which[k + 1], which[k + 2], which[k + 3]
        fa, fb, fc, fd = factor[a], factor[b], factor[c], factor[d]
        ra, rb, rc, rd = rows[a], rows[b], rows[c], rows[d]
        for i in range(total.size):
            total[i] += fa * ra[i] + fb * rb[i] + fc * rc[i] + fd * rd[i]
    for k in range(count - count % 4, count):
        a = which[k]
        fa, ra = factor[a], rows[a]
        for i in range(total.size):
            total[i] += fa * ra[i]


@njit(fastmath={"contract"})
def _spread(taps, a, lines, b, at, step, total):  # type: ignore[no-untyped-def]
    """``total += sum_k taps[k, a:] lines[at + step k, b:]``, over the lines that there are, of as many columns."""
    size = total.size
    first, last = (
        (max(0, -at), min(len(taps), len(lines) - at))
        if step > 0
        else (max(0, at + 1 - len(lines)), min(len(taps), at + 1))
    )
    for k in range(first, last - 3, 4):
        w0, w1, w2, w3 = taps[k, a:], taps[k + 1, a:], taps[k + 2, a:], taps[k + 3, a:]
        row = at + step * k
        x0, x1, x2, x3 = lines[row, b:], lines[row + step, b:], lines[row + 2 * step, b:], lines[row + 3 * step, b:]
        for n in range(size):
            total[n] += w0[n] * x0[n] + w1[n] * x1[n] + w2[n] * x2[n] + w3[n] * x3[n]
    for k in range(max(first, last - (last - first) % 4), last):
        w0, x0 = taps[k, a:], lines[at + step * k, b:]
        for n in range(size):
            total[n] += w0[n] * x0[n]


@njit
def _integrate(x, fed, mask, v, decay, threshold, gain, v_reset, soft_reset, strict, h, spikes):  # type: ignore[no-untyped-def]
    one, zero = x.dtype.type(1), x.dtype.type(0)
    for i in range(x.size):
        m = decay[i] * (v[i] - v_reset) + v_reset + gain[i] * (x[i] + mask[i] * fed[i])
        u = m - threshold[i]
        s = spike(u, strict, one, zero)
        h[i] = m
        spikes[i] = s if u == u else u  # of NaN, NaN
        v[i] = after_reset(m, s, threshold[i], v_reset, soft_reset)


@cached_njit(nogil=True)
def forward_shared(  # type: ignore[no-untyped-def]
    first_sample, last_sample, x, history, rows, taps, least, mask, v0, decay, threshold, gain, v_reset, soft_reset,
    strict, h, spikes, v_out,
):  # fmt: skip
    """``rows [source, target]`` are weights, ``taps [lag, source]``; ``h`` has no steps where it need not be kept."""
    steps, _, neurons = x.shape
    sources, before, keep = taps.shape[1], history.shape[0], h.shape[0] > 0
    past, trace = np.empty((before + steps, neurons), x.dtype), np.empty(sources, x.dtype)
    fed, alone, which = np.empty(neurons, x.dtype), np.empty(neurons, x.dtype), np.empty(sources + 1, np.int64)
    for b in range(first_sample, last_sample):
        v = v_out[b]
        v[:] = v0[b]
        past[:before] = history[:, b]
        for t in range(steps):
            trace[:] = 0
            for j in range(0, sources, neurons):
                _spread(taps, j, past[: before + t], 0, before + t - least, -1, trace[j : j + neurons])
            _add_rows(trace, rows, which, fed)
            h_t, s_t = h[t, b] if keep else alone, past[before + t]
            _integrate(x[t, b], fed, mask[b], v, decay, threshold, gain, v_reset, soft_reset, strict, h_t, s_t)
            spikes[t, b] = s_t


@njit
def _back(  # type: ignore[no-untyped-def]
    gs, gv, h, decay, threshold, gain, v_reset, soft_reset, detach_reset, strict, kind, p, q, slope, grad_x
):
    """The gradient of the current from that of the spikes, ``gs``, and of the membrane after, ``gv``, carried back."""
    one, zero = h.dtype.type(1), h.dtype.type(0)
    for i in range(h.size):
        slope[i] = h[i] - threshold[i]
    slopes(slope, kind, p, q)
    for i in range(h.size):
        s = spike(h[i] - threshold[i], strict, one, zero)
        into, through = through_reset(gs[i], gv[i], h[i], s, threshold[i], v_reset, soft_reset, detach_reset, one)
        gh = through + into * slope[i]
        grad_x[i] = gh * gain[i]
        gv[i] = gh * decay[i]


@cached_njit(nogil=True)
def backward_shared(  # type: ignore[no-untyped-def]
    first_sample, last_sample, grad_spikes, h, history, rows, taps, least, mask, decay, threshold, gain, v_reset,
    soft_reset, detach_reset, strict, kind, p, q, grad_x, grad_v, grad_history, traces,
):  # fmt: skip
    """Gradients; ``rows [target, source]``. ``grad_v``, that of the membrane after, becomes that of the one before.

    ``traces [time, batch, source]`` are left for the gradient of the weights; returned is that of the taps.
    """
    steps, _, neurons = h.shape
    (lags, sources), before = taps.shape, history.shape[0]
    one, zero = h.dtype.type(1), h.dtype.type(0)
    grad_taps, past = np.zeros((lags, sources), h.dtype), np.empty((before + steps, neurons), h.dtype)
    grad_trace, which = np.empty((steps, sources), h.dtype), np.empty(neurons + 1, np.int64)
    gs, slope, sent = np.empty_like(gain), np.empty_like(gain), np.empty_like(gain)
    for b in range(first_sample, last_sample):
        for t in range(steps - 1, -before - 1, -1):
            gs[:] = 0
            for j in range(0, sources, neurons):
                _spread(taps, j, grad_trace, j, t + least, 1, gs)
            if t < 0:
                grad_history[before + t, b] = gs
                past[before + t] = history[before + t, b]
                continue
            for n in range(neurons):
                gs[n] += grad_spikes[t, b, n]
                past[before + t, n] = spike(h[t, b, n] - threshold[n], strict, one, zero)
            _back(
                gs, grad_v[b], h[t, b], decay, threshold, gain, v_reset, soft_reset, detach_reset, strict, kind, p, q,
                slope, grad_x[t, b],
            )  # fmt: skip
            for i in range(neurons):
                sent[i] = grad_x[t, b, i] * mask[b, i]
            _add_rows(sent, rows, which, grad_trace[t])
        for t in range(steps):
            trace = traces[t, b]
            trace[:] = 0
            for j in range(0, sources, neurons):
                _spread(taps, j, past, 0, before + t - least, -1, trace[j : j + neurons])
                for k in range(min(lags, before + t - least + 1)):
                    spikes, grad, total = past[before + t - least - k], grad_trace[t, j:], grad_taps[k, j:]
                    for n in range(neurons):
                        total[n] += spikes[n] * grad[n]
    return grad_taps


LANES = 32  # samples side by side in the backward pass of delays of synapses
TERMS = 8  # numbers of a kernel added in one pass
GROUP = 8  # sources whose sums stay in cache


@cached_njit()
def terms_of(rows, rounding):  # type: ignore[no-untyped-def]
    """The numbers of ``rows [source, lag * target]`` that count: where those of a source begin, their places, values.

    Those of a source are filled up to a multiple of ``TERMS`` with some that weigh nothing.
    """
    begin, count = np.zeros(len(rows) + 1, np.int64), 0
    place, value = np.zeros(0, np.int64), np.zeros(0, rows.dtype)
    for fills in range(2):
        if fills:
            place, value, count = np.zeros(count, np.int64), np.zeros(count, rows.dtype), 0
        for j in range(len(rows)):
            least = np.abs(rows[j]).max() * rounding
            for e in range(rows.shape[1]):
                if not abs(rows[j, e]) <= least:
                    if fills:
                        place[count], value[count] = e, rows[j, e]
                    count += 1
            begin[j + 1] = count = (count + TERMS - 1) // TERMS * TERMS
    return begin, place, value


@njit(fastmath={"contract"})
def _add(s, row, total):  # type: ignore[no-untyped-def]
    for e in range(row.size):
        total[e] += s * row[e]


@cached_njit(nogil=True)
def forward_own(  # type: ignore[no-untyped-def]
    first_sample, last_sample, x, history, rows, place, size, least, mask, v0, decay, threshold, gain, v_reset,
    soft_reset, strict, h, spikes, v_out,
):  # fmt: skip
    """``rows [source, lag * target]``, of ``size`` columns: the currents that a spike causes; or, with their ``place``
    there, few of them. The rest as in ``forward_shared``.
    """
    steps, _, neurons = x.shape
    before, keep = history.shape[0], h.shape[0] > 0
    coming = np.empty(
        (before + steps + least) * neurons + size, x.dtype
    )  # currents under way, by the step they come at
    alone = np.empty(neurons, x.dtype)
    for b in range(first_sample, last_sample):
        coming[:] = 0
        v = v_out[b]
        v[:] = v0[b]
        for t in range(-before, steps):
            at = (before + t) * neurons
            if t < 0:
                s_t = history[before + t, b]
            else:
                h_t, s_t, fed = h[t, b] if keep else alone, spikes[t, b], coming[at : at + neurons]
                _integrate(x[t, b], fed, mask[b], v, decay, threshold, gain, v_reset, soft_reset, strict, h_t, s_t)
            into = coming[at + least * neurons :]
            for n in range(neurons):
                if s_t[n] != 0 and len(place):
                    s, row, at_row = s_t[n], rows[n], place[n]
                    for e in range(row.size):
                        into[at_row[e]] += s * row[e]
                elif s_t[n] != 0:
                    _add(s_t[n], rows[n], into)


@njit(fastmath={"contract"})
def _gather(begin, place, value, fed, total):  # type: ignore[no-untyped-def]
    """``total[j] = sum_e value[e] fed[place[e]]``, over the terms of a source, ``LANES`` samples side by side."""
    for j in range(len(total)):
        out = total[j]
        out[:] = 0
        for e in range(begin[j], begin[j + 1], TERMS):
            p, w = place[e : e + TERMS], value[e : e + TERMS]
            x0, x1, x2, x3 = fed[p[0] * LANES :], fed[p[1] * LANES :], fed[p[2] * LANES :], fed[p[3] * LANES :]
            x4, x5, x6, x7 = fed[p[4] * LANES :], fed[p[5] * LANES :], fed[p[6] * LANES :], fed[p[7] * LANES :]
            w0, w1, w2, w3, w4, w5, w6, w7 = w[0], w[1], w[2], w[3], w[4], w[5], w[6], w[7]
            for i in range(LANES):
                out[i] += (
                    w0 * x0[i] + w1 * x1[i] + w2 * x2[i] + w3 * x3[i]
                    + w4 * x4[i] + w5 * x5[i] + w6 * x6[i] + w7 * x7[i]
                )  # fmt: skip


@cached_njit(nogil=True)
def backward_own(  # type: ignore[no-untyped-def]
    first_block, last_block, grad_spikes, h, begin, place, value, lags, least, mask, decay, threshold, gain, v_reset,
    soft_reset, detach_reset, strict, kind, p, q, grad_x, grad_v, grad_history, grad_fed,
):  # fmt: skip
    """All gradients but that of the kernel, in blocks of ``LANES`` samples; terms as ``terms_of`` gives them.

    ``grad_v`` is that of the membrane after, and becomes that of the one before. ``grad_fed [batch, (history + time +
    least + lag) * target]`` receives the gradients of what is fed back, 0 before the first step and after the last.
    """
    steps, batch, neurons = h.shape
    before = grad_history.shape[0]
    fed = np.empty((before + steps + least + lags) * neurons * LANES, h.dtype)
    total, gs, slope = np.empty((neurons, LANES), h.dtype), np.empty(neurons, h.dtype), np.empty(neurons, h.dtype)
    for block in range(first_block, last_block):
        fed[:] = 0
        for t in range(steps - 1, -before - 1, -1):
            at = (before + t) * neurons
            _gather(begin, place, value, fed[(at + least * neurons) * LANES :], total)
            for lane in range(min(LANES, batch - block * LANES)):
                b = block * LANES + lane
                gs[:] = total[:, lane]
                if t < 0:
                    grad_history[before + t, b] = gs
                    continue
                gs += grad_spikes[t, b]
                sent = grad_fed[b, at : at + neurons]
                _back(
                    gs, grad_v[b], h[t, b], decay, threshold, gain, v_reset, soft_reset, detach_reset, strict, kind, p,
                    q, slope, grad_x[t, b],
                )  # fmt: skip
                for i in range(neurons):
                    sent[i] = grad_x[t, b, i] * mask[b, i]
                    fed[(at + i) * LANES + lane] = sent[i]


@cached_njit(nogil=True)
def backward_step(  # type: ignore[no-untyped-def]
    first, last, t, at, gs, h, mask, decay, threshold, gain, v_reset, soft_reset, detach_reset, strict, kind, p, q,
    grad_x, grad_v, grad_fed,
):  # fmt: skip
    """One step of ``backward_own``, from the gradients of its spikes, ``gs [last - first, neuron]``."""
    slope = np.empty_like(threshold)
    for b in range(first, last):
        _back(
            gs[b - first], grad_v[b], h[t, b], decay, threshold, gain, v_reset, soft_reset, detach_reset, strict, kind,
            p, q, slope, grad_x[t, b],
        )  # fmt: skip
        sent = grad_fed[b, at : at + len(threshold)]
        for i in range(len(threshold)):
            sent[i] = grad_x[t, b, i] * mask[b, i]


@cached_njit(nogil=True)
def grad_rows_own(  # type: ignore[no-untyped-def]
    first, last, grad_fed, h, threshold, strict, history, place, least, grad_rows
):
    """Gradient of ``forward_own``'s ``rows``, of some sources; ``grad_fed`` as ``backward_own`` leaves it."""
    steps, batch, neurons = h.shape
    before, size, one, zero = history.shape[0], grad_rows.shape[1], h.dtype.type(1), h.dtype.type(0)
    grad_rows[first:last] = 0
    many = last - first if len(place) else GROUP
    for group in range(first, last, many):
        for b in range(batch):
            for t in range(-before, steps):
                row = grad_fed[b, (before + t + least) * neurons :]
                for n in range(group, min(last, group + many)):
                    s = spike(h[t, b, n] - threshold[n], strict, one, zero) if t >= 0 else history[before + t, b, n]
                    if s != 0 and len(place):
                        sums, at_row = grad_rows[n], place[n]
                        for e in range(size):
                            sums[e] += s * row[at_row[e]]
                    elif s != 0:
                        _add(s, row[:size], grad_rows[n])
