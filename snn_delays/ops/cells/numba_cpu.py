"""Cells in Numba: one driver for all, blocks of lanes through all steps; backwards the states are computed again.

Saved for the backward pass: current, states before the first step, and constants.
"""

from functools import lru_cache
from typing import Any

import numpy as np
import torch
from numba import njit
from numpy.typing import NDArray
from torch import Tensor

from snn_delays.compiling import cached_njit
from snn_delays.ops.backends import refuses_off_cpu
from snn_delays.ops.cells.derive import BLOCK, derived
from snn_delays.ops.cells.equations import CELLS, Cell
from snn_delays.ops.lanes import as_rows, per_lane
from snn_delays.ops.lif.function import refuses_surrogate, surrogate_numbers
from snn_delays.ops.lif.numba_neuron import slopes
from snn_delays.ops.surrogate import Surrogate
from snn_delays.ops.threads import share_out
from snn_delays.ops.workspace import empty


def refuses(current: Tensor, states: Any, constants: Any, surrogate: Surrogate, **_: Any) -> str | None:
    """Serves float32 and float64 on the CPU with the surrogates of this package."""
    tensors = {"current": current, **states._asdict(), **constants._asdict()}
    return refuses_off_cpu(**tensors) or refuses_surrogate(surrogate)


def run(
    cell: Cell, current: Tensor, states: Any, constants: Any, surrogate: Surrogate, detach_reset: bool, strict: bool
) -> tuple[Tensor, Any]:
    """See :func:`snn_delays.ops.cells.cells`."""
    spikes, *after = _Cells.apply(current, (cell.name, detach_reset, strict), surrogate, *states, *constants)
    return spikes, cell.States(*after)


class _Cells(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, current: Tensor, kind: tuple[str, bool, bool], surrogate: Surrogate, *given: Tensor) -> Any:
        count = len(CELLS[kind[0]].states)
        current = current.contiguous()
        x, states, constants = _arrays(current, given, count)
        spikes, after = empty(x.shape, current.dtype), np.empty_like(states)
        forward = _kernels(kind)[0]
        out = spikes.numpy()
        share_out(lambda first, last: forward(x, states, constants, out, after, first, last), _blocks(x))
        ctx.kind, ctx.surrogate = kind, surrogate
        ctx.save_for_backward(current, *given)
        ctx.set_materialize_grads(True)
        return spikes.view(current.shape), *(torch.from_numpy(row).view(current.shape[1:]) for row in after)

    @staticmethod
    @torch.autograd.function.once_differentiable
    def backward(ctx: Any, grad_spikes: Tensor, *grad_states: Tensor) -> Any:
        current, *given = ctx.saved_tensors
        count = len(grad_states)
        x, states, constants = _arrays(current, given, count)
        number, shape = x.dtype.type, current.shape[1:]
        kind, p, q = surrogate_numbers(ctx.surrogate)
        grad = empty(x.shape, current.dtype)
        # Of states as they come and as they go, then of constants.
        lanes = np.zeros((count + len(constants), x.shape[1]), x.dtype)
        for row, part in zip(lanes, grad_states):
            row[:] = part.detach().numpy().ravel()
        backward, gs, gx = _kernels(ctx.kind)[1], as_rows(grad_spikes), grad.numpy()
        share_out(
            lambda first, last: backward(
                x, states, constants, gs, kind, number(p), number(q), gx, lanes, first, last
            ),
            _blocks(x),
        )  # fmt: skip
        grads = [torch.from_numpy(row).view(shape) for row in lanes]
        sums = [part.sum(0).sum_to_size(each.shape) for part, each in zip(grads[count:], given[count:])]
        return grad.view(current.shape), None, None, *grads[:count], *sums


def _arrays(current: Tensor, given: Any, count: int) -> tuple[NDArray[Any], NDArray[Any], NDArray[Any]]:
    """Current ``[time, lane]``, states and constants, each ``[which, lane]``."""
    x, shape = as_rows(current), current.shape[1:]
    rows = [per_lane(tensor, shape) for tensor in given]
    return x, np.stack(rows[:count]), np.stack(rows[count:])


def _blocks(x: NDArray[Any]) -> int:
    return -(-x.shape[1] // BLOCK)


@njit
def _load(work, first, rows, a, size):  # type: ignore[no-untyped-def]
    for n in range(rows.shape[0]):
        for j in range(size):
            work[(first + n) * BLOCK + j] = rows[n, a + j]


@njit
def _keep(work, first, rows, a, size):  # type: ignore[no-untyped-def]
    for n in range(rows.shape[0]):
        for j in range(size):
            rows[n, a + j] = work[(first + n) * BLOCK + j]


@lru_cache(maxsize=64)
def _kernels(kind: tuple[str, bool, bool]) -> tuple[Any, Any]:
    """Forward and backward kernel of a cell; both work on blocks ``first`` to ``last`` of lanes."""
    advance, remember, retreat = derived(*kind)
    k, c = len(CELLS[kind[0]].states), len(CELLS[kind[0]].constants)

    def forward(x, states, constants, spikes, after, first, last):  # type: ignore[no-untyped-def]
        work = np.zeros((k + c) * BLOCK, x.dtype)
        for block in range(first, last):
            a, b = block * BLOCK, min(x.shape[1], (block + 1) * BLOCK)
            _load(work, 0, states, a, b - a)
            _load(work, k, constants, a, b - a)
            for t in range(x.shape[0]):
                advance(x[t, a:b], spikes[t, a:b], work)
            _keep(work, 0, after, a, b - a)

    def backward(x, states, constants, gs, surrogate, p, q, gx, lanes, first, last):  # type: ignore[no-untyped-def]
        steps, row = x.shape[0], (k + 1) * BLOCK
        work, then = np.zeros(2 * (k + c) * BLOCK, x.dtype), np.empty(steps * row, x.dtype)
        for block in range(first, last):
            a, b = block * BLOCK, min(x.shape[1], (block + 1) * BLOCK)
            _load(work, 0, states, a, b - a)
            _load(work, k, constants, a, b - a)
            _load(work, k + c, lanes, a, b - a)
            for t in range(steps):
                remember(x[t, a:b], work, then[t * row : (t + 1) * row])
            for t in range(steps - 1, -1, -1):
                kept = then[t * row : (t + 1) * row]
                slopes(kept[k * BLOCK : k * BLOCK + b - a], surrogate, p, q)
                retreat(x[t, a:b], gs[t, a:b], gx[t, a:b], work, kept)
            _keep(work, k + c, lanes, a, b - a)

    for function in (forward, backward):
        function.__qualname__ = f"{kind[0]}_{function.__name__}"
    return tuple(cached_njit(nogil=True)(function) for function in (forward, backward))
