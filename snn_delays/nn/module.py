"""The chunk law as a base class, and layers in a row."""

import inspect
from collections.abc import Callable, Iterator, Sequence
from typing import Any, ClassVar

import torch
from torch import Tensor, nn
from torch.nn.modules.batchnorm import _NormBase

from snn_delays.errors import ConfigError, ShapeError
from snn_delays.nn.door import ANY, SERIES, admit, check_stateless, check_states, check_tensor, check_valid
from snn_delays.nn.kinds import alteration, has_hooks, kind_of

# With time and batch in one axis these would mix samples and steps, or keep a state.
ACROSS_STEPS = (
    nn.RNNBase, nn.RNNCellBase, nn.MultiheadAttention, nn.Transformer, nn.TransformerEncoder, nn.TransformerDecoder,
    nn.TransformerEncoderLayer, nn.TransformerDecoderLayer,
)  # fmt: skip


class SpikingModule(nn.Module):
    r"""A layer that obeys the chunk law: ``y, state = layer(x, state=None)``.

    ``x`` is ``[time, batch, ...]``; ``y`` has as many steps. Cutting ``x`` anywhere in time and passing ``state`` on
    yields the same ``y``: training is one big chunk, streaming is chunks of any size, a step a chunk of one. There is
    nothing to reset: ``state=None`` is the resting state. A state is a NamedTuple of tensors, None for a layer that
    has none, and for a network the tuple of its layers' states.

    A layer that mixes samples, as batch norm does in training, has a third argument ``valid``, a bool
    ``[time, batch]`` that marks the steps that belong to a sample where others are padding. A chain passes it to the
    layers whose ``forward`` takes an argument of that name.

    A subclass of one of the package's layers counts as a layer of its own: exporting and streaming refuse it by name.
    One that computes what its base class does, as where only ``__init__`` differs, says so: ``computes_as = LIF``.
    """

    takes_valid: ClassVar[bool] = False
    SHOWN: ClassVar[tuple[str, ...]] = ()  # attributes that repr shows; "name=" by name

    def __init_subclass__(cls, **options: Any) -> None:
        super().__init_subclass__(**options)
        cls.takes_valid = "valid" in inspect.signature(cls.forward).parameters

    def forward(self, x: Tensor, state: Any = None) -> tuple[Tensor, Any]:
        """Output ``[time, batch, ...]`` and the state after the last step."""
        raise TypeError(f"{type(self).__name__} has to define forward(x, state=None)")

    def run_with(
        self, following: Sequence[nn.Module], x: Tensor, states: Sequence[Any], valid: Tensor | None
    ) -> tuple[Tensor, list[Any]] | None:
        """Output and states of this layer and some of those that follow it, computed as one operation.

        None, the default, where this layer runs alone. A layer that offers this respects hooks: with any on one of the
        layers it returns None, so that each is called.
        """
        return None

    def extra_repr(self) -> str:
        """Arguments as one would write them."""
        return ", ".join(
            f"{name if name.endswith('=') else ''}{_written(getattr(self, name.removesuffix('=')))}"
            for name in self.SHOWN
        )


def _written(value: Any) -> str:
    if isinstance(value, Tensor):
        return f"[{len(value)} neurons]" if value.ndim else f"{float(value.detach()):g}"
    return f"{value:g}" if isinstance(value, float) else repr(value)


class Sequential(SpikingModule):
    """Layers in a row, each fed with the output of the one before; the state is the tuple of their states.

    ``Sequential(synapse, neuron)`` numbers its layers, ``Sequential(synapse=..., neuron=...)`` names them. A torch
    module, as ``nn.Linear``, ``nn.Dropout``, ``nn.Flatten``, acts on every step alike, on ``[time * batch, ...]``, and
    its state is None.

    Args:
        layers: numbered from 0.
        named: by the names that parameters and ``state_dict`` have.

    Shapes: those of the first layer's input to those of the last one's output. Raises TypeError for a module that would
    relate steps to each other, as ``nn.LSTM``, ShapeError for a state of other layers.
    """

    card: Any = None  # of a trained network: what it is for, see snn_delays.load

    def __init__(self, *layers: nn.Module, **named: nn.Module) -> None:
        super().__init__()
        for name, layer in [*((str(i), layer) for i, layer in enumerate(layers)), *named.items()]:
            if not isinstance(layer, SpikingModule):
                _check_module(name, layer)
            self.add_module(name, layer)

    def __iter__(self) -> Iterator[nn.Module]:
        return iter(self._modules.values())  # type: ignore[arg-type]

    def __len__(self) -> int:
        return len(self._modules)

    def forward(self, x: Tensor, state: tuple | None = None, valid: Tensor | None = None) -> tuple[Tensor, tuple]:
        """Run the layers; ``state`` is the tuple that an earlier call returned, or None."""
        check_tensor(self, x, ANY)
        check_valid(self, valid, x)
        signal = [x]
        states = self._run(signal, state, valid)
        return signal[0], states

    def _run(self, signal: list[Tensor], state: tuple | None, valid: Tensor | None) -> tuple:
        """Replace the one tensor in ``signal`` by the output of the layers; returns their states.

        In a list, so that a chain within a chain does not keep its input while it runs.
        """
        before = (None,) * len(self) if state is None else state
        check_states(self, before, len(self), "layers")
        layers: list[nn.Module] = list(self)
        after: list[Any] = []
        while (i := len(after)) < len(layers):
            layer, state = layers[i], before[i]
            if not isinstance(layer, SpikingModule):
                check_stateless(layer, state)
                signal[0] = _run_per_step(layer, signal[0], valid)
                after.append(None)
            elif isinstance(layer, Sequential) and type(layer).forward is Sequential.forward and not has_hooks(layer):
                after.append(layer._run(signal, state, valid))
            elif (together := layer.run_with(layers[i + 1 :], signal[0], before[i:], valid)) is not None:
                signal[0], states = together
                after += states
                del together
            else:
                signal[0], state = layer(signal[0], *_arguments(layer, state, valid))
                after.append(state)
        return tuple(after)


def call_layer(layer: nn.Module, x: Tensor, state: Any = None) -> tuple[Tensor, Any]:
    """Output and state of a layer of a chain, one of ours or of torch."""
    if isinstance(layer, SpikingModule):
        output: tuple[Tensor, Any] = layer(x, state)
        return output
    check_stateless(layer, state)
    return _run_per_step(layer, x, None), None


def _arguments(layer: SpikingModule, state: Any, valid: Tensor | None) -> tuple[Any, ...]:
    """State and, where the layer takes it, ``valid``.

    Raises ConfigError for a layer in training that does not take it and has one inside that does.
    """
    if valid is not None and layer.takes_valid:
        return state, valid
    if valid is not None and layer.training and layer._modules:
        for name, inner in layer.named_modules():
            if isinstance(inner, SpikingModule) and inner.takes_valid:
                raise ConfigError(
                    f"{name!r} in a {type(layer).__name__} leaves out padded steps and does not receive valid: define"
                    f" {type(layer).__name__}.forward(x, state=None, valid=None) and pass valid on"
                )
    return (state,)


def _check_module(name: str, module: Any) -> None:
    """Raise TypeError for what is no module that acts on every step alike."""
    kind = f"layer {name!r} is a {type(module).__name__}"
    if isinstance(module, type) or not isinstance(module, nn.Module):
        raise TypeError(f"{kind}, not a SpikingModule or a torch module")
    for inner in module.modules():
        if isinstance(inner, SpikingModule):
            raise TypeError(
                f"{kind} with a {type(inner).__name__} inside, whose state would be lost; use snn_delays.Sequential, "
                "or a SpikingModule with y, state = layer(x, state)"
            )
        if isinstance(inner, ACROSS_STEPS):
            raise TypeError(
                f"layer {name!r} has a torch.nn.{type(inner).__name__}, which relates steps or samples to each other; "
                "a torch module acts on every step alike here: wrap it in a SpikingModule with "
                "y, state = layer(x, state)"
            )


def _run_per_step(module: nn.Module, x: Tensor, valid: Tensor | None) -> Tensor:
    """Output ``[time, batch, ...]`` of a module that receives ``[time * batch, ...]``.

    Integers with features become floating-point numbers, as in every layer; tokens ``[time, batch]`` stay.

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


def layers_of(network: nn.Module, prefix: str = "") -> list[tuple[str, nn.Module]]:
    """The layers of a chain in the order they run, nested chains flattened, each with its dotted name.

    A chain with hooks or a forward of its own is one layer: its layers in a row are not what it computes.
    """
    if not isinstance(network, Sequential) or kind_of(network) is not Sequential or alteration(network):
        return [(prefix or "0", network)]
    children = ((f"{prefix}.{name}" if prefix else name, layer) for name, layer in network.named_children())
    return [entry for name, layer in children for entry in layers_of(layer, name)]


def record(network: SpikingModule, x: Tensor) -> dict[str, Tensor]:
    """Output of every layer of a chain for ``x``, from rest, by dotted name in the order they run."""
    outputs = {}
    for name, layer in layers_of(network):
        outputs[name] = x = call_layer(layer, x)[0]
    return outputs


def map_state(function: Callable[[Tensor], Tensor], state: Any) -> Any:
    """A state of the same form whose tensors are ``function(tensor)``; None stays None.

    Args:
        function: takes each tensor, ``[batch, ...]``, and returns what takes its place.
        state: what a layer or a network returned beside its output.

    Raises ShapeError for anything that is no state: a tensor, None, or a tuple of states.
    """
    if state is None:
        return None
    if isinstance(state, Tensor):
        return function(state)
    if not isinstance(state, tuple):
        raise ShapeError(
            f"a state is a tuple of tensors, None and states, got a {type(state).__name__}; pass what a network "
            "returned beside its output"
        )
    parts = [map_state(function, part) for part in state]
    return type(state)._make(parts) if hasattr(state, "_make") else tuple(parts)


def detach_state(state: Any) -> Any:
    """The state without its graph: truncated backpropagation through time passes it from chunk to chunk.

    The tensors share their memory with those of ``state``. Raises ShapeError as :func:`map_state`.
    """
    return map_state(Tensor.detach, state)


def move_state(state: Any, device: torch.device | str | None = None, dtype: torch.dtype | None = None) -> Any:
    """The state on another device or in another floating-point type, as ``network.to(...)`` moves parameters.

    Args:
        state: what a layer or a network returned beside its output; integers and booleans in it keep their type.
        device: where to; None: where it is.
        dtype: of its floating-point numbers; None: what they are.

    Raises ShapeError as :func:`map_state`.
    """
    return map_state(lambda part: part.to(device, dtype if part.is_floating_point() else None), state)
