"""The canonical network as a NIR graph of standard nodes, in two encodings of its delays; written and read."""

from __future__ import annotations

import io
import json
import math
from collections.abc import Iterator, Mapping
from itertools import pairwise
from pathlib import Path
from typing import Any

import nir
import numpy as np
from numpy.typing import NDArray

from snn_delays.errors import ConfigError, ExportError
from snn_delays.export.files import complete
from snn_delays.export.nir.file import read_nir as read_nir
from snn_delays.export.nir.graph import free_name
from snn_delays.files import atomic_path
from snn_delays.ir.canonical import CanonicalNetwork, Membrane, Population, Synapses, check, numbers_of
from snn_delays.ir.trace import Trace

ENCODINGS = ("gather", "branch")
UNIT_MS = {"s": 1000.0, "ms": 1.0, "us": 0.001}
Chain = list[tuple[str, nir.NIRNode]]


def refuses(network: CanonicalNetwork) -> str | None:
    """Why NIR cannot hold the network, in which population, and what to do; None if it can."""
    for population in network.populations:
        name, numbers = population.name, population.arithmetic
        if not isinstance(numbers, Membrane):
            return (
                f"{name} computes in integers, NIR's neurons in real ones: export the network with its weights on "
                "a grid and real neurons"
            )
        if population.fires and numbers.reset != "hard":
            return (
                f"{name} has a {numbers.reset} reset; NIR's LIF can only be set to v_reset, so train with reset='hard'"
            )
        integrates = population.fires and numbers.tau_steps == math.inf and not (numbers.filters or numbers.decay_input)
        if not integrates and math.inf in (numbers.tau_steps, numbers.tau_steps * network.dt_ms * 1000):
            return f"{name}.tau_steps is {numbers.tau_steps:g}, NIR needs a finite time"
    return None


def to_nir(network: CanonicalNetwork, *, encoding: str = "gather", time_unit: str = "s") -> nir.NIRGraph:
    r"""A canonical network, delays and recurrence included, as standard NIR nodes.

    NIR's Delay has one delay for each channel. A synapse becomes one of

    - ``"gather"``: ``copy -> delay -> weight``. A 0/1 Linear copies a source once for each of the K distinct pairs
      (source, delay), a Delay delays each copy, a Linear of out x K weighs them. Where every source has one delay there
      are no copies; where dendrites share delays and every target has one, the Delay stands after the weights; where
      all delays are zero only the Linear is left.
    - ``"branch"``: for each distinct delay ``d`` a Delay of all sources and a Linear of the weights that have it; they
      add up at the neurons.

    Recurrent synapses are written so too, from the neurons back to themselves, through a Delay of at least a step. A
    bias makes the last Linear of a synapse an Affine (of one branch alone; after delayed weights one of its own).
    Synapses that share source, target and delay become one, their weights added. Neurons are integrated by forward
    Euler in steps of dt, from ``v_leak`` and with empty delay lines,

    .. math:: v \leftarrow v + \frac{dt}{\tau} \left( (v_{leak} - v) + r I \right)

    with ``tau = tau_steps * dt``, ``v_leak = v_reset``, and ``r = 1`` for ``decay_input``, else ``r = tau / dt``.
    Neurons that filter their current are CubaLIF nodes, with ``tau_syn`` and ``w_in`` by the same rule; those that
    never leak are IF nodes with ``r = 1 / dt``.

    Neurons bear their population's name, the nodes before them that and ``.copy``, ``.delay``, ``.weight``, ``.bias``
    (``.delay3``, ``.weight3`` in a branch of 3 steps), those of recurrent synapses ``.recurrent`` before it. Weights
    are float32 where that holds all of the network's exactly, else float64. Metadata of the graph: ``dt``,
    ``time_unit``, ``encoding``, ``scheme``, and ``snn_delays``, a JSON text of what the nodes do not say; of each LIF:
    ``threshold_op`` (``ge`` or ``gt``; NIR alone says ``gt``) and ``reset``. Nothing but the tie at the threshold
    depends on metadata.

    Args:
        network: the canonical form, in real numbers.
        encoding: ``"gather"`` or ``"branch"``.
        time_unit: of ``tau``, ``delay`` and the metadata's ``dt``: ``"s"``, ``"ms"`` or ``"us"``.

    Raises:
        ConfigError: no such encoding or unit.
        ExportError: not the canonical form; what :func:`refuses` gives, or what makes the network impossible.

    Source: Pedersen et al., Nature Communications 2024 (NIR); node equations of nir 1.0.8.
    """
    if encoding not in ENCODINGS:
        raise ConfigError(f"encoding must be one of {', '.join(ENCODINGS)}, got {encoding!r}")
    if time_unit not in UNIT_MS:
        raise ConfigError(f"time_unit must be one of {', '.join(UNIT_MS)}, got {time_unit!r}")
    if not isinstance(network, CanonicalNetwork):
        raise ExportError(
            f"NIR takes the canonical form, got a {type(network).__name__}; pass canonical(network, dt_ms=)"
        )
    if reason := refuses(network):
        raise ExportError(reason)
    check(network)
    names = {population.name for population in network.populations}
    before, last = free_name("input", names), free_name("output", names)
    chain: Chain = [(before, nir.Input({"input": np.array([network.inputs])}))]
    edges: list[tuple[str, str]] = []
    dtype, dt = _dtype(network), network.dt_ms / UNIT_MS[time_unit]
    for population in network.populations:
        name = population.name
        sides = ((before, population.bias), (name, None))
        for (prefix, synapses), (source, bias) in zip(population.parts.items(), sides):
            for path in _chains(prefix, synapses, bias, encoding, dt):
                chain += path
                edges += pairwise([source, *(inner for inner, _ in path), name])
        assert isinstance(population.arithmetic, Membrane)
        chain.append((name, neuron_node(population.arithmetic, population.fires, population.size, dt)))
        before = name
    chain.append((last, nir.Output({"output": np.array([network.populations[-1].size])})))
    edges.append((before, last))
    nodes: dict[str, nir.NIRNode] = {}
    for name, node in chain:
        if name in nodes:
            raise ExportError(f"two nodes would be called {name!r}; rename a population")
        for what in {"weight", "bias"} & vars(node).keys():
            setattr(node, what, getattr(node, what).astype(dtype))
        nodes[name] = node
    outline = {
        "dt_ms": float(network.dt_ms), "populations": [_outline(p) for p in network.populations],
        "notes": network.notes,
    }  # fmt: skip
    metadata = {"dt": float(dt), "time_unit": time_unit, "encoding": encoding, "scheme": "forward_euler"}
    return nir.NIRGraph(nodes, edges, metadata={**metadata, "snn_delays": json.dumps(outline)})


def write(
    network: CanonicalNetwork, trace: Trace, folder: Path, *, encoding: str = "gather", time_unit: str = "s"
) -> None:
    """Write ``network.nir`` and ``README.txt`` into a folder. Raises as :func:`write_nir`."""
    write_nir(network, folder / "network.nir", encoding=encoding, time_unit=time_unit)
    complete(folder, "nir", trace, encoding=encoding, unit=time_unit, dt=f"{network.dt_ms / UNIT_MS[time_unit]:g}")


def write_nir(
    network: CanonicalNetwork,
    path: str | Path,
    *,
    encoding: str = "gather",
    time_unit: str = "s",
    metadata: Mapping[str, Any] | None = None,
) -> Path:
    """Write the graph of :func:`to_nir` to a file, whole or not at all.

    Args:
        network: the canonical form, in real numbers.
        path: the file; folders are made, a file that is there is replaced.
        encoding, time_unit: see :func:`to_nir`.
        metadata: strings, numbers or arrays to add to the graph's metadata under names of their own.

    Returns:
        ``path``.

    Raises:
        ConfigError: no such encoding or unit.
        ExportError: as :func:`to_nir`; metadata that NIR cannot hold or that would hide ours; a file that cannot be
            written.
    """
    path = Path(path)
    graph = to_nir(network, encoding=encoding, time_unit=time_unit)
    for name, value in (metadata or {}).items():
        if name in graph.metadata or "/" in name or not name:
            raise ExportError(f"metadata {name!r}: the name is taken or not legal in HDF5; choose another")
        if not isinstance(value, str | bool | int | float) and not (
            isinstance(value, np.ndarray) and value.ndim and value.dtype.kind in "biuf"
        ):
            raise ExportError(
                f"metadata {name!r} is a {type(value).__name__}; NIR holds strings, numbers and numeric arrays"
            )
        graph.metadata[name] = value
    # Through memory: HDF5 leaves its handles in disorder when a disk fills up beneath it.
    buffer = io.BytesIO()
    nir.write(buffer, graph)
    try:
        with atomic_path(path) as temporary:
            temporary.write_bytes(buffer.getvalue())
    except OSError as error:
        raise ExportError(f"the NIR graph cannot be written to {path}: {error.strerror or error}") from error
    return path


def neuron_node(numbers: Membrane, fires: bool, size: int, dt: float) -> nir.NIRNode:
    """The LIF, CubaLIF, IF (which never leaks) or LI node of ``size`` neurons in steps of ``dt``."""

    def each(value: float) -> NDArray[np.float64]:
        return np.full(size, float(value))

    firing = {
        "v_threshold": each(numbers.threshold), "v_reset": each(numbers.v_reset),
        "metadata": {"threshold_op": "gt" if numbers.strict else "ge", "reset": "hard"},
    }  # fmt: skip
    if fires and numbers.tau_steps == math.inf:
        return nir.IF(r=each(1) / dt, **firing)
    tau = each(numbers.tau_steps) * dt
    # Divided as a reader will divide, so that its gain r dt / tau is exactly one.
    r = each(1) if numbers.decay_input else tau / dt
    if not fires:
        return nir.LI(tau=tau, r=r, v_leak=each(numbers.v_reset))
    if numbers.filters:
        syn = each(numbers.tau_syn_steps) * dt
        share = each(1) if numbers.decay_input else syn / dt
        return nir.CubaLIF(tau_mem=tau, tau_syn=syn, r=r, v_leak=each(numbers.v_reset), w_in=share, **firing)
    return nir.LIF(tau=tau, r=r, v_leak=each(numbers.v_reset), **firing)


def merged(synapses: Synapses) -> Synapses:
    """The same synapses, those that share source, target and delay as one, their weights added."""
    if not len(synapses):
        return synapses
    same = np.stack([synapses.source, synapses.target, synapses.delay_steps])
    first = np.flatnonzero(np.append(True, np.diff(same).any(0)))
    weight = np.add.reduceat(synapses.weight, first)
    source, target, delay = same[:, first]
    return Synapses.sorted(synapses.sources, synapses.targets, source, target, delay, weight, synapses.sharing)


def one_delay_each(neuron: NDArray[Any], delay_steps: NDArray[Any], size: int, least: int = 0) -> NDArray[Any] | None:
    """The delay of every neuron's synapses if each neuron has but one, ``least`` where it has no synapse."""
    delay = np.full(size, least)
    delay[neuron] = delay_steps
    return delay if np.array_equal(delay[neuron], delay_steps) else None


def _chains(
    prefix: str, synapses: Synapses, bias: NDArray[np.float64] | None, encoding: str, dt: float
) -> Iterator[Chain]:
    """The nodes between two populations (bias given) or from one back to itself, path by path."""
    synapses = merged(synapses)
    # Even a loop without synapses must hold a delay, for it is a loop.
    least = 1 if bias is None else 0
    constant = bias if bias is not None and bias.any() else None
    if encoding == "gather":
        yield _gathered(prefix, synapses, constant, least, dt)
        return
    for steps in np.unique(synapses.delay_steps) if len(synapses) else [least]:
        here = synapses.delay_steps == steps
        matrix = np.zeros((synapses.targets, synapses.sources))
        matrix[synapses.target[here], synapses.source[here]] = synapses.weight[here]
        delay = [(f"{prefix}.delay{steps}", nir.Delay(np.full(synapses.sources, steps * dt)))] if steps else []
        yield [*delay, (f"{prefix}.weight{steps}", _weights(matrix, constant))]
        constant = None


def _gathered(prefix: str, synapses: Synapses, bias: NDArray[np.float64] | None, least: int, dt: float) -> Chain:
    steps, column, columns = synapses.delay_steps, synapses.source, synapses.sources
    before: Chain = []
    after: Chain = []
    of_target = one_delay_each(synapses.target, steps, synapses.targets, least)
    of_source = one_delay_each(column, steps, columns, least)
    if not steps.any() and not least:
        pass
    elif synapses.sharing == "dendrite" and of_target is not None:
        after.append((f"{prefix}.delay", nir.Delay(of_target * dt)))
        if bias is not None:  # in front of the delay it would act late
            after.append((f"{prefix}.bias", nir.Affine(np.eye(synapses.targets), bias)))
            bias = None
    elif of_source is not None:
        before.append((f"{prefix}.delay", nir.Delay(of_source * dt)))
    else:
        pairs, column = np.unique(column * np.int64(steps.max() + 1) + steps, return_inverse=True)
        columns = len(pairs)
        source, delay = np.divmod(pairs, steps.max() + 1)
        copies = np.zeros((columns, synapses.sources))
        copies[np.arange(columns), source] = 1
        before += [(f"{prefix}.copy", nir.Linear(copies)), (f"{prefix}.delay", nir.Delay(delay * dt))]
    matrix = np.zeros((synapses.targets, columns))
    matrix[synapses.target, column] = synapses.weight
    return [*before, (f"{prefix}.weight", _weights(matrix, bias)), *after]


def _weights(matrix: NDArray[np.float64], bias: NDArray[np.float64] | None) -> nir.NIRNode:
    return nir.Linear(matrix) if bias is None else nir.Affine(matrix, bias)


def _dtype(network: CanonicalNetwork) -> type:
    """One for the whole graph: readers in torch do not mix them."""
    values = [population.bias for population in network.populations]
    values += [merged(synapses).weight for _, synapses in network.all_synapses()]
    return np.float32 if all(np.array_equal(v, v.astype(np.float32)) for v in values) else np.float64


def _outline(population: Population) -> dict[str, Any]:
    return {
        "name": population.name,
        "sharing": population.synapses.sharing,
        "recurrent": None if population.recurrent is None else population.recurrent.sharing,
        "numbers": numbers_of(population.arithmetic),
    }
