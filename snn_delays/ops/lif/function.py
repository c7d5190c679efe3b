"""What the LIF backends share: the autograd function around a forward and a backward kernel.

Saved for the backward pass: the membrane before reset, ``h``; spikes and the previous membrane follow from it. The
current is kept only where the input's gain learns.

A leaky integrator is a LIF that never fires: its threshold is infinite, its output is ``h``, and gradients enter there
as they are.
"""

import math
from collections.abc import Callable
from typing import Any, NamedTuple

import torch
from torch import Tensor

from snn_delays.ops.surrogate import ATan, FastSigmoid, Sigmoid, Surrogate, Triangle

NEVER_FIRES = {
    "threshold": None, "v_reset": 0.0, "soft_reset": False, "detach_reset": True, "strict": False, "surrogate": None,
}  # fmt: skip
"""Arguments of :func:`apply` that make leaky integrators of the neurons."""
NEVER = 4  # the kind of surrogate by which kernels know them


class LIFOptions(NamedTuple):
    """Options of a call, the same at every step and for every neuron."""

    v_reset: float
    soft_reset: bool
    detach_reset: bool
    strict: bool
    surrogate: tuple[int, float, float]

    @property
    def fires(self) -> bool:
        """Whether the neurons fire, or are leaky integrators."""
        return self.surrogate[0] != NEVER


class LIFSaved(NamedTuple):
    """What the forward pass leaves to the backward pass; ``current`` is None where the gain has no gradient."""

    h: Tensor
    v0: Tensor
    decay: Tensor
    threshold: Tensor
    gain: Tensor
    current: Tensor | None


class LIFKernels(NamedTuple):
    """Two functions on tensors of one dtype and device.

    ``current`` and ``h`` are ``[time, batch, neuron]``, ``v0`` and ``v`` ``[batch, neuron]``, all contiguous; decay,
    threshold and gain are ``[neuron]``, possibly with stride 0.
    """

    forward: Callable[
        [Tensor, Tensor, Tensor, Tensor, Tensor, LIFOptions, bool], tuple[Tensor | None, Tensor | None, Tensor]
    ]
    """``(current, v0, decay, threshold, gain, options, keep_h)`` to ``h`` (None unless kept), spikes (None where the
    neurons never fire) and ``v``."""
    backward: Callable[[Tensor, Tensor, LIFSaved, LIFOptions, bool], tuple[Tensor | None, ...]]
    """``(grad_output, grad_v, saved, options, for_decay)`` to the gradients of current and v0, and per lane, as
    ``[batch, neuron]``, of decay, threshold and gain; what is not needed may be None."""


def surrogate_numbers(surrogate: Surrogate | None) -> tuple[int, float, float] | None:
    """Kind and up to two constants that the kernels know a surrogate by; None for one they do not know."""
    if surrogate is None:
        return NEVER, 0.0, 0.0
    if type(surrogate) not in (ATan, FastSigmoid, Triangle, Sigmoid):
        return None  # a subclass may well have another derivative
    match surrogate:
        case ATan(alpha=alpha):
            return 0, float(alpha), 0.0
        case FastSigmoid(slope=slope):
            return 1, float(slope), 0.0
        case Triangle(width=width, height=height):
            return 2, float(width), float(height)
        case Sigmoid(alpha=alpha):
            return 3, float(alpha), 0.0
    return None


def refuses_surrogate(surrogate: Surrogate | None) -> str | None:
    """Sentence for a surrogate that has no kernel."""
    if surrogate_numbers(surrogate) is None:
        return f"it has no kernel for the surrogate {type(surrogate).__name__}"
    return None


def apply(
    kernels: LIFKernels,
    current: Tensor,
    v0: Tensor,
    decay: Tensor,
    threshold: Tensor | None,
    v_reset: float,
    soft_reset: bool,
    detach_reset: bool,
    decay_input: bool,
    strict: bool,
    surrogate: Surrogate | None,
) -> tuple[Tensor, Tensor]:
    """See :func:`snn_delays.ops.lif.lif`; for leaky integrators give :data:`NEVER_FIRES`."""
    if threshold is None:
        threshold = decay.new_full((), math.inf)
    gain = 1 - decay if decay_input else torch.ones_like(decay)
    numbers = surrogate_numbers(surrogate)
    assert numbers is not None
    options = LIFOptions(v_reset, soft_reset, detach_reset, strict, numbers)
    neurons = current.shape[2:]
    tensors = (current, v0, decay.expand(neurons), threshold.expand(neurons), gain.expand(neurons))
    keep_h = not options.fires or (torch.is_grad_enabled() and any(tensor.requires_grad for tensor in tensors))
    result: tuple[Tensor, Tensor] = _LIF.apply(*tensors, options, kernels, keep_h)
    return result


def trial(kernels: LIFKernels, dtype: torch.dtype, device: torch.device) -> None:
    """Compile and run both kernels on one neuron, with every gradient, and wait for them."""
    with torch.enable_grad(), torch.autocast(device.type, enabled=False):
        one = torch.ones((), dtype=dtype, device=device, requires_grad=True)
        row = one.expand(1, 1)
        spikes, v = apply(kernels, row[None], row, one, one, 0.0, False, True, True, False, ATan())
        torch.autograd.grad(spikes.sum() + v.sum(), one)
    torch.cuda.synchronize(device)


class _LIF(torch.autograd.Function):
    @staticmethod
    def forward(
        ctx: Any,
        current: Tensor,
        v0: Tensor,
        decay: Tensor,
        threshold: Tensor,
        gain: Tensor,
        options: LIFOptions,
        kernels: LIFKernels,
        keep_h: bool,
    ) -> Any:
        current, v0 = current.contiguous(), v0.contiguous()
        h, spikes, v = kernels.forward(current, v0, decay, threshold, gain, options, keep_h)
        ctx.options, ctx.kernels = options, kernels
        ctx.save_for_backward(h, v0, decay, threshold, gain, current if ctx.needs_input_grad[4] else None)
        return (h if spikes is None else spikes), v

    @staticmethod
    @torch.autograd.function.once_differentiable
    def backward(ctx: Any, grad_output: Tensor, grad_v: Tensor) -> Any:
        saved = LIFSaved(*ctx.saved_tensors)
        for_decay, for_threshold, for_gain = ctx.needs_input_grad[2:5]
        grad_current, grad_v0, *per_lane = ctx.kernels.backward(
            grad_output.contiguous(), grad_v.contiguous(), saved, ctx.options, for_decay
        )
        needs = (for_decay, for_threshold, for_gain)
        per_neuron = [grad.sum(0) if needed and grad is not None else None for grad, needed in zip(per_lane, needs)]
        return grad_current, grad_v0, *per_neuron, None, None, None
