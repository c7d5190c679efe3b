"""Kernels from equations: a step is run once on symbols, and its lines and their derivatives are written as code.

A kernel works on rows of lanes that lie in one array at distances known to the compiler, so that it makes vectors of
them: row ``k`` begins at ``k * BLOCK``.
"""

import hashlib
from collections.abc import Iterable
from functools import lru_cache
from typing import Any

import numpy as np
from numba import njit

from snn_delays.ops.cells.equations import CELLS

BLOCK = 128  # lanes that are worked through together


class Symbol:
    """A number in a step: an input, a constant number, or the result of an operation on others."""

    def __init__(self, tape: list["Symbol"], op: str, *operands: Any) -> None:
        self.tape, self.op, self.operands, self.name = tape, op, operands, f"t{len(tape)}"
        tape.append(self)

    def _on(self, op: str, left: Any, right: Any) -> "Symbol":
        lifted = (each if isinstance(each, Symbol) else Symbol(self.tape, "number", each) for each in (left, right))
        return Symbol(self.tape, op, *lifted)

    def __add__(self, other: Any) -> "Symbol":
        return self._on("+", self, other)

    def __sub__(self, other: Any) -> "Symbol":
        return self._on("-", self, other)

    def __rsub__(self, other: Any) -> "Symbol":
        return self._on("-", other, self)

    def __mul__(self, other: Any) -> "Symbol":
        return self._on("*", self, other)

    __radd__, __rmul__ = __add__, __mul__


class _Symbols:
    """``f`` of a step on symbols."""

    def __init__(self, tape: list[Symbol], detach_reset: bool) -> None:
        self.tape, self.detach_reset = tape, detach_reset

    def spike(self, u: Symbol) -> Symbol:
        return Symbol(self.tape, "spike", u)

    def reset(self, s: Symbol) -> Symbol:
        return Symbol(self.tape, "detached", s) if self.detach_reset else s


def _code(symbol: Symbol, strict: bool) -> str | None:
    """The line that computes a symbol; None for a number, which is one for all lanes, and for inputs."""
    names = [each.name for each in symbol.operands if isinstance(each, Symbol)]
    if symbol.op in "+-*":
        return f"{symbol.name} = {f' {symbol.op} '.join(names)}"
    if symbol.op == "spike":
        (u,) = names
        fires = f"{u} > zero" if strict else f"{u} >= zero"
        return f"{symbol.name} = (one if {fires} else zero) if {u} == {u} else {u}"  # of NaN, NaN
    return f"{symbol.name} = {names[0]}" if symbol.op == "detached" else None


def _backward(tape: list[Symbol]) -> Iterable[str]:
    """Lines that give each symbol's gradient, ``g`` and its name, to what it was made of; ``slope`` is the spike's."""
    reached = {symbol for symbol in tape if symbol.op == "out"}

    def give(to: Symbol, what: str) -> Iterable[str]:
        yield f"g{to.name} = g{to.name} + {what}" if to in reached else f"g{to.name} = {what}"
        reached.add(to)

    for symbol in reversed(tape):
        if symbol not in reached:
            continue
        g = f"g{symbol.name}"
        if symbol.op == "out":
            yield from give(symbol.operands[0], symbol.operands[1])
        elif symbol.op == "spike":
            yield from give(symbol.operands[0], f"{g} * slope")
        elif symbol.op in "+-*":
            left, right = symbol.operands
            by_left, by_right = {"+": (g, g), "-": (g, f"-{g}"), "*": (f"{g} * {right.name}", f"{g} * {left.name}")}[
                symbol.op
            ]
            for operand, what in ((left, by_left), (right, by_right)):
                if operand.op != "number":
                    yield from give(operand, what)


def sources(name: str, detach_reset: bool, strict: bool) -> tuple[str, str, str]:
    """Code of three functions on rows of lanes: a step, the same that keeps what a step backwards needs, and that.

    ``advance(x, s, work)`` reads current ``x``, states and constants in ``work``, writes spikes ``s`` and the next
    states into ``work``. ``remember(x, work, then)`` keeps the states before the step, and what the spike depends
    on, in ``then``. ``retreat(x, gs, gx, work, then)``, with the surrogate's slope where that was,
    replaces gradients of states in ``work``, behind the constants, and adds to those of constants behind them.
    """
    cell = CELLS[name]
    tape: list[Symbol] = []
    x = Symbol(tape, "in")
    states, constants = ([Symbol(tape, "in") for _ in names] for names in (cell.states, cell.constants))
    spike, after = cell.step(x, *states, *constants, _Symbols(tape, detach_reset))
    fired = next(symbol for symbol in tape if symbol.op == "spike")
    lines = [line for symbol in tape if (line := _code(symbol, strict)) is not None]
    numbers = [f"{t.name} = x.dtype.type({t.operands[0]!r})" for t in tape if t.op == "number"]
    head = ["one, zero = x.dtype.type(1), x.dtype.type(0)", *numbers]
    k, c = len(states), len(constants)

    def loop(*parts: Iterable[str]) -> str:
        body = [f"    {line}" for part in parts for line in part]
        return "\n".join(f"    {line}" for line in [*head, "for j in range(x.size):", *body])

    def rows(symbols: list[Symbol], array: str, first: str) -> list[str]:
        return [f"{each.name} = {array}[{first} + {n * BLOCK} + j]" for n, each in enumerate(symbols)]

    read = [f"{x.name} = x[j]"]
    stored = [f"work[{n * BLOCK} + j] = {each.name}" for n, each in enumerate(after)]
    now, fixed = rows(states, "work", "0"), rows(constants, "work", str(k * BLOCK))
    advance = "def advance(x, s, work):\n" + loop(read, now, fixed, lines, stored, [f"s[j] = {spike.name}"])
    kept = [f"then[{n * BLOCK} + j] = {each.name}" for n, each in enumerate([*states, fired.operands[0]])]
    remember = "def remember(x, work, then):\n" + loop(read, now, fixed, lines, stored, kept)

    then = rows(states, "then", "0")
    start = (k + c) * BLOCK  # of gradients of states, then of constants
    incoming = [f"gs_{n} = work[{start + n * BLOCK} + j]" for n in range(k)]
    outs = [Symbol(tape, "out", each, f"gs_{n}") for n, each in enumerate(after) if isinstance(each, Symbol)]
    Symbol(tape, "out", spike, "gs[j]")
    assert len(outs) == k
    reverse = list(_backward(tape))
    given = {line.split(" = ")[0] for line in reverse}
    outgoing = [
        f"work[{start + n * BLOCK} + j] = {f'g{each.name}' if f'g{each.name}' in given else 'zero'}"
        for n, each in enumerate(states)
    ]
    outgoing += [
        f"work[{start + (k + n) * BLOCK} + j] += g{each.name}"
        for n, each in enumerate(constants) if f"g{each.name}" in given
    ]  # fmt: skip
    outgoing.append(f"gx[j] = g{x.name}" if f"g{x.name}" in given else "gx[j] = zero")
    slope = [f"slope = then[{k * BLOCK} + j]"]
    retreat = "def retreat(x, gs, gx, work, then):\n" + loop(
        read, then, fixed, incoming, slope, lines, reverse, outgoing
    )
    return advance, remember, retreat


@lru_cache(maxsize=64)
def derived(name: str, detach_reset: bool, strict: bool) -> tuple[Any, ...]:
    """The three functions of :func:`sources`, to be compiled into a kernel."""
    made = []
    for source in sources(name, detach_reset, strict):
        space: dict[str, Any] = {"__name__": __name__, "np": np}
        exec(compile(source, __file__, "exec"), space)
        function = space[source[4 : source.index("(")]]
        # What decides a kernel on disk is identified by the names of what it calls (snn_delays.compiling).
        function.__qualname__ += f"_{hashlib.sha256(source.encode()).hexdigest()}"
        made.append(njit(function))
    return tuple(made)
