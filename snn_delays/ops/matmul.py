"""The fastest float32 matrix product that torch has on a CPU.

torch's ``mm`` calls MKL, which is slow on some processors; oneDNN, in the same wheel and reached through the operator
that ``torch.compile`` emits for linear layers, is as fast or several times faster on all that were tried.
"""

import torch
from torch import Tensor


def _has_onednn() -> bool:
    return torch.backends.mkldnn.is_available() and hasattr(torch.ops.mkldnn, "_linear_pointwise")


_ONEDNN = _has_onednn()


def linear(x: Tensor, weight: Tensor) -> Tensor:
    """``x @ weight.T`` of two matrices, strided as they may be; no gradient."""
    if _ONEDNN and x.dtype == torch.float32 and x.device.type == "cpu" and x.numel() and weight.numel():
        product: Tensor = torch.ops.mkldnn._linear_pointwise(x, weight, None, "none", [], "")
        return product
    return x @ weight.T
