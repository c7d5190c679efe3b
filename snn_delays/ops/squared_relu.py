"""The square of what is positive, in two passes forwards and two backwards, in memory that is used again."""

from typing import Any

import torch
from torch import Tensor

from snn_delays.ops.tracing import untraced
from snn_delays.ops.workspace import empty


@untraced
def squared_relu(x: Tensor) -> Tensor:
    r"""``max(x, 0)^2``, elementwise; its gradient is ``2 max(x, 0)``.

    The widest tensor of a block: autograd's own steps through it, in fresh memory, would be a tenth of a training step.

    Source: So et al., NeurIPS 2021 (Primer), as in the channel mixing of RWKV.
    """
    result: Tensor = _SquaredReLU.apply(x)
    return result


def _room(like: Tensor) -> Tensor:
    return empty(like.shape, like.dtype) if _reusable(like) else torch.empty_like(like)


def _reusable(x: Tensor) -> bool:
    return x.device.type == "cpu" and x.dtype in (torch.float32, torch.float64)


class _SquaredReLU(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, x: Tensor) -> Tensor:
        positive = torch.clamp(x, min=0, out=_room(x))
        ctx.save_for_backward(positive)
        return torch.mul(positive, positive, out=_room(x))

    @staticmethod
    @torch.autograd.function.once_differentiable
    def backward(ctx: Any, grad: Tensor) -> Tensor:
        (positive,) = ctx.saved_tensors
        return torch.mul(positive, grad, out=_room(positive)).mul_(2)
