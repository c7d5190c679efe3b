"""Causal depthwise filters: every neuron's own past, weighted by lag."""

from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor

from snn_delays.errors import ShapeError
from snn_delays.ops.backends import Backend, Operation, one_step_of
from snn_delays.ops.checks import check_floating, check_state, working_dtype
from snn_delays.ops.delay.signal import last_steps
from snn_delays.ops.tracing import untraced


def _example() -> dict[str, Any]:
    return {"x": torch.zeros(1, 1, 1), "kernel": torch.zeros(2, 1, 1), "history": torch.zeros(1, 1, 1)}


OPERATION = Operation(
    "depthwise",
    (
        Backend("cupy", "snn_delays.ops.depthwise.cupy"),
        Backend("numba_cpu", "snn_delays.ops.depthwise.numba_cpu", requires=("numba",)),
        Backend("conv", "snn_delays.ops.depthwise.conv"),
        Backend("reference", "snn_delays.ops.depthwise.reference"),
    ),
    _example,
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
    check_floating("input", x)
    line, working = (len(kernel) - 1, *x.shape[1:]), working_dtype(x.dtype)
    check_state("the shift's state", history, "input", line, "lags - 1, batch, neuron", "start in silence")
    before = x.new_zeros(line, dtype=working) if history is None else history.to(working)
    call = {"x": x.to(working), "kernel": kernel.to(working), "history": before}
    y: Tensor = OPERATION(call, backend)
    return y.to(x.dtype), last_steps(call["x"], history if history is None else before, len(before))
