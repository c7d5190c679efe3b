"""Leaky integrators: neurons that never fire, used as readout. Those of ``lif`` serve, without threshold or spikes."""

from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor

from snn_delays.ops.backends import Backend, Operation, one_step_of
from snn_delays.ops.checks import check_state, per_neuron
from snn_delays.ops.lif import OPERATION as LIF
from snn_delays.ops.lif import full_precision
from snn_delays.ops.lif.function import NEVER_FIRES
from snn_delays.ops.tracing import untraced


def _example() -> dict[str, Any]:
    zero = torch.zeros(2, 1, 1)
    return {"current": zero, "v0": zero[0], "decay": zero[0, 0, 0], "decay_input": False, **NEVER_FIRES}


OPERATION = Operation(
    "leaky_integrator",
    (*LIF.backends[:-1], Backend("reference", "snn_delays.ops.leaky_integrator")),
    _example,
    small=one_step_of("current", with_gradients=True),
)


@untraced
def leaky_integrator(
    current: Float[Tensor, "time batch neuron"],
    v0: Float[Tensor, "batch neuron"] | None = None,
    *,
    decay: float | Tensor,
    decay_input: bool = False,
    backend: str | None = None,
) -> tuple[Float[Tensor, "time batch neuron"], Float[Tensor, "batch neuron"]]:
    r"""Leaky integrators: the membrane at every step and at the last.

    .. math:: v_t = d\,v_{t-1} + g\,x_t \qquad g = 1 - d \text{ if decay\_input else } 1

    Args:
        current: input current ``x``, ``[time, batch, neuron]``, float32 or float64. A bfloat16 or float16 current
            (mixed precision) is integrated in float32.
        v0: membrane before the first step, ``[batch, neuron]``; None means at rest, 0.
        decay: ``d = 1 - 1/tau`` with tau in steps; a number or a tensor ``[neuron]``.
        decay_input: scale the input by ``1 - d``.
        backend: name of the implementation; None lets the fastest serve.

    Returns:
        Membranes ``[time, batch, neuron]`` and the membrane after the last step ``[batch, neuron]``, in the dtype of
        ``current``, at least float32.

    Raises:
        ShapeError: ``v0`` or ``decay`` does not fit ``current``.
        BackendUnavailableError: the backend named cannot serve this call.

    Source: the LIF of :func:`snn_delays.ops.lif.lif` with an unreachable threshold, as Hammouamri et al., ICLR 2024,
    read out their networks.
    """
    check_state("the integrator's state", v0, "current", current.shape[1:], "batch, neuron")
    current, v0 = full_precision(current, v0)
    call = {
        "current": current, "v0": v0, "decay": per_neuron(decay, current, "decay"), "decay_input": decay_input,
        **NEVER_FIRES,
    }  # fmt: skip
    result: tuple[Tensor, Tensor] = OPERATION(call, backend)
    return result


def run(current: Tensor, v0: Tensor, decay: Tensor, decay_input: bool, **_: Any) -> tuple[Tensor, Tensor]:
    """The reference, in plain torch, one step at a time: the definition every other backend is held to."""
    v, trace = v0, []
    gain = 1 - decay if decay_input else 1
    for x in current.unbind(0):
        v = decay * v + gain * x
        trace.append(v)
    return (torch.stack(trace) if trace else current.clone()), v
