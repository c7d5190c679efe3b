"""torch modules as layers of a chain: time and batch are one batch axis to them, so they act on every step alike."""

from typing import Any

from torch import Tensor, nn
from torch.nn.modules.batchnorm import _NormBase

from snn_delays.errors import ConfigError, ShapeError
from snn_delays.nn.door import SERIES, admit

# With time and batch in one axis these would mix samples and steps, or keep a state.
ACROSS_STEPS = (
    nn.RNNBase, nn.RNNCellBase, nn.MultiheadAttention, nn.Transformer, nn.TransformerEncoder, nn.TransformerDecoder,
    nn.TransformerEncoderLayer, nn.TransformerDecoderLayer,
)  # fmt: skip


def check_module(name: str, module: Any, stateful: type[nn.Module]) -> None:
    """Raise TypeError for what is no module that acts on every step alike; ``stateful``: the class of our layers."""
    if isinstance(module, type) or not isinstance(module, nn.Module):
        raise TypeError(f"layer {name!r} is a {type(module).__name__}, not a SpikingModule or a torch module")
    for inner in module.modules():
        if isinstance(inner, stateful):
            raise TypeError(
                f"layer {name!r} is a {type(module).__name__} with a {type(inner).__name__} inside, whose state would "
                "be lost; use snn_delays.Sequential, or a SpikingModule with y, state = layer(x, state)"
            )
        if isinstance(inner, ACROSS_STEPS):
            raise TypeError(
                f"layer {name!r} has a torch.nn.{type(inner).__name__}, which relates steps or samples to each other; "
                "a torch module acts on every step alike here: wrap it in a SpikingModule with "
                "y, state = layer(x, state)"
            )


def run_per_step(module: nn.Module, x: Tensor, valid: Tensor | None) -> Tensor:
    """Output ``[time, batch, ...]`` of a module that receives ``[time * batch, ...]``.

    Integers with features become floating-point numbers, as at the door of every layer; tokens ``[time, batch]`` stay.

    Raises ShapeError for an output that is no tensor with as many rows, ConfigError for one of torch's batch norms in
    training where some steps are padding, which it would count.
    """
    if valid is not None and module.training and any(isinstance(inner, _NormBase) for inner in module.modules()):
        raise ConfigError(
            f"{type(module).__name__} counts padded steps in its statistics; use snn_delays.BatchNorm, which leaves "
            "out what `valid` marks as padding"
        )
    if x.ndim > 2:
        x = admit(module, x, SERIES, next((p for p in module.parameters() if p.is_floating_point()), None))
    y = module(x.flatten(0, 1))
    if not isinstance(y, Tensor) or y.ndim == 0 or len(y) != x.shape[0] * x.shape[1]:
        got = f"one of shape {tuple(y.shape)}" if isinstance(y, Tensor) else f"a {type(y).__name__}"
        raise ShapeError(
            f"{type(module).__name__} received [time * batch, ...] = {tuple(x.flatten(0, 1).shape)} and has to return "
            f"a tensor with as many rows, got {got}"
        )
    return y.unflatten(0, x.shape[:2])
