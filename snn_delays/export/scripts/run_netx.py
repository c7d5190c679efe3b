"""Loads network.net with netx of lava-dl, runs it in Lava's bit-accurate model of Loihi 2 and compares the outcome.

    python run_netx.py [FOLDER] [--samples N]

Seen equal with lava-dl 0.6.0 (installed with --no-deps) and h5py 3.16.0 on lava-nc 0.10.0, Python 3.10.

netx imports lava-dl's training half, which needs PyTorch, for neurons and blocks that the file has none of; those
two modules are left out. A layer runs one step later than the one before it, its bias held back for as long.
"""

from __future__ import annotations

import logging
import sys
import types
from functools import partial
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import exchange
import lava_python311  # noqa: F401  before Lava
import numpy as np

LEFT_OUT = [
    "lava.lib.dl.slayer",
    "lava.lib.dl.slayer.neuron",
    "lava.lib.dl.slayer.neuron.rf",
    "lava.lib.dl.netx.sequential_modules",
]
for _name in LEFT_OUT:
    sys.modules[_name] = types.ModuleType(_name)
    sys.modules[_name].__file__ = __file__  # Lava's compiler asks every module for its file
sys.modules["lava.lib.dl.slayer.neuron.rf"].neuron_params = None  # type: ignore[attr-defined]

from lava.lib.dl.netx import hdf5  # noqa: E402
from lava.magma.core.run_conditions import RunSteps  # noqa: E402
from lava.magma.core.run_configs import Loihi2SimCfg  # noqa: E402
from lava.proc.io.sink import Read  # noqa: E402
from lava.proc.io.sink import RingBuffer as Sink  # noqa: E402
from lava.proc.io.source import RingBuffer as Source  # noqa: E402


def run(path: str, network: SimpleNamespace, counts: np.ndarray) -> dict[str, np.ndarray]:
    """One sample ``[time, input]`` from rest; outputs by population ``[time, neuron]``."""
    steps, most = len(counts) + len(network.populations), int(counts.max(initial=0))
    netx = hdf5.Network(net_config=path, input_message_bits=most.bit_length() if most > 1 else 0)
    data = np.zeros((network.inputs, steps), int)
    data[:, : len(counts)] = counts.T
    source = Source(data=data)
    source.s_out.connect(netx.inp)
    biases, records = [], []
    for population, layer in zip(network.populations, netx.layers):
        biases.append(np.broadcast_to(layer.neuron.bias_mant.init, (population.size,)).astype(int))
        layer.neuron.bias_mant.init = np.zeros(population.size, int)
        record: Any
        if population.fires:
            record = Sink(shape=(population.size,), buffer=steps)
            layer.neuron.s_out.connect(record.a_in)
        else:
            record = Read(buffer=steps)
            record.connect_var(layer.neuron.v)
        records.append(record)
    config = Loihi2SimCfg(select_tag="fixed_pt")
    for layer, bias in zip(netx.layers, biases):  # steps before a late layer's sample begins
        source.run(condition=RunSteps(num_steps=1), run_cfg=config)
        layer.neuron.bias_mant.set(bias)
    source.run(condition=RunSteps(num_steps=len(counts)), run_cfg=config)
    rasters = [record.data.get().T.astype(np.int64) for record in records]
    source.stop()
    netx.net_config.f.close()
    return {
        population.name: raster[late : late + len(counts)]
        for late, (population, raster) in enumerate(zip(network.populations, rasters), 1)
    }


def prepare(folder: Path, network: SimpleNamespace, counts: np.ndarray) -> Any:
    """What runs a sample of ``network.net``."""
    del counts
    path = folder / "network.net"
    if not path.is_file():
        sys.exit(f"there is no {path}; README.txt says why the network does not fit netx")
    return partial(run, str(path), network)


def main() -> int:
    """Run every sample and compare."""
    logging.getLogger().setLevel(logging.ERROR)
    return exchange.main(__doc__ or "", prepare)


if __name__ == "__main__":
    sys.exit(main())
