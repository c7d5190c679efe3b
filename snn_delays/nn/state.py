"""States of any network, nested as they are, taken as a whole: detached, moved, or changed tensor by tensor."""

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor

from snn_delays.errors import ShapeError


def map_state(function: Callable[[Tensor], Tensor], state: Any) -> Any:
    """A state of the same form whose tensors are ``function(tensor)``; None stays None.

    Raises ShapeError for anything that is no state: a tensor, None, or a tuple of states.
    """
    if state is None:
        return None
    if isinstance(state, Tensor):
        return function(state)
    if not isinstance(state, tuple):
        raise ShapeError(
            f"a state is a tuple of tensors, None and states, got a {type(state).__name__}; pass what a network "
            "returned beside its output"
        )
    parts = [map_state(function, part) for part in state]
    return type(state)._make(parts) if hasattr(state, "_make") else tuple(parts)


def detach_state(state: Any) -> Any:
    """The state without its graph: truncated backpropagation through time passes it from chunk to chunk.

    The tensors share their memory with those of ``state``.
    """
    return map_state(Tensor.detach, state)


def move_state(state: Any, device: torch.device | str | None = None, dtype: torch.dtype | None = None) -> Any:
    """The state on another device or in another floating-point type, as ``network.to(...)`` moves parameters."""
    return map_state(lambda part: part.to(device, dtype if part.is_floating_point() else None), state)
