"""A two-dimensional convolution with delays: every step of a map is a weighted sum over space and over the past."""

from collections.abc import Mapping
from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor

from snn_delays.errors import ConfigError, ShapeError
from snn_delays.ops.backends import Backend, Operation
from snn_delays.ops.delay import check_delays, check_options
from snn_delays.ops.delay.signal import last_steps
from snn_delays.ops.delay.taps import tap_count, what_counts_taps
from snn_delays.ops.delay.transform_length import transform_length
from snn_delays.ops.tracing import untraced

# In multiply-adds of the dense convolution for a number of its output: a tap of the gather, by the number of input
# maps; a product of the spectral backend, to transform its maps and to convolve them.
OF_A_TAP, OF_A_TAP_BEHIND_MANY_MAPS, MANY_MAPS = 5, 12, 9
OF_A_TRANSFORM, OF_A_PRODUCT = 6.7, 2.3


def rank(backend: str, call: Mapping[str, Any]) -> float:
    """The smallest serves: shared delays take a convolution in space and a product along time; few taps are gathered.

    For the rest, many weights a neuron and a long window pay for a transform along time, and the dense convolution
    does what is left: on a CPU, a window of 11 steps takes it three to eight times as long as a convolution without
    delays. Unfolding the maps for the linear layer's backends does not pay: the unfolding alone takes longer. On a GPU
    (not run) the first and the last serve, through cuDNN.
    """
    window, weights = call["max_delay_steps"] + 1, call["weight"][0].numel()
    if backend == "gather":
        taps = tap_count(call["delay"], call["sigma"], window - 1, call["taps"])
        return 1.0 * taps * weights * (OF_A_TAP if call["x"].shape[2] < MANY_MAPS else OF_A_TAP_BEHIND_MANY_MAPS)
    if backend == "spectral":
        n, blocks = transform_length(len(call["x"]), window - 1)
        products = 1.5 * n
        return OF_A_TRANSFORM * products + OF_A_PRODUCT * products * blocks / len(call["x"]) * weights
    return {"separable": 0.0}.get(backend, 1.0 * window * weights)


def _example() -> dict[str, Any]:
    return {
        "x": torch.zeros(1, 1, 1, 1, 1), "history": None, "weight": torch.zeros(1, 1, 1, 1),
        "delay": torch.zeros(1, 1, 1, 1), "sigma": torch.tensor(1.0), "max_delay_steps": 1, "taps": "gaussian",
        "stride": (1, 1), "padding": (0, 0),
    }  # fmt: skip


OPERATION = Operation(
    "delayed_conv2d",
    (
        Backend("separable", "snn_delays.ops.delay_conv.separable"),
        Backend("gather", "snn_delays.ops.delay_conv.gather", requires=("numba",)),
        Backend("spectral", "snn_delays.ops.delay_conv.spectral", requires=("numba",)),
        Backend("reference", "snn_delays.ops.delay_conv.reference"),
    ),
    _example,
    cost=rank,
    reads=what_counts_taps,
)


@untraced
def delayed_conv2d(
    x: Float[Tensor, "time batch in_channels y x"],
    weight: Float[Tensor, "out_channels in_channels ky kx"],
    delay: Float[Tensor, "#out_channels #in_channels #ky #kx"],
    sigma: Float[Tensor, ""] | None = None,
    history: Float[Tensor, "max_delay batch in_channels y x"] | None = None,
    *,
    max_delay_steps: int,
    taps: str = "gaussian",
    stride: tuple[int, int] = (1, 1),
    padding: tuple[int, int] = (0, 0),
    backend: str | None = None,
) -> tuple[Float[Tensor, "time batch out_channels v u"], Float[Tensor, "max_delay batch in_channels y x"]]:
    r"""Convolve maps in space, every weight with a delay.

    .. math::
        y_t[o, v, u] = \sum_{i,a,b} w[o,i,a,b] \sum_{k=0}^{D} \text{taps}(d[o,i,a,b], \sigma)[k]\;
        x_{t-k}[i,\; s_y v + a - p_y,\; s_x u + b - p_x]

    With integer delays and one tap each this is ``sum w[o,i,a,b] x_{t - d[o,i,a,b]}[...]``. Causal; as many steps out
    as in; a larger delay is later; silence around the maps.

    Args:
        x: input spikes or counts, ``[time, batch, in, y, x]``.
        weight: ``[out, in, ky, kx]``.
        delay: in steps, within ``0..max_delay_steps``; shaped as ``weight``, with 1 along every axis that shares it.
        sigma: width of the taps in steps, one number (see :mod:`snn_delays.ops.delay.taps`).
        history: the ``max_delay_steps`` inputs before ``x``; None means silence.
        max_delay_steps: longest delay ``D``; the window has ``D + 1`` taps.
        taps: ``"gaussian"``, ``"triangle"``, ``"delrec"``, ``"linear"`` or ``"linear_normalized"``.
        stride: ``s``, along y and x.
        padding: ``p``, rows above and below, columns left and right.
        backend: name of the implementation; None lets the fastest serve.

    Returns:
        Current ``[time, batch, out, v, u]`` and the last ``max_delay_steps`` inputs, to pass on as ``history``.

    Raises:
        ShapeError: shapes that do not fit each other, maps smaller than the kernel.
        ConfigError: unknown taps, sigma missing, a stride or padding that cannot be, or a delay that is NaN or outside
            the window (looked at on the CPU only, as in :func:`snn_delays.ops.delay.delayed_linear`).
        BackendUnavailableError: the backend named cannot serve this call.

    Source: Khalfaoui-Hassani et al., TMLR 2023 (DCLS), with the learned positions along time as in Hammouamri et al.,
    ICLR 2024, section 3.2, there for linear layers.
    """
    check_options(x, sigma, history, max_delay_steps, taps, "in_channels, y, x")
    if min(stride) < 1 or min(padding) < 0:
        raise ConfigError(f"a stride must be at least 1 and a padding at least 0, got {stride} and {padding}")
    _check_shapes(x, weight, delay)
    height, width = map_size(x.shape[3:], weight.shape[2:], stride, padding)
    if delay.device.type == "cpu":
        check_delays(delay, max_delay_steps)
    after = last_steps(x, history, max_delay_steps)
    if 0 in x.shape[:2]:
        return x.new_zeros(*x.shape[:2], weight.shape[0], height, width), after
    call = {
        "x": x, "history": history, "weight": weight, "delay": delay, "sigma": sigma,
        "max_delay_steps": max_delay_steps, "taps": taps, "stride": stride, "padding": padding,
    }  # fmt: skip
    current: Tensor = OPERATION(call, backend)
    return current, after


def map_size(
    size: tuple[int, ...], kernel: tuple[int, ...], stride: tuple[int, ...], padding: tuple[int, ...] = (0, 0)
) -> tuple[int, int]:
    """Rows and columns that a window leaves of a map, each ``(n + 2 p - k) // s + 1``. Raises ShapeError for none."""
    rows, columns = ((n + 2 * p - k) // s + 1 for n, k, s, p in zip(size, kernel, stride, padding))
    if rows < 1 or columns < 1:
        raise ShapeError(
            f"a map of {size[0]} x {size[1]} with padding {padding[0]}, {padding[1]} is smaller than the window of "
            f"{kernel[0]} x {kernel[1]}; take a smaller window, more padding, or fewer layers before it"
        )
    return rows, columns


def _check_shapes(x: Tensor, weight: Tensor, delay: Tensor) -> None:
    if x.ndim != 5:
        raise ShapeError(f"the input has shape {tuple(x.shape)}; a convolution takes [time, batch, channel, y, x]")
    if weight.ndim != 4 or weight.shape[1] != x.shape[2]:
        raise ShapeError(
            f"the input has {x.shape[2]} channels, the weight {tuple(weight.shape)} takes {weight.shape[1]}"
        )
    if delay.ndim != 4 or any(d not in (1, w) for d, w in zip(delay.shape, weight.shape)):
        raise ShapeError(
            f"delay has shape {tuple(delay.shape)}; the weight {tuple(weight.shape)} needs the same, with 1 along "
            "axes that share it"
        )
