"""Smaller maps, and maps laid out flat: layers without parameters or state on ``[time, batch, channel, y, x]``."""

import torch.nn.functional as F
from torch import Tensor

from snn_delays.nn.conv import Size, pair
from snn_delays.nn.door import MAPS, SERIES, admit, check_stateless
from snn_delays.nn.module import SpikingModule
from snn_delays.ops.delay_conv import map_size


class Pool2d(SpikingModule):
    """One number for every window of a map, at every step: :class:`SumPool2d`, :class:`AvgPool2d`, :class:`MaxPool2d`.

    Args:
        kernel_size: rows and columns of the window, or one number for both.
        stride: from window to window; None: windows side by side. Rows and columns that fill no window are left out.

    Shapes: ``[time, batch, channel, y, x]`` to ``[time, batch, channel, v, u]``, ``v = (y - kernel) // stride + 1``;
    no state. Raises ConfigError for sizes below one, ShapeError for maps smaller than the window.
    """

    def __init__(self, kernel_size: Size, stride: Size | None = None) -> None:
        super().__init__()
        self.kernel_size = pair("kernel_size", kernel_size, 1)
        self.stride = self.kernel_size if stride is None else pair("stride", stride, 1)

    def forward(self, x: Tensor, state: None = None) -> tuple[Tensor, None]:
        """Pooled maps; there is no state."""
        check_stateless(self, state)
        x = admit(self, x, MAPS)
        rows, columns = map_size(x.shape[3:], self.kernel_size, self.stride)
        if 0 in x.shape[:3]:
            return x.new_zeros(*x.shape[:3], rows, columns), None
        return self._pool(x.flatten(0, 1)).unflatten(0, x.shape[:2]), None

    def _pool(self, maps: Tensor) -> Tensor:
        raise TypeError(f"{type(self).__name__} has to define _pool(maps); take SumPool2d, AvgPool2d or MaxPool2d")

    def extra_repr(self) -> str:
        """Arguments as one would write them."""
        return f"{self.kernel_size}, stride={self.stride}"


class SumPool2d(Pool2d):
    """Spikes of a window counted: events stay events. Arguments and shapes: :class:`Pool2d`."""

    def _pool(self, maps: Tensor) -> Tensor:
        return F.avg_pool2d(maps, self.kernel_size, self.stride, divisor_override=1)


class AvgPool2d(Pool2d):
    """Mean of a window. Arguments and shapes: :class:`Pool2d`."""

    def _pool(self, maps: Tensor) -> Tensor:
        return F.avg_pool2d(maps, self.kernel_size, self.stride)


class MaxPool2d(Pool2d):
    """Largest number of a window: of spikes, whether there is one. Arguments and shapes: :class:`Pool2d`."""

    def _pool(self, maps: Tensor) -> Tensor:
        pooled: Tensor = F.max_pool2d(maps, self.kernel_size, self.stride)
        return pooled


class Flatten(SpikingModule):
    """Everything after time and batch in one axis, ``[time, batch, channel, y, x]`` to ``[time, batch, neuron]``."""

    def forward(self, x: Tensor, state: None = None) -> tuple[Tensor, None]:
        """The same numbers, flat; there is no state."""
        check_stateless(self, state)
        return admit(self, x, SERIES).flatten(2), None
