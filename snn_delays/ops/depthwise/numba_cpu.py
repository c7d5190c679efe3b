"""Depthwise filters in Numba, with a hand-written backward pass.

The output and the gradients of input and kernel are one sum over different lines, ``out_i += sum_k f_k a_{i+k}`` (in
the last, the gradient of the output is the filter). It is taken some neurons and some steps at a time, in memory that
the nearest caches hold. Two lags, the token shift, read and write rows where they are.
"""

from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from numba import prange
from torch import Tensor

from snn_delays.compiling import cached_njit
from snn_delays.ops.backends import refuses_off_cpu
from snn_delays.ops.lanes import array, follow_torch_threads
from snn_delays.ops.workspace import empty

WIDTH = 64  # neurons taken together; a constant, so that rows at known distances need no check for overlap
PIECE = 64  # steps taken together
TILE = 4  # outputs, and lags, that share what they load
PARTS = 8  # partial sums of the kernel's gradient, whatever the number of threads: the sum does not depend on it


def refuses(x: Tensor, kernel: Tensor, **_: Any) -> str | None:
    """Serves float32 and float64 on the CPU."""
    return refuses_off_cpu(input=x, kernel=kernel)


def run(x: Tensor, kernel: Tensor, history: Tensor) -> Tensor:
    """See :func:`snn_delays.ops.depthwise.depthwise`."""
    y: Tensor = _Filter.apply(x, kernel, history)
    return y


class _Filter(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, x: Tensor, kernel: Tensor, history: Tensor) -> Tensor:
        ctx.save_for_backward(kernel, *((x, history) if ctx.needs_input_grad[1] else ()))
        y = empty((kernel.shape[1], *x.shape), x.dtype)
        follow_torch_threads()
        if len(kernel) == 2:
            _shift(_rows(x), _rows(history), array(kernel), _rows(y))
        else:
            _filter(array(x), array(history), _blocks(kernel.flip(0)), y.numpy())
        return y

    @staticmethod
    @torch.autograd.function.once_differentiable
    def backward(ctx: Any, grad_y: Tensor) -> Any:
        wants_x, wants_kernel, wants_history = ctx.needs_input_grad
        kernel, *line = ctx.saved_tensors
        past, steps, batch, neurons = len(kernel) - 1, *grad_y.shape[1:]
        grad_x = empty((steps if wants_x else 0, batch, neurons), grad_y.dtype)
        grad_history = empty((past if wants_history else 0, batch, neurons), grad_y.dtype)
        parts = grad_y.new_zeros(PARTS if wants_kernel else 0, *kernel.shape)
        follow_torch_threads()
        if past == 1:
            x, history = line or (grad_x, grad_x)  # not read unless the kernel learns
            _shift_backward(
                _rows(grad_y), _rows(x), _rows(history), array(kernel), _rows(grad_x), _rows(grad_history),
                parts.numpy(), batch,
            )  # fmt: skip
        else:
            grad = array(grad_y)
            if wants_x or wants_history:
                _filter_backward(grad, _blocks(kernel), grad_x.numpy(), grad_history.numpy(), past)
            if wants_kernel:
                _correlate(grad, *map(array, line), parts.numpy())
        grads = grad_x, parts.sum(0), grad_history
        return tuple(made if wanted else None for made, wanted in zip(grads, ctx.needs_input_grad))


def _rows(tensor: Tensor) -> np.ndarray:
    """``[..., time, batch, neuron]`` as ``[..., row, neuron]``; a row is a step of a sample."""
    return array(tensor.flatten(-3, -2))


def _blocks(kernel: Tensor) -> np.ndarray:
    """``[lag, mix, neuron]`` as ``[block, mix, lag * WIDTH]``, the last block filled up with zeros."""
    filled = F.pad(kernel.detach(), (0, -kernel.shape[2] % WIDTH))
    return array(filled.unflatten(2, (filled.shape[2] // WIDTH, WIDTH)).permute(2, 1, 0, 3).flatten(2))


@cached_njit(parallel=True, fastmath={"contract"})
def _shift(x, history, kernel, y):  # type: ignore[no-untyped-def]
    """``y[m, r] = h[0, m] x[r] + h[1, m] x[r - batch]``."""
    rows, batch, mixes = len(x), len(history), len(y)
    for part in prange(PARTS):
        for r in range(rows * part // PARTS, rows * (part + 1) // PARTS):
            now, before = x[r], x[r - batch] if r >= batch else history[r]
            for m in range(mixes):
                h0, h1, out = kernel[0, m], kernel[1, m], y[m, r]
                for j in range(len(out)):
                    out[j] = h0[j] * now[j] + h1[j] * before[j]


@cached_njit(parallel=True, fastmath={"contract"})
def _shift_backward(  # type: ignore[no-untyped-def]
    grad_y, x, history, kernel, grad_x, grad_history, grad_kernel, batch
):  # fmt: skip
    """Gradients, of those that have room; that of the kernel comes in parts."""
    mixes, rows, neurons = grad_y.shape
    for part in prange(PARTS):
        for r in range(rows * part // PARTS, rows * (part + 1) // PARTS):
            if len(grad_x):
                out = grad_x[r]
                out[:] = 0
                for m in range(mixes):
                    h0, g0 = kernel[0, m], grad_y[m, r]
                    if r + batch < rows:
                        h1, g1 = kernel[1, m], grad_y[m, r + batch]
                        for j in range(neurons):
                            out[j] += h0[j] * g0[j] + h1[j] * g1[j]
                    else:
                        for j in range(neurons):
                            out[j] += h0[j] * g0[j]
            if len(grad_kernel):
                now, before = x[r], x[r - batch] if r >= batch else history[r]
                for m in range(mixes):
                    d0, d1, g = grad_kernel[part, 0, m], grad_kernel[part, 1, m], grad_y[m, r]
                    for j in range(neurons):
                        d0[j] += g[j] * now[j]
                        d1[j] += g[j] * before[j]
    for r in range(len(grad_history)):
        out = grad_history[r]
        out[:] = 0
        if rows:
            for m in range(mixes):
                h1, g = kernel[1, m], grad_y[m, r]
                for j in range(neurons):
                    out[j] += h1[j] * g[j]


@cached_njit(parallel=True)
def _filter(x, history, kernel, y):  # type: ignore[no-untyped-def]
    """``y[m, t] = sum_k h[m, k] line[t + k]``, the line being history and input; ``h`` in blocks, last lag first."""
    mixes, steps, batch, neurons = y.shape
    blocks, pieces, past = len(kernel), (steps + PIECE - 1) // PIECE, len(history)
    for item in prange(blocks * pieces * batch):
        block, piece, b = item % blocks, item // blocks % pieces, item // blocks // pieces
        first, count = piece * PIECE, min(PIECE, steps - piece * PIECE)
        begin, end = block * WIDTH, min(neurons, block * WIDTH + WIDTH)
        line, out = np.zeros((PIECE + past) * WIDTH, y.dtype), np.empty(PIECE * WIDTH, y.dtype)
        _read(history[:, b, begin:end], 0, first, count + past, line)
        _read(x[:, b, begin:end], past, first, count + past, line)
        for m in range(mixes):
            out[:] = 0
            _add_products(kernel[block, m], past + 1, line, count, out)
            for t in range(count):
                y[m, first + t, b, begin:end] = out[t * WIDTH : t * WIDTH + end - begin]


@cached_njit(parallel=True)
def _filter_backward(grad_y, kernel, grad_x, grad_history, past):  # type: ignore[no-untyped-def]
    """``grad_line[s] = sum_{m,k} h[m, k] grad_y[m, s - past + k]``, for the parts of the line that have room."""
    mixes, _, batch, neurons = grad_y.shape
    least, most = 0 if len(grad_history) else past, past + len(grad_x)
    blocks, pieces = len(kernel), (most - least + PIECE - 1) // PIECE
    for item in prange(blocks * pieces * batch):
        block, piece, b = item % blocks, item // blocks % pieces, item // blocks // pieces
        first = least + piece * PIECE
        count = min(PIECE, most - first)
        begin, end = block * WIDTH, min(neurons, block * WIDTH + WIDTH)
        line, out = np.zeros((PIECE + past) * WIDTH, grad_y.dtype), np.zeros(PIECE * WIDTH, grad_y.dtype)
        for m in range(mixes):
            _read(grad_y[m, :, b, begin:end], past, first, count + past, line)  # silent rows stay silent
            _add_products(kernel[block, m], past + 1, line, count, out)
        for s in range(count):
            row = out[s * WIDTH : s * WIDTH + end - begin]
            if first + s < past:
                grad_history[first + s, b, begin:end] = row
            else:
                grad_x[first + s - past, b, begin:end] = row


@cached_njit(parallel=True)
def _correlate(grad_y, x, history, grad_kernel):  # type: ignore[no-untyped-def]
    """``sum_part grad[part, past - k, m] = sum_{t, b} grad_y[m, t, b] line[t + k, b]``; a part is a share of pieces."""
    mixes, steps, batch, neurons = grad_y.shape
    blocks, pieces, past = (neurons + WIDTH - 1) // WIDTH, (steps + PIECE - 1) // PIECE, len(history)
    lags = past + TILE - past % TILE  # whole tiles
    for item in prange(PARTS * blocks):
        part, block = item // blocks, item % blocks
        begin, end = block * WIDTH, min(neurons, block * WIDTH + WIDTH)
        line, grad = np.zeros((PIECE + lags) * WIDTH, x.dtype), np.zeros(PIECE * WIDTH, x.dtype)
        out = np.zeros((mixes, lags * WIDTH), x.dtype)
        for share in range(pieces * batch * part // PARTS, pieces * batch * (part + 1) // PARTS):
            b, first = share // pieces, share % pieces * PIECE
            count = min(PIECE, steps - first)
            _read(history[:, b, begin:end], 0, first, count + past, line)
            _read(x[:, b, begin:end], past, first, count + past, line)
            for m in range(mixes):
                _read(grad_y[m, :, b, begin:end], 0, first, count, grad)
                _add_products(grad, count, line, past + 1, out[m])
        for k in range(past + 1):
            for m in range(mixes):
                grad_kernel[part, past - k, m, begin:end] = out[m, k * WIDTH : k * WIDTH + end - begin]


@cached_njit()
def _read(rows, place, first, count, line):  # type: ignore[no-untyped-def]
    """Copy what ``rows``, which begin at ``place``, have of the rows ``first`` to ``first + count`` to the line."""
    for at in range(max(first, place), min(first + count, place + len(rows))):
        row, into = rows[at - place], line[(at - first) * WIDTH : (at - first + 1) * WIDTH]
        for j in range(len(row)):
            into[j] = row[j]


@cached_njit(fastmath={"contract"})
def _add_products(kernel, lags, line, rows, out):  # type: ignore[no-untyped-def]
    """``out[i] += sum_{k < lags} kernel[k] line[i + k]`` for ``i < rows`` rounded up to whole tiles."""
    for i in range(0, rows, TILE):
        o = out[i * WIDTH : (i + TILE) * WIDTH]
        whole = lags - lags % TILE
        for k in range(0, whole, TILE):
            h, a = kernel[k * WIDTH : (k + TILE) * WIDTH], line[(i + k) * WIDTH : (i + k + 2 * TILE - 1) * WIDTH]
            for j in range(WIDTH):
                h0, h1, h2, h3 = h[j], h[j + WIDTH], h[j + 2 * WIDTH], h[j + 3 * WIDTH]
                a1, a2, a3 = a[j + WIDTH], a[j + 2 * WIDTH], a[j + 3 * WIDTH]
                a4, a5, a6 = a[j + 4 * WIDTH], a[j + 5 * WIDTH], a[j + 6 * WIDTH]
                o[j] += h0 * a[j] + h1 * a1 + h2 * a2 + h3 * a3
                o[j + WIDTH] += h0 * a1 + h1 * a2 + h2 * a3 + h3 * a4
                o[j + 2 * WIDTH] += h0 * a2 + h1 * a3 + h2 * a4 + h3 * a5
                o[j + 3 * WIDTH] += h0 * a3 + h1 * a4 + h2 * a5 + h3 * a6
        for k in range(whole, lags):
            h, a = kernel[k * WIDTH : (k + 1) * WIDTH], line[(i + k) * WIDTH : (i + k + TILE) * WIDTH]
            for j in range(WIDTH):
                o[j] += h[j] * a[j]
                o[j + WIDTH] += h[j] * a[j + WIDTH]
                o[j + 2 * WIDTH] += h[j] * a[j + 2 * WIDTH]
                o[j + 3 * WIDTH] += h[j] * a[j + 3 * WIDTH]
