"""The fastest float32 matrix product that torch has on a CPU.

torch's ``mm`` calls MKL, which is slow on some processors; oneDNN, in the same wheel and reached through the operator
that ``torch.compile`` emits for linear layers, is as fast or several times faster on all that were tried.
"""

from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor

from snn_delays.ops.tracing import untraced

WORTH = 2**22  # multiplications; below, preparing a call of oneDNN costs more than it saves


def _has_onednn() -> bool:
    return torch.backends.mkldnn.is_available() and hasattr(torch.ops.mkldnn, "_linear_pointwise")


ONEDNN = _has_onednn()


@untraced
def linear(x: Tensor, weight: Tensor, worth: int | None = None) -> Tensor:
    r"""``x @ weight.T``, of ``x [..., in]`` and ``weight [out, in]``, strided as they may be.

    float32 products on a CPU of at least ``worth`` multiplications, ``WORTH`` by default, are oneDNN's, with their
    gradients (once differentiable); all others are :func:`torch.nn.functional.linear`.
    """
    if not _served(x, weight, WORTH if worth is None else worth):
        return F.linear(x, weight)
    if torch.is_grad_enabled() and (x.requires_grad or weight.requires_grad):
        result: Tensor = _Linear.apply(x, weight)
        return result
    return product(x.reshape(-1, x.shape[-1]), weight).view(*x.shape[:-1], len(weight))


def _served(x: Tensor, weight: Tensor, worth: int) -> bool:
    return (
        x.numel() * len(weight) >= worth
        and ONEDNN
        and bool(torch.backends.mkldnn.enabled)
        and x.dtype == weight.dtype == torch.float32
        and x.device.type == weight.device.type == "cpu"
        and x.ndim >= 2
        and weight.ndim == 2
        and x.shape[-1] == weight.shape[1]
        and not torch.is_autocast_enabled("cpu")
    )


def product(x: Tensor, weight: Tensor) -> Tensor:
    """``x @ weight.T`` by oneDNN."""
    result: Tensor = torch.ops.mkldnn._linear_pointwise(x, weight, None, "none", [], "")
    return result


class _Linear(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, x: Tensor, weight: Tensor) -> Tensor:
        rows = x.reshape(-1, x.shape[-1])
        ctx.save_for_backward(rows, weight)
        return product(rows, weight).view(*x.shape[:-1], len(weight))

    @staticmethod
    @torch.autograd.function.once_differentiable
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor | None, Tensor | None]:
        rows, weight = ctx.saved_tensors
        to_rows = grad.reshape(-1, len(weight))
        x_grad = weight_grad = None
        if ctx.needs_input_grad[0]:
            x_grad = product(to_rows, weight.T).view(*grad.shape[:-1], rows.shape[1])
        if ctx.needs_input_grad[1]:
            # The first operand is copied before the product, so the narrower one comes first.
            narrow = len(weight) <= rows.shape[1]
            weight_grad = product(to_rows.T, rows.T) if narrow else product(rows.T, to_rows.T).T
        return x_grad, weight_grad
