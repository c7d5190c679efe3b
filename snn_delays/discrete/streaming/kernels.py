"""One step of a network, compiled: serial, without allocating, without Python's lock.

Every number is in one of five flat arrays, since each array that is handed over costs as much as some synapses do:

- ``table`` int64 ``[row, column]``, what and where a layer is, by the columns below;
- ``index`` uint32, where synapses lead, and the places of pooled windows;
- ``numbers``, weights, biases and the neurons' constants;
- ``state``, currents to come, inputs that were, membranes;
- ``values``, the input, then every layer's output of this step.

A synapse is event-driven: each input that is not zero adds its weights to a ring of the ``D + 1`` rows of currents
that lie ahead, and the row whose step has come is read and cleared. Reading a ring of past inputs instead takes every
synapse at every step; it was as fast only where all inputs are active (measured, 256 to 256 neurons).
"""

import numpy as np

from snn_delays.compiling import cached_njit

(
    KIND, INPUTS, OUTPUTS, SOURCE, TARGET, INDEX, NUMBERS, STATE,
    ROWS,  # of the ring, longest delay + 1
    SHARED,  # whether weights are rows of all targets, which share their delays; else every synapse has its own
    SLOT,  # row of the ring that is read next
    STRICT, SOFT,
    CURRENT,  # of a feedback, the current that it is added to
    COUNT,  # of places in a window
) = range(15)  # fmt: skip
COLUMNS = 15
# Feedback: synapses from the neurons after it, whose spikes of the last step it reads; a delay is a step shorter there.
SYNAPSE, FEEDBACK, LIF, INTEGRATOR, SUM, MEAN, MAX = range(7)
POOLS = {"sum": SUM, "mean": MEAN, "max": MAX}


@cached_njit(nogil=True)
def step(table, index, numbers, state, values):  # type: ignore[no-untyped-def]
    """Advance by the input in ``values``; -1, or the first input that is not finite, and then nothing has changed."""
    inputs = table[0, INPUTS]
    bad = 0
    for i in range(inputs):
        bad += not np.isfinite(values[i])
    if bad:
        for i in range(inputs):
            if not np.isfinite(values[i]):
                return i
    for k in range(table.shape[0]):
        _layer(table[k], index, numbers, state, values)
    return -1


@cached_njit(nogil=True)
def step_events(events, count, table, index, numbers, state, values):  # type: ignore[no-untyped-def]
    """Advance by events; -1, or the first event whose input does not exist, and then nothing has changed."""
    inputs = table[0, INPUTS]
    for e in range(count):
        if events[e] < 0 or events[e] >= inputs:
            return e
    values[:inputs] = 0
    for e in range(count):
        values[events[e]] += 1
    for k in range(table.shape[0]):
        _layer(table[k], index, numbers, state, values)
    return -1


@cached_njit(nogil=True)
def run(x, y, table, index, numbers, state, values):  # type: ignore[no-untyped-def]
    """Advance by all steps of ``x`` ``[time, input]``, which are finite; outputs into ``y`` ``[time, output]``."""
    inputs, last = table[0, INPUTS], table.shape[0] - 1
    a, b = table[last, TARGET], table[last, TARGET] + table[last, OUTPUTS]
    for t in range(x.shape[0]):
        values[:inputs] = x[t]
        for k in range(table.shape[0]):
            _layer(table[k], index, numbers, state, values)
        y[t] = values[a:b]


@cached_njit(nogil=True)
def replay(layer, history, index, numbers, state, values):  # type: ignore[no-untyped-def]
    """Fill a synapse's rings with what its last inputs, ``[time, input]``, the latest last, have left."""
    source, target = layer[SOURCE], layer[TARGET]
    for t in range(history.shape[0]):
        values[source : source + layer[INPUTS]] = history[t]
        _layer(layer, index, numbers, state, values)
    values[source : source + layer[INPUTS]] = 0
    values[target : target + layer[OUTPUTS]] = 0


@cached_njit(nogil=True)
def _layer(layer, index, numbers, state, values):  # type: ignore[no-untyped-def]
    x = values[layer[SOURCE] : layer[SOURCE] + layer[INPUTS]]
    y = values[layer[TARGET] : layer[TARGET] + layer[OUTPUTS]]
    constants, own = numbers[layer[NUMBERS] :], state[layer[STATE] :]
    kind = layer[KIND]
    if kind == SYNAPSE:
        outputs = layer[OUTPUTS]
        _synapse(layer, index[layer[INDEX] :], constants[:outputs], constants[outputs:], own, x, y)
    elif kind == FEEDBACK:
        current = values[layer[CURRENT] : layer[CURRENT] + layer[OUTPUTS]]
        _synapse(layer, index[layer[INDEX] :], current, constants, own, x, y)
    elif kind == LIF:
        lif(constants, layer[STRICT] != 0, layer[SOFT] != 0, own, x, y)
    elif kind >= SUM:
        _pool(kind, layer[COUNT], index[layer[INDEX] :], x, y)
    else:
        decay, gain = constants[0], constants[1]
        for j in range(x.size):
            own[j] = decay * own[j] + gain * x[j]
            y[j] = own[j]


@cached_njit(nogil=True)
def lif(constants, strict, soft, v, x, y):  # type: ignore[no-untyped-def]
    """Spikes ``y`` of the current ``x``; ``constants``: decay, gain of the input, threshold, resting membrane."""
    decay, gain, threshold, v_reset = constants[0], constants[1], constants[2], constants[3]
    for j in range(x.size):
        # The arithmetic of ops.lif, so that both round alike.
        h = decay * (v[j] - v_reset) + v_reset + gain * x[j]
        u = h - threshold
        fired = u > 0 or (u == 0 and not strict)
        y[j] = (1 if fired else 0) if u == u else u  # of NaN, NaN
        v[j] = (u if soft else v_reset) if fired else h


@cached_njit(nogil=True)
def _pool(kind, count, index, x, y):  # type: ignore[no-untyped-def]
    for j in range(y.size):
        pooled = x[index[j * count]]
        for c in range(j * count + 1, (j + 1) * count):
            value = x[index[c]]
            pooled = max(pooled, value) if kind == MAX else pooled + value
        y[j] = pooled / count if kind == MEAN else pooled


@cached_njit(nogil=True)
def _synapse(layer, index, bias, weight, state, x, y):  # type: ignore[no-untyped-def]
    inputs, outputs, slot = layer[INPUTS], layer[OUTPUTS], layer[SLOT]
    size = layer[ROWS] * outputs
    ring, now = state[:size], slot * outputs
    if layer[SHARED]:
        _shared_delays(inputs, outputs, index, weight, ring, now, x)
    else:
        _own_delays(inputs, index, weight, ring, now, x)
    for j in range(outputs):
        # The bias comes last, as in the layer: on a grid of weights the sum before it is exact.
        y[j] = ring[now + j] + bias[j]
        ring[now + j] = 0
    history = size + slot * inputs
    state[history : history + inputs] = x
    layer[SLOT] = slot + 1 if slot + 1 < layer[ROWS] else 0


@cached_njit(nogil=True)
def _shared_delays(inputs, outputs, index, weight, ring, now, x):  # type: ignore[no-untyped-def]
    """Targets share delays: whole rows are added. ``index``: where each input's begin, then ``delay * outputs``."""
    place = index[inputs + 1 :]
    for i in range(inputs):
        strength = x[i]
        if strength != 0:
            for c in range(np.int64(index[i]), np.int64(index[i + 1])):
                at = now + np.int64(place[c])
                if at >= ring.size:
                    at -= ring.size
                row, w = ring[at : at + outputs], weight[c * outputs : (c + 1) * outputs]
                for j in range(outputs):
                    row[j] += w[j] * strength


@cached_njit(nogil=True)
def _own_delays(inputs, index, weight, ring, now, x):  # type: ignore[no-untyped-def]
    """Synapses with delays of their own; ``index``: where each input's begin, then ``delay * outputs + j`` of each."""
    place = index[inputs + 1 :]
    base, size = np.uint64(now), np.uint64(ring.size)
    for i in range(inputs):
        strength = x[i]
        if strength != 0:
            for s in range(np.uint64(index[i]), np.uint64(index[i + 1])):
                at = base + np.uint64(place[s])
                if at >= size:
                    at -= size
                ring[at] += weight[s] * strength
