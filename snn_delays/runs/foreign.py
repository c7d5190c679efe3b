"""Checkpoints of other code: what their tensors are, as layers one after another."""

import re
import zipfile
from collections.abc import Iterator, Mapping
from itertools import pairwise
from pathlib import Path
from typing import Any, NamedTuple

import torch
from torch import Tensor

from snn_delays.errors import CheckpointError
from snn_delays.reading import open_regular

MOST_BYTES = 1 << 31
DTYPES = (torch.float16, torch.bfloat16, torch.float32, torch.float64, torch.int64)
# Keys of a module, those that it always has and those that it may have.
PARTS: dict[str, tuple[set[str], set[str]]] = {
    "synapse": ({"weight", "P"}, {"SIG", "bias"}),
    "recurrence": ({"recurrent_weights", "recurrent_delays"}, {"p_spread"}),
    "norm": ({"weight", "bias", "running_mean", "running_var"}, {"num_batches_tracked"}),
    "linear": ({"weight"}, {"bias"}),
    "time_constant": ({"w"}, set()),  # of SpikingJelly's PLIF
}
# How a code names its modules, and what else stands in its row for each hidden layer: neurons, dropout ...
NAMES = {"dcls": r"(.*)", "snn-delays": r"model\.(\d{1,6})", "delrec": r"layers\.(\d{1,6})"}
BETWEEN = {"snn-delays": 2}
WRAPPED = ("model", "net", "state_dict")


class Part(NamedTuple):
    """A synapse of a checkpoint with what follows it.

    ``weight``: ``[out, in, count]``; ``position``, ``sig``: of Dcls1d, shaped alike, None without; tensors by name of
    ``norm``, ``recurrence`` (DelRec) and ``time_constant`` (PLIF); ``gap``: modules between synapse and recurrence.
    """

    name: str
    weight: Tensor
    position: Tensor | None
    sig: Tensor | None
    bias: Tensor | None
    norm: Mapping[str, Tensor] | None = None
    recurrence: Mapping[str, Tensor] | None = None
    time_constant: Mapping[str, Tensor] | None = None
    gap: int = 0


def read_checkpoint(path: Path) -> tuple[dict[str, Tensor], int | None]:
    """Tensors by name of a file of ``torch.save``, in their order, and the epoch, where it says one.

    Nothing but tensors, numbers and text is unpickled. Raises CheckpointError for what is damaged, too large, no
    checkpoint, or holds tensors that are not finite or larger than their storage.
    """
    try:
        with open_regular(path) as file:
            packed = zipfile.is_zipfile(file)
            file.seek(0)
            size = sum(i.file_size for i in zipfile.ZipFile(file).infolist()) if packed else path.stat().st_size
            if size > MOST_BYTES:
                raise CheckpointError(f"{path} holds {size:,} bytes; checkpoints of up to {MOST_BYTES:,} are imported")
            file.seek(0)
            content: Any = torch.load(file, map_location="cpu", weights_only=True)
    except CheckpointError:
        raise
    except Exception as error:  # of a dozen types, some with unsafe advice
        why = getattr(error, "strerror", None) or "damaged, or with objects that are no tensors"
        raise CheckpointError(
            f"cannot read {path} ({why}); save the network's own with torch.save(network.state_dict(), FILE)"
        ) from error
    epoch = content.get("epoch") if isinstance(content, dict) else None
    if isinstance(content, dict):
        content = next((content[key] for key in WRAPPED if isinstance(content.get(key), dict)), content)
    if not isinstance(content, dict) or not all(isinstance(t, Tensor) for t in content.values()) or not content:
        raise CheckpointError(f"{path} holds no state_dict: expected tensors by name, alone or under {WRAPPED}")
    for name, tensor in content.items():
        sound = tensor.layout is torch.strided and tensor.dtype in DTYPES and tensor.device.type == "cpu"
        if not sound or tensor.numel() * tensor.element_size() > tensor.untyped_storage().nbytes():
            raise CheckpointError(f"{path}: {name} is no dense tensor of numbers")
        if not bool(tensor.isfinite().all()):
            raise CheckpointError(f"{path}: {name} has numbers that are not finite; training diverged")
    known = type(epoch) is int and epoch >= 0
    return {str(name): tensor.detach() for name, tensor in content.items()}, epoch if known else None


def parts_of(state: Mapping[str, Tensor], source: str, path: Path) -> list[Part]:
    """The synapses of a checkpoint in their order, each with its norm and recurrence.

    Raises CheckpointError naming the module with unknown or missing keys, one out of place, or sizes that do not fit.
    """
    numbered: list[tuple[int, str, str, dict[str, Tensor]]] = []
    for kind, name, of in _modules(state, path):
        found = re.fullmatch(NAMES[source], name)
        if found is None:
            raise CheckpointError(
                f"{path}: no checkpoint of {source}: it has {name or 'keys without a module'}, expected names as "
                f"{'model' if source == 'snn-delays' else 'layers'}.0; is it of another program or version?"
            )
        numbered.append((int(found[1]) if source != "dcls" else len(numbered), kind, name, of))
    parts: list[Part] = []
    places: list[int] = []
    for place, kind, name, of in sorted(numbered, key=lambda each: each[0]):
        if kind in ("synapse", "linear"):
            parts.append(_synapse(name, of, path))
            places.append(place)
            continue
        last = parts[-1] if parts else None
        late = kind == "norm" and source != "dcls" and places and place != places[-1] + 1
        if last is None or getattr(last, kind) is not None or late or (kind == "norm" and (last[6] or last[7])):
            raise CheckpointError(f"{path}: {name} is a {kind} that stands after no synapse; expected synapse, norm")
        gap = place - places[-1] - 1 if kind == "recurrence" else last.gap
        parts[-1] = Part(**{**last._asdict(), kind: of, "gap": gap})
    for (one, here), (two, there) in pairwise(zip(parts, places)):
        between = there - here - 1 - (one.norm is not None)
        if between != BETWEEN.get(source, between):
            raise CheckpointError(
                f"{path}: {between} modules without parameters stand between {one.name} and {two.name}, expected "
                "neurons and dropout; a synapse filter has no counterpart here"
            )
    _check_sizes(parts, path)
    return parts


def _modules(state: Mapping[str, Tensor], path: Path) -> Iterator[tuple[str, str, dict[str, Tensor]]]:
    """Kind, name and tensors of every module, in order."""
    modules: dict[str, dict[str, Tensor]] = {}
    for key, tensor in state.items():
        name, _, last = key.rpartition(".")
        modules.setdefault(name, {})[last] = tensor
    for name, of in modules.items():
        keys = of.keys()
        kind = max(PARTS, key=lambda kind: len(PARTS[kind][0] & keys) - len(PARTS[kind][0] - keys))
        needed, allowed = PARTS[kind]
        if missing := sorted(needed - keys):
            raise CheckpointError(
                f"{path}: {name or 'it'} has {', '.join(sorted(keys))} and no {missing[0]}; known are "
                + "; ".join(f"{of_kind} with {', '.join(sorted(PARTS[of_kind][0]))}" for of_kind in PARTS)
            )
        if kind == "time_constant" and of["w"].numel() != 1:
            raise CheckpointError(f"{path}: {name}.w has shape {tuple(of['w'].shape)}, expected one number for a layer")
        if unknown := sorted(keys - needed - allowed):
            raise CheckpointError(f"{path}: {name or 'it'} has {unknown[0]}, which no {kind} here has")
        yield kind, name, of


def _synapse(name: str, of: Mapping[str, Tensor], path: Path) -> Part:
    weight, position, sig = of["weight"], of.get("P"), of.get("SIG")
    if weight.ndim == 2 and position is None:
        weight = weight.unsqueeze(2)
    if weight.ndim != 3 or not weight.numel() or not weight.is_floating_point():
        raise CheckpointError(f"{path}: {name} has weights of shape {tuple(weight.shape)}, expected [out, in, count]")
    for key, tensor in (("P", position), ("SIG", sig)):
        if tensor is not None and tensor.shape != (1, *weight.shape):
            raise CheckpointError(
                f"{path}: {name}.{key} has shape {tuple(tensor.shape)}, expected {(1, *weight.shape)}, a position in "
                "time for each weight"
            )
    position, sig = (None if tensor is None else tensor[0] for tensor in (position, sig))
    return Part(name, weight, position, sig, of.get("bias"))


def _check_sizes(parts: list[Part], path: Path) -> None:
    if len(parts) < 2:
        raise CheckpointError(f"{path} has {len(parts)} synapses; expected those of hidden layers and a readout")
    for one, two in pairwise(parts):
        if len(one.weight) != two.weight.shape[1]:
            raise CheckpointError(
                f"{path}: {one.name} has {len(one.weight)} outputs and {two.name} {two.weight.shape[1]} inputs; "
                "networks here are chains, without skips or groups"
            )
    for part in parts:
        for tensor in (part.bias, *(part.norm or {}).values()):
            if tensor is not None and tensor.ndim and tensor.shape != part.weight.shape[:1]:
                raise CheckpointError(
                    f"{path}: bias or norm of {part.name} has shape {tuple(tensor.shape)}, expected {len(part.weight)}"
                )
    if parts[-1].norm is not None or parts[-1].recurrence is not None:
        raise CheckpointError(
            f"{path}: the readout {parts[-1].name} has a norm or recurrence; here leaky integrators follow it"
        )
    for part in parts:
        if part.recurrence is not None:
            n = len(part.weight)
            weight, delay = part.recurrence["recurrent_weights"], part.recurrence["recurrent_delays"]
            spread = part.recurrence.get("p_spread")
            wrong = spread is not None and spread.shape != (n,)
            if wrong or weight.shape != (n, n) or delay.shape not in ((n,), (n, n)):
                raise CheckpointError(f"{path}: the recurrence after {part.name} is not of {n} neurons")
