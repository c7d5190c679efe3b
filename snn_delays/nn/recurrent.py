"""Recurrence: neurons that receive their own population's spikes, delayed.

The forward pass computes one step after the other, each from the spikes so far. The gradients of weights and delays are
computed once for all steps, by replaying the recorded spikes through ``delayed_linear``: a step keeps its spikes, and
no copy of weights and delays.
"""

from typing import Any, NamedTuple

import torch
from torch import Tensor

from snn_delays.errors import ConfigError, ShapeError
from snn_delays.nn.delayed import DelayedLinear, in_window
from snn_delays.nn.door import FLAT, admit, check_state, fitting
from snn_delays.nn.kinds import alteration, apply_pruning, has_own_hooks, kind_of
from snn_delays.nn.neuron import Neuron
from snn_delays.ops.delay import delayed_linear
from snn_delays.ops.delay.signal import last_steps
from snn_delays.ops.delay.taps import delay_kernel
from snn_delays.ops.matmul import linear
from snn_delays.ops.state import loadable
from snn_delays.ops.tracing import untraced


@loadable
class RecurrentState(NamedTuple):
    """State of the neurons, and the last ``max_delay_steps`` spikes, ``[max_delay_steps, batch, neuron]``."""

    neuron: Any
    history: Tensor


class Recurrent(Neuron):
    r"""A population that receives its own spikes, each synapse with a delay of at least one step.

    .. math:: I_t[i] = x_t[i] + \sum_{j,c} w[i,j,c]\; s_{t - d[i,j,c]}[j] \qquad s_t = \text{neuron}(I_t)

    Steps are computed one after the other. A network's norm acts on ``x`` alone, before this layer.

    Args:
        synapse: from the population to itself, ``min_delay_steps >= 1``, no bias.
        neuron: neurons that fire.

    State: :class:`RecurrentState`. Shapes: current ``[time, batch, neuron]`` to spikes of the same shape.

    Gradients reach the current, the state, and the synapse's weights and delays.

    Raises:
        ConfigError: a synapse between different populations, with a delay of 0 or a bias, or neurons that never fire.
        ShapeError: a current of another population, or a state that does not fit it.
        RuntimeError: in the backward pass, where the spikes or the state given were changed in place after the call.
    """

    def __init__(self, synapse: DelayedLinear, neuron: Neuron) -> None:
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
        self.synapse, self.neuron = synapse, neuron

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
        if state is not None:
            check_state(self, state, RecurrentState)
            history = fitting(self, state.history, x, weight.dtype, shape=shape, what="delay line's state")
            state = RecurrentState(state.neuron, history)
        if x.device.type == "cpu":
            self.synapse.check_delays()
        # Half precision would move membranes and sums: recurrence amplifies it.
        with torch.autocast(x.device.type, enabled=False):
            spikes, neuron_state = self._steps(x.to(weight.dtype), weight, state)
            history = spikes.new_zeros(shape) if state is None else state.history
            return spikes.to(x.dtype), RecurrentState(neuron_state, last_steps(spikes, history, longest))

    def _check_hooks(self) -> None:
        """Apply pruning masks; refuse other hooks on the synapse, which is never called, so that they would not run."""
        apply_pruning(self.synapse)
        reason = alteration(self.synapse)
        if reason or self.synapse._backward_hooks or self.synapse._backward_pre_hooks:
            raise ConfigError(
                f"the synapse of a recurrence {reason or 'has backward hooks'}; it is never called, so this would "
                "never run: hook the Recurrent layer, or change the weight with torch.nn.utils.parametrize"
            )

    def _steps(self, x: Tensor, weight: Tensor, state: RecurrentState | None) -> tuple[Tensor, Any]:
        steps, batch, width = x.shape
        longest, shortest = self.synapse.max_delay_steps, self.synapse.min_delay_steps
        neuron_state = None if state is None else state.neuron
        if not steps:
            return self.neuron(x, neuron_state)
        recording = _Recording(self.synapse, None if state is None else state.history)
        currents = _ReplayGradient.apply(x, weight, self.synapse.delay, self.synapse.tap_width, recording).unbind(0)
        kernel = self._kernel(weight)
        # A sample's spikes lie in a row, step after step: what a step receives is a slice of it.
        line = x.new_zeros(batch, (longest + steps) * width)
        past: list[Tensor | None] = [None] * longest
        if state is not None:
            line[:, : longest * width] = state.history.detach().transpose(0, 1).flatten(1)
            past = list(state.history.unbind(0))
        for t, current in enumerate(currents):
            end = t + longest - shortest + 1
            feedback = _Feedback.apply(line[:, t * width : end * width], kernel, *past[t:end])
            spikes, neuron_state = self.neuron((current + feedback)[None], neuron_state)
            past.append(spikes[0])
            line[:, (longest + t) * width : (longest + t + 1) * width] = spikes[0].detach()
        spikes = torch.stack(past[longest:])  # type: ignore[arg-type]
        recording.complete(spikes)
        return spikes, neuron_state

    @torch.no_grad()
    def _kernel(self, weight: Tensor) -> Tensor:
        """Weights by lag side by side, the longest first: ``[out, (max - min + 1) * in]``."""
        synapse, least = self.synapse, self.synapse.min_delay_steps
        kernel = delay_kernel(
            weight, synapse.delay - least, synapse.tap_width, synapse.max_delay_steps - least, synapse.taps
        )
        return kernel.flip(0).transpose(0, 1).flatten(1)


class _Feedback(torch.autograd.Function):
    """Current that past spikes cause in one step: ``kernel`` times ``line``, the spikes of the window side by side.

    ``spikes`` are those of each step of the window, for autograd: they receive the gradient of their part of ``line``.
    """

    @staticmethod
    def forward(ctx: Any, line: Tensor, kernel: Tensor, *spikes: Tensor | None) -> Tensor:
        ctx.save_for_backward(kernel)
        return linear(line, kernel)

    @staticmethod
    @torch.autograd.function.once_differentiable
    def backward(ctx: Any, grad: Tensor) -> Any:
        (kernel,) = ctx.saved_tensors
        needed = ctx.needs_input_grad[2:]
        parts = linear(grad, kernel.T).chunk(len(needed), 1)
        return None, None, *(part if needs else None for part, needs in zip(parts, needed))


class _Recording:
    """The spikes of all steps and those before them, to be replayed in the backward pass.

    They are complete only after the last step, too late for ``save_for_backward``; so changes in place are detected
    here, as autograd would.
    """

    def __init__(self, synapse: DelayedLinear, history: Tensor | None) -> None:
        self.window: dict[str, Any] = {
            "min_delay_steps": synapse.min_delay_steps, "max_delay_steps": synapse.max_delay_steps,
            "taps": synapse.taps,
        }  # fmt: skip
        self.history = None if history is None else history.detach()

    def complete(self, spikes: Tensor) -> None:
        """Keep the spikes, and how often they and the history were changed so far."""
        self.spikes = spikes.detach()
        self.versions = self._versions()

    def _versions(self) -> list[int | None]:
        # Tensors of inference mode count no changes, and have no gradients.
        tensors = (self.spikes, self.history)
        return [None if tensor is None or tensor.is_inference() else tensor._version for tensor in tensors]

    def replayed(self, weight: Tensor, delay: Tensor, sigma: Tensor) -> Tensor:
        """What the synapse added to the current. Raises RuntimeError if spikes or history were changed since."""
        if self.versions != self._versions():
            raise RuntimeError(
                "one of the variables needed for gradient computation has been modified by an inplace operation: the "
                "spikes of a Recurrent layer, or the state it was given; write y = 2 * y in place of y.mul_(2)"
            )
        return in_window(delayed_linear, self.spikes, self.history, weight, delay, sigma, **self.window)[0]


class _ReplayGradient(torch.autograd.Function):
    """Identity on the current; its backward pass gives weights and delays their gradients, for all steps at once.

    The gradient of the current is that of what the synapse adds to it. So the recorded spikes are replayed through
    ``delayed_linear``, by the fastest backend, and that call is differentiated.
    """

    @staticmethod
    def forward(
        ctx: Any, current: Tensor, weight: Tensor, delay: Tensor, sigma: Tensor, recording: _Recording
    ) -> Tensor:
        ctx.recording = recording
        ctx.save_for_backward(weight, delay, sigma)
        return current.view_as(current)

    @staticmethod
    @torch.autograd.function.once_differentiable
    def backward(ctx: Any, grad: Tensor) -> Any:
        needed = ctx.needs_input_grad[1:4]
        if not any(needed):
            return grad, None, None, None, None
        leaves = [tensor.detach().requires_grad_(learns) for tensor, learns in zip(ctx.saved_tensors, needed)]
        with torch.enable_grad():
            added = ctx.recording.replayed(*leaves)
        grads = iter(torch.autograd.grad(added, [leaf for leaf in leaves if leaf.requires_grad], grad))
        return grad, *(next(grads) if learns else None for learns in needed), None
