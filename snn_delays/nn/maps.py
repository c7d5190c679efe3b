"""Layers on maps, ``[time, batch, channel, y, x]``: a convolution with delays, pooling, and maps laid out flat."""

from typing import TYPE_CHECKING

import torch
import torch.nn.functional as F
from torch import Tensor

from snn_delays.arguments import integer, shown
from snn_delays.errors import ConfigError
from snn_delays.nn.delayed import DelayedLayer, DelayLineState
from snn_delays.nn.door import MAPS, SERIES, admit, check_stateless
from snn_delays.nn.module import SpikingModule
from snn_delays.nn.specs import DelayOptions, DelaySpec, Device
from snn_delays.ops.delay_conv import delayed_conv2d, map_size

if TYPE_CHECKING:
    from typing_extensions import Unpack

Size = int | tuple[int, int]


def _pair(name: str, size: Size, least: int) -> tuple[int, int]:
    """A size along y and x; one integer means both. Raises ConfigError for anything but one or two integers."""
    y, x = size if isinstance(size, tuple | list) and len(size) == 2 else (size, size)
    if isinstance(y, tuple | list):
        raise ConfigError(f"{name} is an integer, or two for y and x; got {shown(size)}")
    return integer(name, y, least), integer(name, x, least)


class DelayedConv2d(DelayedLayer):
    r"""Convolution of maps whose weights have delays, learned with the weights.

    .. math:: y_t[o,v,u] = b[o] + \sum_{i,a,c} w[o,i,a,c]\; x_{t - d[o,i,a,c]}[i,\; s v + a - p,\; s u + c - p]

    Taps, windows and what :meth:`clamp_delays_` is for are those of :class:`snn_delays.nn.DelayedLinear`, which this
    layer is on maps of one place; with ``max_delay_steps=0`` it is ``torch.nn.functional.conv2d``.

    Args:
        in_channels: maps before the layer (an event camera's polarities).
        out_channels: maps after it.
        kernel_size: rows and columns of the kernel, or one number for both.
        stride: steps of the kernel in space, along y and x or one number for both.
        padding: silent rows above and below, silent columns left and right, or one number for both.
        delays: see :class:`snn_delays.nn.DelayedLinear`; ``delay_count`` is 1. With ``sharing`` ``"axon"`` or
            ``"dendrite"`` the layer costs little more than a convolution without delays.
        bias: add a constant to each output map.
        device, dtype: of the parameters, as for :class:`torch.nn.Conv2d`.

    Attributes:
        weight: ``[out, in, ky, kx]``, He-uniform with bound ``sqrt(6 / (in * ky * kx))``.
        delay: steps; shaped as ``weight``, ``[out, in, 1, 1]``, ``[1, in, 1, 1]`` or ``[out, 1, 1, 1]``.
        sigma: buffer, width of the taps in steps.
        bias: ``[out]`` or None.

    State: :class:`DelayLineState`. Shapes: ``[time, batch, in, y, x]`` to ``[time, batch, out, v, u]`` with
    ``v = (y + 2 padding - kernel) // stride + 1``.

    Raises ConfigError for an argument that names nothing or cannot be.

    Source: see :func:`snn_delays.ops.delay_conv.delayed_conv2d`.
    """

    FORM = MAPS
    SHARING = ("synapse", "channel", "axon", "dendrite")
    SHOWN = ("in_channels", "out_channels", "kernel_size", "stride=", "padding=")

    def __init__(
        self,
        in_channels: int,
        out_channels: int,
        kernel_size: Size,
        delays: DelaySpec | None = None,
        *,
        stride: Size = 1,
        padding: Size = 0,
        bias: bool = False,
        device: Device = None,
        dtype: torch.dtype | None = None,
        **options: "Unpack[DelayOptions]",
    ) -> None:
        spec = self._spec(delays, options)
        if spec.delay_count != 1:
            raise ConfigError(f"a convolution has one synapse for each weight: delay_count = 1, got {spec.delay_count}")
        if spec.learn_width != "none":
            raise ConfigError(
                f"the taps of a convolution have one width, which does not learn; got {spec.learn_width!r}"
            )
        in_channels, out_channels = integer("in_channels", in_channels, 1), integer("out_channels", out_channels, 1)
        kernel, steps = _pair("kernel_size", kernel_size, 1), _pair("stride", stride, 1)
        margin = _pair("padding", padding, 0)
        delay_shape = {
            "synapse": (out_channels, in_channels, *kernel),
            "channel": (out_channels, in_channels, 1, 1),
            "axon": (1, in_channels, 1, 1),
            "dendrite": (out_channels, 1, 1, 1),
        }[spec.sharing]
        super().__init__((out_channels, in_channels, *kernel), delay_shape, spec, bias, device=device, dtype=dtype)
        self.in_channels, self.out_channels = in_channels, out_channels
        self.kernel_size, self.stride, self.padding = kernel, steps, margin

    def forward(self, x: Tensor, state: DelayLineState | None = None) -> tuple[Tensor, DelayLineState]:
        """Current ``[time, batch, out, v, u]`` and the delay line's state."""
        current, after = self._run(delayed_conv2d, x, state, stride=self.stride, padding=self.padding)
        return current if self.bias is None else current + self.bias.view(-1, 1, 1), after


class Pool2d(SpikingModule):
    """One number for every window of a map, at every step: :class:`SumPool2d`, :class:`AvgPool2d`, :class:`MaxPool2d`.

    Args:
        kernel_size: rows and columns of the window, or one number for both.
        stride: from window to window; None: windows side by side. Rows and columns that fill no window are left out.

    Shapes: ``[time, batch, channel, y, x]`` to ``[time, batch, channel, v, u]``, ``v = (y - kernel) // stride + 1``;
    no state. Raises ConfigError for sizes below one, ShapeError for maps smaller than the window.
    """

    SHOWN = ("kernel_size", "stride=")

    def __init__(self, kernel_size: Size, stride: Size | None = None) -> None:
        super().__init__()
        self.kernel_size = _pair("kernel_size", kernel_size, 1)
        self.stride = self.kernel_size if stride is None else _pair("stride", stride, 1)

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
