"""The discrete network as a NIR graph of standard nodes, written and read; and a trace to check simulators with."""

import io
import json
import math
from collections.abc import Mapping
from itertools import pairwise
from pathlib import Path
from typing import Any

import nir
import numpy as np
import torch
from torch import Tensor

from snn_delays.errors import ConfigError, DataError, ExportError, ShapeError
from snn_delays.export.discretize import DiscreteNetwork
from snn_delays.files import atomic_path
from snn_delays.nn import LIF, DelayedLinear, LeakyIntegrator, layers_of, record

Nodes = dict[str, nir.NIRNode]


def to_nir(network: DiscreteNetwork, *, dt_ms: float) -> nir.NIRGraph:
    r"""A discrete network, delays included, as a chain of standard NIR nodes.

    NIR's Delay has one delay for each channel. So a synapse becomes ``copy -> delay -> weight`` ("gather"): a 0/1
    Linear copies a source once for each of the K distinct pairs (source, delay) whose weight is not zero, a Delay
    delays each copy, a Linear (Affine with a bias) of out x K weighs them. Synapses that share source, delay and target
    add up. Where every source has one delay (axonal) there are no copies; where all delays are zero only the Linear is
    left. Neurons are integrated by forward Euler in steps of ``dt_ms``,

    .. math:: v \leftarrow v + \frac{dt}{\tau} \left( (v_{leak} - v) + r I \right)

    with ``tau = tau_steps * dt``, ``v_leak = v_reset``, and ``r = 1`` for ``decay_input``, else ``r = tau / dt``.
    Membranes start at ``v_leak``, delay lines empty.

    A layer's node bears its name (``hidden1.synapse``, ``hidden1.neuron``), a synapse's other nodes end in ``.copy``
    and ``.delay``. Times (``tau``, ``delay``) are in ms, as NIR's documentation has them. Weights are float32 where
    that holds them exactly, else float64. Metadata of the graph: ``dt``, ``time_unit``, ``encoding``, ``scheme``,
    ``layers`` (a JSON list); of each LIF: ``threshold_op`` (``ge`` or ``gt``; NIR alone says ``gt``) and ``reset``.

    Args:
        network: what :func:`snn_delays.export.discretize` returned.
        dt_ms: length of a step.

    Raises:
        ConfigError: ``dt_ms`` is not a positive number.
        ExportError: not a discrete network, soft reset (NIR has no field for it), values that are not finite, delays
            that are not whole steps in the window, or names and widths that make no graph.

    Source: Pedersen et al., Nature Communications 2024 (NIR); node equations of nir 1.0.8.
    """
    if not (math.isfinite(dt_ms) and dt_ms > 0):
        raise ConfigError(f"dt_ms must be a positive number of milliseconds, got {dt_ms}")
    if not isinstance(network, DiscreteNetwork):
        raise ExportError(f"NIR takes a discrete network, got a {type(network).__name__}; pass discretize(network)")
    layers = layers_of(network)
    for name, layer in layers:
        if not isinstance(layer, DelayedLinear | LIF | LeakyIntegrator):
            raise ExportError(
                f"layer {name!r} ({type(layer).__name__}) has no NIR node; only DelayedLinear, LIF and LeakyIntegrator "
                "are exported"
            )
    inputs = next((layer.in_features for _, layer in layers if isinstance(layer, DelayedLinear)), None)
    if inputs is None:
        raise ExportError("the network has no synapse, so nothing says how many inputs it has")
    inside: Nodes = {}
    width = inputs
    for name, layer in layers:
        if "/" in name:
            raise ExportError(f"layer {name!r}: HDF5 takes a name with '/' for a path; rename the layer")
        if isinstance(layer, DelayedLinear):
            if layer.in_features != width:
                raise ExportError(f"{name} takes {layer.in_features} inputs, the layer before it has {width} outputs")
            inside |= _synapse(name, layer, dt_ms)
            width = layer.out_features
        elif isinstance(layer, LIF | LeakyIntegrator):
            inside[name] = _neuron(name, layer, width, dt_ms)
    nodes: Nodes = {
        _free("input", inside): nir.Input({"input": np.array([inputs])}),
        **inside,
        _free("output", inside): nir.Output({"output": np.array([width])}),
    }
    names = list(nodes)
    metadata = {
        "dt": float(dt_ms),
        "time_unit": "ms",
        "encoding": "gather",
        "scheme": "forward_euler",
        "layers": json.dumps([name for name, _ in layers]),
    }
    return nir.NIRGraph(nodes, list(pairwise(names)), metadata=metadata)


def write_nir(
    network: DiscreteNetwork, path: str | Path, *, dt_ms: float, metadata: Mapping[str, Any] | None = None
) -> Path:
    """Write the graph of :func:`to_nir` to a file, whole or not at all.

    Args:
        network: what :func:`snn_delays.export.discretize` returned.
        path: the file; folders are made, a file that is there is replaced.
        dt_ms: length of a step.
        metadata: strings, numbers or arrays to add to the graph's metadata under names of their own.

    Returns:
        ``path``.

    Raises:
        ExportError: as :func:`to_nir`; metadata that NIR cannot hold or that would hide ours; a file that cannot be
            written.
    """
    path = Path(path)
    graph = to_nir(network, dt_ms=dt_ms)
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
    _write(path, buffer.getvalue(), "the NIR graph")
    return path


def read_nir(path: str | Path) -> nir.NIRGraph:
    """A NIR graph from a file, its types checked.

    Raises DataError if the file is missing, truncated, or holds no NIR graph.
    """
    path = Path(path)
    if not path.is_file():
        raise DataError(f"there is no file {path}")
    try:
        graph = nir.read(path)
    except (OSError, RuntimeError) as error:
        raise DataError(f"{path} is not an HDF5 file or is damaged ({error}); write it anew") from error
    except (KeyError, ValueError, TypeError, AssertionError, AttributeError) as error:
        raise DataError(f"{path} is an HDF5 file without a NIR graph that can be read ({error!r})") from error
    if not isinstance(graph, nir.NIRGraph):
        raise DataError(f"{path} holds a single {type(graph).__name__} node, expected a NIRGraph")
    return graph


def write_trace(network: DiscreteNetwork, x: Tensor, path: str | Path) -> Path:
    """Run samples through the network and write what goes in and comes out, for checking another simulator.

    An ``.npz`` of arrays ``[time, sample, neuron]``: ``input``, the counts given; under the name of each LIF its
    spikes (uint8) and of each leaky integrator its membranes, which are the names of the NIR nodes.

    Args:
        network: what :func:`snn_delays.export.discretize` returned.
        x: input counts, ``[time, sample, in_features]``, of any dtype.
        path: the file, as ``network_trace.npz``.

    Returns:
        ``path``.

    Raises:
        ShapeError: ``x`` has not three axes.
        ExportError: the file cannot be written.
    """
    path = Path(path)
    if x.ndim != 3:
        raise ShapeError(f"the trace's input must be [time, sample, in_features], got shape {tuple(x.shape)}")
    with torch.no_grad():
        outputs = record(network, x.to(next(network.parameters(), x)))
    arrays = {_free("input", outputs): x.cpu().numpy()}
    for name, layer in layers_of(network):
        if isinstance(layer, LIF | LeakyIntegrator):
            values = outputs[name].cpu().numpy()
            arrays[name] = values.astype(np.uint8) if isinstance(layer, LIF) else values
    buffer = io.BytesIO()
    np.savez_compressed(buffer, **arrays)  # type: ignore[arg-type]
    _write(path, buffer.getvalue(), "the trace")
    return path


def _synapse(name: str, layer: DelayedLinear, dt_ms: float) -> Nodes:
    parts = {what: part.detach().cpu().double().numpy() for what, part in layer.named_parameters()}
    for what, part in parts.items():
        if not np.isfinite(part).all():
            bad = int((~np.isfinite(part)).sum())
            raise ExportError(f"{name}.{what}: {bad} of {part.size} values are not finite; export a sound checkpoint")
    weight, delay, bias = parts["weight"], parts["delay"], parts.get("bias")
    whole = np.rint(delay).astype(np.int64)
    outside = (whole != delay) | (whole < 0) | (whole > layer.max_delay_steps)
    if outside.any():
        raise ExportError(
            f"{name}.delay: {int(outside.sum())} of {whole.size} delays are not whole steps in "
            f"0..{layer.max_delay_steps}; export what discretize() returned, unchanged"
        )
    if layer.taps != "linear":
        raise ExportError(f"{name} spreads its delays by {layer.taps} taps; export what discretize() returned")
    target, source, synapse = np.nonzero(weight)
    steps = np.broadcast_to(whole, weight.shape)[target, source, synapse]
    values = weight[target, source, synapse]
    nodes: Nodes = {}
    if not steps.any():
        columns, column = layer.in_features, source
    elif len(np.unique(pair := source * (steps.max() + 1) + steps)) == len(np.unique(source)):
        columns, column = layer.in_features, source
        axonal = np.zeros(columns, np.int64)
        axonal[source] = steps
        nodes[f"{name}.delay"] = nir.Delay(axonal * dt_ms)
    else:
        pairs, column = np.unique(pair, return_inverse=True)
        columns = len(pairs)
        copies = np.zeros((columns, layer.in_features), np.float32)
        copies[np.arange(columns), pairs // (steps.max() + 1)] = 1
        nodes[f"{name}.copy"] = nir.Linear(copies)
        nodes[f"{name}.delay"] = nir.Delay(pairs % (steps.max() + 1) * dt_ms)
    matrix = np.zeros((layer.out_features, columns))
    np.add.at(matrix, (target, column), values)
    parameters = [matrix] if bias is None else [matrix, bias]
    if all(np.array_equal(part, part.astype(np.float32)) for part in parameters):
        parameters = [part.astype(np.float32) for part in parameters]
    nodes[name] = (nir.Linear if bias is None else nir.Affine)(*parameters)
    return nodes


def _neuron(name: str, layer: LIF | LeakyIntegrator, width: int, dt_ms: float) -> nir.NIRNode:
    def each(what: str, value: float) -> np.ndarray:
        if not math.isfinite(value):
            raise ExportError(f"{name}.{what} is {value}, NIR needs a finite number")
        return np.full(width, float(value))

    tau = each("tau_steps", layer.tau_steps) * dt_ms
    # Divided as a reader will divide, so that its gain r dt / tau is exactly one.
    r = np.ones(width) if layer.decay_input else tau / dt_ms
    if isinstance(layer, LeakyIntegrator):
        return nir.LI(tau=tau, r=r, v_leak=np.zeros(width))
    if layer.reset != "hard":
        raise ExportError(
            f"{name} has a {layer.reset} reset; NIR's LIF can only be set to v_reset, so train with reset='hard'"
        )
    v_reset = each("v_reset", layer.v_reset)
    return nir.LIF(
        tau=tau, r=r, v_leak=v_reset, v_threshold=each("threshold", layer.threshold), v_reset=v_reset.copy(),
        metadata={"threshold_op": "gt" if layer.strict else "ge", "reset": "hard"},
    )  # fmt: skip


def _free(name: str, taken: Mapping[str, Any]) -> str:
    """A name for a node that no layer bears."""
    return name if name not in taken else _free(f"{name}_", taken)


def _write(path: Path, content: bytes, what: str) -> None:
    try:
        with atomic_path(path) as temporary:
            temporary.write_bytes(content)
    except OSError as error:
        raise ExportError(f"{what} cannot be written to {path}: {error.strerror or error}") from error
