"""A network in integers as C99: constant data, a small engine without heap or library, and golden vectors."""

from __future__ import annotations

import json
import shutil
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import ArrayLike

from snn_delays.export.integer_image import SOURCES, Image, events, images, refusal
from snn_delays.export.scripts import write_readme
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

    Args:
        network: every population in integers.
        trace: samples and what the reference simulator made of them.
        folder: where to write; it exists.

    Raises ExportError where :func:`refuses` gives a reason, or for more than 255 events of a channel in a step.
    """
    populations = images(network, trace, "C99")
    types = _types(populations)
    flash, ram = _flash_bytes(populations, types), _ram_bytes(populations, types)
    for name in ENGINE:
        shutil.copyfile(SOURCES / "c99" / name, folder / name)
    last = populations[-1]
    files: dict[str, Iterable[str]] = {
        "network.h": _header(network, populations, types, flash, ram),
        "network.c": _data(populations),
        "golden.h": _golden_header(trace, network.inputs, populations),
        "golden.c": _golden(trace, populations),
    }
    for name, lines in files.items():
        (folder / name).write_text("\n".join(lines) + "\n", encoding="ascii")
    write_readme(
        folder, "c99", flash=flash, ram=ram, samples=trace.samples, steps=len(trace.counts), dt_ms=network.dt_ms,
        outputs=last.neurons, kind="spikes" if last.fires else "membranes", last=last.name,
        scale="" if last.fires else f", each unit worth {last.numbers.scale:g} in the units of the trained network",
    )  # fmt: skip


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
        # A count of 255 must fit too.
        "current": max(narrowest(True, max(p.most for p in populations)), np.dtype(np.int16), key=lambda d: d.itemsize),
    }


def _flash_bytes(populations: Sequence[Image], types: dict[str, np.dtype[Any]]) -> int:
    synapse = sum(types[field].itemsize for field in ("target", "delay", "weight"))
    return sum(synapse * p.synapses + 4 * len(p.pointers) + 4 * p.neurons for p in populations)


def _ram_bytes(populations: Sequence[Image], types: dict[str, np.dtype[Any]]) -> int:
    """Of snn_state without padding: currents; a membrane of 4 bytes and a spike of 1 per neuron; rows and counters."""
    currents = sum(p.ring_rows * p.neurons for p in populations)
    return currents * types["current"].itemsize + 5 * sum(p.neurons for p in populations) + 4 * len(populations) + 16


def _header(
    network: CanonicalNetwork, populations: Sequence[Image], types: dict[str, np.dtype[Any]], flash: int, ram: int
) -> Iterator[str]:
    yield "/* The network: sizes and types. The equation is in snn_engine.h, the data in network.c."
    yield " *"
    for p in populations:
        kind = "spiking" if p.fires else "integrating"
        own = ", recurrent" if p.recurrent else ""
        yield (
            f" * {p.name}: {p.neurons} {kind} neurons, {p.synapses} synapses, delays up to {p.ring_rows - 1}"
            f"{own}; a unit of the membrane is worth {p.numbers.scale:g}"
        )
    yield f" *\n * Constant data {flash} bytes (flash), state {ram} bytes (RAM), without padding. */"
    yield "#ifndef SNN_NETWORK_H\n#define SNN_NETWORK_H\n\n#include <stdint.h>\n"
    for name, number in (
        ("POPULATIONS", len(populations)),
        ("INPUTS", network.inputs),
        ("OUTPUTS", populations[-1].neurons),
        ("NEURONS", sum(p.neurons for p in populations)),
        ("CURRENTS", sum(p.ring_rows * p.neurons for p in populations)),
        ("FLASH_BYTES", flash),
        ("RAM_BYTES", ram),
        ("DT_MS", float(network.dt_ms)),
        ("OUTPUT_SCALE", float(populations[-1].numbers.scale)),
    ):
        yield f"#define SNN_{name} {number!r}"
    yield ""
    for field, held in types.items():
        yield f"typedef {held.name}_t snn_{field};"
    yield "\n#endif"


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
    for k, p in enumerate(populations):
        n = p.numbers
        fields = {
            "name": json.dumps(p.name),
            **{field: f"{field}{k}" for field in ("rows", "target", "delay", "weight", "bias")},
            "sources": p.sources, "neurons": p.neurons, "ring_rows": p.ring_rows,
            "first_neuron": neuron, "first_current": current,
            "decay_code": n.decay_code, "limit": n.limit, "threshold": n.threshold,
            "decay_bits": n.decay_bits, "weight_shift": p.shift,
            "fires": int(p.fires), "recurrent": int(p.recurrent),
            "soft_reset": int(n.reset == "soft"), "strict": int(n.strict),
        }  # fmt: skip
        yield "    {" + ",\n     ".join(f".{field} = {value}" for field, value in fields.items()) + "},"
        neuron += p.neurons
        current += p.ring_rows * p.neurons
    yield "};"


def _golden_header(trace: Trace, inputs: int, populations: Sequence[Image]) -> Iterator[str]:
    widest = max(inputs, *(p.neurons for p in populations))
    yield "/* Golden vectors: events as lists of indices (one entry per event), membranes as they are. */"
    yield '#ifndef SNN_GOLDEN_H\n#define SNN_GOLDEN_H\n\n#include <stdint.h>\n\n#include "network.h"\n'
    yield f"#define GOLDEN_SAMPLES {trace.samples}\n#define GOLDEN_STEPS {max(1, len(trace.counts))}\n"
    yield f"typedef uint{8 if widest <= 256 else 16 if widest <= 65536 else 32}_t golden_index;\n"
    yield "/* Step t of sample s is place s * GOLDEN_STEPS + t. */"
    yield "typedef struct {"
    yield "    const uint32_t *starts; /* of the events of each place, and the end of the last; 0 for integrators */"
    yield "    const golden_index *index;"
    yield "    const int32_t *membrane; /* [place][neuron]; 0 for spiking neurons */"
    yield "} golden_layer;\n"
    yield "extern const golden_layer golden_inputs;"
    yield "extern const golden_layer golden_outputs[SNN_POPULATIONS];\n\n#endif"


def _golden(trace: Trace, populations: Sequence[Image]) -> Iterator[str]:
    yield '#include "golden.h"\n'
    starts, index = events(trace.counts)
    yield from _array("uint32_t", "starts", starts)
    yield from _array("golden_index", "index", index)
    yield "const golden_layer golden_inputs = {starts, index, 0};\n"
    layers = []
    for k, p in enumerate(populations):
        output = trace.outputs[p.name]
        if p.fires:
            starts, index = events(output)
            yield from _array("uint32_t", f"starts{k}", starts)
            yield from _array("golden_index", f"index{k}", index)
            layers.append(f"{{starts{k}, index{k}, 0}}")
        else:
            yield from _array("int32_t", f"membrane{k}", output.transpose(1, 0, 2).ravel())
            layers.append(f"{{0, 0, membrane{k}}}")
    yield "const golden_layer golden_outputs[SNN_POPULATIONS] = {" + ", ".join(layers) + "};"


def _array(kind: str, name: str, values: ArrayLike) -> Iterator[str]:
    numbers = np.asarray(values)
    yield f"static const {kind} {name}[] = {{"
    # An array of no length is not C.
    texts = [str(number) for number in numbers.tolist()] or ["0"]
    yield from (", ".join(texts[start : start + 16]) + "," for start in range(0, len(texts), 16))
    yield "};"
