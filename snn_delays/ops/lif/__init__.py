"""Leaky integrate-and-fire neurons over a chunk of time."""

from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor

from snn_delays.errors import ConfigError
from snn_delays.ops.backends import Backend, Operation
from snn_delays.ops.checks import HALF, check_floating, check_state, per_neuron
from snn_delays.ops.surrogate import ATan, Surrogate
from snn_delays.ops.tracing import untraced


def _example() -> dict[str, Any]:
    zero = torch.zeros(2, 1, 1)
    return {"current": zero, "v0": zero[0], "decay": zero[0, 0, 0], "threshold": zero[0, 0, 0], **options_of()}


OPERATION = Operation(
    "lif",
    (
        Backend("one_step", "snn_delays.ops.lif.one_step"),
        Backend("numba_cpu", "snn_delays.ops.lif.numba_cpu", requires=("numba",)),
        Backend("cupy", "snn_delays.ops.lif.cupy"),
        Backend("numba_cuda", "snn_delays.ops.lif.numba_cuda", requires=("numba",)),
        Backend("reference", "snn_delays.ops.lif.reference"),
    ),
    _example,
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
    options = options_of(v_reset, reset, detach_reset, decay_input, strict, surrogate)
    check_state("the membrane state", v0, "current", current.shape[1:], "batch, neuron")
    spikes_dtype = current.dtype
    current, v0 = full_precision(current, v0, v_reset)
    call = {
        "current": current, "v0": v0, "decay": per_neuron(decay, current, "decay"),
        "threshold": per_neuron(threshold, current, "threshold"), **options,
    }  # fmt: skip
    spikes, v = OPERATION(call, backend)
    return spikes if spikes.dtype is spikes_dtype else spikes.to(spikes_dtype), v


def options_of(
    v_reset: float = 0.0,
    reset: str = "hard",
    detach_reset: bool = True,
    decay_input: bool = False,
    strict: bool = False,
    surrogate: Surrogate | None = None,
) -> dict[str, Any]:
    """The options of a call, as backends receive them. Raises ConfigError for an unknown ``reset``."""
    if reset not in ("hard", "soft"):
        raise ConfigError(f"reset must be 'hard' or 'soft', got {reset!r}")
    return {
        "v_reset": float(v_reset), "soft_reset": reset == "soft", "detach_reset": detach_reset,
        "decay_input": decay_input, "strict": strict, "surrogate": ATan() if surrogate is None else surrogate,
    }  # fmt: skip


def full_precision(current: Tensor, v0: Tensor | None, v_reset: float = 0.0) -> tuple[Tensor, Tensor]:
    """Current and initial membrane, at rest if there is none, in float32 if the current comes in half precision."""
    check_floating("current", current)
    if current.dtype in HALF:
        current, v0 = current.float(), None if v0 is None else v0.float()
    return current, current.new_full(current.shape[1:], v_reset) if v0 is None else v0
