"""EventProp in Numba: events in order forwards, the adjoint over the same events in reverse.

Between events a membrane is ``a exp(-s / tau_mem) + b exp(-s / tau_syn)``, and so is the adjoint: nothing is stepped.
"""

# mypy: disable-error-code="no-untyped-def, func-returns-value, assignment"

import heapq
from math import exp, inf, isfinite, log, sqrt

import numpy as np

from snn_delays.compiling import cached_njit

SPIKE, LOOK = 0, 1  # kinds of events of neurons in the agenda; those from 2 on are arrivals, at synapse kind - 2
kernel = cached_njit(nogil=True, error_model="numpy")


@kernel
def membrane(v, i, s, tau_mem, tau_syn):
    """The membrane after a time in which nothing arrives."""
    mem = exp(-s / tau_mem)
    return v * mem + i * tau_syn / (tau_mem - tau_syn) * (mem - exp(-s / tau_syn))


@kernel
def turning(v, i, tau_mem, tau_syn):
    """When the membrane, left alone, stands still, which it does once at most; inf where it does not, or did before."""
    ratio = (v * (tau_mem - tau_syn) + i * tau_syn) / (i * tau_mem)
    s = -log(ratio) * tau_mem * tau_syn / (tau_mem - tau_syn) if ratio > 0 else inf
    return s if s > 0 else inf


@kernel
def crossing(v, i, threshold, tau_mem, tau_syn):
    """Time until the membrane, below the threshold and left alone, meets it; inf if it never does."""
    if not i > threshold:
        return inf
    if tau_mem == 2 * tau_syn:  # with x = exp(-s / tau_mem), i x^2 - (v + i) x + threshold = 0; the first is the larger
        square = (v + i) ** 2 - 4 * i * threshold
        return -tau_mem * log((v + i + sqrt(square)) / (2 * i)) if v + i > 0 and square > 0 else inf
    top = turning(v, i, tau_mem, tau_syn)
    if not (top < inf and membrane(v, i, top, tau_mem, tau_syn) > threshold):
        return inf
    s = 0.0
    for _ in range(100):  # up to its top the membrane is concave and rises: from below Newton's steps never overshoot
        now = membrane(v, i, s, tau_mem, tau_syn)
        slope = (i * exp(-s / tau_syn) - now) / tau_mem
        step = (threshold - now) / slope
        if not (slope > 0 and step > 1e-16 * tau_syn):
            break
        s += step
    return s


@kernel
def discounted(t, tau, end):
    r"""``1 / end`` times the integral of ``exp(-(u - t) / tau) exp(-u / end)`` over u from t to end; its slope in t."""
    rate, at = 1 / end + 1 / tau, exp(-t / end) / end
    last = exp(-(end - t) * rate)
    return at * (1 - last) / rate, -at * (1 - last) / (rate * end) - at * last


@kernel
def simulate(given, first, post, weight, delay, threshold, tau_mem, tau_syn, end, most):
    """Every event of every sample in order, the spikes, and of readouts the highest membrane and the discounted mean.

    ``given`` is ``[sample, channel, spike]``; synapses are sorted by source, those of node k begin at ``first[k]``.
    Nodes are channels, then neurons. ``starts[-1]`` is negative where a sample has more than ``most`` spikes.
    """
    samples, channels, many = given.shape
    neurons = threshold.size
    scale = tau_syn / (tau_mem - tau_syn)
    starts = np.zeros(samples + 1, np.int64)
    # Events, by whom they are caused; spikes, given ones too, with what drives the membrane over the threshold.
    at, kind, cause, sample, node, nth, time, drive = [0.0], [0], [0], [0], [0], [0], [0.0], [0.0]
    agenda = [(0.0, 0, 0)]  # time, kind, and the neuron or the spike that arrives
    at.clear(), kind.clear(), cause.clear(), sample.clear(), node.clear(), nth.clear(), time.clear(), drive.clear()
    peak, peak_at, peak_slope, mean = np.zeros((4, samples, neurons))
    peak_event = np.full((samples, neurons), -1)
    v, i, since, due = np.zeros((4, neurons))
    counts = np.zeros(neurons, np.int64)
    for b in range(samples):
        agenda.clear()
        v[:], i[:], since[:], due[:], counts[:] = 0.0, 0.0, 0.0, inf, 0
        for n in range(neurons):
            if threshold[n] == inf:
                heapq.heappush(agenda, (end, LOOK, n))
        for c in range(channels):
            for k in range(many):
                if isfinite(given[b, c, k]):
                    for j in range(first[c], first[c + 1]):
                        heapq.heappush(agenda, (given[b, c, k] + delay[j], 2 + j, len(node)))
                    sample.append(b), node.append(c), nth.append(k), time.append(given[b, c, k]), drive.append(0.0)
        allowed = len(node) + most
        while True:
            n, what, spike = np.argmin(due), SPIKE, len(node)
            t = due[n]
            if len(agenda) > 0 and agenda[0][0] < t:
                t, what, spike = heapq.heappop(agenda)
                n = post[what - 2] if what > LOOK else spike
            if not t <= end:
                break
            if what != LOOK:
                at.append(t), kind.append(what), cause.append(spike)
            s = t - since[n]
            if threshold[n] == inf:
                top = turning(v[n], i[n], tau_mem, tau_syn) if i[n] > v[n] else inf
                high = membrane(v[n], i[n], min(top, s), tau_mem, tau_syn)
                if high > peak[b, n]:
                    peak[b, n], peak_at[b, n] = high, since[n] + min(top, s)
                    kink = top >= s and what != LOOK  # the highest point is where this arrives, and moves with it
                    peak_event[b, n] = len(at) - 1 if kink else -1
                    peak_slope[b, n] = (i[n] * exp(-s / tau_syn) - high) / tau_mem
            v[n] = membrane(v[n], i[n], s, tau_mem, tau_syn)
            i[n] *= exp(-s / tau_syn)
            since[n] = t
            if what > LOOK:
                i[n] += weight[what - 2]
                if threshold[n] == inf:
                    share = discounted(t, tau_mem, end)[0] - discounted(t, tau_syn, end)[0]
                    mean[b, n] += weight[what - 2] * scale * share
            elif what == SPIKE:
                v[n] = 0.0
                for j in range(first[channels + n], first[channels + n + 1]):
                    heapq.heappush(agenda, (t + delay[j], 2 + j, spike))
                sample.append(b), node.append(channels + n), nth.append(counts[n]), time.append(t)
                drive.append(i[n] - threshold[n])
                counts[n] += 1
                if len(node) > allowed:
                    starts[samples] = -1
                    break
            if threshold[n] < inf:
                due[n] = t + crossing(v[n], i[n], threshold[n], tau_mem, tau_syn)
        if starts[samples] < 0:
            break
        starts[b + 1] = len(at)
    events = np.array(at), np.array(kind), np.array(cause)
    spikes = np.array(sample), np.array(node), np.array(nth), np.array(time), np.array(drive)
    return starts, events, spikes, (peak, mean, peak_at, peak_slope, peak_event)


@kernel
def adjoint(record, by_time, by_peak, by_mean, post, weight, threshold, tau_mem, tau_syn, end):
    """Gradients by weights, delays and the time of each spike; ``by_time`` has what depends on a time directly."""
    starts, (at, kind, cause), (_, node, _, _, drive), (_, _, peak_at, peak_slope, peak_event), channels = record
    scale = tau_syn / (tau_mem - tau_syn)
    by_weight, by_delay, by_time = np.zeros(weight.size), np.zeros(weight.size), by_time.copy()
    lv, li, since = np.zeros((3, threshold.size))
    for b in range(starts.size - 1):
        lv[:], li[:], since[:] = 0.0, 0.0, end
        for e in range(starts[b + 1] - 1, starts[b] - 1, -1):
            t, j, spike = at[e], kind[e] - 2, cause[e]
            n = post[j] if j >= 0 else node[spike] - channels
            if threshold[n] == inf:  # linear: the adjoint of what was read is known in closed form
                (mem, mem_slope), (syn, syn_slope) = discounted(t, tau_mem, end), discounted(t, tau_syn, end)
                to_weight = by_mean[b, n] * scale * (mem - syn)
                to_time = by_mean[b, n] * scale * (mem_slope - syn_slope) * weight[j]
                lag = peak_at[b, n] - t
                if e == peak_event[b, n]:
                    to_time += by_peak[b, n] * peak_slope[b, n]
                elif lag > 0:
                    unit = membrane(0.0, 1.0, lag, tau_mem, tau_syn)
                    to_weight += by_peak[b, n] * unit
                    to_time -= by_peak[b, n] * weight[j] * (exp(-lag / tau_syn) - unit) / tau_mem
            else:
                mem, syn = exp((t - since[n]) / tau_mem), exp((t - since[n]) / tau_syn)
                li[n] = syn * li[n] + tau_mem / (tau_syn - tau_mem) * lv[n] * (syn - mem)
                lv[n] *= mem
                since[n] = t
                if j < 0:
                    lv[n] += (threshold[n] * lv[n] + by_time[spike]) / drive[spike]
                    continue
                to_weight = -tau_syn * li[n]
                to_time = weight[j] * (lv[n] - li[n])
            by_weight[j] += to_weight
            by_delay[j] += to_time
            by_time[spike] += to_time
    return by_weight, by_delay, by_time
