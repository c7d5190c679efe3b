"""Batch norm, leaky integrate-and-fire neurons and a mask on their spikes, as one operation for training."""

from typing import Any

import torch
from jaxtyping import Bool, Float
from torch import Tensor

from snn_delays.errors import ShapeError
from snn_delays.ops.backends import Backend, Operation
from snn_delays.ops.checks import working_dtype
from snn_delays.ops.lif import full_precision, options_of
from snn_delays.ops.surrogate import Surrogate
from snn_delays.ops.tracing import untraced


def _example() -> dict[str, Any]:
    zero = torch.zeros(2, 1, 1)
    return {
        "current": zero, "gamma": zero[0, 0], "beta": zero[0, 0], "v0": zero[0], "valid": None, "mask": None,
        "eps": 1e-5, "decay": 0.5, "threshold": 1.0, **options_of(),
    }  # fmt: skip


OPERATION = Operation(
    "norm_lif",
    (
        Backend("numba_cpu", "snn_delays.ops.norm_lif.numba_cpu", requires=("numba",)),
        Backend("reference", "snn_delays.ops.norm_lif.reference"),
    ),
    _example,
)


@untraced
def norm_lif(
    current: Float[Tensor, "time batch neuron"],
    gamma: Float[Tensor, " neuron"],
    beta: Float[Tensor, " neuron"],
    v0: Float[Tensor, "batch neuron"] | None = None,
    valid: Bool[Tensor, "time batch"] | None = None,
    mask: Float[Tensor, "batch neuron"] | None = None,
    *,
    eps: float,
    decay: float | Tensor,
    threshold: float | Tensor = 1.0,
    v_reset: float = 0.0,
    reset: str = "hard",
    detach_reset: bool = True,
    decay_input: bool = False,
    strict: bool = False,
    surrogate: Surrogate | None = None,
    backend: str | None = None,
) -> tuple[
    Float[Tensor, "time batch neuron"],
    Float[Tensor, "batch neuron"],
    Float[Tensor, " neuron"],
    Float[Tensor, " neuron"],
]:
    r"""Spikes of neurons whose current is normalised over the valid steps of all samples.

    .. math::
        y_t = \gamma\,(x_t - \mu) / \sqrt{\sigma^2 + \epsilon} + \beta \text{ where valid, else } 0 \qquad
        s, v = \text{lif}(y, v_0) \qquad \text{out}_t = \text{mask} \cdot s_t

    One pass reads the current, so nothing but the current need be kept for the backward pass, which computes the
    membranes again.

    Args:
        current: ``x``, ``[time, batch, neuron]``.
        gamma, beta: scale and shift, ``[neuron]``.
        v0: membrane before the first step; None means at rest, ``v_reset``.
        valid: the steps that are not padding, ``[time, batch]``; None means all.
        mask: factor on the spikes of a neuron in a sample, ``[batch, neuron]``; None means one.
        eps: added to the variance.
        decay, threshold, v_reset, reset, detach_reset, decay_input, strict, surrogate, backend: see
            :func:`snn_delays.ops.lif.lif`.

    Returns:
        Masked spikes, the membrane after the last step, and mean and (biased) variance of the current. A current in
        half precision is normalised and integrated in float32; only the spikes come back in its type.

    Gradients reach ``current``, ``gamma``, ``beta`` and ``v0``; mean and variance carry none.

    Raises:
        ShapeError: tensors that do not fit ``current``. ConfigError: unknown ``reset``.
        BackendUnavailableError: the backend named cannot serve this call.

    Source: Ioffe & Szegedy, 2015, over time and batch, and Hammouamri et al., ICLR 2024, section 3.1.
    """
    options = options_of(v_reset, reset, detach_reset, decay_input, strict, surrogate)
    steps, batch, neurons = current.shape
    expected = {
        "gamma": (gamma, (neurons,)), "beta": (beta, (neurons,)), "v0": (v0, (batch, neurons)),
        "valid": (valid, (steps, batch)), "mask": (mask, (batch, neurons)),
    }  # fmt: skip
    for name, (tensor, shape) in expected.items():
        if tensor is not None and tuple(tensor.shape) != shape:
            raise ShapeError(
                f"{name} has shape {tuple(tensor.shape)}, a current of shape {tuple(current.shape)} needs {shape}"
            )
    spikes_dtype = current.dtype
    current, v0 = full_precision(current, v0, v_reset)
    gamma, beta = (part.to(working_dtype(part.dtype)) for part in (gamma, beta))
    mask = None if mask is None else mask.to(current.dtype)
    call = {
        "current": current, "gamma": gamma, "beta": beta, "v0": v0, "valid": valid, "mask": mask, "eps": eps,
        "decay": decay, "threshold": threshold, **options,
    }  # fmt: skip
    spikes, v, mean, variance = OPERATION(call, backend)
    return spikes.to(spikes_dtype), v, mean, variance
