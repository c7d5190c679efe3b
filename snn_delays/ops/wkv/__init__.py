"""WKV, the time mixing of RWKV-4: an average of values whose weights decay with age and grow with their keys."""

from typing import Any, NamedTuple

import torch
from jaxtyping import Float
from torch import Tensor

from snn_delays.errors import ShapeError
from snn_delays.ops.backends import Backend, Operation, one_step_of
from snn_delays.ops.checks import check_state, working_dtype
from snn_delays.ops.state import loadable
from snn_delays.ops.tracing import untraced

REST_EXPONENT = -1e38  # of an empty sum: the logarithm of nothing, kept finite


@loadable
class WKVState(NamedTuple):
    """Sums over the past, each ``[batch, neuron]``: ``numerator e^exponent`` and ``denominator e^exponent``."""

    numerator: Tensor
    denominator: Tensor
    exponent: Tensor


def _example() -> dict[str, Any]:
    zero = torch.zeros(2, 1, 1)
    state = WKVState(zero[0], zero[0], torch.full((1, 1), REST_EXPONENT))
    return {"key": zero, "value": zero, "log_decay": zero[0, 0] - 1, "bonus": zero[0, 0], "state": state}


OPERATION = Operation(
    "wkv",
    (
        Backend("cupy", "snn_delays.ops.wkv.cupy"),
        Backend("numba_cuda", "snn_delays.ops.wkv.numba_cuda", requires=("numba",)),
        Backend("numba_cpu", "snn_delays.ops.wkv.numba_cpu", requires=("numba",)),
        Backend("scan", "snn_delays.ops.wkv.scan"),
        Backend("reference", "snn_delays.ops.wkv.reference"),
    ),
    _example,
    small=one_step_of("key"),
)


@untraced
def wkv(
    key: Float[Tensor, "time batch neuron"],
    value: Float[Tensor, "time batch neuron"],
    log_decay: Float[Tensor, " neuron"],
    bonus: Float[Tensor, " neuron"],
    state: WKVState | None = None,
    *,
    backend: str | None = None,
) -> tuple[Float[Tensor, "time batch neuron"], WKVState]:
    r"""Weighted average of the values up to now, for each neuron by itself.

    .. math::
        y_t = \frac{\sum_{i<t} e^{(t-1-i) w + k_i} v_i + e^{u + k_t} v_t}
                   {\sum_{i<t} e^{(t-1-i) w + k_i} + e^{u + k_t}}

    Computed with a running maximum of the exponents, so keys of any size neither overflow nor vanish.

    Args:
        key: ``k``, ``[time, batch, neuron]``, float32 or float64. Keys and values in bfloat16 or float16 (mixed
            precision) are summed in float32, and only the output is rounded back. A key of -inf
            leaves its step out of all sums; where nothing was before it, its own output is 0/0, NaN.
        value: ``v``, as ``key``.
        log_decay: ``w``, by how much the logarithm of a weight falls with every step, <= 0; ``[neuron]``.
        bonus: ``u``, added to the key of the step itself; ``[neuron]``.
        state: sums over what came before, as an earlier call returned them; None means nothing did.
        backend: name of the implementation; None lets the fastest serve.

    Returns:
        ``y``, ``[time, batch, neuron]`` in the dtype of ``key``, and the state after the last step.

    Gradients reach all tensors but ``state.exponent``: it is the scale in which the other two are kept, so theirs are
    those of the true sums. ``log_decay`` above zero is not checked for, since that would stall an accelerator.

    Raises:
        ShapeError: tensors that do not fit ``key``.
        BackendUnavailableError: the backend named cannot serve this call.

    Source: Peng et al., EMNLP Findings 2023 (RWKV), section 3.1.2 and appendix; as in SpikeGPT (Zhu et al., TMLR 2024).
    """
    _check_shapes(key, value, log_decay, bonus, state)
    dtype, working = key.dtype, working_dtype(key.dtype)
    if state is None:
        zeros = key.new_zeros(key.shape[1:], dtype=working)
        state = WKVState(zeros, zeros, torch.full_like(zeros, REST_EXPONENT))
    call = {
        "key": key.to(working), "value": value.to(working), "log_decay": log_decay.to(working),
        "bonus": bonus.to(working), "state": WKVState(*(part.to(working) for part in state)),
    }  # fmt: skip
    y, after = OPERATION(call, backend)
    return y.to(dtype), after


def _check_shapes(key: Tensor, value: Tensor, log_decay: Tensor, bonus: Tensor, state: WKVState | None) -> None:
    if key.ndim != 3 or value.shape != key.shape:
        raise ShapeError(
            f"key and value must both be [time, batch, neuron], got {tuple(key.shape)} and {tuple(value.shape)}"
        )
    if not key.is_floating_point() or value.dtype != key.dtype:
        raise ShapeError(f"key and value must be floating-point numbers of one type, got {key.dtype} and {value.dtype}")
    for name, tensor in (("log_decay", log_decay), ("bonus", bonus)):
        if tensor.shape != key.shape[2:]:
            raise ShapeError(f"{name} has shape {tuple(tensor.shape)}; give one value per neuron ({key.shape[2]})")
    for name, part in zip(WKVState._fields, state or ()):
        check_state(f"the state's {name}", part, "key", key.shape[1:], "batch, neuron", "start with nothing before")
