"""Current-based LIF neurons with delays in continuous time, by steps so short that they converge; NumPy alone.

A step ends where a spike arrives, at the latest after ``dt``. It is taken exactly, and a crossing is put where a line
between both of its ends has it, so that errors fall with the square of ``dt``. Delays are longer than a step.
"""

import heapq

import numpy as np


def spikes(given, weight, delay, pre, post, threshold, tau_mem, tau_syn, end, dt):
    """Times of spikes of one sample by neuron, and the highest membrane and the discounted mean of each.

    ``given`` has the times of spikes of each channel; the rest is as :func:`snn_delays.ops.eventprop` has it.
    """
    neurons, scale, agenda = len(threshold), tau_syn / (tau_mem - tau_syn), []

    def send(source, t):
        for j in np.flatnonzero(pre == source):
            heapq.heappush(agenda, (t + delay[j], j))

    def left_alone(v, i, s):
        mem, syn = np.exp(-s / tau_mem), np.exp(-s / tau_syn)
        return v * mem + i * scale * (mem - syn), i * syn

    for c, times in enumerate(given):
        for t in times:
            send(c, t)
    t, v, i = 0.0, np.zeros(neurons), np.zeros(neurons)
    fired, grid, trace = [[] for _ in range(neurons)], [t], [v]
    while t < end:
        now = min(t + dt, end, agenda[0][0] if agenda else end)
        next_v, next_i = left_alone(v, i, now - t)
        for n in np.flatnonzero(next_v > threshold):
            at = t + (now - t) * (threshold[n] - v[n]) / (next_v[n] - v[n])
            fired[n].append(at)
            next_v[n] = left_alone(0.0, next_i[n] * np.exp((now - at) / tau_syn), now - at)[0]
            send(len(given) + n, at)
        t, v, i = now, next_v, next_i
        grid.append(t)
        trace.append(v)
        while agenda and agenda[0][0] <= now:
            _, j = heapq.heappop(agenda)
            i[post[j]] += weight[j]
    membranes, weighted = np.stack(trace), np.exp(-np.array(grid) / end)[:, None]
    return fired, membranes.max(0), np.trapezoid(membranes * weighted, grid, axis=0) / end
