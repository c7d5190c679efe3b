"""Causal depthwise filters: every neuron's own past, weighted by lag."""

from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor

from snn_delays.errors import ShapeError
from snn_delays.ops.backends import Backend, Operation, one_step_of
from snn_delays.ops.delay.signal import last_steps
from snn_delays.ops.tracing import untraced


def example_call() -> dict[str, Any]:
    """A small call, for asking backends whether they can serve on this machine."""
    return {"x": torch.zeros(1, 1, 1), "kernel": torch.zeros(2, 1, 1), "history": torch.zeros(1, 1, 1)}


OPERATION = Operation(
    "depthwise",
    (
        Backend("cupy", "snn_delays.ops.depthwise.cupy"),
        Backend("numba_cpu", "snn_delays.ops.depthwise.numba_cpu", requires=("numba",)),
        Backend("conv", "snn_delays.ops.depthwise.conv"),
        Backend("reference", "snn_delays.ops.depthwise.reference"),
    ),
    example_call,
    small=one_step_of("x"),
)


@untraced
def depthwise(
    x: Float[Tensor, "time batch neuron"],
    kernel: Float[Tensor, "lag mix neuron"],
    history: Float[Tensor, "past batch neuron"] | None = None,
    *,
    backend: str | None = None,
) -> tuple[Float[Tensor, "mix time batch neuron"], Float[Tensor, "past batch neuron"]]:
    r"""Several filters of each neuron's own past, side by side.

    .. math:: y_t[m, c] = \sum_{k=0}^{K-1} h[k, m, c]\; x_{t-k}[c]

    Causal; as many steps out as in; ``kernel[k]`` weighs what came k steps ago. Delays enter through the kernel
    (:func:`snn_delays.ops.delay.taps.tap_weights`); the token shift of RWKV is K = 2.

    Args:
        x: input, ``[time, batch, neuron]``, float32 or float64. Half precision is filtered in float32, and only the
            output is rounded back.
        kernel: ``h``, ``[lag, mix, neuron]``, ``K`` lags from 0 on, at least one.
        history: the ``K - 1`` inputs before ``x``, ``[K - 1, batch, neuron]``; None means silence.
        backend: name of the implementation; None lets the fastest serve.

    Returns:
        ``[mix, time, batch, neuron]`` in the dtype of ``x``, and the last ``K - 1`` inputs, to pass on as ``history``.

    Gradients reach all three tensors.

    Raises:
        ShapeError: tensors that do not fit each other.
        BackendUnavailableError: the backend named cannot serve this call.

    Source: the token shift of RWKV (Peng et al., EMNLP Findings 2023), with longer filters.
    """
    if x.ndim != 3 or kernel.ndim != 3 or kernel.shape[2] != x.shape[2] or not len(kernel):
        raise ShapeError(
            f"the input must be [time, batch, neuron] and the kernel [lag, mix, neuron] of as many neurons and at "
            f"least one lag, got {tuple(x.shape)} and {tuple(kernel.shape)}"
        )
    if not x.is_floating_point():
        raise ShapeError(f"the input must be floating-point numbers, got {x.dtype}; convert spikes with .float()")
    past = len(kernel) - 1
    if history is not None and tuple(history.shape) != (past, *x.shape[1:]):
        raise ShapeError(
            f"the shift's state has shape {tuple(history.shape)}, the input needs {(past, *x.shape[1:])} "
            "(lags - 1, batch, neuron); pass state=None to start in silence"
        )
    working = torch.float32 if x.dtype in (torch.bfloat16, torch.float16) else x.dtype
    call = {
        "x": x.to(working), "kernel": kernel.to(working),
        "history": x.new_zeros(past, *x.shape[1:], dtype=working) if history is None else history.to(working),
    }  # fmt: skip
    y: Tensor = OPERATION(call, backend)
    return y.to(x.dtype), last_steps(call["x"], history if history is None else call["history"], past)
