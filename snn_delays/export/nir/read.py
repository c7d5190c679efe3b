"""A NIR graph as a canonical network: whatever its linear nodes and delays do between neurons are synapses."""

from __future__ import annotations

import json
from dataclasses import replace
from itertools import pairwise
from typing import Any

import nir
import numpy as np

from snn_delays.errors import ConfigError, DataError, ExportError
from snn_delays.export.nir.graph import FIELDS, PRECISION, THROUGH, Array, Graph, Node, flat
from snn_delays.export.nir.nodes import shapes_of
from snn_delays.export.nir.signals import Signals, Taps, is_population
from snn_delays.export.nir.write import UNIT_MS, merged, neuron_node, one_delay_each
from snn_delays.ir.canonical import CanonicalNetwork, Membrane, Population, Synapses, check

KINDS = ("Input", "Linear", "Affine", "Scale", "Flatten", "Delay", "LIF", "CubaLIF", "IF", "LI", "Output")
SHARINGS = ("synapse", "axon", "dendrite")
Claims = dict[str, dict[str, Any]]


def from_nir(
    graph: nir.NIRGraph, *, dt_ms: float | None = None, time_unit: str | None = None, reset: str | None = None
) -> CanonicalNetwork:
    r"""The network that a NIR graph describes.

    The graph must be a chain of populations: Input, then LIF, CubaLIF, IF or LI nodes that each receive from one
    population (or the input) and themselves, through any nodes Linear, Affine, Scale, Flatten and Delay between them:
    one after the other, side by side, or none; an LI only as the last, and not itself; perhaps an Output. Nested graphs
    are flattened; of several axes the last varies fastest. A population that receives from itself without a Delay does
    so a step later.
    So both encodings of :func:`snn_delays.export.nir.to_nir` come back, equal in every parameter but for synapses that
    share source, target and delay, which NIR adds up.

    ``tau_steps = tau / dt`` and ``v_reset = v_leak``, one number for all neurons of a node. ``r = tau / dt`` means
    ``decay_input = False``, ``r = 1`` True; any other ``r`` is folded into weights and bias,

    .. math:: w' = w\; r\, dt / \tau

    and of a CubaLIF by ``w_in dt / tau_syn`` besides; an IF has an infinite ``tau_steps`` and ``w' = w r dt``.

    A LIF fires at ``v > v_threshold`` unless metadata say ``threshold_op = "ge"``. What our metadata say beyond that
    (what shares delays, ``decay_input`` where both would do) is taken only where the nodes agree; without them an axon
    or dendrite is taken to share its delay where each has but one.

    Args:
        graph: from :func:`snn_delays.export.nir.write.read_nir` or another tool.
        dt_ms: length of a step; None takes it from the graph's metadata.
        time_unit: of ``tau`` and ``delay``, ``"s"``, ``"ms"`` or ``"us"``, for graphs whose metadata do not say it, as
            those of other tools: they are in seconds.
        reset: of neurons that say nothing in their metadata, for NIR has no field for it: ``"hard"`` (as NIR has it,
            also None), ``"soft"`` (``v = h - v_threshold``) or ``"soft_late"`` (the threshold is subtracted a step
            later, after the leak: the default of snnTorch, whose files do not say so). The last becomes a soft reset
            and a synapse of every neuron onto itself that takes off the rest.

    Raises:
        ConfigError: ``dt_ms``, ``time_unit`` or ``reset`` makes no sense.
        DataError: the node that is of another kind (:func:`snn_delays.export.nir.interpret.interpret` runs more of
            them), that no chain of populations has, whose numbers are missing, not finite or differ between neurons,
            whose delays are not integer steps, whose bias is delayed, whose name is not that of a population; a cycle
            without neurons; no dt or no unit; arguments that contradict the metadata.
    """
    plain = flat(graph, reset)
    for node in plain.nodes.values():
        if node.kind not in (*KINDS, THROUGH):
            raise node.error(
                f" is a {node.kind}, for which networks here have no layer; known are {', '.join(KINDS)} and nested "
                "graphs. snn_delays.export.nir.interpret.interpret runs it"
            )
    unit = _unit_ms(plain, time_unit)
    claims, claimed_dt_ms, notes = _claims(plain)
    dt = plain.number("dt") if dt_ms is None else float(dt_ms) / unit
    if dt is None or not (np.isfinite(dt) and dt > 0):
        if dt_ms is None:
            raise DataError("the graph's metadata have no dt, the length of a step; pass dt_ms=")
        raise ConfigError(f"dt_ms must be a positive number of milliseconds, got {dt_ms}")
    if dt_ms is None:
        dt_ms = claimed_dt_ms if claimed_dt_ms is not None and claimed_dt_ms / unit == dt else dt * unit
    _, shapes = shapes_of(plain, plain.nodes[plain.entry].shape())
    signals = Signals(plain, {name: int(np.prod(shape)) for name, shape in shapes.items()}, dt)
    chain = _chain(plain, signals)
    populations = tuple(
        _population(name, before, signals, claims.get(name, {}), reset)
        for before, name in pairwise([plain.entry, *chain])
    )
    network = CanonicalNetwork(signals.sizes[plain.entry], populations, float(dt_ms), notes)
    try:
        check(network)
    except ExportError as error:
        raise DataError(f"the graph is no network of this package: {error}") from error
    return network


def _unit_ms(graph: Graph, time_unit: str | None) -> float:
    """Milliseconds in a unit of the graph's time."""
    if time_unit is not None and time_unit not in UNIT_MS:
        raise ConfigError(f"time_unit must be one of {', '.join(UNIT_MS)}, got {time_unit!r}")
    known = graph.metadata.get("time_unit")
    known = time_unit if known is None else known
    if known is None:
        raise DataError(
            "the graph's metadata do not say the unit of tau and delay; pass time_unit='s', which other tools write, "
            "or 'ms'"
        )
    if known not in UNIT_MS:
        raise DataError(f"the graph's metadata have time_unit {known!r}, known are {', '.join(UNIT_MS)}")
    if time_unit not in (None, known):
        raise DataError(f"the graph's metadata have time_unit {known!r}, and {time_unit!r} was passed")
    return UNIT_MS[known]


def _claims(graph: Graph) -> tuple[Claims, float | None, dict[str, str]]:
    """What our metadata say of each population, the step in milliseconds, and the notes."""
    text = graph.metadata.get("snn_delays")
    if text is None:
        return {}, None, {}
    try:
        outline = json.loads(str(text))
        claims = {str(entry["name"]): dict(entry) for entry in outline["populations"]}
        for entry in claims.values():
            neuron_node(Membrane(**entry["numbers"]), True, 1, 1.0)
            if entry["sharing"] not in SHARINGS or entry["recurrent"] not in (None, *SHARINGS):
                raise ValueError(f"sharing {entry['sharing']!r}, {entry['recurrent']!r}")
        dt_ms = None if outline.get("dt_ms") is None else float(outline["dt_ms"])
        return claims, dt_ms, {str(key): str(value) for key, value in outline["notes"].items()}
    except (ValueError, TypeError, KeyError, AttributeError, RecursionError) as error:
        raise DataError(
            f"the graph's metadata 'snn_delays' are damaged ({error!r}); delete them to read it by its nodes alone"
        ) from error


def _chain(graph: Graph, signals: Signals) -> list[str]:
    """Populations in the order of the chain they must make."""
    after: dict[str, str] = {}
    for node in filter(is_population, graph.nodes.values()):
        sources = {source for name in graph.sources[node.name] for source in signals.after[name].taps} - {node.name}
        if len(sources) != 1:
            raise node.error(
                f" receives from {', '.join(sorted(sources)) or 'nothing'}; known are chains, where each population "
                "receives from the one before it and itself"
            )
        (source,) = sources
        if source in after:
            raise DataError(
                f"{after[source]!r} and {node.name!r} both receive from {source!r}; known are chains, without forks"
            )
        after[source] = node.name
    chain: list[str] = []
    while (last := chain[-1] if chain else graph.entry) in after:
        chain.append(after.pop(last))
    if after or not chain:
        raise DataError(f"no chain leads from {graph.entry!r} to {', '.join(sorted(after.values())) or 'any neurons'}")
    for name, node in graph.nodes.items():
        if node.kind == "Output" and [_origin(graph, source) for source in graph.sources[name]] != chain[-1:]:
            raise node.error(
                f" receives from {', '.join(graph.sources[name])}; expected the last population, {chain[-1]}"
            )
    return chain


def _origin(graph: Graph, name: str) -> str:
    """The node whose output a node passes on unchanged."""
    while graph.nodes[name].kind in (THROUGH, "Flatten") and len(graph.sources[name]) == 1:
        (name,) = graph.sources[name]
    return name


def _population(name: str, before: str, signals: Signals, claimed: dict[str, Any], reset: str | None) -> Population:
    node, size, signal = signals.graph.nodes[name], signals.sizes[name], signals.arriving(name)
    numbers, gain, late = _membrane(node, signals, claimed, reset)
    recurrent = None
    if name in signal.taps:
        if (signal.taps[name].delay < 1).any():
            raise node.error(" receives from itself without a delay; a spike comes back no earlier than a step on")
        recurrent = _synapses(signal.taps[name], size, size, gain, claimed.get("recurrent"))
    if late:
        recurrent = _with_late_reset(numbers, recurrent, size)
    return Population(
        name=name,
        synapses=_synapses(signal.taps[before], signals.sizes[before], size, gain, claimed.get("sharing")),
        bias=signal.bias * gain,
        arithmetic=numbers,
        fires=node.kind != "LI",
        recurrent=recurrent,
    )


def _with_late_reset(numbers: Membrane, recurrent: Synapses | None, size: int) -> Synapses:
    r"""Synapses that take off a step later what leaks from a threshold that is subtracted at once.

    .. math:: \alpha (h - \theta) - (1 - \alpha) \theta = \alpha h - \theta
    """
    leaked = np.full(size, -(1 - numbers.decay) * numbers.threshold / numbers.gain)
    every, none = np.arange(size), np.zeros(0)
    given = recurrent or Synapses.sorted(size, size, none, none, none, none, "synapse")
    source, target, delay, weight = (
        np.concatenate(pair)
        for pair in (
            (given.source, every), (given.target, every), (given.delay_steps, np.ones(size)), (given.weight, leaked)
        )
    )  # fmt: skip
    return merged(Synapses.sorted(size, size, source, target, delay, weight, "synapse"))


def _synapses(taps: Taps, sources: int, targets: int, gain: Array, claimed: str | None) -> Synapses:
    weight = taps.weight * gain[taps.row]
    synapses = merged(Synapses.sorted(sources, targets, taps.column, taps.row, taps.delay, weight, "synapse"))
    sharing = claimed or "synapse"
    if claimed is None and synapses.delay_steps.any():
        if one_delay_each(synapses.source, synapses.delay_steps, sources) is not None:
            sharing = "axon"
        elif one_delay_each(synapses.target, synapses.delay_steps, targets) is not None:
            sharing = "dendrite"
    return replace(synapses, sharing=sharing)


def _membrane(node: Node, signals: Signals, claimed: dict[str, Any], reset: str | None) -> tuple[Membrane, Array, bool]:
    """A population's numbers, what its weights are multiplied by, and whether its reset is a step late."""
    keys, fires, size, dt = FIELDS[node.kind], node.kind != "LI", signals.sizes[node.name], signals.dt
    values = {key: node.spread(key, (size,), axes=False) for key in keys}
    strict, kind = signals.graph.firing(node, reset) if fires else (False, "hard")
    ones = np.ones(size)
    if claimed:
        numbers = Membrane(**claimed["numbers"])
        same = neuron_node(numbers, fires, size, dt)
        if (
            type(same).__name__ == node.kind
            and all(np.array_equal(values[k], getattr(same, k)) for k in keys)
            and (not fires or (numbers.strict, numbers.reset) == (strict, kind))
        ):
            return numbers, ones, False
    for key in keys:
        if key.startswith("tau"):
            node.time_constants(key, dt)
    if node.kind == "CubaLIF" and kind == "soft_late":
        raise node.error(" is a CubaLIF, whose reset a step late would be filtered here; known are 'hard' and 'soft'")
    shared = {key: _shared(node, key, values[key]) for key in keys if key not in ("r", "w_in")}
    v_reset = shared.get("v_reset", shared.get("v_leak", 0.0))
    v_leak = shared.get("v_leak", v_reset)
    if v_reset != v_leak:
        raise node.error(f" leaks to {v_leak:g} and is reset to {v_reset:g}; neurons here have one rest for both")
    tau, tau_syn = shared.get("tau", shared.get("tau_mem", np.inf)), shared.get("tau_syn", dt)
    tau_steps, syn_steps = max(tau / dt, 1.0), max(tau_syn / dt, 1.0)
    weight = values.get("w_in", ones)
    gain = values["r"] * dt if node.kind == "IF" else values["r"] / tau_steps * (weight / syn_steps)
    decay_input = False
    if np.allclose(gain, 1, rtol=0, atol=PRECISION):
        gain = ones
    elif node.kind != "IF" and np.allclose([values["r"], weight], 1, rtol=0, atol=PRECISION):
        gain, decay_input = ones, True
    soft = "hard" if kind == "hard" else "soft"
    threshold = shared.get("v_threshold", 1.0)
    numbers = Membrane(tau_steps, decay_input, threshold, v_reset, soft, strict, syn_steps)
    return numbers, gain, kind == "soft_late"


def _shared(node: Node, key: str, values: Array) -> float:
    """The number that all neurons of a node have."""
    different = np.unique(values)
    if len(different) != 1:
        raise node.error(
            f" has {len(different)} values of {key} ({', '.join(f'{value:g}' for value in different[:4])}"
            f"{', ...' if len(different) > 4 else ''}); the neurons of a population here share one"
        )
    return float(different[0])
