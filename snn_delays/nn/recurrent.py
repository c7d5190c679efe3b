"""Neurons that hear their own population's spikes, delayed."""

from typing import Any, NamedTuple

import torch
from torch import Tensor

from snn_delays.errors import ConfigError, ShapeError
from snn_delays.nn.delayed import in_window
from snn_delays.nn.door import FLAT, admit, check_state, fitting
from snn_delays.nn.hooks import has_own_hooks
from snn_delays.nn.kinds import alteration, apply_pruning, kind_of
from snn_delays.nn.neuron import Neuron
from snn_delays.nn.synapse import DelayedLinear
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
    r"""A population whose spikes come back to it, every synapse with a delay of its own, of at least one step.

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
            raise ConfigError("a recurrent synapse has no bias; give it to the synapse before the population")
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
        batch = x.shape[1]
        if state is not None:
            check_state(self, state, RecurrentState)
            state = RecurrentState(state.neuron, fitting(self, state.history, x, weight.dtype))
        if state is not None and state.history.shape != (longest, batch, width):
            raise ShapeError(
                f"the recurrent delay line has shape {tuple(state.history.shape)}, the current needs "
                f"{(longest, batch, width)} (max_delay_steps, batch, neuron); pass state=None to start in silence"
            )
        if x.device.type == "cpu":
            self.synapse.check_delays()
        # Half precision would move membranes and sums: recurrence amplifies it.
        with torch.autocast(x.device.type, enabled=False):
            spikes, neuron_state = self._steps(x.to(weight.dtype), weight, state)
            history = spikes.new_zeros(longest, batch, width) if state is None else state.history
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
        heard = _Heard(self.synapse, state)
        currents = _Credited.apply(x, weight, self.synapse.delay, self.synapse.sigma, heard).unbind(0)
        kernel = self._kernel(weight)
        # Every sample's spikes lie side by side by time: what a step needs is a slice, read where it lies.
        line = x.new_zeros(batch, (longest + steps) * width)
        past: list[Tensor | None] = [None] * longest
        if state is not None:
            line[:, : longest * width] = state.history.detach().transpose(0, 1).flatten(1)
            past = list(state.history.unbind(0))
        for t, current in enumerate(currents):
            end = t + longest - shortest + 1
            arriving = _Arriving.apply(line[:, t * width : end * width], kernel, *past[t:end])
            spikes, neuron_state = self.neuron((current + arriving)[None], neuron_state)
            past.append(spikes[0])
            line[:, (longest + t) * width : (longest + t + 1) * width] = spikes[0].detach()
        spikes = torch.stack(past[longest:])  # type: ignore[arg-type]
        heard.keep(spikes)
        return spikes, neuron_state

    @torch.no_grad()
    def _kernel(self, weight: Tensor) -> Tensor:
        """Weights by lag side by side, the longest first: ``[out, (max - min + 1) * in]``."""
        synapse, least = self.synapse, self.synapse.min_delay_steps
        kernel = delay_kernel(
            weight, synapse.delay - least, synapse.sigma, synapse.max_delay_steps - least, synapse.taps
        )
        return kernel.flip(0).transpose(0, 1).flatten(1)


class _Arriving(torch.autograd.Function):
    """Current of the spikes of some steps; they are given once as numbers, once each for its gradient."""

    @staticmethod
    def forward(ctx: Any, line: Tensor, kernel: Tensor, *spikes: Tensor | None) -> Tensor:
        ctx.save_for_backward(kernel)
        return linear(line, kernel)

    @staticmethod
    @torch.autograd.function.once_differentiable
    def backward(ctx: Any, grad: Tensor) -> Any:
        (kernel,) = ctx.saved_tensors
        wanted = ctx.needs_input_grad[2:]
        parts = linear(grad, kernel.T).chunk(len(wanted), 1)
        return None, None, *(part if needed else None for part, needed in zip(parts, wanted))


class _Heard:
    """What the synapse received, for :class:`_Credited`; the spikes are known only once all steps are done.

    Too late for ``save_for_backward``, so changes in place are looked for here, as autograd would.
    """

    def __init__(self, synapse: DelayedLinear, state: RecurrentState | None) -> None:
        self.window = {
            "min_delay_steps": synapse.min_delay_steps, "max_delay_steps": synapse.max_delay_steps,
            "taps": synapse.taps,
        }  # fmt: skip
        self.history = None if state is None else state.history.detach()
        self.spikes: Tensor | None = None
        self._versions: list[int | None] = []

    def keep(self, spikes: Tensor) -> None:
        self.spikes = spikes.detach()
        self._versions = self._current()

    def check(self) -> None:
        if self._versions != self._current():
            raise RuntimeError(
                "one of the variables needed for gradient computation has been modified by an inplace operation: the "
                "spikes of a Recurrent layer, or the state it was given; write y = 2 * y in place of y.mul_(2)"
            )

    def _current(self) -> list[int | None]:
        # Tensors of inference mode count no changes, and have no gradients.
        return [None if one is None or one.is_inference() else one._version for one in (self.spikes, self.history)]


class _Credited(torch.autograd.Function):
    """The current as it is; backward, weights and delays get the gradients that a synapse fed those spikes would.

    That is one call for all steps, by the fastest backend, where every step keeps no more than its spikes.
    """

    @staticmethod
    def forward(ctx: Any, current: Tensor, weight: Tensor, delay: Tensor, sigma: Tensor, heard: _Heard) -> Tensor:
        ctx.heard = heard
        ctx.save_for_backward(weight, delay, sigma)
        return current.view_as(current)

    @staticmethod
    @torch.autograd.function.once_differentiable
    def backward(ctx: Any, grad: Tensor) -> Any:
        weight, delay, sigma = ctx.saved_tensors
        wanted = ctx.needs_input_grad[1:3]
        found: list[Tensor | None] = [None, None]
        if any(wanted):
            ctx.heard.check()
            with torch.enable_grad():
                own = [tensor.detach().requires_grad_(needed) for tensor, needed in zip((weight, delay), wanted)]
                added, _ = in_window(
                    delayed_linear, ctx.heard.spikes, ctx.heard.history, own[0], own[1], sigma, **ctx.heard.window
                )
                grads = iter(torch.autograd.grad(added, [one for one in own if one.requires_grad], grad))
            found = [next(grads) if needed else None for needed in wanted]
        return grad, *found, None, None
