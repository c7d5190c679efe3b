"""Calls of the delay layer, by their sizes."""

from dataclasses import dataclass
from typing import Any

import torch

from snn_delays.errors import ConfigError

_NAMES = {"T": "steps", "B": "batch", "in": "inputs", "out": "outputs", "K": "max_delay_steps", "sigma": "sigma_steps"}


@dataclass(frozen=True)
class Shape:
    """Sizes of a delay layer's call; ``sigma_steps`` 0 means fixed integer delays."""

    steps: int
    batch: int
    inputs: int
    outputs: int
    max_delay_steps: int
    sigma_steps: float

    def __str__(self) -> str:
        taps = f"sigma {self.sigma_steps:g}" if self.sigma_steps else "integer delays"
        return f"T={self.steps}, B={self.batch}, {self.inputs} -> {self.outputs}, K={self.max_delay_steps + 1}, {taps}"

    def tensors(self) -> dict[str, Any]:
        """Arguments of :func:`delayed_linear`, drawn from a fixed seed."""
        draw = torch.Generator().manual_seed(0)
        weight = torch.randn(self.outputs, self.inputs, 1, generator=draw).requires_grad_()
        delay = torch.rand(self.outputs, self.inputs, 1, generator=draw) * self.max_delay_steps
        delay = delay.requires_grad_() if self.sigma_steps else delay.round()
        x = (torch.rand(self.steps, self.batch, self.inputs, generator=draw) < 0.05).float().requires_grad_()
        return {
            "x": x, "weight": weight, "delay": delay, "sigma": torch.tensor(self.sigma_steps or 0.5),
            "max_delay_steps": self.max_delay_steps, "taps": "gaussian" if self.sigma_steps else "linear",
        }  # fmt: skip

    def call(self) -> dict[str, Any]:
        """The call as backends receive it."""
        return {**self.tensors(), "history": None}


def parse_shape(text: str) -> Shape:
    """A shape from ``T=100,B=256,in=256,out=256,K=25,sigma=12``; sigma, in steps, 0 without it: fixed integer delays.

    Raises ConfigError for a size that is missing, unknown, not a number or out of range.
    """
    pairs = [item.strip().partition("=") for item in text.split(",") if item.strip()]
    given: dict[str, float] = {"sigma": 0.0}
    for name, _, value in pairs:
        if name not in _NAMES:
            raise ConfigError(f"a shape has no {name!r}; it has {', '.join(_NAMES)}")
        try:
            given[name] = float(value) if name == "sigma" else int(value)
        except ValueError:
            raise ConfigError(f"{name}={value} of the shape is not a number") from None
        if not (given[name] >= 0 if name == "sigma" else given[name] >= 1) or given[name] == float("inf"):
            raise ConfigError(f"{name}={value} of the shape is out of range")
    missing = [name for name in _NAMES if name not in given]
    if missing:
        raise ConfigError(f"the shape lacks {missing[0]}; write T=100,B=256,in=256,out=256,K=25,sigma=12")
    given["K"] -= 1
    return Shape(**{_NAMES[name]: value for name, value in given.items()})  # type: ignore[arg-type]
