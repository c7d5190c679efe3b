"""A linear layer without bias whose products are the fastest the machine has."""

import torch
from torch import Tensor, nn

from snn_delays.arguments import integer
from snn_delays.errors import ShapeError
from snn_delays.nn.door import ROWS, admit
from snn_delays.nn.specs import Device
from snn_delays.ops.matmul import linear


class Linear(nn.Linear):
    """``y = W x``: :class:`torch.nn.Linear` without bias, computed by :func:`snn_delays.ops.matmul.linear`.

    Parameters, their names and their initial values are those of the base class.

    Shapes: ``[..., in_features]`` to ``[..., out_features]``.
    """

    def __init__(
        self, in_features: int, out_features: int, *, device: Device = None, dtype: torch.dtype | None = None
    ) -> None:
        inputs, outputs = integer("in_features", in_features, 1), integer("out_features", out_features, 1)
        super().__init__(inputs, outputs, bias=False, device=device, dtype=dtype)

    def forward(self, input: Tensor) -> Tensor:
        """The product."""
        weight = self.weight
        x = admit(self, input, ROWS, weight)
        if x.shape[-1] != weight.shape[1]:
            raise ShapeError(f"a linear layer of {weight.shape[1]} features got an input of shape {tuple(x.shape)}")
        return linear(x, weight)
