"""Populations by a spec: which neurons, with which parameters."""

import inspect
from collections.abc import Mapping
from dataclasses import dataclass, field, fields
from typing import Any

import torch
from torch import Tensor

from snn_delays.arguments import choice
from snn_delays.errors import ConfigError
from snn_delays.messages import did_you_mean
from snn_delays.nn.cells import BRF, CAdLIF, CSiLIF, EFAdLIF, SEAdLIF, SiLIF
from snn_delays.nn.learned import PLIF, CubaLIF
from snn_delays.nn.neuron import LIF, Neuron
from snn_delays.nn.specs import NeuronSpec

KINDS: dict[str, type[Neuron]] = {
    "plif": PLIF, "cuba_lif": CubaLIF, "se_adlif": SEAdLIF, "ef_adlif": EFAdLIF, "c_adlif": CAdLIF, "silif": SiLIF,
    "c_silif": CSiLIF, "brf": BRF,
}  # fmt: skip
LIKE_LIF = ("plif", "cuba_lif")
_OF_CELLS = ("tau_steps", "threshold", "surrogate", "detach_reset")  # tau_steps is the readout's


@dataclass(frozen=True)
class CellSpec(NeuronSpec):
    """Neurons of another kind than LIF: the ``neurons`` of a network.

    Args:
        kind: ``"plif"``, ``"cuba_lif"``, ``"se_adlif"``, ``"ef_adlif"``, ``"c_adlif"``, ``"silif"``, ``"c_silif"`` or
            ``"brf"``.
        options: arguments of that class by name (:mod:`snn_delays.nn.learned`, :mod:`snn_delays.nn.cells`).
        per_neuron: of ``"plif"`` and ``"cuba_lif"``: what they learn is one number for each neuron, not for the layer.
        tau_steps: of LIF-like neurons, and of the network's readout.
        threshold, surrogate, detach_reset: as of the class; None is as published.
        v_reset, reset, decay_input, strict: of LIF-like neurons alone.

    Raises ConfigError for a kind or an option that there is not, or a field that the kind does not read.
    """

    detach_reset: bool | None = None  # type: ignore[assignment]
    kind: str = "plif"
    options: Mapping[str, Any] = field(default_factory=dict)
    per_neuron: bool = False

    def __post_init__(self) -> None:
        super().__post_init__()
        choice("kind", self.kind, KINDS)
        taken = {each.name: each.default for each in fields(NeuronSpec)}
        unread = [] if self.kind in LIKE_LIF else [name for name in taken if name not in _OF_CELLS]
        unread += ["per_neuron"] if self.kind not in LIKE_LIF else []
        for name in unread:
            if getattr(self, name) != taken.get(name, False):
                raise ConfigError(f"{name} = {getattr(self, name)!r} is not read by neurons of kind {self.kind!r}")
        known = sorted(_options_of(KINDS[self.kind]) - {"size", "device", "dtype", *taken})
        for name in self.options:
            if name not in known:
                raise ConfigError(f"{self.kind} has no option {name!r}; {did_you_mean(name, known)}there are {known}")

    @property
    def of_each(self) -> bool:
        """Whether each neuron has parameters of its own, so that their number has to be known."""
        return self.per_neuron or self.kind not in LIKE_LIF


def _options_of(kind: type) -> set[str]:
    """Arguments of a class, those that it passes on to its bases among them."""
    names: set[str] = set()
    for base in kind.__mro__:
        if "__init__" in vars(base) and issubclass(base, Neuron):
            names |= {n for n, p in inspect.signature(base).parameters.items() if p.kind is not p.VAR_KEYWORD}
    return names


def population(spec: NeuronSpec, size: int, **factory: Any) -> Neuron:
    """Neurons as a spec says; ``size`` of them, where each has parameters of its own. ``factory``: device and dtype."""
    given = {each.name: getattr(spec, each.name) for each in fields(NeuronSpec)}
    if not isinstance(spec, CellSpec):
        return LIF(**given, **factory)
    if spec.detach_reset is None:
        del given["detach_reset"]
    if spec.kind not in LIKE_LIF:
        given = {name: value for name, value in given.items() if name in _OF_CELLS[1:]}
        return KINDS[spec.kind](size, **given, **spec.options, **factory)
    options = {**given, **spec.options}
    for name in ("tau_steps", "tau_syn_steps", "threshold") if spec.per_neuron else ():
        if name in options and not isinstance(options[name], Tensor):
            options[name] = torch.full((size,), float(options[name]), dtype=torch.float64)
    return KINDS[spec.kind](**options, **factory)
