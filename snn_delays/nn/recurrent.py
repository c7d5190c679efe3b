"""Recurrence: neurons that receive their own population's spikes, delayed.

LIF neurons run in a kernel with all steps inside (:mod:`snn_delays.ops.recurrent`), others one step after the other.
"""

from typing import Any, NamedTuple

import torch
from torch import Tensor

from snn_delays.errors import ConfigError, ShapeError
from snn_delays.nn.delayed import DelayedLinear
from snn_delays.nn.door import FLAT, admit, check_state, fitting
from snn_delays.nn.kinds import alteration, apply_pruning, has_hooks, has_own_hooks, kind_of
from snn_delays.nn.neuron import LIF, MembraneState, Neuron
from snn_delays.nn.norm import Dropout, DropoutState
from snn_delays.ops.checks import HALF
from snn_delays.ops.delay.signal import last_steps
from snn_delays.ops.recurrent import recurrent_lif
from snn_delays.ops.recurrent.loop import Line, loop
from snn_delays.ops.state import loadable
from snn_delays.ops.tracing import untraced


@loadable
class RecurrentState(NamedTuple):
    """State of the neurons, the last ``max_delay_steps`` spikes, ``[max_delay_steps, batch, neuron]``, and the mask of
    dropout where there is one."""

    neuron: Any
    history: Tensor
    dropout: DropoutState | None = None


class Recurrent(Neuron):
    r"""A population that receives its own spikes, each synapse with a delay of at least one step.

    .. math:: I_t[i] = x_t[i] + m[i] \sum_{j,c} w[i,j,c]\; s_{t - d[i,j,c]}[j] \qquad s_t = \text{neuron}(I_t)

    where ``m`` is 1, or the mask of dropout. A network's norm acts on ``x`` alone, before this layer.

    Args:
        synapse: from the population to itself, ``min_delay_steps >= 1``, no bias.
        neuron: neurons that fire.
        dropout: probability that a neuron receives nothing of its population for a whole sample, in training.

    State: :class:`RecurrentState`. Shapes: current ``[time, batch, neuron]`` to spikes of the same shape.

    Gradients reach the current, the state, and the synapse's weights and delays.

    Raises:
        ConfigError: a synapse between different populations, with a delay of 0 or a bias, or neurons that never fire.
        ShapeError: a current of another population, or a state that does not fit it.
        RuntimeError: in the backward pass, where the spikes or the state given were changed in place after the call.
    """

    def __init__(self, synapse: DelayedLinear, neuron: Neuron, dropout: float = 0.0) -> None:
        super().__init__()
        # The synapse's forward is never called: its weights and delays are taken, so a subclass would be ignored.
        plain = isinstance(synapse, DelayedLinear) and kind_of(synapse) is DelayedLinear
        if not plain or not isinstance(neuron, Neuron) or not neuron.fires:
            raise ConfigError(
                f"recurrence takes a DelayedLinear and neurons that fire, got {type(synapse).__name__} and "
                f"{type(neuron).__name__}"
            )
        if synapse.in_features != synapse.out_features:
            raise ConfigError(
                f"a recurrent synapse leads from a population to itself, got {synapse.in_features} to "
                f"{synapse.out_features} neurons"
            )
        if synapse.min_delay_steps < 1:
            raise ConfigError(
                "a recurrent delay of 0 would be a loop within the step: make the synapse with min_delay_steps=1"
            )
        if synapse.bias is not None:
            raise ConfigError("a recurrent synapse has no bias; add it to the synapse before the population")
        self.synapse, self.neuron, self.dropout = synapse, neuron, Dropout(dropout)

    @untraced
    def forward(self, x: Tensor, state: RecurrentState | None = None) -> tuple[Tensor, RecurrentState]:
        """Spikes, shaped as ``x``, and the state."""
        longest, width = self.synapse.max_delay_steps, self.synapse.in_features
        weight = self.synapse.weight  # once: where weights are kept on a grid this rounds them
        x = admit(self, x, FLAT, weight)
        if x.shape[2] != width:
            raise ShapeError(f"recurrence of {width} neurons got a current of shape {tuple(x.shape)}")
        if has_own_hooks(self.synapse):
            self._check_hooks()
        shape = (longest, x.shape[1], width)
        history, neuron_state, mask = None, None, None
        if state is not None:
            check_state(self, state, RecurrentState)
            history = fitting(self, state.history, x, weight.dtype, shape=shape, what="delay line's state")
            neuron_state, mask = state.neuron, state.dropout
        mask = self.dropout.mask_for(x, mask)
        if x.device.type == "cpu":
            self.synapse.check_delays()
        # Half precision would move membranes and sums: recurrence amplifies it.
        with torch.autocast(x.device.type, enabled=False):
            spikes, neuron_state = self._steps(x.to(weight.dtype), weight, neuron_state, history, mask)
            before = spikes.new_zeros(shape) if history is None else history
            return spikes.to(x.dtype), RecurrentState(neuron_state, last_steps(spikes, before, longest), mask)

    def _check_hooks(self) -> None:
        """Apply pruning masks; refuse other hooks on the synapse, which is never called, so that they would not run."""
        apply_pruning(self.synapse)
        reason = alteration(self.synapse)
        if reason or self.synapse._backward_hooks or self.synapse._backward_pre_hooks:
            raise ConfigError(
                f"the synapse of a recurrence {reason or 'has backward hooks'}; it is never called, so this would "
                "never run: hook the Recurrent layer, or change the weight with torch.nn.utils.parametrize"
            )

    def _steps(
        self, x: Tensor, weight: Tensor, state: Any, history: Tensor | None, dropout: DropoutState | None
    ) -> tuple[Tensor, Any]:
        s, neuron = self.synapse, self.neuron
        line = Line(weight, s.acting_delay(), s.tap_width, s.min_delay_steps, s.max_delay_steps, s.taps)
        mask = None if dropout is None else dropout.mask.to(x.dtype)
        if (
            not isinstance(neuron, LIF)
            or kind_of(neuron) is not LIF
            or has_hooks(neuron)
            or x.dtype in HALF
            or not len(x)
        ):
            return loop(x, neuron, state, history, line, mask)
        x, v0 = neuron._enter(x, state)
        weight, delay, sigma, *_ = line
        spikes, v = recurrent_lif(
            x, weight, delay, sigma, history, v0, mask, **line.window, decay=neuron.decay, **neuron.options()
        )
        return spikes, MembraneState(v)
