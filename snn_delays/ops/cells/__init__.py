"""Neurons with several states over a chunk of time: current-based, adaptive and resonating ones."""

from collections.abc import Mapping, Sequence
from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor

from snn_delays.errors import ConfigError, ShapeError
from snn_delays.messages import did_you_mean
from snn_delays.ops.backends import Backend, Operation, one_step_of
from snn_delays.ops.cells.equations import CELLS
from snn_delays.ops.checks import check_floating, check_state, per_neuron, working_dtype
from snn_delays.ops.surrogate import ATan, Surrogate
from snn_delays.ops.tracing import untraced


def _example() -> dict[str, Any]:
    cell, zero = CELLS["se_adlif"], torch.zeros(2, 1, 1)
    states, constants = cell.States(zero[0], zero[0]), cell.Constants(*[zero[0, 0, 0]] * 5)
    return {
        "cell": cell, "current": zero, "states": states, "constants": constants, "surrogate": ATan(),
        "detach_reset": True, "strict": True,
    }  # fmt: skip


OPERATION = Operation(
    "cells",
    (
        Backend("numba_cpu", "snn_delays.ops.cells.numba_cpu", requires=("numba",)),
        Backend("reference", "snn_delays.ops.cells.reference"),
    ),
    _example,
    small=one_step_of("current", with_gradients=True),
)


@untraced
def cells(
    kind: str,
    current: Float[Tensor, "time batch neuron"],
    states: Sequence[Float[Tensor, "batch neuron"]] | None,
    constants: Mapping[str, float | Tensor],
    *,
    detach_reset: bool = False,
    strict: bool | None = None,
    surrogate: Surrogate | None = None,
    backend: str | None = None,
) -> tuple[Float[Tensor, "time batch neuron"], tuple[Float[Tensor, "batch neuron"], ...]]:
    r"""Neurons of a kind: spikes and the final states. With :math:`\Theta(u)` a spike, 1 where u > 0:

    .. math::
        \text{cuba:}\quad & i_t = \beta\,i_{t-1} + g_i\,x_t \quad h_t = v_r + d\,(v_{t-1} - v_r) + g\,i_t \quad
        s_t = \Theta(h_t - \theta),\ \text{also at } 0 \\
        & v_t = v_r s_t + (1 - s_t) h_t \;\text{(hard)} \qquad v_t = h_t - \theta s_t \;\text{(soft)} \\
        \text{adLIF:}\quad & h_t = \alpha u_{t-1} + (1 - \alpha)(x_t - w_{t-1}) \quad s_t = \Theta(h_t - \theta) \quad
        u_t = h_t (1 - s_t) \\
        & w_t = \beta w_{t-1} + (1 - \beta)(a u + b s) \quad\text{with } u_t, s_t \text{ (se) or } u_{t-1}, s_{t-1}
        \text{ (ef)} \\
        \text{c\_adlif:}\quad & w_t = \beta w_{t-1} + a u_{t-1} + b s_{t-1} \quad
        u_t = \alpha (u_{t-1} - \theta s_{t-1}) + (1 - \alpha)(x_t - w_t) \quad s_t = \Theta(u_t - \theta) \\
        \text{c\_silif:}\quad & u_t = \lambda (u_{t-1} - s_{t-1} / 2) + b\,x_t \text{, complex} \quad
        s_t = \Theta(2\,\mathrm{Re}\,u_t - \theta) \\
        \text{brf:}\quad & u_t = u + dt\,((b - q) u - \omega v + x_t) \quad v_t = v + dt\,(\omega u + (b - q) v) \\
        & s_t = \Theta(u_t - \theta - q) \quad q_t = 0.9\,q + s_t

    Args:
        kind: ``"cuba_hard"``, ``"cuba_soft"``, ``"se_adlif"``, ``"ef_adlif"``, ``"c_adlif"``, ``"c_silif"`` or
            ``"brf"``; the equations as code are in :mod:`snn_delays.ops.cells.equations`.
        current: ``x``, ``[time, batch, neuron]``; one in half precision is computed in float32.
        states: before the first step, each ``[batch, neuron]``, in the order of ``CELLS[kind].states``; None: zeros.
        constants: by the names ``CELLS[kind].constants``, numbers or tensors ``[neuron]``.
        detach_reset: treat the spike in the reset as a constant in the backward pass.
        strict: fire only above the threshold, not at it; None: as the source does, strictly but for cuba.
        surrogate: derivative in place of the step's, ``ATan(5.0)`` by default.
        backend: name of the implementation; None lets the fastest serve.

    Returns:
        Spikes 0/1 in the dtype of ``current``, and the states after the last step, in the dtype they were computed in.

    Gradients reach ``current``, ``states`` and ``constants``.

    Raises:
        ShapeError: a state or constant that does not fit ``current``. ConfigError: unknown ``kind``, or constants
        that are missing or unknown. BackendUnavailableError: the backend named cannot serve this call.

    Source: :mod:`snn_delays.nn.cells` names that of each kind.
    """
    if kind not in CELLS:
        raise ConfigError(f"no neurons of kind {kind!r}; {did_you_mean(kind, CELLS)}there are {', '.join(CELLS)}")
    cell = CELLS[kind]
    if wrong := sorted(set(cell.constants) ^ set(constants)):
        raise ConfigError(f"{kind} has the constants {', '.join(cell.constants)}; missing or unknown: {wrong}")
    check_floating("current", current)
    x = current.to(working_dtype(current.dtype))
    if states is not None and len(states) != len(cell.states):
        raise ShapeError(f"{kind} has the states {', '.join(cell.states)}, got {len(states)}")
    given = states or [x.new_zeros(x.shape[1:])] * len(cell.states)
    for name, state in zip(cell.states, given):
        check_state(f"the state {name}", state, "current", x.shape[1:], "batch, neuron")
    call = {
        "cell": cell, "current": x, "states": cell.States(*(state.to(x.dtype) for state in given)),
        "constants": cell.Constants(*(per_neuron(constants[name], x, name) for name in cell.constants)),
        "surrogate": ATan() if surrogate is None else surrogate, "detach_reset": detach_reset,
        "strict": cell.strict if strict is None else strict,
    }  # fmt: skip
    spikes, after = OPERATION(call, backend)
    return spikes.to(current.dtype), tuple(after)
