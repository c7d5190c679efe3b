"""A linear layer with a delay on every synapse."""

from typing import TYPE_CHECKING

import torch
from torch import Tensor

from snn_delays.arguments import integer
from snn_delays.nn.delayed import DelayedLayer, DelayLineState
from snn_delays.nn.specs import DelayOptions, DelaySpec, Device
from snn_delays.ops.delay import delayed_linear

if TYPE_CHECKING:
    from typing_extensions import Unpack


class DelayedLinear(DelayedLayer):
    r"""Linear layer whose synapses have delays, learned with the weights.

    .. math:: y_t[o] = b[o] + \sum_{i,c} w[o,i,c]\; x_{t - d[o,i,c]}[i]

    where a delay that is no integer is spread over neighbouring steps by ``taps``
    (:mod:`snn_delays.ops.delay.taps`). Parameters are complete after construction; ``delay`` is the delay, in steps,
    min_delay_steps..max_delay_steps, larger is later. An optimiser knows no window:
    :func:`snn_delays.keep_delays_in_window` clamps delays after each of its steps.

    Args:
        in_features: neurons before the synapse.
        out_features: neurons after it.
        delays: their window, sharing, number, taps, width and initial values; any field of :class:`DelaySpec` can
            be given by keyword, as in ``DelayedLinear(140, 64, max_delay_steps=24, sharing="axon")``.
        bias: add a constant to each output neuron.
        device, dtype: of the parameters, as for :class:`torch.nn.Linear`.

    Attributes:
        weight: ``[out, in, delay_count]``, He-uniform with bound ``sqrt(6 / (in * delay_count))``.
        delay: steps; ``[out, in, delay_count]``, with 1 for ``out`` (axon) or for ``in`` (dendrite).
        sigma: buffer, width of the taps in steps.
        bias: ``[out]`` or None.

    State: :class:`DelayLineState`. Shapes: ``[time, batch, in]`` to ``[time, batch, out]``.

    Raises:
        ConfigError: an argument that names nothing or cannot be.

    Source: Hammouamri et al., ICLR 2024, section 3.2; sharing after Bouhadjar & Neftci, arXiv 2602.09746.
    """

    SHARING = ("synapse", "axon", "dendrite")

    def __init__(
        self,
        in_features: int,
        out_features: int,
        delays: DelaySpec | None = None,
        *,
        bias: bool = False,
        device: Device = None,
        dtype: torch.dtype | None = None,
        **options: "Unpack[DelayOptions]",
    ) -> None:
        spec = self._spec(delays, options)
        in_features, out_features = integer("in_features", in_features, 1), integer("out_features", out_features, 1)
        count = spec.delay_count
        rows = 1 if spec.sharing == "axon" else out_features
        columns = 1 if spec.sharing == "dendrite" else in_features
        super().__init__(
            (out_features, in_features, count), (rows, columns, count), in_features * count, spec, bias=bias,
            device=device, dtype=dtype,
        )  # fmt: skip
        self.in_features, self.out_features, self.delay_count = in_features, out_features, count

    def forward(self, x: Tensor, state: DelayLineState | None = None) -> tuple[Tensor, DelayLineState]:
        """Current ``[time, batch, out]`` and the delay line's state."""
        current, after = self._run(delayed_linear, x, state)
        if self.bias is not None:
            current = current + self.bias
        return current, after

    def extra_repr(self) -> str:
        """Arguments as one would write them."""
        return (
            f"{self.in_features}, {self.out_features}, {self._window()}, "
            f"sharing={self.sharing!r}, delay_count={self.delay_count}, {self._options()}"
        )
