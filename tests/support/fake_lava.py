"""Lava's bit-accurate model of Loihi 2 in numpy, by the names that the exported scripts import.

What lava-nc 0.10.0 and netx of lava-dl 0.6.0 were seen to do: a synapse delivers ``delay`` + 1 steps after it received,
currents lapse in a step, membranes have 24 bits and decay towards zero, neurons fire above the threshold. All processes
advance together, one step at a time. The real ones ran on the same networks (tests/simulators) with the same outcome.
"""

import sys
import types
from typing import Any

import h5py
import numpy as np

LIMIT = 2**23 - 1


class Var:
    def __init__(self, init: Any) -> None:
        self.init = np.array(init)

    def set(self, value: Any) -> None:
        self.init = np.array(value)

    def get(self) -> np.ndarray:
        return self.init


class Port:
    def __init__(self, owner: Any) -> None:
        self.owner, self.partners = owner, []
        self.value: Any = None

    def connect(self, other: "Port") -> None:
        self.partners.append(other)
        other.partners.append(self)

    def received(self) -> np.ndarray:
        return sum(partner.value for partner in self.partners)


class Process:
    def neighbours(self) -> list[Any]:
        ports = [port for port in vars(self).values() if isinstance(port, Port)]
        return [partner.owner for port in ports for partner in port.partners]


class Source(Process):
    def __init__(self, data: np.ndarray) -> None:
        self.data, self.now, self.s_out = data, 0, Port(self)

    def run(self, condition: int, run_cfg: str) -> None:
        assert run_cfg == "fixed_pt"
        made: list[Any] = []
        waiting: list[Any] = [self]
        while waiting:
            process = waiting.pop()
            if process not in made:
                made.append(process)
                waiting += process.neighbours()
        for _ in range(condition):
            self.s_out.value = self.data[:, self.now % self.data.shape[1]]
            for kind in (DelayDense, LIF):
                for process in made:
                    if isinstance(process, kind):
                        process.send()
            for process in made:
                if isinstance(process, DelayDense | Sink):
                    process.receive(self.now)
                if isinstance(process, LIF):
                    process.watch(self.now)
            self.now += 1

    def stop(self) -> None:
        pass


class DelayDense(Process):
    def __init__(
        self, weights: np.ndarray, delays: np.ndarray, sign_mode: str = "mixed", num_message_bits: int = 0
    ) -> None:
        assert weights.shape == delays.shape
        assert delays.dtype == int
        assert delays.min() >= 0
        assert delays.max() <= 63
        assert sign_mode == "mixed"
        self.weights = np.clip(weights, -256, 255) >> 1 << 1
        self.delays, self.graded = delays, num_message_bits > 0
        self.pending = np.zeros((delays.max() + 1, len(weights)), int)
        self.s_in, self.a_out = Port(self), Port(self)

    def send(self) -> None:
        self.a_out.value = self.pending[0].copy()

    def receive(self, now: int) -> None:
        del now
        spikes = self.s_in.received()
        spikes = spikes if self.graded else (spikes != 0).astype(int)
        self.pending = np.roll(self.pending, -1, axis=0)
        self.pending[-1] = 0
        target = np.broadcast_to(np.arange(len(self.weights))[:, None], self.delays.shape)
        np.add.at(self.pending, (self.delays, target), self.weights * spikes)


class LIF(Process):
    def __init__(self, shape: tuple[int], du: int, dv: int, vth: int, bias_mant: Any = 0, bias_exp: int = 0) -> None:
        assert du == 4095
        assert 0 <= dv < 4096
        assert 0 < vth < 2**17
        assert 0 <= bias_exp < 8
        self.dv, self.vth, self.bias_mant, self.bias_exp = dv, vth, Var(bias_mant), bias_exp
        assert (np.abs(self.bias_mant.init + 0.5) < 4096).all()
        self.v = Var(np.zeros(shape, int))
        self.v.owner = self  # type: ignore[attr-defined]
        self.watcher: Any = None
        self.a_in, self.s_out = Port(self), Port(self)

    def send(self) -> None:
        current = self.a_in.received() << 6
        assert np.abs(current).max() <= LIMIT
        v = self.v.init
        v = np.sign(v) * (np.abs(v) * (4096 - self.dv) >> 12) + current + (self.bias_mant.init << self.bias_exp)
        v = np.clip(v, -LIMIT, LIMIT)
        fired = v > self.vth << 6
        self.v.init, self.s_out.value = np.where(fired, 0, v), fired.astype(int)

    def watch(self, now: int) -> None:
        if self.watcher is not None:
            self.watcher.data.init[:, now] = self.v.init


class Sink(Process):
    def __init__(self, shape: tuple[int], buffer: int) -> None:
        self.data, self.a_in = Var(np.zeros((*shape, buffer))), Port(self)

    def receive(self, now: int) -> None:
        self.data.init[:, now] = self.a_in.received()


class Read:
    def __init__(self, buffer: int) -> None:
        self.buffer = buffer

    def connect_var(self, var: Any) -> None:
        self.data = Var(np.zeros((*var.init.shape, self.buffer)))
        var.owner.watcher = self


class Netx:
    """Networks from the file alone."""

    def __init__(self, net_config: str, input_message_bits: int = 0) -> None:
        self.net_config = types.SimpleNamespace(f=h5py.File(net_config))
        layers = self.net_config.f["layer"]
        self.layers: list[Any] = []
        port = self.inp = Port(None)
        bits = input_message_bits
        for number in range(len(layers)):
            group = layers[str(number)]
            neuron = group["neuron"]
            assert group["type"][0] == b"dense"
            assert neuron["type"][0] == b"CUBA"
            weights = group["weight"][()].astype(int)
            delays = np.minimum(group["delay"][()], 62).astype(int)
            bias = group["bias"][()] if "bias" in group else 0
            dense = DelayDense(weights, delays, num_message_bits=bits)
            made = LIF(
                tuple(group["shape"]), neuron["iDecay"][()] - 1, neuron["vDecay"][()], neuron["vThMant"][()], bias, 6
            )
            if number:
                port.connect(dense.s_in)
            else:
                self.inp = dense.s_in
            dense.a_out.connect(made.a_in)
            self.layers.append(types.SimpleNamespace(neuron=made))
            port, bits = made.s_out, 0


def modules() -> dict[str, types.ModuleType]:
    """What to put into ``sys.modules`` for the scripts to find."""
    contents = {
        "lava.magma.core.run_conditions": {"RunSteps": lambda num_steps: num_steps},
        "lava.magma.core.run_configs": {"Loihi2SimCfg": lambda select_tag: select_tag},
        "lava.proc.dense.process": {"DelayDense": DelayDense},
        "lava.proc.io.sink": {"Read": Read, "RingBuffer": Sink},
        "lava.proc.io.source": {"RingBuffer": Source},
        "lava.proc.lif.process": {"LIF": LIF},
        "lava.utils.weightutils": {"SignMode": types.SimpleNamespace(MIXED="mixed")},
        "lava.lib.dl.netx": {"hdf5": types.SimpleNamespace(Network=Netx)},
        "lava_python311": {},
    }
    found = {}
    for name, content in contents.items():
        found[name] = types.ModuleType(name)
        vars(found[name]).update(content)
        parts = name.split(".")
        for length in range(1, len(parts)):
            found.setdefault(".".join(parts[:length]), types.ModuleType(".".join(parts[:length])))
    return found


def forget(*names: str) -> None:
    """Take modules, and all of Lava's, out of ``sys.modules``."""
    for name in list(sys.modules):
        if name in names or name == "lava" or name.startswith(("lava.", "lava_")):
            del sys.modules[name]
