"""A network in integers as memory images for HDL, with a reference engine in Verilog and a testbench."""

from __future__ import annotations

import shutil
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import ArrayLike, NDArray

from snn_delays.export.integer_image import MAX_COUNT, SOURCES, Image, events, images, refusal
from snn_delays.export.scripts import write_readme
from snn_delays.ir.canonical import CanonicalNetwork
from snn_delays.ir.trace import Trace

ENGINE = ("snn_population.v", "testbench.v", "Makefile")
COUNT_BITS = MAX_COUNT.bit_length()
Widths = dict[str, int]


def refuses(network: CanonicalNetwork) -> str | None:
    """Why a network cannot become memory images, or None."""
    return refusal(network, "HDL")


def write(network: CanonicalNetwork, trace: Trace, folder: Path) -> None:
    """Write the images, the engine and a testbench with golden vectors, which ``make`` in the folder runs.

    Arithmetic as :class:`snn_delays.fixed_point.FixedPoint`. Populations are ``p0``, ``p1``, ... in file names.

    Args:
        network: every population in integers.
        trace: samples and what the reference simulator made of them.
        folder: where to write; it exists.

    Raises ExportError where :func:`refuses` gives a reason, or for more than 255 events of a channel in a step.
    """
    populations = images(network, trace, "HDL")
    widths = [_widths(population) for population in populations]
    input_bits = _bits(network.inputs - 1)
    memories: list[_Memory] = []
    for k, (p, w) in enumerate(zip(populations, widths)):
        memories += _images(k, p, w)
    tokens = [_input_tokens(trace, input_bits)]
    tokens += [_expected(k, p, w, trace) for k, (p, w) in enumerate(zip(populations, widths))]
    for name in ENGINE:
        shutil.copyfile(SOURCES / "verilog" / name, folder / name)
    texts: dict[str, Iterable[str]] = {
        "network.vh": _header(network, trace, populations, widths, tokens[0]),
        "network.v": _top(populations, widths, input_bits),
        "network_checks.vh": _checks(populations, widths, tokens[1:]),
        **{memory.file: memory.lines() for memory in memories + tokens},
    }
    for name, lines in texts.items():
        (folder / name).write_text("\n".join(lines) + "\n", encoding="ascii")
    memory_map = "\n".join(_map(populations, widths, memories))
    write_readme(folder, "hdl", samples=trace.samples, steps=len(trace.counts), map=memory_map)


@dataclass(frozen=True, eq=False)
class _Memory:
    """Words of so many bits, for ``$readmemh``."""

    file: str
    words: NDArray[np.int64]
    bits: int
    meaning: str

    def __post_init__(self) -> None:
        if not len(self.words):  # a memory of no words is not Verilog
            object.__setattr__(self, "words", np.zeros(1, np.int64))

    def lines(self) -> Iterator[str]:
        digits = (self.bits + 3) // 4
        yield f"// {self.meaning}; {len(self.words)} words of {self.bits} bits"
        yield from (f"{word:0{digits}x}" for word in self.words.tolist())


def _map(populations: Sequence[Image], widths: Sequence[Widths], memories: Sequence[_Memory]) -> Iterator[str]:
    for memory in memories:
        yield f"{memory.file:<18}{f'{len(memory.words)} x {memory.bits}':<13}{memory.meaning}"
    for k, (p, w) in enumerate(zip(populations, widths)):
        ring = f"{p.ring_rows << w['TARGET_BITS']} x {w['CURRENT_BITS']}"
        membranes = f"{p.neurons} x {p.numbers.state_bits}"
        yield f"{f'p{k} ring (RAM)':<18}{ring:<13}{p.name}: currents of {p.ring_rows} steps to come"
        yield f"{f'p{k} membranes':<18}{membranes:<13}{p.name}: RAM"


def _bits(largest: int) -> int:
    """Bits of a number without sign."""
    return max(1, int(largest).bit_length())


def _signed_bits(values: ArrayLike) -> int:
    """Bits of the widest of numbers in two's complement."""
    numbers = np.asarray(values, np.int64)
    return 1 + _bits(max(int(numbers.max(initial=0)), -int(numbers.min(initial=0)) - 1))


def _twos_complement(values: NDArray[np.int64], bits: int) -> NDArray[np.int64]:
    return values & ((1 << bits) - 1)


def _widths(p: Image) -> Widths:
    return {
        "ROW_BITS": _bits(len(p.pointers) - 1),
        "TARGET_BITS": _bits(p.neurons - 1),
        "WEIGHT_BITS": _signed_bits(p.weight),
        "DELAY_BITS": _bits(p.ring_rows - 1),
        "POINTER_BITS": _bits(p.synapses),
        "CURRENT_BITS": 1 + _bits(p.most),
        "BIAS_BITS": _signed_bits(p.bias),
    }


def _images(k: int, p: Image, w: Widths) -> list[_Memory]:
    low, high = w["TARGET_BITS"], w["TARGET_BITS"] + w["WEIGHT_BITS"]
    words = p.target | (_twos_complement(p.weight, w["WEIGHT_BITS"]) << low) | (p.delay_steps << high)
    bits = high + w["DELAY_BITS"]
    layout = f"delay [{bits - 1}:{high}], weight [{high - 1}:{low}], target [{low - 1}:0]"
    return [
        _Memory(f"p{k}_rows.hex", p.pointers, w["POINTER_BITS"], f"{p.name}: first synapse of each source"),
        _Memory(f"p{k}_synapses.hex", words, bits, f"{p.name}: {layout}"),
        _Memory(f"p{k}_bias.hex", _twos_complement(p.bias, w["BIAS_BITS"]), w["BIAS_BITS"], f"{p.name}: bias"),
    ]


def _with_ends(starts: NDArray[np.int64], words: NDArray[np.int64], end: int) -> NDArray[np.int64]:
    """Words of all steps one after the other, with the word ``end`` closing each step."""
    return np.insert(words, starts[1:], end)


def _input_tokens(trace: Trace, input_bits: int) -> _Memory:
    """One token per active channel of a step, its count in the middle."""
    channels = trace.counts.shape[2]
    flat = trace.counts.transpose(1, 0, 2).reshape(-1, channels).astype(np.int64)
    starts, channel = events(trace.counts > 0)
    words = channel | (flat[flat > 0] << input_bits)
    bits = 1 + COUNT_BITS + input_bits
    meaning = f"end [{bits - 1}], count [{bits - 2}:{input_bits}], channel [{input_bits - 1}:0]"
    return _Memory("golden_input.hex", _with_ends(starts, words, 1 << (bits - 1)), bits, meaning)


def _expected(k: int, p: Image, w: Widths, trace: Trace) -> _Memory:
    output = trace.outputs[p.name]
    if not p.fires:
        values = _twos_complement(output.transpose(1, 0, 2).ravel().astype(np.int64), p.numbers.state_bits)
        return _Memory(f"golden_p{k}.hex", values, p.numbers.state_bits, f"{p.name}: membranes")
    bits = w["TARGET_BITS"]
    words = _with_ends(*events(output), 1 << bits)
    return _Memory(f"golden_p{k}.hex", words, bits + 1, f"{p.name}: end [{bits}], neuron [{bits - 1}:0]")


def _header(
    network: CanonicalNetwork, trace: Trace, populations: Sequence[Image], widths: Sequence[Widths], tokens: _Memory
) -> Iterator[str]:
    yield f"// The network, in steps of {network.dt_ms:g} ms. Images of population K are in pK_*.hex."
    yield "`ifndef SNN_NETWORK_VH\n`define SNN_NETWORK_VH"
    general = {
        "SNN_POPULATIONS": len(populations), "SNN_INPUTS": network.inputs, "SNN_INPUT_BITS": _bits(network.inputs - 1),
        "SNN_COUNT_BITS": COUNT_BITS, "GOLDEN_SAMPLES": trace.samples, "GOLDEN_STEPS": len(trace.counts),
        "GOLDEN_INPUT_WORDS": len(tokens.words), "GOLDEN_INPUT_BITS": tokens.bits,
    }  # fmt: skip
    yield from (f"`define {name} {value}" for name, value in general.items())
    for k, (p, w) in enumerate(zip(populations, widths)):
        yield f"// {p.name}; a unit of the membrane is worth {p.numbers.scale:g} in the trained network's units"
        yield from (f"`define P{k}_{name} {value}" for name, value in _parameters(p, w).items())
    yield "`endif"


def _parameters(p: Image, w: Widths) -> dict[str, int]:
    """The engine's parameters, but for those that the population before decides."""
    n = p.numbers
    return {
        "SOURCES": p.sources, "NEURONS": p.neurons, "ROWS": len(p.pointers), "SYNAPSES": max(1, p.synapses),
        "RING_ROWS": p.ring_rows, **w, "STATE_BITS": n.state_bits, "DECAY_BITS": n.decay_bits,
        "WEIGHT_SHIFT": p.shift, "DECAY_CODE": n.decay_code, "THRESHOLD": n.threshold, "FIRES": int(p.fires),
        "RECURRENT": int(p.recurrent), "SOFT_RESET": int(n.reset == "soft"), "STRICT": int(n.strict),
    }  # fmt: skip


def _top(populations: Sequence[Image], widths: Sequence[Widths], input_bits: int) -> Iterator[str]:
    """The populations chained, as a module with the channels of the first and the last."""
    last = len(populations) - 1
    yield '`include "network.vh"\n'
    yield "// Populations in a chain; the channels are those of snn_population.v. Out come the spikes of the last"
    yield "// population (value 1), or its membranes if it does not fire."
    yield "module network ("
    yield "    input wire clock,\n    input wire reset,\n    input wire in_valid,\n    output wire in_ready,"
    yield "    input wire in_end,\n    input wire [`SNN_INPUT_BITS-1:0] in_index,"
    yield "    input wire [`SNN_COUNT_BITS-1:0] in_value,\n    output wire out_valid,\n    input wire out_ready,"
    yield f"    output wire out_end,\n    output wire [`P{last}_TARGET_BITS-1:0] out_index,"
    yield f"    output wire signed [`P{last}_STATE_BITS-1:0] out_value,\n    output wire overflow\n);"
    for k in range(len(populations)):
        yield f"    wire valid{k}, ready{k}, end{k}, overflow{k};"
        yield f"    wire [`P{k}_TARGET_BITS-1:0] index{k};\n    wire signed [`P{k}_STATE_BITS-1:0] value{k};"
    for k, (p, w) in enumerate(zip(populations, widths)):
        parameters = {name: f"`P{k}_{name}" for name in _parameters(p, w)}
        parameters["INDEX_BITS"] = str(widths[k - 1]["TARGET_BITS"] if k else input_bits)
        parameters["COUNT_BITS"] = "1" if k else "`SNN_COUNT_BITS"
        parameters |= {f"{what.upper()}_FILE": f'"p{k}_{what}.hex"' for what in ("rows", "synapses", "bias")}
        before = ["valid", "ready", "end", "index", "value"]
        ins = {f"in_{wire}": f"{wire}{k - 1}" if k else f"in_{wire}" for wire in before}
        if k:
            ins["in_value"] += "[0]"
        outs = {f"out_{wire}": f"{wire}{k}" for wire in before}
        ports = {"clock": "clock", "reset": "reset", **ins, **outs, "overflow": f"overflow{k}", "synapse_walked": ""}
        yield f"\n    // {p.name}\n    snn_population #("
        yield ",\n".join(f"        .{name}({value})" for name, value in parameters.items())
        yield f"    ) p{k} ("
        yield ",\n".join(f"        .{name}({value})" for name, value in ports.items())
        yield "    );"
    yield f"\n    assign out_valid = valid{last};\n    assign ready{last} = out_ready;\n    assign out_end = end{last};"
    yield f"    assign out_index = index{last};\n    assign out_value = value{last};"
    yield f"    assign overflow = {' || '.join(f'overflow{k}' for k in range(last + 1))};\nendmodule"


def _checks(populations: Sequence[Image], widths: Sequence[Widths], golden: Sequence[_Memory]) -> Iterator[str]:
    """A comparison per population, for inclusion in the testbench."""
    last = len(populations) - 1
    for k, (p, memory) in enumerate(zip(populations, golden)):
        yield f"    wire failed{k};\n    wire [31:0] step{k};"
        yield f'    golden_check #(.NAME("{p.name}"), .NEURONS({p.neurons}), .FIRES({int(p.fires)}),'
        yield f"        .INDEX_BITS({widths[k]['TARGET_BITS']}), .VALUE_BITS({p.numbers.state_bits}),"
        yield f'        .WORD_BITS({memory.bits}), .WORDS({len(memory.words)}), .FILE("{memory.file}")) check{k} ('
        yield "        .clock(clock), .restart(reset), .sample(sample),"
        yield f"        .taken(dut.p{k}.out_valid && dut.p{k}.out_ready),"
        yield f"        .is_end(dut.p{k}.out_end), .index(dut.p{k}.out_index), .value(dut.p{k}.out_value),"
        yield f"        .overflow(dut.p{k}.overflow), .neuron(dut.p{k}.neuron), .walked(dut.p{k}.synapse_walked),"
        yield f"        .failed(failed{k}), .step(step{k}));"
    yield f"    wire any_failed = {' || '.join(f'failed{k}' for k in range(last + 1))};"
    yield f"    wire [31:0] finished = step{last};"
    yield "    task report_all;\n        begin"
    yield from (f"            check{k}.report;" for k in range(last + 1))
    yield "        end\n    endtask"
