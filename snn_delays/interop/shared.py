"""What the wrappers of the three packages share."""

import copy
import importlib.util
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn

from snn_delays.arguments import shown
from snn_delays.errors import ConfigError, MissingPackageError, ShapeError
from snn_delays.nn.door import SERIES, admit, fitting, summed_in
from snn_delays.nn.module import SpikingModule, map_state
from snn_delays.ops.state import loadable


def require(package: str, extra: str = "") -> None:
    """Raise MissingPackageError with the line that installs the package, where it is not installed."""
    if importlib.util.find_spec(package) is None:
        line = f"pip install 'snn-delays[{extra or package}]'"
        raise MissingPackageError(f"the package {package} is not installed ({line})")


def ours(layer: Any) -> SpikingModule:
    """The layer. Raises ConfigError for anything but a SpikingModule."""
    if not isinstance(layer, SpikingModule):
        raise ConfigError(f"expected a layer or network of snn_delays, y, state = layer(x, state); got {shown(layer)}")
    return layer


def one_step(layer: SpikingModule, x: Tensor, state: Any) -> tuple[Tensor, Any]:
    """Output ``[batch, ...]`` and state of one of our layers for one step."""
    y, after = layer(x.unsqueeze(0), state)
    return y.squeeze(0), after


@loadable
class ForeignState(NamedTuple):
    """State of a layer of another package: its tensors, in the order of ``state_names`` of the layer that wraps it."""

    parts: tuple[Any, ...]


class Foreign(SpikingModule):
    """A layer of another package as one of ours: the state goes in and comes out, and nothing is left in the layer."""

    def __init__(self, layer: nn.Module) -> None:
        super().__init__()
        if isinstance(layer, type) or not isinstance(layer, nn.Module):
            raise ConfigError(f"{type(self).__name__} wraps a layer of that package, got {shown(layer)}")
        self.layer = layer

    def forward(self, x: Tensor, state: Any = None) -> tuple[Tensor, Any]:
        """Output ``[time, batch, ...]`` and the state after the last step."""
        x = admit(self, x, SERIES, next((p for p in self.parameters() if p.is_floating_point()), None))
        if state is not None:
            self._check(x, state)
        if not len(x):  # what a step would look like
            with torch.no_grad():
                return copy.deepcopy(self)._run(x.new_zeros(1, *x.shape[1:]), state)[0][:0], state
        y, after = self._run(x, state)
        if not isinstance(y, Tensor) or y.shape[:2] != x.shape[:2]:
            got = tuple(y.shape) if isinstance(y, Tensor) else f"a {type(y).__name__}"
            raise ShapeError(f"{self._named()} returned {got} for an input [time, batch, ...] = {tuple(x.shape)}")
        if _clash(state, after):
            raise ShapeError(
                f"{self._named()}: the state belongs to another layer or to an input of another shape than "
                f"{tuple(x.shape)}; pass what its earlier call returned, or None to begin at rest"
            )
        return y.to(torch.promote_types(y.dtype, x.dtype)), after

    def _run(self, x: Tensor, state: Any) -> tuple[Tensor, Any]:
        raise NotImplementedError

    def _check(self, x: Tensor, state: Any) -> None:
        def fits(part: Tensor) -> Tensor:
            summed = part.ndim and part.is_floating_point()
            return fitting(self, part, x, summed_in(x) if summed else part.dtype)

        map_state(fits, state)

    def _named(self) -> str:
        return f"{type(self).__name__}({type(self.layer).__name__})"


def _clash(before: Any, after: Any) -> bool:
    """Whether a layer returns another form of state than it was given: it would have broadcast or forgotten it."""
    if isinstance(before, Tensor) and isinstance(after, Tensor):
        return before.ndim > 0 and before.shape != after.shape
    if isinstance(before, tuple) and isinstance(after, tuple):
        return type(before) is not type(after) or any(map(_clash, before, after))
    return False
