"""One step without gradients: one product with a kernel that is kept as long as it is that of its synapses.

Compared bit for bit at every call are the numbers themselves, not identity or version, so every change is seen, one by
way of ``.data`` or of an array that shares the memory too. That reads a synapse once, the product each of its taps.
"""

import ctypes
from collections import OrderedDict
from contextlib import suppress
from typing import Any, NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor

from snn_delays.ops.delay.signal import joined
from snn_delays.ops.delay.taps import check_delays, delay_kernel

LARGEST = 2**20  # numbers of a kernel; a larger one costs more to read than a few taps do
MOST = 2**26  # bytes of all kernels kept


class _Kept(NamedTuple):
    seen: tuple[Any, ...]
    kernel: Tensor  # [out, (D + 1) * in], the longest delay first


_kept: OrderedDict[tuple[Any, ...], _Kept] = OrderedDict()  # the oldest first


def serves(call: Any) -> bool:
    """Whether a call is one step on the CPU, without gradients, through a small kernel."""
    x, weight = call["x"], call["weight"]
    return bool(
        len(x) == 1
        and not torch.is_grad_enabled()
        and x.is_cpu
        and weight.is_cpu
        and x.dtype == weight.dtype == call["delay"].dtype
        and weight.numel() * (call["max_delay_steps"] + 1) <= LARGEST
    )


def refuses(**call: Any) -> str | None:
    """See :func:`serves`."""
    return None if serves(call) else f"it serves one step on the CPU without gradients, with a kernel up to {LARGEST}"


def run(**call: Any) -> Tensor:
    """See :func:`snn_delays.ops.delay.delayed_linear`."""
    return step(**call)[0]


def step(x: Tensor, history: Tensor | None, **synapses: Any) -> tuple[Tensor, Tensor]:
    """The current, and the history after the step."""
    extended = joined(x, history, synapses["max_delay_steps"])
    batch = x.shape[1]
    lines = extended if batch == 1 else extended.transpose(0, 1)
    rows = lines.reshape(1, batch, extended.shape[0] * x.shape[2])
    return F.linear(rows, kernel(**synapses)), extended[1:]


def kernel(weight: Tensor, delay: Tensor, sigma: Tensor | None, max_delay_steps: int, taps: str) -> Tensor:
    """The kernel of these synapses, ``[out, (D + 1) * in]``; built where it is not kept."""
    key = (
        delay.data_ptr(), max_delay_steps, taps, weight.dtype, weight.shape, delay.shape,
        None if sigma is None else (sigma.dtype, sigma.shape),
    )  # fmt: skip
    seen = (_numbers(weight), _numbers(delay), None if sigma is None else _numbers(sigma))
    found = _kept.get(key)
    if found is not None and found.seen == seen:
        return found.kernel
    check_delays(delay, max_delay_steps)
    with torch.inference_mode(False), torch.no_grad():
        parts = delay_kernel(weight, delay, sigma, max_delay_steps, taps)
        built = parts.flip(0).permute(1, 0, 2).reshape(weight.shape[0], -1)
    _kept[key] = _Kept(seen, built)
    while len(_kept) > 1 and sum(kept.kernel.nbytes for kept in list(_kept.values())) > MOST:
        with suppress(KeyError):  # another thread has just done it
            _kept.popitem(last=False)
    return built


def _numbers(tensor: Tensor) -> bytes:
    tensor = tensor.contiguous()
    return ctypes.string_at(tensor.data_ptr(), tensor.nbytes)
