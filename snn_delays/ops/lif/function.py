"""What the LIF backends share: the autograd function around a forward and a backward kernel.

Saved for the backward pass: the membrane before reset, ``h``; spikes and the previous membrane follow from it. The
current is kept only where the input's gain learns.

A leaky integrator is a LIF that never fires: its threshold is infinite, its output is ``h``, and gradients enter there
as they are.
"""

import math
from abc import ABC, abstractmethod
from typing import Any, NamedTuple

import torch
from torch import Tensor

from snn_delays.ops.surrogate import (
    ATan,
    Boxcar,
    Exponential,
    FastSigmoid,
    MultiGaussian,
    Sigmoid,
    Surrogate,
    Triangle,
)

NEVER_FIRES = {
    "threshold": None, "v_reset": 0.0, "soft_reset": False, "detach_reset": True, "strict": False, "surrogate": None,
}  # fmt: skip
"""Arguments of :meth:`LIFKernels.run` that make leaky integrators of the neurons."""
NEVER = 4  # the kind of surrogate by which kernels know them
KINDS: dict[type, int] = {
    ATan: 0, FastSigmoid: 1, Triangle: 2, Sigmoid: 3, Boxcar: 5, Exponential: 6, MultiGaussian: 7,
}  # fmt: skip


class LIFNeurons(NamedTuple):
    """Constants of the neurons, each ``[neuron]``, possibly with stride 0."""

    decay: Tensor
    threshold: Tensor
    gain: Tensor


class LIFOptions(NamedTuple):
    """Options of a call, the same at every step and for every neuron."""

    v_reset: float
    soft_reset: bool
    detach_reset: bool
    decay_input: bool
    strict: bool
    surrogate: Surrogate | None

    @property
    def fires(self) -> bool:
        """Whether the neurons fire, or are leaky integrators."""
        return self.surrogate is not None


class LIFSaved(NamedTuple):
    """What the forward pass leaves to the backward pass; ``current`` is None where the gain has no gradient."""

    current: Tensor | None
    h: Tensor
    v0: Tensor
    neurons: LIFNeurons


class LIFKernels(ABC):
    """Two functions on contiguous tensors of one dtype and device.

    ``current`` and ``h`` are ``[time, batch, neuron]``, ``v0`` and ``v`` ``[batch, neuron]``.
    """

    @abstractmethod
    def forward(
        self, current: Tensor, v0: Tensor, neurons: LIFNeurons, options: LIFOptions, keep_h: bool
    ) -> tuple[Tensor | None, Tensor | None, Tensor]:
        """``h`` (None unless kept), spikes (None where the neurons never fire) and ``v``."""

    @abstractmethod
    def backward(
        self, grad_output: Tensor, grad_v: Tensor, saved: LIFSaved, options: LIFOptions, for_decay: bool
    ) -> tuple[Tensor | None, ...]:
        """Gradients of current and v0, and per lane, as ``[batch, neuron]``, of decay, threshold and gain.

        What is not needed may be None.
        """

    def run(
        self, current: Tensor, v0: Tensor, decay: Tensor, threshold: Tensor | None, **options: Any
    ) -> tuple[Tensor, Tensor]:
        """See :func:`snn_delays.ops.lif.lif`; for leaky integrators give :data:`NEVER_FIRES`."""
        if threshold is None:
            threshold = decay.new_full((), math.inf)
        chosen = LIFOptions(**options)
        gain = 1 - decay if chosen.decay_input else torch.ones_like(decay)
        shape = current.shape[2:]
        tensors = (current, v0, decay.expand(shape), threshold.expand(shape), gain.expand(shape))
        keep_h = not chosen.fires or (torch.is_grad_enabled() and any(tensor.requires_grad for tensor in tensors))
        result: tuple[Tensor, Tensor] = _LIF.apply(*tensors, chosen, self, keep_h)
        return result


def surrogate_numbers(surrogate: Surrogate | None) -> tuple[int, float, float]:
    """Kind and up to two constants that the kernels know a surrogate by; the kind is -1 for one they do not know."""
    if surrogate is None:
        return NEVER, 0.0, 0.0
    kind = KINDS.get(type(surrogate), -1)  # by type: a subclass may well have another derivative
    first, second, *_ = [*vars(surrogate).values(), 0.0, 0.0] if kind >= 0 else (0.0, 0.0)
    return kind, first, second


def refuses_surrogate(surrogate: Surrogate | None) -> str | None:
    """Sentence for a surrogate that has no kernel."""
    if surrogate_numbers(surrogate)[0] < 0:
        return f"it has no kernel for the surrogate {type(surrogate).__name__}"
    return None


class _LIF(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, current: Tensor, v0: Tensor, *given: Any) -> Any:
        *tensors, options, kernels, keep_h = given
        current, v0 = current.contiguous(), v0.contiguous()
        h, spikes, v = kernels.forward(current, v0, LIFNeurons(*tensors), options, keep_h)
        ctx.options, ctx.kernels = options, kernels
        ctx.save_for_backward(current if ctx.needs_input_grad[4] else None, h, v0, *tensors)
        return (h if spikes is None else spikes), v

    @staticmethod
    @torch.autograd.function.once_differentiable
    def backward(ctx: Any, grad_output: Tensor, grad_v: Tensor) -> Any:
        current, h, v0, *tensors = ctx.saved_tensors
        saved, needs = LIFSaved(current, h, v0, LIFNeurons(*tensors)), ctx.needs_input_grad[2:5]
        grad_current, grad_v0, *per_lane = ctx.kernels.backward(
            grad_output.contiguous(), grad_v.contiguous(), saved, ctx.options, needs[0]
        )
        per_neuron = [grad.sum(0) if needed and grad is not None else None for grad, needed in zip(per_lane, needs)]
        return grad_current, grad_v0, *per_neuron, None, None, None
