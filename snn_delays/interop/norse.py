"""Norse: our layers in its networks, its neurons in ours."""

import inspect
from typing import Any

import torch
from torch import Tensor, nn

from snn_delays.errors import ConfigError
from snn_delays.interop.shared import Foreign, one_step, ours, require
from snn_delays.nn.door import check_state, check_states
from snn_delays.nn.module import SpikingModule

require("norse")

import norse.torch  # noqa: E402
from norse.torch.module.snn import SNN, SNNRecurrent  # noqa: E402

torch.serialization.add_safe_globals(
    [kind for name, kind in vars(norse.torch).items() if name.endswith("State") and hasattr(kind, "_fields")]
)


class ToNorse(nn.Module):
    """A layer or network of ours as a cell of Norse, one step at a time: for ``SequentialState`` and ``Lift``.

    Shapes: ``[batch, ...]`` to ``[batch, ...]``; the state is the layer's own, None at first. Beside Norse's modules
    that run over time, as ``norse.torch.LIF``, a ``SequentialState`` takes our layers as they are.

    Raises ConfigError for what is no layer of ours.
    """

    def __init__(self, layer: SpikingModule) -> None:
        super().__init__()
        self.layer = ours(layer)

    def forward(self, input_tensor: Tensor, state: Any = None) -> tuple[Tensor, Any]:
        """Output of one step, and the state after it."""
        return one_step(self.layer, input_tensor, state)


class FromNorse(Foreign):
    """A cell, neuron or ``SequentialState`` of Norse as a layer of ours.

    Shapes: ``[time, batch, ...]`` to ``[time, batch, ...]``. The state is Norse's own NamedTuple, as
    ``LIFFeedForwardState(v, i)``; of a ``SequentialState`` the tuple of its modules' states.

    Raises ConfigError for a module without a state, under ``Lift`` or with ``record_states``; ShapeError for a state
    of another module or batch, which Norse would broadcast.
    """

    def __init__(self, layer: nn.Module) -> None:
        super().__init__(layer)
        if isinstance(layer, norse.torch.Lift):
            raise ConfigError("FromNorse runs over time itself: give it the module inside the Lift")
        if "state" not in inspect.signature(layer.forward).parameters:
            raise ConfigError(f"{type(layer).__name__} is no module of Norse with y, state = module(x, state)")
        for name, inner in layer.named_modules():
            if getattr(inner, "record_states", False) or getattr(inner, "return_hidden", False):
                raise ConfigError(
                    f"{name or type(layer).__name__} returns what it records in place of its output or its last state: "
                    "make it with record_states=False, return_hidden=False"
                )
        self.over_time = any(isinstance(inner, SNN | SNNRecurrent) for inner in layer.modules())

    def _check(self, x: Tensor, state: Any) -> None:
        super()._check(x, state)
        self._check_kind(self.layer, x.new_zeros(x.shape[1:]), state)

    def _check_kind(self, module: nn.Module, step: Tensor, state: Any) -> None:
        if isinstance(module, norse.torch.SequentialState):
            check_states(self, state, len(module), "modules")
            for inner, part in zip(module, state):
                if part is not None:
                    self._check_kind(inner, step, part)
        elif (at_rest := getattr(module, "state_fallback", None)) is not None:
            check_state(self, state, type(at_rest(step)))

    def _run(self, x: Tensor, state: Any) -> tuple[Tensor, Any]:
        state = _as(list, state)
        if self.over_time:
            y, state = self.layer(x, state)
            return y, _as(tuple, state)
        outputs = []
        for step in x.unbind(0):
            y, state = self.layer(step, state)
            outputs.append(y)
        return torch.stack(outputs), _as(tuple, state)


def _as(kind: Any, state: Any) -> Any:
    """The state with the sequences of ``SequentialState``, which writes into its list, as lists or as tuples."""
    if not isinstance(state, tuple | list):
        return state
    parts = (_as(kind, part) for part in state)
    make: Any = getattr(state, "_make", kind)
    return make(parts)
