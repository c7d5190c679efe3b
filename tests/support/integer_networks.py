"""Networks in integers for the engines in C and Verilog: at the edges of the arithmetic, and wrong by one."""

from collections.abc import Callable
from dataclasses import replace
from typing import Any

import numpy as np

from snn_delays.ir.canonical import CanonicalNetwork, Population, Synapses
from snn_delays.ir.simulator import simulate
from snn_delays.ir.trace import Mismatch, Trace, first_mismatch, make_trace
from tests.support.canonical_networks import CLASSES, INPUTS, random_counts, random_network

# (recurrent, reset)
CASES = [(False, "hard"), (False, "soft"), (True, "hard"), (True, "soft")]


def network_of(recurrent: bool, reset: str, **options: Any) -> CanonicalNetwork:
    return random_network(whole=True, recurrent=recurrent, reset=reset, **options)


def trace_of(network: CanonicalNetwork, steps: int = 80) -> Trace:
    """Two samples, with every spiking population between 2 % and 60 %."""
    trace = make_trace(network, random_counts(2, steps)[:, :, : network.inputs])
    for population in network.populations:
        if population.fires:
            rate = trace.outputs[population.name].mean()
            assert 0.02 < rate < 0.6, f"{population.name} fires at {rate:.1%}"
    return trace


def changed(network: CanonicalNetwork, change: Callable[[int, Population], Population]) -> CanonicalNetwork:
    populations = tuple(change(place, population) for place, population in enumerate(network.populations))
    return replace(network, populations=populations)


def with_numbers(network: CanonicalNetwork, **fields: Any) -> CanonicalNetwork:
    """Every population with other numbers of its arithmetic."""
    return changed(network, lambda _, p: replace(p, arithmetic=replace(p.arithmetic, **fields)))


def saturating() -> CanonicalNetwork:
    """Membranes of 16 bits; constant currents that drive some neurons into both ends of them."""

    def biased(_: int, population: Population) -> Population:
        bias = population.bias.copy()
        bias[:3] = -30000, -20000, 7000 if population.fires else 30000
        return replace(population, bias=bias)

    return changed(with_numbers(network_of(True, "soft"), state_bits=16), biased)


def tied() -> CanonicalNetwork:
    """Neurons that fire at the threshold, and meet it exactly."""
    network = with_numbers(network_of(True, "soft"), strict=False)
    for threshold in range(8192, 8292):
        candidate = with_numbers(network, threshold=threshold)
        if make_trace(candidate, random_counts(2, 40)).margin == 0:
            return candidate
    raise AssertionError("no membrane meets its threshold")


def _weighing(synapses: Synapses, factor: int) -> Synapses:
    return replace(synapses, weight=synapses.weight * factor)


def even() -> CanonicalNetwork:
    """Even weights beyond 8 bits, as Loihi's; they fit 8 bits when halved."""

    def doubled(_: int, p: Population) -> Population:
        own = None if p.recurrent is None else _weighing(p.recurrent, 2)
        numbers = replace(p.arithmetic, weight_shift=6)
        return replace(p, synapses=_weighing(p.synapses, 2), recurrent=own, arithmetic=numbers)

    return changed(network_of(True, "hard"), doubled)


def wide() -> CanonicalNetwork:
    """Weights of 16 bits, membranes of 32, neither weight shift nor leak in the readout, delays beyond 8 bits."""

    def widened(place: int, p: Population) -> Population:
        delays = p.synapses.delay_steps.copy()
        delays[:: 2 + place] += 300
        numbers = replace(
            p.arithmetic, weight_shift=0, state_bits=32, threshold=p.arithmetic.threshold * 2,
            decay_code=p.arithmetic.decay_code if p.fires else 4096,
        )  # fmt: skip
        own = None if p.recurrent is None else _weighing(p.recurrent, 255)
        return replace(
            p, synapses=replace(_weighing(p.synapses, 255), delay_steps=delays), recurrent=own, arithmetic=numbers
        )

    return changed(network_of(True, "soft"), widened)


def lonely() -> CanonicalNetwork:
    """One input, one neuron that fires as the last layer; a delay of 0 and nothing else."""
    network = network_of(False, "hard")
    numbers = replace(network.populations[0].arithmetic, threshold=14000)
    synapses = Synapses.sorted(1, 1, [0], [0], [0], [100], "synapse")
    return replace(network, inputs=1, populations=(Population("out", synapses, np.array([900.0]), numbers),))


def empty_readout() -> CanonicalNetwork:
    """A readout without synapses, driven by its bias alone."""

    def emptied(_: int, p: Population) -> Population:
        if p.fires:
            return p
        nothing = Synapses.sorted(p.synapses.sources, CLASSES, [], [], [], [], "synapse")
        return replace(p, synapses=nothing, bias=np.arange(CLASSES) - 2.0)

    return changed(network_of(False, "hard"), emptied)


EDGES = {
    "saturating": saturating, "tied": tied, "even": even, "wide": wide, "lonely": lonely, "empty": empty_readout,
}  # fmt: skip


def one_off(network: CanonicalNetwork, trace: Trace, what: str, where: str) -> tuple[CanonicalNetwork, Mismatch]:
    """The network with one delay, weight or threshold larger by one, and the place where the trace then fails.

    ``where`` is the name of a population or that with ``.recurrent``.
    """
    name, _, own = where.partition(".")
    field = "recurrent" if own else "synapses"
    place = next(i for i, p in enumerate(network.populations) if p.name == name)
    synapses = getattr(network.populations[place], field)
    rng = np.random.default_rng(5)
    for synapse in rng.permutation(len(synapses))[:100]:

        def off(at: int, p: Population, synapse: int = int(synapse)) -> Population:
            if at != place:
                return p
            if what == "threshold":
                return replace(p, arithmetic=replace(p.arithmetic, threshold=p.arithmetic.threshold + 1))
            values = getattr(synapses, what).copy()
            values[synapse] += 1
            return replace(p, **{field: replace(synapses, **{what: values})})

        wrong = changed(network, off)
        responses = [simulate(wrong, trace.counts[:, i]) for i in range(trace.samples)]
        outputs = {p.name: np.stack([r.outputs[p.name] for r in responses], axis=1) for p in network.populations}
        mismatch = first_mismatch(network, trace, outputs)
        if mismatch is not None:
            return wrong, mismatch
    raise AssertionError(f"no {what} of {where} matters")


def flooded(network: CanonicalNetwork) -> Trace:
    """A trace nobody can follow: in step 7 every input brings 255 events, more than the membranes hold."""
    counts = np.zeros((20, 1, INPUTS), np.uint8)
    counts[7] = 255
    outputs = {p.name: np.zeros((20, 1, p.size), np.uint8 if p.fires else np.int64) for p in network.populations}
    return Trace(counts, outputs, {})
