"""A linear layer with a delay on every synapse, learnable through taps spread around the delay."""

from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor

from snn_delays.arguments import integer
from snn_delays.errors import ConfigError, ShapeError
from snn_delays.ops.backends import Backend, Operation
from snn_delays.ops.checks import check_floating, check_state
from snn_delays.ops.delay import one_step
from snn_delays.ops.delay.cost import estimate
from snn_delays.ops.delay.signal import last_steps
from snn_delays.ops.delay.taps import TAPS, check_delays, what_counts_taps
from snn_delays.ops.tracing import untraced


def _example() -> dict[str, Any]:
    return {
        "x": torch.zeros(1, 1, 1), "history": None, "weight": torch.zeros(1, 1, 1), "delay": torch.zeros(1, 1, 1),
        "sigma": torch.tensor(1.0), "max_delay_steps": 1, "taps": "gaussian",
    }  # fmt: skip


OPERATION = Operation(
    "delayed_linear",
    (
        Backend("one_step", "snn_delays.ops.delay.one_step"),
        Backend("gather_cupy", "snn_delays.ops.delay.gather_cupy"),
        Backend("gather_numba_cuda", "snn_delays.ops.delay.gather_numba_cuda", requires=("numba",)),
        Backend("spectral", "snn_delays.ops.delay.spectral", requires=("numba",)),
        Backend("gather", "snn_delays.ops.delay.gather", requires=("numba",)),
        Backend("spectral_fft", "snn_delays.ops.delay.spectral_fft"),
        Backend("dense", "snn_delays.ops.delay.dense"),
        Backend("reference", "snn_delays.ops.delay.reference"),
    ),
    _example,
    cost=estimate,
    reads=lambda call: "" if one_step.serves(call) else what_counts_taps(call),
)


@untraced
def delayed_linear(
    x: Float[Tensor, "time batch in_features"],
    weight: Float[Tensor, "out_features in_features count"],
    delay: Float[Tensor, "#out_features #in_features count"],
    sigma: Float[Tensor, "..."] | None = None,
    history: Float[Tensor, "max_delay batch in_features"] | None = None,
    *,
    max_delay_steps: int,
    taps: str = "gaussian",
    backend: str | None = None,
) -> tuple[Float[Tensor, "time batch out_features"], Float[Tensor, "max_delay batch in_features"]]:
    r"""Sum over synapses of the weighted, delayed input.

    .. math::
        y_t[o] = \sum_{i,c} w[o,i,c] \sum_{k=0}^{D} \text{taps}(d[o,i,c], \sigma)[k]\; x_{t-k}[i]

    With integer delays and one tap each this is ``y_t[o] = sum w[o,i,c] x_{t - d[o,i,c]}[i]``. Causal; as many steps
    out as in; a larger delay is later.

    Args:
        x: input spikes or counts, ``[time, batch, in]``.
        weight: ``[out, in, count]``, ``count`` synapses for each pair of neurons.
        delay: in steps, within ``0..max_delay_steps``; ``[out, in, count]``, or with 1 in place of ``out`` (a delay per
            axon) or ``in`` (a delay per dendrite).
        sigma: width of the taps in steps, broadcast against ``weight`` (see :mod:`snn_delays.ops.delay.taps`).
        history: the ``max_delay_steps`` inputs before ``x``, ``[max_delay_steps, batch, in]``; None means silence.
        max_delay_steps: longest delay ``D``; the window has ``D + 1`` taps.
        taps: ``"gaussian"``, ``"triangle"``, ``"delrec"``, ``"linear"`` or ``"linear_normalized"``.
        backend: name of the implementation; None lets the fastest serve.

    Returns:
        Current ``[time, batch, out]`` and the last ``max_delay_steps`` inputs, to pass on as ``history``.

    Raises:
        ShapeError: shapes that do not fit each other.
        ConfigError: unknown taps, sigma missing, or a delay that is NaN or outside the window. On an accelerator the
            delays are not read back here, since that would stall it: ``DelayedLinear.check_delays`` does it on demand.
        BackendUnavailableError: the backend named cannot serve this call.

    Source: Khalfaoui-Hassani et al., TMLR 2023 (DCLS, interpolations); Hammouamri et al., ICLR 2024, section 3.2.
    """
    check_options(x, sigma, history, max_delay_steps, taps, "in_features")
    _check_shapes(x, weight, delay)
    call: dict[str, Any] = {
        "x": x, "history": history, "weight": weight, "delay": delay, "sigma": sigma,
        "max_delay_steps": max_delay_steps, "taps": taps,
    }  # fmt: skip
    chosen = OPERATION.choose(call, backend)
    if chosen.name == "one_step":  # it checks what it has not seen before
        return one_step.step(**call)
    if delay.is_cpu:
        check_delays(delay, max_delay_steps)
    current: Tensor = chosen.run(call)
    return current, last_steps(x, history, max_delay_steps)


def check_options(
    x: Tensor, sigma: Tensor | None, history: Tensor | None, max_delay_steps: int, taps: str, axes: str
) -> None:
    """Raise unless the options of a delayed operation, and the dtype and history of its input, fit each other."""
    check_floating("input", x)
    if integer("max_delay_steps", max_delay_steps) < 0:
        raise ConfigError(f"max_delay_steps must be >= 0, got {max_delay_steps}")
    if taps not in TAPS:
        raise ConfigError(f"taps must be one of {', '.join(TAPS)}; got {taps!r}")
    if TAPS[taps].needs_sigma and sigma is None:
        raise ConfigError(f"taps {taps!r} need sigma, their width in steps")
    line, axes = (max_delay_steps, *x.shape[1:]), f"max_delay_steps, batch, {axes}"
    check_state("the delay line's state", history, "input", line, axes, "start in silence")


def _check_shapes(x: Tensor, weight: Tensor, delay: Tensor) -> None:
    out_features, in_features, count = weight.shape
    if in_features != x.shape[-1]:
        raise ShapeError(f"the input has {x.shape[-1]} features, the weight {tuple(weight.shape)} takes {in_features}")
    if delay.shape != weight.shape and (
        delay.ndim != 3
        or delay.shape[0] not in (1, out_features)
        or delay.shape[1] not in (1, in_features)
        or delay.shape[2] != count
    ):
        raise ShapeError(
            f"delay has shape {tuple(delay.shape)}; the weight {tuple(weight.shape)} needs "
            f"({out_features} or 1, {in_features} or 1, {count})"
        )
