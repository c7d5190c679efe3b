"""A network in integers as memory images for HDL, with a reference engine in Verilog and a testbench."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import ArrayLike, NDArray

from snn_delays.export.files import complete, filled
from snn_delays.export.integer_image import MAX_COUNT, Image, events, images, refusal
from snn_delays.ir.canonical import CanonicalNetwork
from snn_delays.ir.trace import Trace

ENGINE = ("snn_population.v", "testbench.v", "Makefile")
COUNT_BITS = MAX_COUNT.bit_length()
Widths = dict[str, int]
Stage = tuple[Image, Widths]


def refuses(network: CanonicalNetwork) -> str | None:
    """Why a network cannot become memory images, or None."""
    return refusal(network, "HDL")


def write(network: CanonicalNetwork, trace: Trace, folder: Path) -> None:
    """Write the images, the engine and a testbench with golden vectors, which ``make`` in the folder runs.

    Arithmetic as :class:`snn_delays.fixed_point.FixedPoint`. Populations are ``p0``, ``p1``, ... in file names.

    Raises ExportError also for more than 255 events of a channel in a step.
    """
    stages = [(population, _widths(population)) for population in images(network, trace, "HDL")]
    input_bits, last = _bits(network.inputs - 1), len(stages) - 1
    memories = [memory for p, w in stages for memory in _images(p, w)]
    tokens, golden = _input_tokens(trace, input_bits), [_expected(p, w, trace) for p, w in stages]
    header = _filled(
        "network.vh", dt_ms=network.dt_ms, populations=len(stages), inputs=network.inputs, input_bits=input_bits,
        count_bits=COUNT_BITS, samples=trace.samples, steps=len(trace.counts), words=len(tokens.words),
        bits=tokens.bits, parameters="\n".join(_parameters(p, w) for p, w in stages),
    )  # fmt: skip
    index_bits = [input_bits, *(w["TARGET_BITS"] for _, w in stages)]
    chain = _filled(
        "network.v", last=last, wires="\n".join(_filled("wires.v", p=p) for p, _ in stages),
        populations="\n".join(_instance(p, bits) for (p, _), bits in zip(stages, index_bits)),
        overflow=" || ".join(f"overflow{p.number}" for p, _ in stages),
    )  # fmt: skip
    checks = _filled(
        "network_checks.vh", last=last, failed=" || ".join(f"failed{p.number}" for p, _ in stages),
        checks="\n".join(
            _filled("check.vh", p=p, w=w, golden=memory, words=len(memory.words))
            for (p, w), memory in zip(stages, golden)
        ),
        reports="\n".join(f"            check{p.number}.report;" for p, _ in stages),
    )  # fmt: skip
    texts: dict[str, Iterable[str]] = {
        "network.vh": [header],
        "network.v": [chain],
        "network_checks.vh": [checks],
        **{memory.file: memory.lines() for memory in (*memories, tokens, *golden)},
    }
    for name, lines in texts.items():
        (folder / name).write_text("\n".join(lines) + "\n", encoding="ascii")
    complete(
        folder, "hdl", trace, *(f"sources/verilog/{name}" for name in ENGINE), map="\n".join(_map(stages, memories))
    )


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


def _map(stages: Sequence[Stage], memories: Sequence[_Memory]) -> Iterator[str]:
    for memory in memories:
        yield f"{memory.file:<18}{f'{len(memory.words)} x {memory.bits}':<13}{memory.meaning}"
    for p, w in stages:
        ring = f"{p.ring_rows << w['TARGET_BITS']} x {w['CURRENT_BITS']}"
        membranes = f"{p.neurons} x {p.numbers.state_bits}"
        yield f"{f'p{p.number} ring (RAM)':<18}{ring:<13}{p.name}: currents of {p.ring_rows} steps to come"
        yield f"{f'p{p.number} membranes':<18}{membranes:<13}{p.name}: RAM"


def _filled(template: str, **fields: object) -> str:
    return filled(f"verilog/templates/{template}", **fields)


def _parameters(p: Image, w: Widths) -> str:
    """The engine's parameters, but for those that the population before decides."""
    return _filled("population.vh", p=p, w=w, rows=len(p.pointers), synapses=max(1, p.synapses))


def _instance(p: Image, index_bits: int) -> str:
    wires = ("valid", "ready", "end", "index", "value")
    source = {wire: f"{wire}{p.number - 1}" if p.number else f"in_{wire}" for wire in wires}
    if p.number:
        source["value"] += "[0]"
    count_bits = "1" if p.number else "`SNN_COUNT_BITS"
    return _filled("population.v", p=p, index_bits=index_bits, count_bits=count_bits, source=source)


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


def _images(p: Image, w: Widths) -> list[_Memory]:
    low, high = w["TARGET_BITS"], w["TARGET_BITS"] + w["WEIGHT_BITS"]
    words = p.target | (_twos_complement(p.weight, w["WEIGHT_BITS"]) << low) | (p.delay_steps << high)
    k, bits = p.number, high + w["DELAY_BITS"]
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


def _expected(p: Image, w: Widths, trace: Trace) -> _Memory:
    output, file = trace.outputs[p.name], f"golden_p{p.number}.hex"
    if not p.fires:
        values = _twos_complement(output.transpose(1, 0, 2).ravel().astype(np.int64), p.numbers.state_bits)
        return _Memory(file, values, p.numbers.state_bits, f"{p.name}: membranes")
    bits = w["TARGET_BITS"]
    words = _with_ends(*events(output), 1 << bits)
    return _Memory(file, words, bits + 1, f"{p.name}: end [{bits}], neuron [{bits - 1}:0]")
