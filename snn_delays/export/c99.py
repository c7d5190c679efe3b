"""A network in integers as C99: constant data, a small engine without heap or library, and golden vectors."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import ArrayLike

from snn_delays.export.files import complete, filled
from snn_delays.export.integer_image import Image, events, images, refusal
from snn_delays.ir.canonical import CanonicalNetwork
from snn_delays.ir.trace import Trace

ENGINE = ("snn_engine.h", "snn_engine.c", "main_golden.c", "Makefile")


def refuses(network: CanonicalNetwork) -> str | None:
    """Why a network cannot become C99, or None."""
    return refusal(network, "C99")


def write(network: CanonicalNetwork, trace: Trace, folder: Path) -> None:
    """Write the engine, the network and the golden vectors, which ``make`` in the folder compares.

    Arithmetic as :class:`snn_delays.fixed_point.FixedPoint`, spikes through rings of the longest delay + 1 steps.
    Types are as narrow as the numbers allow.

    Raises ExportError also for more than 255 events of a channel in a step.
    """
    populations = images(network, trace, "C99")
    types, last = _types(populations), populations[-1]
    synapse = sum(types[field].itemsize for field in ("target", "delay", "weight"))
    neurons = sum(p.neurons for p in populations)
    currents = sum(p.ring_rows * p.neurons for p in populations)
    widest = max(network.inputs, *(p.neurons for p in populations))
    sizes = {
        "flash": sum(synapse * p.synapses + 4 * len(p.pointers) + 4 * p.neurons for p in populations),
        # Of snn_state: currents; a membrane of 4 bytes and a spike of 1 per neuron; rows and counters.
        "ram": currents * types["current"].itemsize + 5 * neurons + 4 * len(populations) + 16,
        "dt_ms": float(network.dt_ms),
        "last": last,
    }
    header = filled(
        "c99/templates/network.h", **sizes, about="\n".join(map(_about, populations)), populations=len(populations),
        inputs=network.inputs, neurons=neurons, currents=currents, types=types, scale=float(last.numbers.scale),
    )  # fmt: skip
    golden = filled(
        "c99/templates/golden.h", samples=trace.samples, steps=max(1, len(trace.counts)),
        index_bits=8 if widest <= 256 else 16 if widest <= 65536 else 32,
    )  # fmt: skip
    files: dict[str, Iterable[str]] = {"network.h": [header], "network.c": _data(populations)}
    files |= {"golden.h": [golden], "golden.c": _golden(trace, populations)}
    for name, lines in files.items():
        (folder / name).write_text("\n".join(lines) + "\n", encoding="ascii")
    unit = "" if last.fires else f", each unit worth {last.numbers.scale:g} in the units of the trained network"
    kind = "spikes" if last.fires else "membranes"
    complete(folder, "c99", trace, *(f"sources/c99/{name}" for name in ENGINE), **sizes, kind=kind, scale=unit)


def _types(populations: Sequence[Image]) -> dict[str, np.dtype[Any]]:
    """The narrowest type that holds every population's numbers."""

    def narrowest(signed: bool, largest: int) -> np.dtype[Any]:
        kinds = (np.int8, np.int16, np.int32, np.int64) if signed else (np.uint8, np.uint16, np.uint32)
        return np.dtype(next(kind for kind in kinds if np.iinfo(kind).max >= largest))

    # -128 fits where 127 does.
    weight = max(max(int(p.weight.max(initial=0)), -int(p.weight.min(initial=0)) - 1) for p in populations)
    return {
        "target": narrowest(False, max(p.neurons for p in populations) - 1),
        "delay": narrowest(False, max(p.ring_rows for p in populations) - 1),
        "weight": narrowest(True, weight),
        "current": narrowest(True, max(255, *(p.most for p in populations))),  # a count of 255 must fit too
    }


def _about(p: Image) -> str:
    return (
        f" * {p.name}: {p.neurons} {'spiking' if p.fires else 'integrating'} neurons, {p.synapses} synapses, delays up "
        f"to {p.ring_rows - 1}{', recurrent' * p.recurrent}; a unit of the membrane is worth {p.numbers.scale:g}"
    )


def _data(populations: Sequence[Image]) -> Iterator[str]:
    yield '#include "snn_engine.h"\n'
    for k, p in enumerate(populations):
        yield f"/* {p.name} */"
        yield from _array("uint32_t", f"rows{k}", p.pointers)
        yield from _array("snn_target", f"target{k}", p.target)
        yield from _array("snn_delay", f"delay{k}", p.delay_steps)
        yield from _array("snn_weight", f"weight{k}", p.weight)
        yield from _array("int32_t", f"bias{k}", p.bias)
    yield "const snn_population snn_populations[SNN_POPULATIONS] = {"
    neuron = current = 0
    for p in populations:
        yield filled("c99/templates/population.c", p=p, first_neuron=neuron, first_current=current)
        neuron += p.neurons
        current += p.ring_rows * p.neurons
    yield "};"


def _golden(trace: Trace, populations: Sequence[Image]) -> Iterator[str]:
    yield '#include "golden.h"\n'
    yield from _events("", trace.counts)
    yield "const golden_layer golden_inputs = {starts, index, 0};\n"
    for k, p in enumerate(populations):
        output = trace.outputs[p.name]
        if p.fires:
            yield from _events(str(k), output)
        else:
            yield from _array("int32_t", f"membrane{k}", output.transpose(1, 0, 2).ravel())
    layers = (f"{{starts{k}, index{k}, 0}}" if p.fires else f"{{0, 0, membrane{k}}}" for k, p in enumerate(populations))
    yield "const golden_layer golden_outputs[SNN_POPULATIONS] = {" + ", ".join(layers) + "};"


def _events(suffix: str, counts: ArrayLike) -> Iterator[str]:
    starts, index = events(counts)
    yield from _array("uint32_t", f"starts{suffix}", starts)
    yield from _array("golden_index", f"index{suffix}", index)


def _array(kind: str, name: str, values: ArrayLike) -> Iterator[str]:
    yield f"static const {kind} {name}[] = {{"
    # An array of no length is not C.
    texts = [str(number) for number in np.asarray(values).tolist()] or ["0"]
    yield from (", ".join(texts[start : start + 16]) + "," for start in range(0, len(texts), 16))
    yield "};"
