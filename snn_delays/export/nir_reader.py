"""A NIR graph as a canonical network: whatever its linear nodes and delays do between neurons are synapses."""

from __future__ import annotations

import json
from dataclasses import dataclass
from graphlib import CycleError, TopologicalSorter
from typing import Any, NamedTuple

import nir
import numpy as np
from numpy.typing import NDArray

from snn_delays.errors import ConfigError, DataError, ExportError
from snn_delays.export.canonical import CanonicalNetwork, Membrane, Population, Synapses, check
from snn_delays.export.nir import merged, neuron_node, one_delay_each

UNIT_MS = {"ms": 1.0, "s": 1000.0, "us": 0.001}
KNOWN = (nir.Input, nir.Linear, nir.Affine, nir.Delay, nir.LIF, nir.LI, nir.Output)
SHARINGS = ("synapse", "axon", "dendrite")
# To which two numbers of other tools are one: they may keep float32.
PRECISION = 1e-6
Array = NDArray[np.float64]
Claims = dict[str, dict[str, Any]]


class _Taps(NamedTuple):
    """Ways from a source to a node: channel ``row`` hears ``weight`` times ``column``, ``delay`` steps late."""

    row: NDArray[np.int64]
    column: NDArray[np.int64]
    delay: NDArray[np.int64]
    weight: Array


@dataclass(frozen=True)
class _Signal:
    """What a node puts out: taps from input and populations, and a constant for each channel."""

    taps: dict[str, _Taps]
    bias: Array


def from_nir(graph: nir.NIRGraph, *, dt_ms: float | None = None, time_unit: str | None = None) -> CanonicalNetwork:
    r"""The network that a NIR graph describes.

    The graph must be a chain of populations: Input, then LIF or LI nodes that each hear one population (or the input)
    and themselves, through any nodes Linear, Affine and Delay between them: one after the other, side by side, or none;
    an LI only as the last, and not itself.
    So both encodings of :func:`snn_delays.export.nir.to_nir` come back, equal in every parameter but for synapses that
    share source, target and delay, which NIR adds up, and so do delays that other tools put before or behind their
    weights. The last population may lead to an Output.

    ``tau_steps = tau / dt`` and ``v_reset = v_leak``, one number for all neurons of a node. ``r = tau / dt`` means
    ``decay_input = False``, ``r = 1`` True; any other ``r`` is folded into weights and bias,

    .. math:: w' = w\; r\, dt / \tau

    A LIF fires at ``v > v_threshold`` unless metadata say ``threshold_op = "ge"``. What our metadata say beyond that
    (what shares delays, ``decay_input`` where both would do) is taken only where the nodes agree; without them an axon
    or dendrite is taken to share its delay where each has but one.

    Args:
        graph: from :func:`snn_delays.export.nir.read_nir` or another tool.
        dt_ms: length of a step; None takes it from the graph's metadata.
        time_unit: of ``tau`` and ``delay``: ``"ms"``, ``"s"`` or ``"us"``; None takes it from the metadata, else ms.

    Raises:
        ConfigError: ``dt_ms`` or ``time_unit`` makes no sense.
        DataError: the node that is of another kind, that no chain of populations has, whose numbers are not finite or
            differ between neurons, whose delays are not whole steps, whose bias is delayed, whose name is not that of
            a population; a cycle without neurons or without a delay; no dt.
    """
    unit = UNIT_MS.get(str(graph.metadata.get("time_unit", "ms") if time_unit is None else time_unit))
    if unit is None:
        raise ConfigError(f"time_unit must be one of {', '.join(UNIT_MS)}, got {time_unit!r} or what metadata say")
    step = float(graph.metadata.get("dt", np.nan)) * unit if dt_ms is None else float(dt_ms)
    if not (np.isfinite(step) and step > 0):
        if dt_ms is None:
            raise DataError("the graph's metadata have no dt, the length of a step; pass dt_ms=")
        raise ConfigError(f"dt_ms must be a positive number of milliseconds, got {dt_ms}")
    heard = _heard(graph)
    start = _only(graph, nir.Input)
    claims, notes = _claims(graph)
    signals = _signals(graph, heard, step / unit)
    chain = _chain(graph, start, heard, signals)
    populations, before = [], start
    for name in chain:
        signal = _sum([signals[source] for source in heard[name]], _size(name, graph.nodes[name]), name)
        populations.append(_population(name, before, graph, signal, step / unit, claims.get(name, {})))
        before = name
    network = CanonicalNetwork(_size(start, graph.nodes[start]), tuple(populations), step, notes)
    try:
        check(network)
    except ExportError as error:
        raise DataError(f"the graph is no network of this package: {error}") from error
    return network


def _heard(graph: nir.NIRGraph) -> dict[str, list[str]]:
    """The nodes that lead to each node; all of them are of known kinds."""
    for name, node in graph.nodes.items():
        if not isinstance(node, KNOWN):
            known = ", ".join(kind.__name__ for kind in KNOWN)
            raise DataError(f"node {name!r} is a {type(node).__name__}; known are {known}")
    heard: dict[str, list[str]] = {name: [] for name in graph.nodes}
    for source, target in graph.edges:
        if source not in heard or target not in heard:
            raise DataError(f"the edge from {source!r} to {target!r} leads from or to no node")
        if isinstance(graph.nodes[source], nir.Output) or isinstance(graph.nodes[target], nir.Input):
            raise DataError(f"the edge from {source!r} to {target!r} leaves an Output or enters an Input")
        heard[target].append(source)
    return heard


def _only(graph: nir.NIRGraph, kind: type) -> str:
    found = [name for name, node in graph.nodes.items() if isinstance(node, kind)]
    if len(found) != 1:
        raise DataError(f"the graph has {len(found)} {kind.__name__} nodes, expected one")
    return found[0]


def _claims(graph: nir.NIRGraph) -> tuple[Claims, dict[str, str]]:
    """What our metadata say of each population, and the notes."""
    text = graph.metadata.get("snn_delays")
    if text is None:
        return {}, {}
    try:
        outline = json.loads(str(text))
        claims = {str(entry["name"]): dict(entry) for entry in outline["populations"]}
        for entry in claims.values():
            neuron_node(Membrane(**entry["numbers"]), True, 1, 1.0)
            if entry["sharing"] not in SHARINGS or entry["recurrent"] not in (None, *SHARINGS):
                raise ValueError(f"sharing {entry['sharing']!r}, {entry['recurrent']!r}")
        return claims, {str(key): str(value) for key, value in outline["notes"].items()}
    except (ValueError, TypeError, KeyError, AttributeError) as error:
        raise DataError(
            f"the graph's metadata 'snn_delays' are damaged ({error!r}); delete them to read it by its nodes alone"
        ) from error


def _fires(node: Any) -> bool:
    return isinstance(node, nir.LIF)


def _is_population(node: Any) -> bool:
    return isinstance(node, nir.LIF | nir.LI)


def _size(name: str, node: Any) -> int:
    shape = np.shape(node.r) if _is_population(node) else tuple(int(n) for n in node.input_type["input"])
    if len(shape) != 1:
        raise DataError(f"node {name!r} has shape {list(shape)}, expected one axis of channels")
    return int(shape[0])


def _signals(graph: nir.NIRGraph, heard: dict[str, list[str]], dt: float) -> dict[str, _Signal]:
    """What every node puts out in terms of the input and the populations."""
    # Populations begin anew: what leads to them does not lead through them.
    within = {name: [] if _is_population(graph.nodes[name]) else sources for name, sources in heard.items()}
    try:
        order = list(TopologicalSorter(within).static_order())
    except CycleError as error:
        raise DataError(f"the graph has a cycle without neurons: {', '.join(error.args[1][:-1])}") from None
    signals: dict[str, _Signal] = {}
    for name in order:
        node = graph.nodes[name]
        if isinstance(node, nir.Input) or _is_population(node):
            every = np.arange(_size(name, node))
            taps = _Taps(every, every, np.zeros_like(every), np.ones(len(every)))
            signals[name] = _Signal({name: taps}, np.zeros(len(every)))
        else:
            signals[name] = _behind(name, node, [signals[source] for source in heard[name]], dt)
    return signals


def _behind(name: str, node: Any, incoming: list[_Signal], dt: float) -> _Signal:
    """What a node makes of what it hears."""
    if isinstance(node, nir.Output):
        return _sum(incoming, _size(name, node), name)
    if isinstance(node, nir.Delay):
        steps = _whole_steps(name, node, dt)
        signal = _sum(incoming, len(steps), name)
        if (steps[signal.bias != 0] > 0).any():
            raise DataError(
                f"node {name!r} delays a bias, which would act late; a network's bias acts from the first step on: put "
                "it behind the delay"
            )
        return _Signal({s: t._replace(delay=t.delay + steps[t.row]) for s, t in signal.taps.items()}, signal.bias)
    weight = _finite(name, "weight", node.weight)
    if weight.ndim != 2:
        raise DataError(f"node {name!r} has weights of shape {list(weight.shape)}, expected [target, source]")
    signal = _sum(incoming, weight.shape[1], name)
    bias = weight @ signal.bias
    if isinstance(node, nir.Affine):
        bias = bias + _finite(name, "bias", node.bias)
    return _Signal({source: _weighed(weight, taps) for source, taps in signal.taps.items()}, bias)


def _sum(signals: list[_Signal], size: int, name: str) -> _Signal:
    """Signals that meet at a node of ``size`` channels."""
    taps: dict[str, _Taps] = {}
    for signal in signals:
        if len(signal.bias) != size:
            raise DataError(f"node {name!r} takes {size} channels, a node before it has {len(signal.bias)}")
        for source, more in signal.taps.items():
            taps[source] = _together([taps[source], more]) if source in taps else more
    return _Signal(taps, sum((signal.bias for signal in signals), np.zeros(size)))


def _together(parts: list[_Taps]) -> _Taps:
    whole = [np.concatenate([part[i] for part in parts]) for i in range(4)]
    return _Taps(*whole)


def _weighed(weight: Array, taps: _Taps) -> _Taps:
    """Taps behind a matrix, delay by delay."""
    found = [_Taps(taps.row[:0], taps.row[:0], taps.row[:0], taps.weight[:0])]
    for delay in np.unique(taps.delay):
        here = taps.delay == delay
        rows, row = np.unique(taps.row[here], return_inverse=True)
        columns, column = np.unique(taps.column[here], return_inverse=True)
        dense = np.zeros((len(rows), len(columns)))
        np.add.at(dense, (row, column), taps.weight[here])
        product = weight[:, rows] @ dense
        target, source = np.nonzero(product)
        found.append(_Taps(target, columns[source], np.full(len(target), delay), product[target, source]))
    return _together(found)


def _whole_steps(name: str, node: Any, dt: float) -> NDArray[np.int64]:
    steps = _finite(name, "delay", node.delay).reshape(-1) / dt
    whole = np.rint(steps)
    odd = (np.abs(steps - whole) > PRECISION * np.maximum(1, whole)) | (whole < 0) | (whole > 2**30)
    if odd.any():
        raise DataError(
            f"node {name!r}: {int(odd.sum())} of {len(whole)} delays are not whole steps >= 0 of {dt:g}, as "
            f"{float(node.delay.reshape(-1)[odd][0]):g}; pass the dt_ms the graph was made with"
        )
    return whole.astype(np.int64)


def _finite(name: str, what: str, values: Any) -> Array:
    array = np.asarray(values, np.float64)
    bad = int((~np.isfinite(array)).sum())
    if bad:
        raise DataError(f"node {name!r}: {bad} of {array.size} values of {what} are not finite")
    return array


def _chain(graph: nir.NIRGraph, start: str, heard: dict[str, list[str]], signals: dict[str, _Signal]) -> list[str]:
    """Populations in the order of the chain they must make."""
    behind: dict[str, str] = {}
    populations = [name for name, node in graph.nodes.items() if _is_population(node)]
    for name in populations:
        sources = {source for node in heard[name] for source in signals[node].taps} - {name}
        if len(sources) != 1:
            raise DataError(
                f"node {name!r} hears {', '.join(sorted(sources)) or 'nothing'}; known are chains, where each "
                "population hears the one before it and itself"
            )
        (source,) = sources
        if source in behind:
            raise DataError(f"{behind[source]!r} and {name!r} both hear {source!r}; known are chains, without forks")
        behind[source] = name
    chain: list[str] = []
    while (last := chain[-1] if chain else start) in behind:
        chain.append(behind.pop(last))
    if behind or not chain:
        raise DataError(f"no chain leads from {start!r} to {', '.join(sorted(behind.values())) or 'any neurons'}")
    for name, node in graph.nodes.items():
        if isinstance(node, nir.Output) and heard[name] != chain[-1:]:
            raise DataError(f"node {name!r} hears {', '.join(heard[name])}; expected the last population, {chain[-1]}")
    return chain


def _population(
    name: str, before: str, graph: nir.NIRGraph, signal: _Signal, dt: float, claimed: dict[str, Any]
) -> Population:
    node, size = graph.nodes[name], len(signal.bias)
    numbers, gain = _membrane(name, node, graph.metadata, dt, claimed)
    recurrent = None
    if name in signal.taps:
        if (signal.taps[name].delay < 1).any():
            raise DataError(f"node {name!r} hears itself without a delay; a spike comes back no earlier than a step on")
        recurrent = _synapses(signal.taps[name], size, size, gain, claimed.get("recurrent"))
    sources = _size(before, graph.nodes[before])
    return Population(
        name=name,
        synapses=_synapses(signal.taps[before], sources, size, gain, claimed.get("sharing")),
        bias=signal.bias * gain,
        arithmetic=numbers,
        fires=_fires(node),
        recurrent=recurrent,
    )


def _synapses(taps: _Taps, sources: int, targets: int, gain: Array, claimed: str | None) -> Synapses:
    weight = taps.weight * gain[taps.row]
    found = merged(Synapses.sorted(sources, targets, taps.column, taps.row, taps.delay, weight, "synapse"))
    sharing = claimed or "synapse"
    if claimed is None and found.delay_steps.any():
        if one_delay_each(found.source, found.delay_steps, sources) is not None:
            sharing = "axon"
        elif one_delay_each(found.target, found.delay_steps, targets) is not None:
            sharing = "dendrite"
    return Synapses(sources, targets, found.source, found.target, found.delay_steps, found.weight, sharing)


def _membrane(
    name: str, node: Any, metadata: dict[str, Any], dt: float, claimed: dict[str, Any]
) -> tuple[Membrane, Array]:
    """A population's numbers, and what its weights are multiplied by."""
    keys = ("tau", "r", "v_leak", "v_threshold", "v_reset") if _fires(node) else ("tau", "r", "v_leak")
    values = {key: _finite(name, key, getattr(node, key)) for key in keys}
    strict = _strict(name, node, metadata) if _fires(node) else False
    ones = np.ones(len(values["r"]))
    if claimed:
        numbers = Membrane(**claimed["numbers"])
        same = neuron_node(numbers, _fires(node), len(ones), dt)
        if all(np.array_equal(values[key], getattr(same, key)) for key in keys) and (
            not _fires(node) or (numbers.strict, numbers.reset) == (strict, "hard")
        ):
            return numbers, ones
    tau, v_leak = _one(name, "tau", values), _one(name, "v_leak", values)
    if not tau >= dt * (1 - PRECISION):
        raise DataError(f"node {name!r} has tau {tau:g}, shorter than a step of {dt:g}; pass the graph's own dt_ms")
    threshold, v_reset = 1.0, v_leak
    if _fires(node):
        threshold, v_reset = _one(name, "v_threshold", values), _one(name, "v_reset", values)
        if v_reset != v_leak:
            raise DataError(
                f"node {name!r} leaks to {v_leak:g} and is reset to {v_reset:g}; neurons here have one rest for both"
            )
    tau_steps = max(tau / dt, 1.0)
    gain = values["r"] / tau_steps
    decay_input = False
    if np.allclose(gain, 1, rtol=0, atol=PRECISION):
        gain = ones
    elif np.allclose(values["r"], 1, rtol=0, atol=PRECISION):
        gain, decay_input = ones, True
    return Membrane(tau_steps, decay_input, threshold, v_reset, strict=strict), gain


def _strict(name: str, node: nir.LIF, metadata: dict[str, Any]) -> bool:
    wanted = {**metadata, **node.metadata}
    if (reset := wanted.get("reset", "hard")) != "hard":
        raise DataError(f"node {name!r} asks for a {reset!r} reset; NIR's LIF is set to v_reset")
    if (operation := wanted.get("threshold_op", "gt")) not in ("gt", "ge"):
        raise DataError(f"node {name!r} has threshold_op {operation!r}, expected 'gt' or 'ge'")
    return bool(operation == "gt")


def _one(name: str, key: str, values: dict[str, Array]) -> float:
    """The number that all neurons of a node have."""
    found = np.unique(values[key])
    if len(found) != 1:
        raise DataError(
            f"node {name!r} has {len(found)} values of {key} ({', '.join(f'{value:g}' for value in found[:4])}"
            f"{', ...' if len(found) > 4 else ''}); the neurons of a population here share one"
        )
    return float(found[0])
