"""LIF as CUDA C kernels (``lif.cu``) through CuPy."""

from typing import Any

import torch
from torch import Tensor

from snn_delays.ops.cuda import cupy_launch, support
from snn_delays.ops.cuda.source import Source
from snn_delays.ops.lif import function
from snn_delays.ops.surrogate import Surrogate

SOURCE = Source("lif/lif.cu", contract=False)


def refuses(current: Tensor, v0: Tensor, surrogate: Surrogate | None, **_: Any) -> str | None:
    """Serves float32 and float64 on a CUDA GPU with the surrogates of this package."""
    return function.refuses_surrogate(surrogate) or support.refuses(
        "cupy", cupy_launch.COMPILER, {"current": current, "state": v0}, _trial
    )


def run(**call: Any) -> tuple[Tensor, Tensor]:
    """See :func:`snn_delays.ops.lif.lif`."""
    return function.apply(KERNELS, **call)


def _trial(dtype: torch.dtype, device: torch.device) -> None:
    function.trial(KERNELS, dtype, device)


def _forward(
    current: Tensor,
    v0: Tensor,
    decay: Tensor,
    threshold: Tensor,
    gain: Tensor,
    options: function.LIFOptions,
    keep_h: bool,
) -> tuple[Tensor | None, Tensor | None, Tensor]:
    h, spikes = (torch.empty_like(current) if kept else None for kept in (keep_h, options.fires))
    v = torch.empty_like(v0)
    _launch(
        "lif_forward", v0,
        (current, v0, *_strided(decay), *_strided(threshold), *_strided(gain), options.v_reset, options.soft_reset,
         options.strict, current.shape[0], v0.numel(), v0.shape[1], h, spikes, v),
    )  # fmt: skip
    return h, spikes, v


def _backward(
    grad_spikes: Tensor, grad_v: Tensor, saved: function.LIFSaved, options: function.LIFOptions, for_decay: bool
) -> tuple[Tensor | None, ...]:
    h, v0, kind_and_numbers = saved.h, saved.v0, options.surrogate
    grad_current, grad_v0, grad_threshold = torch.empty_like(h), torch.empty_like(v0), torch.empty_like(v0)
    grad_decay = torch.empty_like(v0) if for_decay else None
    grad_gain = None if saved.current is None else torch.empty_like(v0)
    _launch(
        "lif_backward", v0,
        (grad_spikes, grad_v, h, saved.current, v0, *_strided(saved.decay), *_strided(saved.threshold),
         *_strided(saved.gain), options.v_reset, options.soft_reset, options.detach_reset, options.strict,
         *kind_and_numbers, h.shape[0], v0.numel(), v0.shape[1], grad_current, grad_v0, grad_decay, grad_threshold,
         grad_gain),
    )  # fmt: skip
    return grad_current, grad_v0, grad_decay, grad_threshold, grad_gain


def _strided(per_neuron: Tensor) -> tuple[Tensor, int]:
    return per_neuron, per_neuron.stride(0)


def _launch(kernel: str, v0: Tensor, args: tuple[Tensor | int | float | None, ...]) -> None:
    if v0.numel():
        grid = (-(-v0.numel() // cupy_launch.BLOCK),)
        cupy_launch.launch(SOURCE, kernel, grid, (cupy_launch.BLOCK,), v0, args)


KERNELS = function.LIFKernels(_forward, _backward)
