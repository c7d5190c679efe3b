"""Leaky integrate-and-fire neurons over a chunk of time."""

from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor

from snn_delays.errors import ConfigError, ShapeError
from snn_delays.ops.backends import Backend, Operation, one_step_of
from snn_delays.ops.surrogate import ATan, Surrogate
from snn_delays.ops.tracing import untraced


def example_call() -> dict[str, Any]:
    """A small call, for asking backends whether they can serve on this machine."""
    zero = torch.zeros(2, 1, 1)
    return {
        "current": zero, "v0": zero[0], "decay": zero[0, 0, 0], "threshold": zero[0, 0, 0], "v_reset": 0.0,
        "soft_reset": False, "detach_reset": True, "decay_input": False, "strict": False, "surrogate": ATan(),
    }  # fmt: skip


OPERATION = Operation(
    "lif",
    (
        Backend("numba_cpu", "snn_delays.ops.lif.numba_cpu", requires=("numba",)),
        Backend("cupy", "snn_delays.ops.lif.cupy"),
        Backend("numba_cuda", "snn_delays.ops.lif.numba_cuda", requires=("numba",)),
        Backend("reference", "snn_delays.ops.lif.reference"),
    ),
    example_call,
    small=one_step_of("current"),
)


@untraced
def lif(
    current: Float[Tensor, "time batch neuron"],
    v0: Float[Tensor, "batch neuron"] | None = None,
    *,
    decay: float | Tensor,
    threshold: float | Tensor = 1.0,
    v_reset: float = 0.0,
    reset: str = "hard",
    detach_reset: bool = True,
    decay_input: bool = False,
    strict: bool = False,
    surrogate: Surrogate | None = None,
    backend: str | None = None,
) -> tuple[Float[Tensor, "time batch neuron"], Float[Tensor, "batch neuron"]]:
    r"""Leaky integrate-and-fire neurons: spikes and the final membrane.

    .. math::
        h_t &= v_{reset} + d\,(v_{t-1} - v_{reset}) + g\,x_t \qquad g = 1 - d \text{ if decay\_input else } 1 \\
        s_t &= \Theta(h_t - \theta) \\
        v_t &= v_{reset} \text{ where } s_t \text{, else } h_t \;\text{(hard)} \qquad
        v_t = h_t - \theta s_t \;\text{(soft)}

    Args:
        current: input current ``x``, ``[time, batch, neuron]``, float32 or float64. A bfloat16 or float16 current
            (mixed precision) is computed in float32: rounded to 8 bits, a membrane would leak and fire elsewhere.
        v0: membrane before the first step, ``[batch, neuron]``; None means at rest, ``v_reset``.
        decay: ``d = 1 - 1/tau`` with tau in steps, in [0, 1]; a number or a tensor ``[neuron]``.
        threshold: ``theta``, a number or a tensor ``[neuron]``.
        v_reset: resting and reset membrane.
        reset: ``"hard"`` or ``"soft"`` (subtract the threshold).
        detach_reset: treat the spike in the reset as a constant in the backward pass.
        decay_input: scale the input by ``1 - d``, so that a constant input x settles at ``v_reset + x``.
        strict: fire only where ``h > theta``; otherwise also at equality.
        surrogate: derivative in place of the step's, ``ATan(5.0)`` by default.
        backend: name of the implementation; None lets the fastest serve.

    Returns:
        Spikes 0/1 in the dtype of ``current``, ``[time, batch, neuron]``, and the membrane after the last step, in
        the dtype it was computed in.

    Gradients reach ``current``, ``v0``, and ``decay`` and ``threshold`` where they are tensors.

    Raises:
        ShapeError: ``v0``, ``decay`` or ``threshold`` does not fit ``current``.
        ConfigError: unknown ``reset``.
        BackendUnavailableError: the backend named cannot serve this call.

    Source: Hammouamri et al., ICLR 2024, section 3.1 (hard reset, no input decay, detached reset).
    """
    if reset not in ("hard", "soft"):
        raise ConfigError(f"reset must be 'hard' or 'soft', got {reset!r}")
    batch_shape, spikes_dtype = current.shape[1:], current.dtype
    current, v0 = full_precision(current, v0)
    if v0 is None:
        v0 = current.new_full(batch_shape, v_reset)
    elif v0.shape != batch_shape:
        raise ShapeError(
            f"the membrane state has shape {tuple(v0.shape)}, the current needs {tuple(batch_shape)} (batch, neuron); "
            "pass state=None to start at rest"
        )
    call = {
        "current": current,
        "v0": v0,
        "decay": per_neuron(decay, current, "decay"),
        "threshold": per_neuron(threshold, current, "threshold"),
        "v_reset": float(v_reset),
        "soft_reset": reset == "soft",
        "detach_reset": detach_reset,
        "decay_input": decay_input,
        "strict": strict,
        "surrogate": ATan() if surrogate is None else surrogate,
    }
    spikes, v = OPERATION(call, backend)
    return spikes.to(spikes_dtype), v


HALF = (torch.bfloat16, torch.float16)


def full_precision(current: Tensor, v0: Tensor | None) -> tuple[Tensor, Tensor | None]:
    """Current and initial membrane in float32 if the current comes in half precision, else as they are.

    Raises ShapeError for integers: they would make integers of decay and threshold.
    """
    if not current.is_floating_point():
        raise ShapeError(f"the current must be floating-point numbers, got {current.dtype}; convert it with .float()")
    if current.dtype not in HALF:
        return current, v0
    return current.float(), None if v0 is None else v0.float()


def per_neuron(value: float | Tensor, current: Tensor, name: str) -> Tensor:
    """A number or a tensor ``[neuron]`` as a tensor that broadcasts over the current's last axis."""
    # A number becomes a fill on the device: a copy to it would wait, and could not be captured in a CUDA graph.
    tensor = value.to(current) if isinstance(value, Tensor) else current.new_full((), value)
    if tensor.ndim > 1 or (tensor.ndim == 1 and tensor.shape[0] not in (1, current.shape[-1])):
        raise ShapeError(
            f"{name} has shape {tuple(tensor.shape)}; give a number or one value per neuron ({current.shape[-1]})"
        )
    return tensor
