"""Networks that other code trained, as networks of ours in a file that :func:`snn_delays.load` opens."""

import json
import math
import re
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any, NamedTuple

import torch
import torch.nn.functional as F
from safetensors.torch import save_file
from torch import Tensor

from snn_delays.arguments import choice
from snn_delays.discrete.conversion import network_of
from snn_delays.errors import CheckpointError, ConfigError
from snn_delays.export.nir import from_nir, read_nir
from snn_delays.files import atomic_path
from snn_delays.recipes.events import Recipe
from snn_delays.recipes.files import load_recipe
from snn_delays.recipes.registry import task_of
from snn_delays.runs.foreign import Part, parts_of, read_checkpoint
from snn_delays.runs.load import load
from snn_delays.training.checkpoint import NetworkCard, load_tensors, writing

SOURCES = ("dcls", "snn-delays", "delrec", "nir")
# What Dcls1d adds to |SIG| by our name for its taps; the others have no SIG.
OFFSETS = {"gaussian": 0.27, "triangle": 0.0}
EPS = 1e-5  # of batch norms, which no checkpoint says


class Layer(NamedTuple):
    """A synapse as a layer here has it: ``weight`` and ``delay`` in steps, ``[out, in, count]``; ``norm`` by name;
    ``tau_w`` of neurons with ``1 / tau = sigmoid(tau_w)``."""

    name: str
    weight: Tensor
    delay: Tensor | None
    sigma: float | None
    norm: dict[str, Tensor] | None
    recurrent: dict[str, Tensor] | None = None
    bias: Tensor | None = None
    tau_w: Tensor | None = None


def import_network(
    path: Path | str, source: str, recipe: Path | str, *, changes: Sequence[str] = (), out: Path | str | None = None
) -> Any:
    r"""Make a network of ours of a checkpoint of other code, write it to a file, and return it as that file is loaded.

    .. math:: d = \lfloor K/2 \rfloor - P \qquad \sigma = |SIG| + 0.27 \text{ (gaussian taps)}

    with ``K = max_delay_steps + 1`` of the recipe. A bias before a norm becomes part of the norm; without a norm, one
    that only adds the bias stands in its place, which equals the source in evaluation and would normalise in training.

    Args:
        path: a ``state_dict`` in a file of ``torch.save``, alone or under ``model``, ``net`` or ``state_dict``; a NIR
            file.
        source: ``"dcls"``, ``Dcls1d`` over time, each with a batch norm or none, in a row; ``"snn-delays"``, the code
            of Hammouamri et al., ICLR 2024; ``"nir"``; ``"delrec"``, that of Queant et al., as far as networks here
            compute it.
        recipe: what the file does not say: ``dt_ms``, ``tau_mem_ms``, threshold, window, taps, data.
        changes: ``"section.key=value"`` of the recipe.
        out: the file; default ``path`` with the ending ``.safetensors``.

    The sizes are the file's, and learned time constants (PLIF); of a NIR file all of the neurons and ``dt_ms`` too.

    Raises:
        CheckpointError: a file that is damaged, of something else, or of a network that a recipe does not describe.
        ConfigError: an unknown source, a recipe that does not fit.
        DataError: a NIR graph as :func:`snn_delays.export.nir.from_nir`.
    """
    path, source = Path(path), str(source)
    choice("source", source, SOURCES)
    target = path.with_suffix(".safetensors") if out is None else Path(out)
    if target.exists():
        raise ConfigError(f"{target} is there already; name another file with --out")
    base = load_recipe(recipe, tuple(changes))
    if (
        not isinstance(base, Recipe)
        or base.task != "events"
        or base.model.kind != "classifier"
        or base.fine_tuning is not None
    ):
        raise ConfigError(f"recipe {base.name} is for no network of layers with weights as trained; give one that is")
    epoch: int | None = None
    if source == "nir":
        layers, facts = _from_nir(path, base)
    else:
        state, epoch = read_checkpoint(path)
        parts = parts_of(state, source, path)
        layers, facts = _from_parts(parts, source, base, path)
        if any(part.recurrence for part in parts):
            layers, loops = _loops(parts, layers, base, base.training.epochs if epoch is None else epoch, path)
            facts |= loops
        else:
            facts["model.recurrent"] = False
    counts = {layer.weight.shape[2] for layer in layers}
    if len(counts) > 1:
        raise _unfit(path, f"layers have {sorted(counts)} synapses for a pair of neurons", "as many in all layers")
    facts |= {
        "model.hidden": [len(layer.weight) for layer in layers[:-1]], "model.delay_count": counts.pop(),
        "model.sharing": "synapse", "model.min_delay_steps": 0,
        "model.readout_bias": layers[-1].bias is not None,
        "name": re.sub(r"[^A-Za-z0-9.-]+", "_", path.stem).strip("._-") or source, "title": f"imported from {source}",
    }  # fmt: skip
    tensors = _tensors(layers)
    learned = [tensor for name, tensor in tensors.items() if not name.endswith("running_var")]
    if any(not torch.equal(tensor.float().to(tensor.dtype), tensor) for tensor in learned):
        facts["training.precision"] = "64-true"
    final = load_recipe(recipe, (*changes, *(f"{key}={json.dumps(value)}" for key, value in facts.items())))
    card = NetworkCard(
        final, final.training.epochs if epoch is None else epoch, source=f"unknown, imported from {path.name}",
        sensor=(layers[0].weight.shape[1],),
    )  # fmt: skip
    network = task_of(final).build(card, tensors)
    load_tensors(network, {**network.state_dict(), **tensors}, path)
    with writing(target, "choose another place with --out"), atomic_path(target) as temporary:
        save_file({k: t.contiguous() for k, t in network.state_dict().items()}, temporary, card.to_metadata())
    return load(target)


def _tensors(layers: Sequence[Layer]) -> dict[str, Tensor]:
    """The layers under the names that a classifier has for them."""
    tensors: dict[str, Tensor] = {}
    for i, layer in enumerate(layers, 1):
        group = f"hidden{i}" if i < len(layers) else "readout"
        tensors[f"{group}.synapse.weight"] = layer.weight
        tensors[f"{group}.synapse.delay"] = torch.zeros_like(layer.weight) if layer.delay is None else layer.delay
        if layer.sigma is not None:
            tensors[f"{group}.synapse.sigma"] = torch.tensor(layer.sigma, dtype=layer.weight.dtype)
        tensors |= {f"{group}.norm.{name}": tensor for name, tensor in (layer.norm or {}).items()}
        if layer.tau_w is not None:
            tensors[f"{group}.neuron.tau_steps_w"] = layer.tau_w
        if layer.bias is not None:
            tensors[f"{group}.synapse.bias"] = layer.bias
        tensors |= {f"{group}.neuron.synapse.{name}": tensor for name, tensor in (layer.recurrent or {}).items()}
    return tensors


def _norm(bias: Tensor | None, norm: Any, like: Tensor) -> dict[str, Tensor]:
    """A norm that adds the bias before it too; without one, a norm that only adds the bias."""
    if norm is None:
        zero = like.new_zeros(len(like))
        none = {"weight": zero + 1, "running_mean": zero, "running_var": zero + (1 - EPS)}
        return {**none, "bias": zero if bias is None else bias}
    kept = {name: tensor for name, tensor in norm.items() if name != "num_batches_tracked"}
    return kept if bias is None else {**kept, "running_mean": kept["running_mean"] - bias}


def _from_parts(parts: list[Part], source: str, base: Recipe, path: Path) -> tuple[list[Layer], dict[str, Any]]:
    """Layers of a checkpoint, and the recipe's keys that follow from it."""
    window, taps, facts = base.max_delay_steps + 1, base.model.taps, dict[str, Any]()
    without = [part.name for part in parts if part.position is None]
    if 0 < len(without) < len(parts):
        raise _unfit(path, f"{without[0]} has no delays and others have", "delays in all layers or in none")
    # Of the published code, SIG = 0 means version "max" and rounded positions: the control, or a network as evaluated.
    integers = source == "snn-delays" and not any(
        p.sig is None or p.position is None or p.sig.any() or (p.position != p.position.round()).any() for p in parts
    )
    facts["model.delays"] = "none" if without else "fixed" if integers else "learned"
    if source == "snn-delays" and not without:
        facts |= {"data.tail_steps": (window - 1) // 2 * len(parts), "data.padding": "published"}
    layers = []
    for part in parts:
        delay = None if part.position is None else window - 1 - (part.position + window // 2)
        if delay is not None and not 0 <= float(delay.min()) <= float(delay.max()) <= window - 1:
            raise CheckpointError(
                f"{path}: positions of {part.name} lie outside a window of K = {window} steps; give that of its "
                "training, (K - 1) dt_ms: --set model.max_delay_ms="
            )
        sigma = None if without or integers else _sigma(part, taps, path)
        tau_w = None if part.time_constant is None else part.time_constant["w"].reshape(())
        norm = _norm(part.bias, part.norm, part.weight)
        layers.append(Layer(part.name, part.weight, delay, sigma, norm, tau_w=tau_w))
    learned = [layer.tau_w is not None for layer in layers]
    if any(learned) and not all(learned):
        raise _unfit(
            path, f"{layers[learned.index(False)].name} is before no PLIF and others are", "one kind of neurons"
        )
    facts["model.neuron.kind"] = "plif" if any(learned) else "lif"
    if (last := layers[-1].tau_w) is not None:
        facts["model.tau_readout_ms"] = base.data.dt_ms / float(last.double().sigmoid())
    return [*layers[:-1], layers[-1]._replace(norm=None, tau_w=None, bias=parts[-1].bias)], facts


def _loops(
    parts: list[Part], layers: list[Layer], base: Recipe, epoch: int, path: Path
) -> tuple[list[Layer], dict[str, Any]]:
    """The layers with the recurrence of DelRec, whose delays count from the next step; sigma is the recipe's."""
    loop, of = base.model.loop, [part.recurrence for part in parts]
    if loop is None or (loop.delays == "learned" and loop.taps != "delrec"):
        raise ConfigError(
            f"{path} has recurrent delays; give a recipe with [model.recurrent] of taps = 'delrec', whose "
            "training.sigma_... say how wide they were"
        )
    sigma, longest, made = base.sigma_at(epoch) if loop.spread else None, 1.0, []
    for part, layer, loops in zip(parts, layers, of):
        if loops is None:
            made.append(layer)
            continue
        delay, spread, width = 1 + loops["recurrent_delays"], loops.get("p_spread"), sigma or 0.0
        if float(delay.min()) < 1 or (sigma is None and bool((delay != delay.round()).any())):
            raise _unfit(path, f"{part.name} has recurrent delays that are below 0, or no integers", "others")
        recurrent = {"weight": loops["recurrent_weights"].unsqueeze(2), "delay": delay.view(-1, len(delay), 1)}
        if sigma is not None:
            recurrent["sigma"] = torch.tensor(sigma, dtype=delay.dtype)
            if spread is not None:
                recurrent["width"] = spread.view(1, -1, 1)
                width = 2 * sigma * float(spread.max().sigmoid())
        longest = max(longest, float(delay.max()) + width)  # farther no tap reaches
        made.append(layer._replace(recurrent=recurrent))
    first = next(loops for loops in of if loops is not None)
    facts: dict[str, Any] = {"layers": [i for i, loops in enumerate(of, 1) if loops is not None]}
    if loop.delays != "none":
        sharing = "axon" if first["recurrent_delays"].ndim == 1 else "synapse"
        longest = max(math.ceil(longest), base.max_recurrent_steps)
        facts |= {"sharing": sharing, "min_delay_steps": 1, "max_delay_ms": longest * base.data.dt_ms}
    if loop.delays == "learned":
        facts["learn_width"] = "axon" if "p_spread" in first else "none"
    # In DelRec's code for SSC a dropout stands before the neurons, and the readout is linear.
    linear = all(part.gap == 1 and part.norm is None for part in parts if part.recurrence is not None)
    return made, {
        "model.readout": "linear" if linear else "integrator",
        **{f"model.recurrent.{key}": value for key, value in facts.items()},
    }


def _unfit(path: Path, what: str, networks: str) -> CheckpointError:
    return CheckpointError(f"{path}: {what}; networks of recipes have {networks}")


def _sigma(part: Part, taps: str, path: Path) -> float | None:
    """The width of a layer's taps. Raises CheckpointError where there is none, or one for each synapse."""
    if (part.sig is None) != (taps not in OFFSETS):
        fit = "linear (v0) or linear_normalized (v1)" if part.sig is None else "gaussian (gauss) or triangle (max)"
        raise CheckpointError(
            f"{path}: {part.name} has {'no' if part.sig is None else 'a'} SIG, and the recipe taps = {taps!r}; by the "
            f"version of Dcls1d, --set model.taps= {fit}"
        )
    if part.sig is None:
        return None
    if len(widths := part.sig.abs().unique()) > 1:
        raise CheckpointError(f"{path}: {part.name} has a SIG for each synapse; here one width serves a layer")
    return float(widths) + OFFSETS[taps]


def _from_nir(path: Path, base: Recipe) -> tuple[list[Layer], dict[str, Any]]:
    """Layers of a NIR graph, whose nodes say dt, time constant, threshold and reset."""
    graph = read_nir(path, type_check=False)
    said = graph.metadata
    canonical = from_nir(
        graph, dt_ms=None if "dt" in said else base.data.dt_ms, time_unit=None if "time_unit" in said else "s"
    )
    *hidden, readout = canonical.populations
    if readout.fires or not hidden:
        raise _unfit(path, f"{readout.name} is the last population", "hidden layers, then leaky integrators (LI)")
    first: Any = hidden[0].arithmetic
    for population in hidden:
        if population.arithmetic != first:
            what = f"{population.name} has {_said(population.arithmetic)}, and {hidden[0].name} {_said(first)}"
            raise _unfit(path, what, "neurons of one kind")
    last: Any = readout.arithmetic
    if first.v_reset or last.v_reset:
        raise _unfit(path, f"neurons rest at {first.v_reset or last.v_reset:g}", "neurons that rest at 0")
    if len({population.recurrent is None for population in hidden}) > 1:
        raise _unfit(path, "some hidden layers have recurrence", "it in all or in none")
    network, layers = network_of(canonical), []
    for population in canonical.populations:
        weight, delay = _dense(network.get_submodule(f"{population.name}.synapse"), population.arithmetic)
        back = None
        if population.recurrent is not None:
            dense = _dense(network.get_submodule(f"{population.name}.neuron.synapse"), population.arithmetic)
            back = dict(zip(("weight", "delay"), dense))
        bias = torch.from_numpy(population.bias) * population.arithmetic.gain  # type: ignore[union-attr]
        norm = _norm(bias, None, weight) if population.fires else None
        constant = bias if bias.any() and not population.fires else None
        layers.append(Layer(population.name, weight, delay, None, norm, back, constant))
    loops = [layer.recurrent["delay"] for layer in layers if layer.recurrent is not None]
    ahead = max(float(layer.delay.max()) for layer in layers if layer.delay is not None)
    longest = max([ahead, *(float(delay.max()) for delay in loops)])
    facts: dict[str, Any] = {"model.delays": "none", "model.recurrent": bool(loops)}
    if ahead or longest > 1:
        facts |= {"model.delays": "fixed", "model.max_delay_ms": longest * canonical.dt_ms}
    threshold = first.threshold
    if first.strict:  # who fires above a threshold fires at the next number
        facts["training.precision"], threshold = "64-true", math.nextafter(threshold, math.inf)
    return _same_count(layers), facts | {
        "model.neuron.kind": "lif", "model.neuron.decay_input": False,
        "data.dt_ms": canonical.dt_ms, "model.tau_mem_ms": first.tau_steps * canonical.dt_ms,
        "model.threshold": threshold, "model.reset": first.reset, "model.readout": "integrator",
        "model.tau_readout_ms": last.tau_steps * canonical.dt_ms,
    }  # fmt: skip


def _said(numbers: Any) -> str:
    return ", ".join(f"{name} = {value}" for name, value in asdict(numbers).items())


def _dense(synapse: Any, numbers: Any) -> tuple[Tensor, Tensor]:
    """Weights, times the gain of neurons that scale their input, and delays of each synapse."""
    weight = synapse.weight.detach() * numbers.gain
    return weight, synapse.delay.detach().expand_as(weight).contiguous()


def _same_count(layers: list[Layer]) -> list[Layer]:
    """The layers with as many synapses for a pair of neurons each; those that are added have no weight."""
    weights = [layer.weight for layer in layers] + [layer.recurrent["weight"] for layer in layers if layer.recurrent]
    most = max(weight.shape[2] for weight in weights)

    def filled(tensor: Any, value: float) -> Tensor:
        return F.pad(tensor, (0, most - tensor.shape[2]), value=value)

    return [
        layer._replace(
            weight=filled(layer.weight, 0), delay=filled(layer.delay, 0),
            recurrent=layer.recurrent
            and {"weight": filled(layer.recurrent["weight"], 0), "delay": filled(layer.recurrent["delay"], 1)},
        )
        for layer in layers
    ]  # fmt: skip
