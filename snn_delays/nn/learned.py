"""LIF neurons that learn time constants and thresholds, and those that filter their current first."""

from typing import Any, NamedTuple

import torch
from torch import Tensor, nn

from snn_delays.arguments import shown
from snn_delays.errors import ConfigError
from snn_delays.nn.door import SERIES, admit, fitting, parts_of, summed_in
from snn_delays.nn.neuron import LIF, Neuron, ThresholdNeuron, decay_of
from snn_delays.nn.specs import Device
from snn_delays.ops.cells import cells
from snn_delays.ops.state import loadable

LEAST = 0.01  # of a learned threshold, above the rest


@loadable
class CubaState(NamedTuple):
    """Filtered current and membrane after the last step, each ``[batch, ...]`` in the shape of a step of the input."""

    i: Tensor
    v: Tensor


class LearnedConstants(Neuron):
    """Neurons whose constants may be parameters: a time constant by ``w``, with ``1 / tau = sigmoid(w)``."""

    threshold: Any
    v_reset: float

    def _learn(self, *names: str, device: Device, dtype: torch.dtype | None) -> None:
        """Have constants learned that are set already; one number each, or one for each neuron."""
        for name in names:
            value = getattr(self, name)
            number = torch.as_tensor(value, dtype=torch.float64, device="cpu")
            delattr(self, name)
            if name.startswith("tau"):
                if not bool((number > 1).all() and number.isfinite().all()):
                    raise ConfigError(f"a {name} that is learned is finite and above 1 step, got {shown(value)}")
                name, number = f"{name}_w", -torch.log(number - 1)
            number = number.to(device=device, dtype=dtype or torch.get_default_dtype())
            self.register_parameter(name, nn.Parameter(number))

    def __getattr__(self, name: str) -> Any:
        """Constants of the neurons, where they are learned."""
        w = self.__dict__.get("_parameters", {}).get(f"{name}_w")
        return super().__getattr__(name) if w is None else 1 / torch.sigmoid(w)

    @torch.no_grad()
    def clamp_parameters_(self) -> None:
        """Keep a learned threshold above the rest, where neurons would fire without end; after an optimiser step."""
        if isinstance(self.threshold, nn.Parameter):
            self.threshold.clamp_(min=self.v_reset + LEAST)

    def constants_now(self, *names: str) -> dict[str, Any]:
        """Constants as they are, numbers or tensors ``[neuron]``, without gradients."""
        given = {name: getattr(self, name) for name in names}
        values = {n: v.detach().double().cpu() if isinstance(v, Tensor) else v for n, v in given.items()}
        return {n: float(v) if isinstance(v, Tensor) and not v.ndim else v for n, v in values.items()}


class PLIF(LearnedConstants, LIF):
    r"""LIF neurons that learn their time constant, :math:`1 / \tau = \mathrm{sigmoid}(w)`, and perhaps their threshold.

    Args:
        tau_steps: the time constant at first, above 1: a number, one for the layer, or a tensor ``[neuron]``.
        learn_threshold: learn the threshold, too: one for the layer, or a tensor ``[neuron]``.
        options: those of :class:`LIF`.

    The parameter ``tau_steps_w`` is w. :func:`snn_delays.parameter_groups` has it among the weights, whose decay draws
    tau to 2, as it was published. A learned threshold stays 0.01 above ``v_reset``. State and shapes as :class:`LIF`;
    discretised, they are LIF neurons with the constants that they have.

    Raises ConfigError as :class:`LIF`, and for a time constant of one step.

    Source: Fang et al., ICCV 2021 (one w a layer, ``decay_input=True``).
    """

    def __init__(
        self,
        tau_steps: float | Tensor = 2.0,
        *,
        learn_threshold: bool = False,
        device: Device = None,
        dtype: torch.dtype | None = None,
        **options: Any,
    ) -> None:
        super().__init__(tau_steps, device=device, **options)
        self._learn("tau_steps", *(("threshold",) if learn_threshold else ()), device=device, dtype=dtype)

    def frozen(self) -> LIF:
        """LIF neurons with the constants as they are now."""
        return LIF(**{**self.options(), **self.constants_now("tau_steps", "threshold")})


class CubaLIF(LearnedConstants, ThresholdNeuron):
    r"""Current-based LIF: the current is filtered before it reaches the membrane.

    .. math::
        i_t = (1 - 1/\tau_{syn})\,i_{t-1} + g_{syn}\,x_t \qquad
        h_t = v_{reset} + (1 - 1/\tau)\,(v_{t-1} - v_{reset}) + g\,i_t

    then as :class:`LIF`. The gains are ``1 / tau_syn`` and ``1 / tau`` with ``decay_input``, else 1. An infinite
    ``tau_steps`` makes integrate-and-fire neurons; ``tau_syn_steps = 1`` filters nothing.

    Args:
        tau_steps, tau_syn_steps: time constants of membrane and current, >= 1; numbers, or tensors ``[neuron]``.
        learn_tau: learn both, by parameters ``tau_steps_w`` and ``tau_syn_steps_w`` as of :class:`PLIF`.
        learn_threshold: as of :class:`PLIF`.
        options: those of :class:`LIF`.

    State: :class:`CubaState`. Shapes: ``[time, batch, ...]`` to spikes of the same shape. NIR has them as ``CubaLIF``;
    other exports, integers and streaming refuse them by name.

    Source: the node of NIR, Pedersen et al., Nature Communications 2024, by forward Euler.
    """

    SHOWN = ("tau_steps=", "tau_syn_steps=", *ThresholdNeuron.SHOWN[1:])
    tau_syn_steps: Any

    def __init__(
        self,
        tau_steps: float | Tensor,
        tau_syn_steps: float | Tensor,
        *,
        learn_tau: bool = False,
        learn_threshold: bool = False,
        device: Device = None,
        dtype: torch.dtype | None = None,
        **options: Any,
    ) -> None:
        super().__init__(tau_steps, device=device, **options)
        self._set_tau(tau_syn_steps, "tau_syn_steps")
        learned = (("tau_steps", "tau_syn_steps") if learn_tau else ()) + (("threshold",) if learn_threshold else ())
        self._learn(*learned, device=device, dtype=dtype)
        if device is not None:
            self.to(device)

    def forward(self, x: Tensor, state: CubaState | None = None) -> tuple[Tensor, CubaState]:
        """Spikes, shaped as ``x``, and the state."""
        x = admit(self, x, SERIES, next(iter(self._parameters.values()), None))
        rest = x.new_full(x.shape[1:], self.v_reset, dtype=summed_in(x))
        parts = (rest.new_zeros(rest.shape), rest)
        if state is not None:
            parts = tuple(  # type: ignore[assignment]
                fitting(self, part, x, rest.dtype, shape=rest.shape, what=name)
                for name, part in zip(CubaState._fields, parts_of(self, state, CubaState))
            )
        decay, syn = decay_of(self.tau_steps), decay_of(self.tau_syn_steps)
        constants = {
            "decay": decay, "syn_decay": syn, "gain": 1 - decay if self.decay_input else 1.0,
            "syn_gain": 1 - syn if self.decay_input else 1.0, "threshold": self.threshold, "v_reset": self.v_reset,
        }  # fmt: skip
        spikes, after = cells(
            f"cuba_{self.reset}", x.flatten(2), [part.flatten(1) for part in parts], constants,
            detach_reset=self.detach_reset, strict=self.strict, surrogate=self.surrogate,
        )  # fmt: skip
        return spikes.view(x.shape), CubaState(*(part.view(x.shape[1:]) for part in after))

    def frozen(self) -> "CubaLIF":
        """The same neurons, which learn no more."""
        return CubaLIF(**{**self.options(), **self.constants_now("tau_steps", "tau_syn_steps", "threshold")})
