"""Leaky integrate-and-fire neurons that receive their own population's spikes, delayed."""

from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor

from snn_delays.ops.backends import Backend, Operation
from snn_delays.ops.checks import check_state, per_neuron
from snn_delays.ops.delay import check_options
from snn_delays.ops.lif import full_precision, options_of
from snn_delays.ops.surrogate import Surrogate
from snn_delays.ops.tracing import untraced


def _example() -> dict[str, Any]:
    zero = torch.zeros(2, 1, 1)
    return {
        "current": zero, "history": None, "v0": zero[0], "mask": None, "weight": zero[:1], "delay": zero[:1] + 1,
        "sigma": zero[0, 0, 0] + 1, "min_delay_steps": 1, "max_delay_steps": 2, "taps": "gaussian",
        "decay": zero[0, 0, 0], "threshold": zero[0, 0, 0], **options_of(),
    }  # fmt: skip


OPERATION = Operation(
    "recurrent_lif",
    (
        Backend("numba_cpu", "snn_delays.ops.recurrent.numba_cpu", requires=("numba",)),
        Backend("cupy", "snn_delays.ops.recurrent.cupy"),
        Backend("reference", "snn_delays.ops.recurrent.loop"),
    ),
    _example,
)


@untraced
def recurrent_lif(
    current: Float[Tensor, "time batch neuron"],
    weight: Float[Tensor, "neuron neuron count"],
    delay: Float[Tensor, "#neuron #neuron count"],
    sigma: Float[Tensor, "..."],
    history: Float[Tensor, "max_delay batch neuron"] | None = None,
    v0: Float[Tensor, "batch neuron"] | None = None,
    mask: Float[Tensor, "batch neuron"] | None = None,
    *,
    min_delay_steps: int,
    max_delay_steps: int,
    taps: str,
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
    r"""Spikes of neurons that receive them again, and the membrane after the last step.

    .. math::
        s, v = \text{lif}(I, v_0) \qquad I_t[i] = x_t[i] +
        m[i] \sum_{j,c} w[i,j,c] \sum_{l \ge l_{min}} \text{taps}(d[i,j,c], \sigma)[l]\; s_{t-l}[j]

    Args:
        current: ``x``, ``[time, batch, neuron]``, float32 or float64.
        weight: from the population to itself, ``[neuron, neuron, count]``, targets first.
        delay: within ``min_delay_steps..max_delay_steps``, at least 1; with 1 in place of the targets (axon), of the
            sources (dendrite) or both. Shared by all targets, taps are spread once for each source.
        sigma: width of the taps in steps, broadcast against ``weight`` (see :mod:`snn_delays.ops.delay.taps`).
        history: the ``max_delay_steps`` spikes before ``x``; None means silence.
        mask: factor on what a neuron is fed back in a sample, ``[batch, neuron]``; None means one.
        v0, decay, threshold, v_reset, reset, detach_reset, decay_input, strict, surrogate, backend: see
            :func:`snn_delays.ops.lif.lif`.

    Gradients reach ``current``, ``history``, ``v0``, ``weight``, ``delay`` and ``sigma``.

    Raises:
        ShapeError: tensors that do not fit ``current``. ConfigError: unknown ``reset`` or taps.
        BackendUnavailableError: the backend named cannot serve this call.

    Source: Queant et al., arXiv 2509.24852, section 3.
    """
    options = options_of(v_reset, reset, detach_reset, decay_input, strict, surrogate)
    check_options(current, sigma, history, max_delay_steps, taps, "neuron")
    for name, given in (("the membrane state", v0), ("the mask", mask)):
        check_state(name, given, "current", current.shape[1:], "batch, neuron")
    current, v0 = full_precision(current, v0, v_reset)
    call = {
        "current": current, "history": history, "v0": v0, "mask": mask, "weight": weight, "delay": delay,
        "sigma": sigma, "min_delay_steps": min_delay_steps, "max_delay_steps": max_delay_steps, "taps": taps,
        "decay": per_neuron(decay, current, "decay"), "threshold": per_neuron(threshold, current, "threshold"),
        **options,
    }  # fmt: skip
    spikes, v = OPERATION(call, backend)
    return spikes, v
