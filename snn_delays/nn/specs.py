"""What delays and neurons are, as frozen values: arguments of layers and networks, and fields of a recipe."""

import math
from collections.abc import Iterator
from dataclasses import dataclass, fields, replace
from typing import TYPE_CHECKING, Any, TypedDict, TypeVar

import torch

from snn_delays.arguments import choice, integer, real, shown
from snn_delays.errors import ConfigError
from snn_delays.messages import did_you_mean
from snn_delays.nn.sparsity import MASKS, sparsity_problems
from snn_delays.ops.delay.taps import TAPS
from snn_delays.ops.surrogate import Surrogate
from snn_delays.units import MAX_DELAY_STEPS

if TYPE_CHECKING:
    from _typeshed import DataclassInstance

DELAY_INIT = (
    "uniform", "uniform_rounded", "hammouamri_2024", "hammouamri_2024_rounded", "half_normal", "half_normal_rounded",
)  # fmt: skip
Device = torch.device | str | int | None
ROUNDING = ("anneal", "epoch", "straight_through", "stochastic", "none")
SHARING = ("synapse", "channel", "axon", "dendrite", "layer", "hybrid")
WIDTHS = ("none", "synapse", "axon", "dendrite", "layer")
SHIFTS = ("token", "learned", "fixed", "dense")


@dataclass(frozen=True)
class DelaySpec:
    """The delays of a layer.

    Args:
        max_delay_steps: longest delay; 0 makes a layer without delays.
        min_delay_steps: shortest delay; no tap reaches a shorter one. Equal to the longest: one tap, nothing to learn.
        sharing: ``"synapse"``, a delay for each weight; ``"axon"``, one per input neuron or map; ``"dendrite"``, one
            per output neuron or map; of convolutions also ``"channel"``, one per pair of an input and an output map; of
            linear layers also ``"layer"``, one common delay, and ``"hybrid"``, one per axon, in the first half of the
            window, and for each weight an integer that is added to it and stays as drawn, 0 to half the window.
        delay_count: synapses for each pair of neurons, each with a weight and a delay; 1 for convolutions.
        taps: how a real-valued delay is spread over neighbouring steps: ``"gaussian"``, ``"triangle"``, ``"delrec"``,
            ``"linear"``, ``"linear_normalized"`` (:mod:`snn_delays.ops.delay.taps`).
        sigma_steps: initial width of the taps; None: half the window, ``(max - min + 1) // 2``, at least 1.
        learn_delay: whether delays are trained.
        delay_init: ``"uniform"`` over the window; ``"uniform_rounded"``, the same rounded to steps;
            ``"hammouamri_2024"``, uniform on min..max_delay_steps + 1, then clamped, which doubles the mass at the
            longest delay; ``"hammouamri_2024_rounded"``, the same rounded; ``"half_normal"``, the shortest plus the
            magnitude of a normal number, at most the longest, and ``"half_normal_rounded"``.
        delay_range_steps: the part of the window that ``"uniform"`` draws from; None: all of it.
        delay_std_steps: standard deviation of the normal numbers of ``"half_normal"``.
        learn_width: whose width of the taps is learned: ``"synapse"``, ``"axon"``, ``"dendrite"``, ``"layer"``, or
            ``"none"``; of linear layers.
        delay_rounding: how training comes to integer delays. ``"anneal"``: taps grow narrow, delays stay real-valued;
            ``"none"``: so do they, and taps are narrow from the start; ``"epoch"``: delays are rounded in place after
            every epoch; ``"straight_through"``: what acts is the nearest integer, and its gradient passes on to the
            real-valued delay; ``"stochastic"``: likewise, but in training the integer below or above, drawn anew in
            every pass with a probability that makes the mean right.
        delay_sparsity: share of a layer's delays that are inactive, which means the layer's shortest.
        delay_mask: which delays act: ``"fixed"``, drawn at random and kept; ``"learned"``, those of the highest scores,
            which are learned beside the delays (:class:`snn_delays.nn.sparsity.DelayMask`).

    Raises ConfigError for a name that is unknown, or a number that is none or cannot be.
    """

    max_delay_steps: int
    min_delay_steps: int = 0
    sharing: str = "synapse"
    delay_count: int = 1
    taps: str = "gaussian"
    sigma_steps: float | None = None
    learn_delay: bool = True
    delay_init: str = "uniform"
    delay_range_steps: tuple[float, float] | None = None
    delay_std_steps: float | None = None
    learn_width: str = "none"
    delay_rounding: str = "anneal"
    delay_sparsity: float = 0.0
    delay_mask: str = "fixed"

    def __post_init__(self) -> None:
        for name, choices in (
            ("sharing", SHARING),
            ("taps", TAPS),
            ("delay_init", DELAY_INIT),
            ("learn_width", WIDTHS),
            ("delay_rounding", ROUNDING),
            ("delay_mask", MASKS),
        ):
            choice(name, getattr(self, name), choices)
        for name, least, most in (
            ("max_delay_steps", 0, MAX_DELAY_STEPS), ("min_delay_steps", 0, None), ("delay_count", 1, None),
        ):  # fmt: skip
            object.__setattr__(self, name, integer(name, getattr(self, name), least, most))
        if self.min_delay_steps > self.max_delay_steps:
            raise ConfigError(
                f"min_delay_steps ({self.min_delay_steps}) must not exceed max_delay_steps ({self.max_delay_steps})"
            )
        for problem in self._problems():
            raise ConfigError(problem)

    def _problems(self) -> Iterator[str]:
        drawn, std = self.delay_range_steps, self.delay_std_steps
        if (std is not None) != self.delay_init.startswith("half_normal") or not (std is None or 0 < std < math.inf):
            yield f"delay_init = 'half_normal' and delay_std_steps, a positive number, belong together; got {std!r}"
        if drawn is not None and not self.delay_init.startswith("uniform"):
            yield f"delay_range_steps is of delay_init = 'uniform', not of {self.delay_init!r}"
        if drawn is not None and not self.min_delay_steps <= drawn[0] <= drawn[1] <= self.max_delay_steps:
            window = f"{self.min_delay_steps}..{self.max_delay_steps}"
            yield f"delay_range_steps must be (from, to) within the window, {window} steps; got {shown(drawn)}"
        if self.learn_width != "none" and not TAPS[self.taps].needs_sigma:
            yield f"learn_width = {self.learn_width!r} needs taps with a width, not {self.taps!r}"
        yield from sparsity_problems(self, self.learn_delay)

    @property
    def spread(self) -> int:
        """Longest less shortest delay, in steps."""
        return self.max_delay_steps - self.min_delay_steps

    @property
    def initial_sigma(self) -> float:
        """Width of the taps of a new layer, in steps."""
        return max((self.spread + 1) // 2, 1) if self.sigma_steps is None else self.sigma_steps

    def with_fixed_integers(self) -> "DelaySpec":
        """The same with delays that stay as drawn: integers, not spread, not trained."""
        init = self.delay_init if self.delay_init.endswith("_rounded") else f"{self.delay_init}_rounded"
        return replace(self, taps="linear", delay_init=init, learn_delay=False, learn_width="none", delay_mask="fixed")

    def for_recurrence(self) -> "DelaySpec":
        """The same with a window that begins at one step or later: spikes return in a later step."""
        return replace(self, max_delay_steps=max(self.max_delay_steps, 1), min_delay_steps=max(self.min_delay_steps, 1))


@dataclass(frozen=True)
class RecurrentSpec:
    """Recurrence of hidden populations with delays of their own: an argument of networks.

    Args:
        delays: of the recurrent synapses; a window that begins at 0 begins at 1.
        orthogonal: begin with an orthogonal matrix, else with small weights.
        dropout: see :class:`snn_delays.nn.Recurrent`.
        layers: hidden layers that are recurrent, counted from 1; none named: all.

    Raises ConfigError for an orthogonal matrix of several synapses a pair, or a layer below 1.
    """

    delays: DelaySpec
    orthogonal: bool = True
    dropout: float = 0.0
    layers: tuple[int, ...] = ()

    def __post_init__(self) -> None:
        object.__setattr__(self, "delays", self.delays.for_recurrence())
        if self.orthogonal and self.delays.delay_count != 1:
            raise ConfigError("an orthogonal matrix is of one synapse for each pair of neurons: delay_count = 1")
        for layer in self.layers:
            integer("layers", layer, 1)


@dataclass(frozen=True)
class NeuronSpec:
    """The neurons of a population: ``LIF(**vars(spec))``.

    Arguments and errors as of :class:`snn_delays.nn.LIF`; :class:`CellSpec` is for neurons of another kind.
    """

    tau_steps: float = 2.0
    threshold: float = 1.0
    v_reset: float = 0.0
    reset: str = "hard"
    detach_reset: bool = True
    decay_input: bool = False
    strict: bool = False
    surrogate: Surrogate | None = None

    def __post_init__(self) -> None:
        for name in ("tau_steps", "threshold", "v_reset"):
            object.__setattr__(self, name, real(name, getattr(self, name)))


@dataclass(frozen=True)
class ShiftSpec:
    """The kind and the delays of a :class:`snn_delays.nn.DelayShift`.

    Args:
        kind: ``"token"``, RWKV's token shift alone; ``"learned"``, with learned delays; ``"fixed"``, with integer ones
            that stay as drawn; ``"dense"``, a free weight for every lag up to ``max_delay_steps``.
        max_delay_steps: longest delay, in tokens; at least 1, and without meaning for ``"token"``.
        points: delays for each mixture and neuron (``"learned"``, ``"fixed"``).
        taps: how learned delays are spread, see :class:`DelaySpec`; the others are integers and are not.
        sigma_steps: initial width of the taps; None: an eighth of the window, at least 1.
    """

    kind: str = "learned"
    max_delay_steps: int = 32
    points: int = 2
    taps: str = "gaussian"
    sigma_steps: float | None = None

    def __post_init__(self) -> None:
        for name, choices in (("kind", SHIFTS), ("taps", TAPS)):
            choice(name, getattr(self, name), choices)
        for name, most in (("max_delay_steps", MAX_DELAY_STEPS), ("points", None)):
            object.__setattr__(self, name, integer(name, getattr(self, name), 1, most))

    @property
    def initial_sigma(self) -> float:
        """Width of the taps of a new layer, in steps."""
        return max(self.max_delay_steps / 8, 1.0) if self.sigma_steps is None else self.sigma_steps


class DelayOptions(TypedDict, total=False):
    """Fields of a :class:`DelaySpec` as keyword arguments."""

    max_delay_steps: int
    min_delay_steps: int
    sharing: str
    delay_count: int
    taps: str
    sigma_steps: float | None
    learn_delay: bool
    delay_init: str
    delay_range_steps: tuple[float, float] | None
    delay_std_steps: float | None
    learn_width: str
    delay_rounding: str
    delay_sparsity: float
    delay_mask: str


class NetworkOptions(DelayOptions, total=False):
    """Fields of a :class:`DelaySpec` and a :class:`NeuronSpec` as keyword arguments."""

    tau_steps: float
    threshold: float
    v_reset: float
    reset: str
    detach_reset: bool
    decay_input: bool
    strict: bool
    surrogate: Surrogate | None


Spec = TypeVar("Spec", bound="DataclassInstance")


def spec_from(kind: type[Spec], given: Spec | None, options: dict[str, Any]) -> Spec:
    """A spec with some fields changed, or made of them alone.

    Raises TypeError for a field that there is not, or one that is missing; ConfigError as the spec does.
    """
    if given is not None and not isinstance(given, kind):
        raise TypeError(f"expected a {kind.__name__}, got {given!r}; its fields can be given by keyword")
    names = [field.name for field in fields(kind)]
    for name in options:
        if name not in names:
            raise TypeError(f"unexpected argument {name!r}; {did_you_mean(name, names)}there are {', '.join(names)}")
    return kind(**options) if given is None else replace(given, **options)


def network_specs(
    delays: DelaySpec | None, neurons: NeuronSpec | None, options: dict[str, Any]
) -> tuple[DelaySpec, NeuronSpec]:
    """Both specs of a network whose options may be fields of either. Raises as :func:`spec_from`."""
    names = {field.name for field in fields(NeuronSpec)} & set(options)
    rest = {name: value for name, value in options.items() if name not in names}
    of_neurons = {name: options[name] for name in names}
    return spec_from(DelaySpec, delays, rest), spec_from(NeuronSpec, neurons or NeuronSpec(), of_neurons)
