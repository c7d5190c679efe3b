"""What every layer accepts as input and state, and the error message for what it does not.

Integers and bools (batches hold uint8 counts) and numbers of less precision are converted to the dtype of the layer's
parameters, by torch's type promotion; in a layer without parameters, integers and bools to torch's default dtype. What
would have to be rounded, float64 into a float32 layer, is refused. Under autocast floating-point numbers pass as they
are.

A state has to be of the class that the layer returns, on the input's device, and is converted by the same rule.
"""

from typing import Any, NamedTuple

import torch
from torch import Tensor, nn

from snn_delays.arguments import shown
from snn_delays.errors import ShapeError

FLOATS = frozenset({torch.float32, torch.float64, torch.bfloat16, torch.float16})


class Form(NamedTuple):
    """Axes of an input: their least number, whether there may be more, and as a message writes them."""

    axes: int
    open: bool
    text: str


SERIES = Form(3, True, "[time, batch, ...]")
FLAT = Form(3, False, "[time, batch, feature]")
MAPS = Form(5, False, "[time, batch, channel, y, x]")
ROWS = Form(1, True, "[..., feature]")
ANY = Form(2, True, "[time, batch, ...]")
TOKENS = Form(2, False, "[time, batch]")


def summed_in(x: Tensor) -> torch.dtype:
    """The dtype in which operations keep sums of an input: float32 where it comes in half precision."""
    return torch.float32 if x.dtype in (torch.bfloat16, torch.float16) else x.dtype


def admit(layer: nn.Module, x: Tensor, form: Form, like: Tensor | None = None) -> Tensor:
    """The input of a layer in the dtype it computes in; ``like`` is one of the layer's own tensors.

    Raises ShapeError for what is no tensor, has other axes, lies on another device or would have to be rounded.
    """
    check_tensor(layer, x, form)
    if like is None:
        return x if x.dtype in FLOATS else converted(layer, "the input", x, torch.get_default_dtype())
    if x.dtype is not like.dtype:
        x = converted(layer, "the input", x, like.dtype)
    check_device(layer, x, like)
    return x


def check_tensor(layer: nn.Module, x: Any, form: Form) -> None:
    """Raise ShapeError for what is no dense tensor of that form."""
    if isinstance(x, Tensor) and x.layout is torch.strided:
        axes = x.ndim
        if axes == form.axes or (form.open and axes > form.axes):
            return
        what = f"an input of shape {tuple(x.shape)}"
        remedy = "; one recording without a batch axis: x[:, None]" if axes == form.axes - 1 else ""
    elif isinstance(x, Tensor):
        what, remedy = f"a tensor with layout {x.layout}", "; x.to_dense() makes a dense one"
    elif isinstance(x, tuple):
        what = "a tuple"
        remedy = (
            ": every layer returns (output, state), and torch.nn.Sequential passes the pair on; use "
            "snn_delays.Sequential, which takes any SpikingModule, or y, state = layer(x, state)"
        )
    else:
        what, remedy = shown(x), "; torch.as_tensor makes a tensor of an array or a list"
    raise ShapeError(f"{type(layer).__name__} takes a tensor {form.text}, got {what}{remedy}")


def check_device(layer: nn.Module, x: Tensor, like: Tensor) -> None:
    """Raise ShapeError for an input on another device than the layer."""
    if x.device != like.device:
        raise ShapeError(
            f"{type(layer).__name__} is on {like.device}, its input on {x.device}: move one of them, as in "
            f"x.to({str(like.device)!r})"
        )


def check_valid(layer: nn.Module, valid: Any, x: Tensor) -> None:
    """Raise ShapeError unless ``valid`` is None or marks the steps of the input."""
    if valid is None:
        return
    if not isinstance(valid, Tensor):
        got = f"got {shown(valid)}"
    elif valid.dtype is not torch.bool or valid.shape != x.shape[:2]:
        got = f"got {valid.dtype} {tuple(valid.shape)}"
    elif valid.device != x.device:
        got = f"got it on {valid.device}, the input on {x.device}"
    else:
        return
    raise ShapeError(f"{type(layer).__name__}: valid must be bool {tuple(x.shape[:2])} [time, batch], {got}")


def converted(layer: nn.Module, what: str, x: Tensor, dtype: torch.dtype) -> Tensor:
    """A tensor in another dtype. Raises ShapeError where floating-point numbers would be rounded, or for complex ones.

    Under autocast, floating-point numbers are left as they are.
    """
    if x.dtype in FLOATS and torch.is_autocast_enabled(x.device.type) and torch.float64 not in (x.dtype, dtype):
        return x
    if torch.promote_types(x.dtype, dtype) is dtype:
        return x.to(dtype)
    name = str(dtype).removeprefix("torch.")
    raise ShapeError(
        f"{type(layer).__name__} computes in {name}, {what} is {str(x.dtype).removeprefix('torch.')}: convert it with "
        f".to(torch.{name}), or the network with .to({x.dtype})"
    )


def check_stateless(layer: nn.Module, state: Any) -> None:
    """Raise ShapeError for a state given to a layer that has none."""
    if state is not None:
        raise ShapeError(f"{type(layer).__name__} has no state, got {shown(state)}; pass None")


def check_state(layer: nn.Module, state: Any, kind: type[tuple]) -> None:
    """Raise ShapeError for a state of another class than the layer returns."""
    if not isinstance(state, kind):
        raise ShapeError(
            f"{type(layer).__name__} got {_named(state)} as its state, expected {kind.__name__}: pass what its "
            "earlier call returned, or None to begin at rest"
        )


def check_states(layer: nn.Module, state: Any, count: int, of: str) -> None:
    """Raise ShapeError for anything but a tuple of a state for each layer."""
    if not isinstance(state, tuple | list) or hasattr(state, "_fields"):
        raise ShapeError(
            f"{type(layer).__name__} takes a tuple of the states of its {count} {of}, got {_named(state)}; pass its "
            "own state back, or None to begin at rest"
        )
    if len(state) != count:
        raise ShapeError(f"the state has {len(state)} parts, this network {count} {of}; pass its own state back")


def _named(state: Any) -> str:
    return f"a {type(state).__name__}" if isinstance(state, tuple | Tensor) else shown(state)


def parts_of(layer: nn.Module, state: Any, kind: Any) -> tuple[Any, ...]:
    """The parts of a state, all None where there is none. Raises ShapeError for a state of another class."""
    if state is None:
        return (None,) * len(kind._fields)
    check_state(layer, state, kind)
    return tuple(state)


def held(
    layer: nn.Module, state: Any, kind: type[tuple], x: Tensor, dtype: torch.dtype | None = None, **expected: Any
) -> Tensor | None:
    """The one tensor of a state, for an input; None where there is no state. ``expected`` and errors: `fitting`."""
    if state is None:
        return None
    if type(state) is not kind:
        check_state(layer, state, kind)
    return fitting(layer, state[0], x, x.dtype if dtype is None else dtype, **expected)


def fitting(
    layer: nn.Module, part: Any, x: Tensor, dtype: torch.dtype, *, shape: Any = None, what: str = "state"
) -> Tensor:
    """A tensor of a state, in a dtype; its shape is checked where one is given, else by the operation.

    Raises ShapeError for one of another shape or device, or one that would have to be rounded.
    """
    if not isinstance(part, Tensor):
        raise ShapeError(f"{type(layer).__name__}: its state holds {shown(part)} where a tensor belongs")
    if part.device != x.device:
        raise ShapeError(
            f"{type(layer).__name__}: its state is on {part.device}, the input on {x.device}; move it with "
            "snn_delays.move_state(state, device)"
        )
    if shape is not None and part.shape != shape:
        raise ShapeError(
            f"{type(layer).__name__}: the {what} has shape {tuple(part.shape)}, the input needs {tuple(shape)}; pass "
            "what its earlier call returned, or state=None to start at rest"
        )
    return part if part.dtype is dtype else converted(layer, "its state", part, dtype)
