"""A linear layer with a delay on every synapse."""

from torch import Tensor

from snn_delays.arguments import integer
from snn_delays.nn.delayed import DelayedLayer, DelayLineState
from snn_delays.ops.delay import delayed_linear


class DelayedLinear(DelayedLayer):
    r"""Linear layer whose synapses have delays, learned with the weights.

    .. math:: y_t[o] = b[o] + \sum_{i,c} w[o,i,c]\; x_{t - d[o,i,c]}[i]

    where a delay that is not a whole number of steps is spread over neighbouring steps by ``taps``
    (:mod:`snn_delays.ops.delay.taps`). Parameters are complete after construction; ``delay`` is the delay, in steps,
    min_delay_steps..max_delay_steps, larger is later. The optimiser can push it out of that window: call
    :meth:`clamp_delays_` after every step.

    Args:
        in_features: neurons before the synapse.
        out_features: neurons behind it.
        max_delay_steps: longest delay; 0 makes a plain linear layer.
        min_delay_steps: shortest delay; no tap reaches a shorter one. As long as the longest: one tap, none to learn.
        sharing: ``"synapse"``, a delay of its own for each; ``"axon"``, one per input neuron; ``"dendrite"``, one per
            output neuron.
        delay_count: synapses for each pair of neurons, each with a weight and a delay.
        taps: ``"gaussian"``, ``"triangle"``, ``"linear"``, ``"linear_normalized"``.
        sigma_steps: initial width of the taps; None: half the window, ``(max - min + 1) // 2``.
        learn_delay: whether ``delay`` is trained.
        bias: add a constant to each output neuron.
        delay_init: ``"uniform"`` over the window; ``"uniform_rounded"``, so in whole steps; ``"hammouamri_2024"``,
            uniform on min..max_delay_steps + 1, then clamped, which doubles the mass at the longest delay;
            ``"hammouamri_2024_rounded"``, the same in whole steps.

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
        *,
        max_delay_steps: int,
        min_delay_steps: int = 0,
        sharing: str = "synapse",
        delay_count: int = 1,
        taps: str = "gaussian",
        sigma_steps: float | None = None,
        learn_delay: bool = True,
        bias: bool = False,
        delay_init: str = "uniform",
    ) -> None:
        self._check_names(sharing, taps, delay_init)
        in_features, out_features = integer("in_features", in_features, 1), integer("out_features", out_features, 1)
        delay_count = integer("delay_count", delay_count, 1)
        super().__init__(
            (out_features, in_features, delay_count),
            (
                out_features if sharing != "axon" else 1,
                in_features if sharing != "dendrite" else 1,
                delay_count,
            ),
            in_features * delay_count,
            max_delay_steps=max_delay_steps,
            min_delay_steps=min_delay_steps,
            sharing=sharing,
            taps=taps,
            sigma_steps=sigma_steps,
            learn_delay=learn_delay,
            bias=bias,
            delay_init=delay_init,
        )
        self.in_features, self.out_features, self.delay_count = in_features, out_features, delay_count

    def forward(
        self, x: Tensor, state: DelayLineState | None = None, valid: Tensor | None = None
    ) -> tuple[Tensor, DelayLineState]:
        """Current ``[time, batch, out]`` and the delay line's state."""
        current, after = self._run(delayed_linear, x, state, valid)
        if self.bias is not None:
            current = current + self.bias
        return current, after

    def extra_repr(self) -> str:
        """Arguments as one would write them."""
        return (
            f"{self.in_features}, {self.out_features}, {self._window()}, "
            f"sharing={self.sharing!r}, delay_count={self.delay_count}, {self._options()}"
        )
