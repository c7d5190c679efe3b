"""The chunk law as a base class, and layers in a row."""

from collections.abc import Iterator
from typing import Any

from torch import Tensor, nn

from snn_delays.nn.door import ANY, check_states, check_tensor, check_valid
from snn_delays.nn.hooks import has_hooks
from snn_delays.nn.kinds import alteration, kind_of


class SpikingModule(nn.Module):
    r"""A layer that obeys the chunk law: ``y, state = layer(x, state=None, valid=None)``.

    ``x`` is ``[time, batch, ...]``; ``y`` has as many steps. Cutting ``x`` anywhere in time and passing ``state`` on
    gives the same ``y``: training is one big chunk, streaming is chunks of any size, a step is a chunk of one. There is
    nothing to reset: ``state=None`` is the resting state. A state is a NamedTuple of tensors, None for a layer that
    has none, and for a network the tuple of its layers' states.

    ``valid``, a bool ``[time, batch]``, marks the steps that belong to a sample where others are padding. Only layers
    that mix samples look at it (batch norm in training); the rest ignore it, being causal.

    A subclass of one of the package's layers counts as a layer of its own: exporting and streaming refuse it by name.
    One that computes what its base class does, as where only ``__init__`` differs, says so: ``computes_as = LIF``.
    """

    def forward(self, x: Tensor, state: Any = None, valid: Tensor | None = None) -> tuple[Tensor, Any]:
        """Output ``[time, batch, ...]`` and the state after the last step."""
        raise TypeError(f"{type(self).__name__} has to define forward(x, state=None, valid=None)")


class Sequential(SpikingModule):
    """Layers in a row, each fed with the output of the one before; the state is the tuple of their states.

    ``Sequential(synapse, neuron)`` numbers its layers, ``Sequential(synapse=..., neuron=...)`` names them.
    """

    card: Any = None  # of a trained network: what it is for, see snn_delays.load

    def __init__(self, *layers: SpikingModule, **named: SpikingModule) -> None:
        super().__init__()
        for name, layer in [*((str(i), layer) for i, layer in enumerate(layers)), *named.items()]:
            if not isinstance(layer, SpikingModule):
                raise TypeError(
                    f"layer {name!r} is a {type(layer).__name__}, not a SpikingModule with y, state = layer(x, state)"
                )
            self.add_module(name, layer)

    def __iter__(self) -> Iterator[SpikingModule]:
        return iter(self._modules.values())  # type: ignore[arg-type]

    def __len__(self) -> int:
        return len(self._modules)

    def forward(self, x: Tensor, state: tuple | None = None, valid: Tensor | None = None) -> tuple[Tensor, tuple]:
        """Run the layers; ``state`` is the tuple that an earlier call returned, or None."""
        check_tensor(self, x, ANY)
        if valid is not None:
            check_valid(self, valid, x)
        return self._run([x], state, valid)

    def _run(self, taken: list[Tensor], state: tuple | None, valid: Tensor | None) -> tuple[Tensor, tuple]:
        """Run the layers on the tensor that is taken out of the list: no caller keeps it longer than it is needed."""
        from snn_delays.nn.fused import run_together

        if state is None:
            state = (None,) * len(self)
        else:
            check_states(self, state, len(self), "layers")
        x, layers = taken.pop(), list(self)
        states: list[Any] = []
        while len(states) < len(layers):
            at = len(states)
            layer = layers[at]
            if type(layer) is Sequential and not has_hooks(layer):
                taken.append(x)
                del x
                x, one = layer._run(taken, state[at], valid)
                states.append(one)
                continue
            together = run_together(layers[at:], state[at:], x, valid)
            if together is None:
                x, one = layer(x, state[at], valid)
                states.append(one)
            else:
                x, found = together
                states += found
            del together
        return x, tuple(states)


def layers_of(network: SpikingModule, prefix: str = "") -> list[tuple[str, SpikingModule]]:
    """The layers of a chain in the order they run, nested chains flattened, each with its dotted name.

    A chain with hooks or a forward of its own is one layer: its layers in a row are not what it computes.
    """
    if not isinstance(network, Sequential) or kind_of(network) is not Sequential or alteration(network):
        return [(prefix or "0", network)]
    found = []
    for name, layer in network._modules.items():
        assert isinstance(layer, SpikingModule)
        found += layers_of(layer, f"{prefix}.{name}" if prefix else name)
    return found


def record(network: SpikingModule, x: Tensor) -> dict[str, Tensor]:
    """What every layer of a chain puts out for ``x``, from rest, by dotted name in the order they run."""
    outputs = {}
    for name, layer in layers_of(network):
        x, _ = layer(x)
        outputs[name] = x
    return outputs
