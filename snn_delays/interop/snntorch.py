"""snnTorch: our layers in its loop, its neurons in ours."""

import inspect
from typing import Any

import torch
from torch import Tensor, nn

from snn_delays.errors import ConfigError
from snn_delays.interop.shared import Foreign, ForeignState, one_step, ours, require
from snn_delays.nn.door import check_state, check_states
from snn_delays.nn.module import SpikingModule, detach_state

require("snntorch")

import snntorch  # noqa: E402


class ToSnnTorch(nn.Module):
    """A layer or network of ours for the loop of snnTorch, one step at a time.

    ``y, state = layer(x, state)``, and with ``init_hidden=True`` ``y = layer(x)``, where the layer keeps the state;
    ``output=True`` then returns both. ``reset_mem()`` puts it to rest, ``detach_hidden()`` cuts its graph.
    ``snntorch.utils.reset`` knows the neurons of snnTorch only.

    Shapes: ``[batch, ...]`` to ``[batch, ...]``. Without ``init_hidden`` nothing is kept: None is rest.

    Raises ConfigError for what is no layer of ours, TypeError for a state where the layer keeps it.
    """

    def __init__(self, layer: SpikingModule, init_hidden: bool = False, output: bool = False) -> None:
        super().__init__()
        self.layer, self.init_hidden, self.output = ours(layer), init_hidden, output
        self.state: Any = None

    def forward(self, input_: Tensor, state: Any = None) -> Any:
        """Output of one step, and the state after it unless the layer keeps it."""
        if not self.init_hidden:
            return one_step(self.layer, input_, state)
        if state is not None:
            raise TypeError("ToSnnTorch with init_hidden=True keeps its state: call it with the input alone")
        y, self.state = one_step(self.layer, input_, self.state)
        return (y, self.state) if self.output else y

    def reset_mem(self) -> None:
        """Put the layer to rest; returns None, the state at rest."""
        self.state = None

    def detach_hidden(self) -> None:
        """Cut the graph of the state that the layer keeps."""
        self.state = detach_state(self.state)


class FromSnnTorch(Foreign):
    """A neuron of snnTorch, as ``Leaky``, ``Synaptic``, ``RLeaky`` or ``Alpha``, as a layer of ours.

    Shapes: ``[time, batch, ...]`` to spikes ``[time, batch, ...]``; state: ``ForeignState`` of the neuron's own
    tensors, named by ``state_names``. ``init_hidden`` and ``output`` make no difference.

    Raises ConfigError for a module that is no neuron of one step, ShapeError for a state that does not fit.
    """

    def __init__(self, layer: nn.Module) -> None:
        super().__init__(layer)
        names = list(inspect.signature(layer.forward).parameters)[1:]
        if not isinstance(layer, snntorch.SpikingNeuron) or not names or any(not hasattr(layer, n) for n in names):
            raise ConfigError(
                f"{type(layer).__name__} is no neuron of snnTorch with spk, state = neuron(input, state); a layer over "
                "all steps, or one without a state, goes into a chain as a torch module or through ToSnnTorch's loop"
            )
        self.state_names = tuple(names)

    def _check(self, x: Tensor, state: Any) -> None:
        check_state(self, state, ForeignState)
        check_states(self, state.parts, len(self.state_names), "tensors")
        super()._check(x, state)

    def _run(self, x: Tensor, state: ForeignState | None) -> tuple[Tensor, ForeignState]:
        # A tensor of no neurons is what the neuron replaces by zeros shaped as its input.
        rest = [x.new_zeros(0) for _ in self.state_names]
        self._set(rest if state is None else state.parts)
        try:
            outputs = [self.layer(step) for step in x.unbind(0)]
            after = tuple(getattr(self.layer, name) for name in self.state_names)
        finally:
            self._set(rest)
        return torch.stack([y[0] if isinstance(y, tuple) else y for y in outputs]), ForeignState(after)

    def _set(self, parts: Any) -> None:
        for name, part in zip(self.state_names, parts):
            setattr(self.layer, name, part)
