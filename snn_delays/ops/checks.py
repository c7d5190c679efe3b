"""What operations ask of the tensors they are given, and in which dtype they compute."""

from functools import lru_cache

import torch
from torch import Tensor

from snn_delays.errors import ShapeError

HALF = (torch.bfloat16, torch.float16)


def working_dtype(dtype: torch.dtype) -> torch.dtype:
    """float32 for half precision (rounded to 8 bits, a membrane would leak and fire elsewhere), else the dtype."""
    return torch.float32 if dtype in HALF else dtype


def check_floating(name: str, tensor: Tensor) -> None:
    """Raise ShapeError for integers: they would make integers of all constants."""
    if not tensor.is_floating_point():
        raise ShapeError(f"the {name} must be floating-point numbers, got {tensor.dtype}; convert it with .float()")


def check_state(
    name: str, state: Tensor | None, needed_by: str, shape: tuple[int, ...], axes: str, start: str = "start at rest"
) -> None:
    """Raise ShapeError unless the state, if there is one, has the shape that the input needs."""
    if state is not None and state.shape != shape:
        raise ShapeError(
            f"{name} has shape {tuple(state.shape)}, the {needed_by} needs {tuple(shape)} ({axes}); pass state=None to "
            f"{start}"
        )


@lru_cache(maxsize=256)
def _number(value: float, dtype: torch.dtype) -> Tensor:
    """A number as a tensor, made once, since many are needed at every step; never written to."""
    with torch.inference_mode(False):
        return torch.tensor(value, dtype=dtype)


def per_neuron(value: float | Tensor, current: Tensor, name: str) -> Tensor:
    """A number or a tensor ``[neuron]`` as a tensor that broadcasts over the current's last axis."""
    if not isinstance(value, Tensor):
        # On a device a fill: a copy to it would wait, and could not be captured in a CUDA graph.
        return _number(value, current.dtype) if current.is_cpu else current.new_full((), value)
    tensor = value.to(current)
    if tensor.ndim > 1 or (tensor.ndim == 1 and tensor.shape[0] not in (1, current.shape[-1])):
        raise ShapeError(
            f"{name} has shape {tuple(tensor.shape)}; give a number or one value per neuron ({current.shape[-1]})"
        )
    return tensor
