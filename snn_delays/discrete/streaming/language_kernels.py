"""One token of SpikeGPT, compiled: serial, without allocating, without Python's lock.

As in :mod:`snn_delays.discrete.streaming.kernels` all numbers are in a few flat arrays, and ``table`` says what and
where an operation is. A signal in ``values`` is ``[batch, width]``. Matrices lie in panels of some outputs, ``[panel,
input, output]``: a product reads each once for four samples at a time, keeps its sums in registers, and, where its
inputs are spikes or rectified, leaves out those that are zero. ``values`` begins with room for those sums.
"""

from typing import Any

import numpy as np
from llvmlite import ir
from numba import njit, types
from numba.extending import intrinsic

from snn_delays.compiling import cached_njit
from snn_delays.discrete.streaming.kernels import lif
from snn_delays.ops.wkv.numba_cpu import exp, weigh

(
    KIND, WIDTH, OUTPUTS, SOURCE,
    SECOND,  # the other operand
    TARGET, NUMBERS, STATE,
    ROWS,  # of the ring, longest delay + 1
    SLOT,  # row of the ring that is written next
    SPARSE,  # whether many inputs of a matrix are zero
    STRICT, SOFT,
) = range(13)  # fmt: skip
COLUMNS = 13
EMBED, NORM, SHIFT, MATRIX, NEURONS, WKV, SQUARE, GATE, ADD = range(9)
PANEL_BYTES, TILE = 128, 4  # as wide as the sums of TILE samples fit into the registers of AVX2
INT32, INT64 = ir.IntType(32), ir.IntType(64)


def lanes_of(dtype: np.dtype[Any]) -> int:
    """Outputs of a panel."""
    return PANEL_BYTES // dtype.itemsize


def _products(samples: int) -> Any:
    """Compiled ``sums[s] = sum_a x[s, active[a]] panel[active[a]]``, all of them vectors, for so many samples."""

    @intrinsic
    def add(typing_context, panel, x, width, active, count, sums):  # type: ignore[no-untyped-def]
        def build(context: Any, b: Any, signature: Any, given: Any) -> Any:
            w, inputs, where, out = (
                context.make_array(signature.args[i])(context, b, given[i]).data for i in (0, 1, 3, 5)
            )
            vector = ir.VectorType(context.get_value_type(panel.dtype), PANEL_BYTES * 8 // panel.dtype.bitwidth)
            lanes, nowhere, zero = vector.count, ir.Constant(vector, ir.Undefined), ir.Constant(vector, None)
            everywhere = ir.Constant(ir.VectorType(INT32, lanes), [0] * lanes)
            begin, loop, end = b.block, b.append_basic_block(), b.append_basic_block()
            b.cbranch(b.icmp_signed(">", given[4], INT64(0)), loop, end)
            b.position_at_end(loop)
            a, so_far = b.phi(INT64), [b.phi(vector) for _ in range(samples)]
            i = b.load(b.gep(where, [a]))
            row = b.load(b.bitcast(b.gep(w, [b.mul(i, INT64(lanes))]), vector.as_pointer()), align=4)
            after = []
            for s in range(samples):
                one = b.load(b.gep(inputs, [b.add(i, b.mul(given[2], INT64(s)))]))
                spread = b.shuffle_vector(b.insert_element(nowhere, one, INT32(0)), nowhere, everywhere)
                product = b.fmul(spread, row, flags=("contract",))
                after.append(b.fadd(product, so_far[s], flags=("contract",)))
            following = b.add(a, INT64(1))
            for phi, first, then in zip([a, *so_far], [INT64(0), *[zero] * samples], [following, *after]):
                phi.add_incoming(first, begin)
                phi.add_incoming(then, loop)
            b.cbranch(b.icmp_signed("<", following, given[4]), loop, end)
            b.position_at_end(end)
            final = [b.phi(vector) for _ in range(samples)]
            for s, phi in enumerate(final):
                phi.add_incoming(zero, begin)
                phi.add_incoming(after[s], loop)
            for s, phi in enumerate(final):
                b.store(phi, b.bitcast(b.gep(out, [INT64(s * lanes)]), vector.as_pointer()), align=4)
            return context.get_dummy_value()

        return types.void(panel, x, types.int64, active, types.int64, sums), build

    return add


_add_one, _add_tile = _products(1), _products(TILE)


@cached_njit(nogil=True, error_model="numpy")
def step(tokens, table, active, numbers, state, values):  # type: ignore[no-untyped-def]
    """Read a token of each sample; -1, or the first that is not in the vocabulary, and then nothing has changed."""
    for s in range(tokens.size):
        if tokens[s] < 0 or tokens[s] >= table[0, ROWS]:
            return s
    for k in range(table.shape[0]):
        _operation(table[k], tokens, active, numbers, state, values)
    return -1


@njit(error_model="numpy")
def _operation(row, tokens, active, numbers, state, values):  # type: ignore[no-untyped-def]
    kind, width, batch = row[KIND], row[WIDTH], tokens.size
    size = batch * width
    x, z = values[row[SOURCE] : row[SOURCE] + size], values[row[SECOND] : row[SECOND] + size]
    y, constants, own = values[row[TARGET] :], numbers[row[NUMBERS] :], state[row[STATE] :]
    if kind == MATRIX:
        _matrix(row, batch, active, constants, x, values, y)
    elif kind == NORM:
        for s in range(batch):
            _norm(constants, x[s * width : (s + 1) * width], y[s * width : (s + 1) * width])
    elif kind == SHIFT:
        _shift(row, batch, constants, own, x, y)
    elif kind == WKV:
        for s in range(batch):
            a, b = s * width, (s + 1) * width
            p, q, o = own[a:b], own[size + a : size + b], own[2 * size + a : 2 * size + b]
            _wkv(constants[:width], constants[width : 2 * width], p, q, o, x[a:b], z[a:b], y[a:b])
    elif kind == NEURONS:
        lif(constants, row[STRICT] != 0, row[SOFT] != 0, own, x, y)
    elif kind == EMBED:
        for s in range(batch):
            first = tokens[s] * width
            y[s * width : (s + 1) * width] = constants[first : first + width]
    else:
        _elementwise(kind, x, z, y)


@njit(error_model="numpy")
def _matrix(row, batch, active, numbers, x, sums, y):  # type: ignore[no-untyped-def]
    width, outputs = row[WIDTH], row[OUTPUTS]
    lanes = PANEL_BYTES // numbers.itemsize
    bias, weight = numbers[:outputs], numbers[(outputs + lanes - 1) // lanes * lanes :]
    every, some = active[:width], active[active.size // 2 :]
    first = 0
    while first < batch:
        samples = TILE if first + TILE <= batch else 1
        inputs = x[first * width : (first + samples) * width]
        count, where = width, every
        if row[SPARSE]:
            count, where = _active(inputs, samples, width, some), some
        for panel in range(0, outputs, lanes):
            rows = weight[panel * width : (panel + lanes) * width]
            if samples == TILE:
                _add_tile(rows, inputs, width, where, count, sums)
            else:
                _add_one(rows, inputs, width, where, count, sums)
            for s in range(samples):
                into = y[(first + s) * outputs + panel : (first + s) * outputs + min(panel + lanes, outputs)]
                for j in range(into.size):
                    into[j] = sums[s * lanes + j] + bias[panel + j]
        first += samples


@njit
def _active(x, samples, width, active):  # type: ignore[no-untyped-def]
    """Number and places of the inputs that are not zero in all samples."""
    count = 0
    for i in range(width):
        active[count] = i
        found = False
        for s in range(samples):
            found |= x[s * width + i] != 0
        count += found
    return count


@njit(error_model="numpy", fastmath={"contract", "reassoc"})
def _norm(constants, x, y):  # type: ignore[no-untyped-def]
    n = x.size
    mean = variance = x.dtype.type(0)
    for j in range(n):
        mean += x[j]
    mean /= x.dtype.type(n)
    for j in range(n):
        variance += (x[j] - mean) * (x[j] - mean)
    scale = x.dtype.type(1) / np.sqrt(variance / x.dtype.type(n) + constants[2 * n])
    for j in range(n):
        y[j] = (x[j] - mean) * scale * constants[j] + constants[n + j]


@njit(fastmath={"contract"})
def _shift(row, batch, kernel, ring, x, y):  # type: ignore[no-untyped-def]
    """``y[m, s] = sum_k kernel[k, m] x_{t-k}[s]``; the ring holds ``[row, batch, width]``."""
    width, rows, slot, size = row[WIDTH], row[ROWS], row[SLOT], x.size
    mixes = row[OUTPUTS] // width
    ring[slot * size : (slot + 1) * size] = x
    y[: mixes * size] = 0
    for k in range(rows):
        at = (slot - k if slot >= k else slot - k + rows) * size
        for m in range(mixes):
            h = kernel[(k * mixes + m) * width : (k * mixes + m + 1) * width]
            for s in range(batch):
                past, out = ring[at + s * width : at + (s + 1) * width], y[m * size + s * width :]
                for j in range(width):
                    out[j] += h[j] * past[j]
    row[SLOT] = slot + 1 if slot + 1 < rows else 0


@njit(error_model="numpy", fastmath={"contract"})
def _wkv(decay, bonus, p, q, o, k, v, y):  # type: ignore[no-untyped-def]
    one = k.dtype.type(1)
    for j in range(k.size):
        past, now, _ = weigh(o[j], bonus[j] + k[j], one)
        average = (past * p[j] + now * v[j]) / (past * q[j] + now)
        past, now, o[j] = weigh(decay[j] + o[j], k[j], one)
        p[j] = past * p[j] + now * v[j]
        q[j] = past * q[j] + now
        y[j] = average


@njit(error_model="numpy", fastmath={"contract"})
def _elementwise(kind, x, z, y):  # type: ignore[no-untyped-def]
    zero, one = x.dtype.type(0), x.dtype.type(1)
    if kind == SQUARE:
        for j in range(x.size):
            positive = zero if x[j] < zero else x[j]
            y[j] = positive * positive
    elif kind == GATE:
        for j in range(x.size):
            e = exp(-abs(x[j]))
            gate = one / (one + e)
            y[j] = (e * gate if x[j] < zero else gate) * z[j]
    else:
        for j in range(x.size):
            y[j] = x[j] + z[j]
