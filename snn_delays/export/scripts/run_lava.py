"""Runs an exported network in Lava's bit-accurate model of Loihi 2 and compares it with its golden trace.

    python run_lava.py [FOLDER] [--samples N]

Seen equal with lava-nc 0.10.0, numpy 1.26.4, scipy 1.15.3 and networkx 2.8.7 on Python 3.10, and on 3.11 by way of
lava_python311.py. Every sample runs in processes of its own, so that none finds a spike of another still under way.

A spike takes one step through `DelayDense` and its delay on top. Delays are therefore written one shorter where none is
0; else as they are, and population l (from 1) runs l steps late, its bias held back for as long. Those of a population
onto itself are one shorter always. `du` = 4095 lets currents last one step.
"""

from __future__ import annotations

import logging
import sys
from functools import partial
from types import SimpleNamespace
from typing import Any

import exchange
import lava_python311  # noqa: F401  before Lava
import numpy as np
from lava.magma.core.run_conditions import RunSteps
from lava.magma.core.run_configs import Loihi2SimCfg
from lava.proc.dense.process import DelayDense
from lava.proc.io.sink import Read
from lava.proc.io.sink import RingBuffer as Sink
from lava.proc.io.source import RingBuffer as Source
from lava.proc.lif.process import LIF
from lava.utils.weightutils import SignMode

NO_FILTER = 4095  # du: Lava adds one, and 4096 of 4096 of the current decay in a step
NEVER = 2**17 - 1  # the highest threshold's mantissa
SHIFT = 6  # bits by which Loihi shifts currents and thresholds into membranes


def mantissas(bias: np.ndarray) -> tuple[np.ndarray, int]:
    """The biases as 13-bit integers times a power of two that all share."""
    whole = bias.astype(np.int64)
    for exponent in range(8):
        mantissa = whole >> exponent
        if (mantissa << exponent == whole).all() and mantissa.min() >= -4096 and mantissa.max() <= 4095:
            return mantissa, exponent
    sys.exit("biases do not fit in 13 bits and an exponent; export for the target loihi2")


def connect(source: Any, neurons: Any, synapses: SimpleNamespace, shift: int, earlier: int, bits: int = 0) -> None:
    """Synapses from a port to neurons; pairs with several synapses take one DelayDense for each."""
    pair = synapses.source.astype(np.int64) * synapses.targets + synapses.target
    first = np.r_[0, np.flatnonzero(np.diff(pair)) + 1] if len(pair) else np.zeros(0, int)
    rank = np.arange(len(pair)) - np.repeat(first, np.diff(np.r_[first, len(pair)]))
    for number in range(int(rank.max(initial=0)) + 1):
        one = rank == number
        shape = (synapses.targets, synapses.sources)
        weights, delays = np.zeros(shape, int), np.zeros(shape, int)
        place = synapses.target[one], synapses.source[one]
        weights[place] = synapses.weight[one].astype(int) << (shift - SHIFT)
        delays[place] = synapses.delay_steps[one] - earlier
        dense = DelayDense(weights=weights, delays=delays, sign_mode=SignMode.MIXED, num_message_bits=bits)
        source.connect(dense.s_in)
        dense.a_out.connect(neurons.a_in)


def run(network: SimpleNamespace, counts: np.ndarray) -> dict[str, np.ndarray]:
    """One sample ``[time, input]`` from rest; outputs by population ``[time, neuron]``."""
    late = exchange.lags(network)
    steps = len(counts) + late[-1]
    data = np.zeros((network.inputs, steps), int)
    data[:, : len(counts)] = counts.T
    source = Source(data=data)
    most = int(counts.max(initial=0))
    port, bits = source.s_out, most.bit_length() if most > 1 else 0
    held, records = [], []
    for population, lag in zip(network.populations, late):
        numbers = population.numbers
        bias, exponent = mantissas(population.bias)
        neurons = LIF(
            shape=(population.size,),
            du=NO_FILTER,
            dv=4096 - numbers.decay_code,
            vth=numbers.threshold >> SHIFT if population.fires else NEVER,
            bias_mant=bias if lag == 0 else np.zeros_like(bias),
            bias_exp=exponent,
        )
        connect(port, neurons, population.synapses, numbers.weight_shift, int(late[-1] == 0), bits)
        if population.recurrent is not None:
            connect(neurons.s_out, neurons, population.recurrent, numbers.weight_shift, 1)
        record: Any
        if population.fires:
            record = Sink(shape=(population.size,), buffer=steps)
            neurons.s_out.connect(record.a_in)
        else:
            record = Read(buffer=steps)
            record.connect_var(neurons.v)
        records.append(record)
        held.append((lag, neurons, bias))
        port, bits = neurons.s_out, 0
    config = Loihi2SimCfg(select_tag="fixed_pt")
    for lag, neurons, bias in held:
        if lag:  # steps 0..lag-1 of a late population lie before its sample begins
            source.run(condition=RunSteps(num_steps=1), run_cfg=config)
            neurons.bias_mant.set(bias)
    source.run(condition=RunSteps(num_steps=len(counts)), run_cfg=config)
    rasters = [record.data.get().T.astype(np.int64) for record in records]
    source.stop()
    return {
        population.name: raster[lag : lag + len(counts)]
        for population, lag, raster in zip(network.populations, late, rasters)
    }


def main() -> int:
    """Run every sample and compare."""
    logging.getLogger().setLevel(logging.ERROR)
    return exchange.main(__doc__ or "", lambda folder, network, counts: partial(run, network))


if __name__ == "__main__":
    sys.exit(main())
