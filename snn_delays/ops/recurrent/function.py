"""What kernels of a recurrent population share: the delay line in numbers, and the autograd function around them."""

from abc import ABC, abstractmethod
from typing import Any, NamedTuple

import torch
from torch import Tensor

from snn_delays.ops.delay.taps import delay_kernel, tap_weights
from snn_delays.ops.lif.function import LIFNeurons, LIFOptions, refuses_surrogate
from snn_delays.ops.surrogate import Surrogate


class Feedback(NamedTuple):
    """What a spike causes, lag by lag, the first of them ``least`` steps later.

    Delays of axons: ``taps [lag, count * source]`` and ``weight [target, count * source]``, for each of ``count``
    synapses one source after the other. Delays of synapses: ``taps`` is None, ``weight [lag, target, source]``; or few
    lags of each, ``weight [tap, target, source, count]``, which begin at ``start [target, source, count]``.
    """

    weight: Tensor
    taps: Tensor | None
    least: int
    start: Tensor | None = None


class Start(NamedTuple):
    """Spikes before, ``[time, batch, neuron]``; membranes, and factors on feedback if any, ``[batch, neuron]``."""

    history: Tensor
    v0: Tensor
    mask: Tensor | None


class Gradients(NamedTuple):
    """Of a call's current and start, and of its feedback."""

    current: Tensor
    history: Tensor
    v0: Tensor
    weight: Tensor | None = None
    taps: Tensor | None = None


class RecurrentKernels(ABC):
    """Forward and backward pass on tensors of one dtype and device; of the steps, only ``h`` is kept."""

    def feedback(self, weight: Tensor, delay: Tensor, sigma: Tensor, least: int, longest: int, taps: str) -> Feedback:
        """Of synapses, differentiable."""
        delay, spread = delay - least, longest - least
        if not shared(delay, sigma):
            return Feedback(delay_kernel(weight, delay, sigma, spread, taps), None, least)
        of_sources = tap_weights(delay, sigma, spread, taps).expand(-1, 1, *weight.shape[1:])
        return Feedback(weight.transpose(1, 2).flatten(1), of_sources[:, 0].transpose(1, 2).flatten(1), least)

    @abstractmethod
    def forward(
        self, current: Tensor, start: Start, feedback: Feedback, neurons: LIFNeurons, options: LIFOptions, keep_h: bool
    ) -> tuple[Tensor, Tensor, Tensor]:
        """Membranes before reset (no steps of them unless kept), spikes, and the membrane after the last step."""

    @abstractmethod
    def backward(
        self, grad_spikes: Tensor, grad_v: Tensor, h: Tensor, start: Start, feedback: Feedback, neurons: LIFNeurons,
        options: LIFOptions, for_feedback: bool,
    ) -> Gradients:  # fmt: skip
        """Gradients; those of the feedback only if they are needed."""

    def run(
        self, current: Tensor, history: Tensor | None, v0: Tensor, mask: Tensor | None, weight: Tensor, delay: Tensor,
        sigma: Tensor, min_delay_steps: int, max_delay_steps: int, taps: str, decay: Tensor, threshold: Tensor,
        **options: Any,
    ) -> tuple[Tensor, Tensor]:  # fmt: skip
        """See :func:`snn_delays.ops.recurrent.recurrent_lif`."""
        chosen, shape = LIFOptions(**options), current.shape[2:]
        gain = 1 - decay if chosen.decay_input else torch.ones_like(decay)
        neurons = LIFNeurons(*(tensor.expand(shape).contiguous() for tensor in (decay, threshold, gain)))
        history = current.new_zeros(0, *v0.shape) if history is None else history
        tensors = (current, history, v0, weight, delay, sigma)
        keep_h = torch.is_grad_enabled() and any(tensor.requires_grad for tensor in tensors)
        window = (min_delay_steps, max_delay_steps, taps)
        result: tuple[Tensor, Tensor] = _Recurrent.apply(*tensors, mask, window, neurons, chosen, self, keep_h)
        return result


def refuses_neurons(decay: Tensor, threshold: Tensor, surrogate: Surrogate | None) -> str | None:
    """Sentence for neurons that have no kernel."""
    if torch.is_grad_enabled() and (decay.requires_grad or threshold.requires_grad):
        return "it has no gradient of time constants and thresholds"
    return refuses_surrogate(surrogate)


def shared(delay: Tensor, sigma: Tensor) -> bool:
    """Whether all targets have the taps of a source in common."""
    return len(delay) == 1 and (sigma.ndim < 3 or len(sigma) == 1)


class _Recurrent(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, *given: Any) -> Any:
        current, history, v0, *synapses, mask, window, neurons, options, kernels, keep_h = given
        start, feedback = Start(history, v0, mask), kernels.feedback(*synapses, *window)
        h, spikes, v = kernels.forward(current, start, feedback, neurons, options, keep_h)
        ctx.window, ctx.options, ctx.kernels = window, options, kernels
        # Not the kernel of the delays, which is as large as the window is long: it is built anew.
        ctx.save_for_backward(h, *start, *synapses, *neurons)
        return spikes, v

    @staticmethod
    @torch.autograd.function.once_differentiable
    def backward(ctx: Any, grad_spikes: Tensor, grad_v: Tensor) -> Any:
        h, history, v0, mask, *synapses, decay, threshold, gain = ctx.saved_tensors
        needed = ctx.needs_input_grad[3:6]
        leaves = [tensor.detach().requires_grad_(learns) for tensor, learns in zip(synapses, needed)]
        with torch.enable_grad():
            feedback = ctx.kernels.feedback(*leaves, *ctx.window)
        grads = ctx.kernels.backward(
            grad_spikes, grad_v, h, Start(history, v0, mask), feedback, LIFNeurons(decay, threshold, gain),
            ctx.options, any(needed),
        )  # fmt: skip
        if not any(needed):
            return *grads[:3], *[None] * 9
        pairs = ((feedback.weight, grads.weight), (feedback.taps, grads.taps))
        built, of_built = zip(*((t, grad) for t, grad in pairs if t is not None and t.requires_grad))
        learning = [leaf for leaf in leaves if leaf.requires_grad]
        of_synapses = iter(torch.autograd.grad(built, learning, of_built, allow_unused=True))
        return *grads[:3], *(next(of_synapses) if learns else None for learns in needed), *[None] * 6
