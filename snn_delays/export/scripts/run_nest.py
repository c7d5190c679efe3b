"""Runs an exported network in NEST and compares it with its golden trace, spike for spike.

    python run_nest.py [FOLDER] [--samples N]

Seen equal with nest-simulator 3.10.0 (its wheel) and Python 3.11. One step is 1 ms of NEST's time, whatever dt_ms says.

Neurons are `iaf_psc_delta` without refractoriness: v decays by exp(-1 ms / tau_m), a weight is added to it as it is.

    tau_m = -1 ms / ln(decay),  weight = gain * weight,  E_L = V_reset = v_reset,  V_th = threshold (fires at or above)

and C_m = tau_m * (1 - decay), with which I_e is added to v as it is too: I_e = gain * bias. Only the hard reset exists.

A spike takes a step to arrive at the least. Where every feed-forward delay is at least 1, delays are written as they
are. Otherwise the feed-forward ones are one longer and population l (from 1) runs l steps late; its bias begins then.
"""

from __future__ import annotations

import math
import sys
from functools import partial
from types import SimpleNamespace
from typing import Any

import exchange
import nest
import numpy as np

# Spikes of step 0 leave at 1 ms, the earliest time of a generator.
FIRST = 1


def neurons(population: SimpleNamespace) -> Any:
    """A population at rest; its bias still off."""
    numbers = population.numbers
    threshold = numbers.threshold if population.fires else math.inf
    if numbers.strict:  # above the threshold is at or above the next number
        threshold = float(np.nextafter(threshold, math.inf))
    tau = -1 / math.log(population.decay)
    settings = {
        "tau_m": tau,
        "C_m": tau * (1 - population.decay),
        "t_ref": 0.0,
        "E_L": numbers.v_reset,
        "V_reset": numbers.v_reset,
        "V_m": numbers.v_reset,
        "V_th": threshold,
    }
    return nest.Create("iaf_psc_delta", population.size, settings)


def connect(source: Any, target: Any, synapses: SimpleNamespace, factor: float, extra: int) -> None:
    """One connection per synapse."""
    if len(synapses.weight):
        nest.Connect(
            np.asarray(source.tolist())[synapses.source],
            np.asarray(target.tolist())[synapses.target],
            "one_to_one",
            {
                "synapse_model": "static_synapse",
                "weight": synapses.weight * factor,
                "delay": (synapses.delay_steps + extra).astype(float),
            },
        )


def run_sample(network: SimpleNamespace, counts: np.ndarray) -> dict[str, np.ndarray]:
    """Spikes or membranes by population ``[time, neuron]`` from counts ``[time, input]``."""
    nest.verbosity = nest.VerbosityLevel.ERROR
    nest.ResetKernel()
    nest.resolution = 1.0
    steps = len(counts)
    lags = exchange.lags(network)
    before = nest.Create("spike_generator", network.inputs)
    for channel, generator in zip(counts.T, before):
        when = np.flatnonzero(channel)
        generator.set(spike_times=(when + FIRST).astype(float), spike_multiplicities=channel[when])
    groups, recorders = [], []
    for population, lag in zip(network.populations, lags):
        group = neurons(population)
        connect(before, group, population.synapses, population.gain, 1 if lag else 0)
        if population.recurrent is not None:
            connect(group, group, population.recurrent, population.gain, 0)
        if population.fires:
            recorder = nest.Create("spike_recorder")
            nest.Connect(group, recorder)
        else:
            recorder = nest.Create("multimeter", params={"record_from": ["V_m"], "interval": 1.0})
            nest.Connect(recorder, group)
        groups.append(group)
        recorders.append(recorder)
        before = group
    for now in range(max(lags) + 1):
        for group, population, lag in zip(groups, network.populations, lags):
            if lag == now:
                group.set(I_e=population.gain * population.bias)
        # A recorder hands over the last steps once the longest of them is past.
        nest.Simulate(1.0 if now < max(lags) else float(steps + FIRST + 1))
    return {
        population.name: raster(recorder.events, group, population, steps, FIRST + lag)
        for recorder, group, population, lag in zip(recorders, groups, network.populations, lags)
    }


def raster(
    events: dict[str, np.ndarray], group: Any, population: SimpleNamespace, steps: int, start: int
) -> np.ndarray:
    """What was recorded, ``[time, neuron]``, from time ``start`` on."""
    when = np.rint(events["times"]).astype(int) - start
    within = (when >= 0) & (when < steps)
    neuron = np.asarray(events["senders"], int) - group.tolist()[0]  # real numbers where there are none
    out = np.zeros((steps, population.size), np.uint8 if population.fires else float)
    out[when[within], neuron[within]] = 1 if population.fires else events["V_m"][within]
    return out


if __name__ == "__main__":
    about = "Run an exported network in NEST and compare it with its golden trace."
    sys.exit(exchange.main(about, lambda folder, network, counts: partial(run_sample, network)))
