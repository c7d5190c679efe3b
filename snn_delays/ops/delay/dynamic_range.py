"""What a transform along time would carry to earlier steps: numbers that are not finite, and the rounding of huge ones.

The law is that an output depends on no later input. Through a transform, a NaN reaches every step of its block, and a
number so large that its rounding drowns the quiet steps before it reaches those.
"""

import math

import numpy as np
import torch
import torch.nn.functional as F
from numba import prange
from torch import Tensor

from snn_delays.compiling import cached_njit
from snn_delays.ops.lanes import follow_torch_threads
from snn_delays.ops.threads import lost_kernels

QUIET = 1e-3  # share of a sample's quietest step (that is not silent) that the rounding of its loudest may come to


def needs_causal(signal: Tensor) -> bool:
    """Whether a signal ``[time, batch, in]`` on the CPU holds what a transform would carry to earlier steps."""
    numbers = signal.detach().contiguous().numpy()
    if lost_kernels():
        top = np.abs(numbers).max(2, initial=0)
        low, high = np.where(top == 0, np.inf, top).min(0), top.max(0)
    else:
        integer = np.int32 if numbers.dtype == np.float32 else np.int64
        spans = np.empty((2, signal.shape[1]), integer)
        follow_torch_threads()
        # Read as integers, magnitudes keep their order, with infinity and then NaN above all others.
        _spans(numbers.view(integer), integer(np.iinfo(integer).max), spans)
        low, high = spans.view(numbers.dtype)
    quiet = (high == 0) | (high * float(torch.finfo(signal.dtype).eps / QUIET) <= low)
    return not bool((quiet & np.isfinite(high)).all())


@cached_njit(parallel=True)
def _spans(x, mask, spans):  # type: ignore[no-untyped-def]
    """By sample, the largest magnitude of its quietest step that is not silent, and of its loudest, as integers."""
    steps, batch, features = x.shape
    for b in prange(batch):
        low, high = mask, x.dtype.type(0)
        for t in range(steps):
            row, top = x[t, b], x.dtype.type(0)
            for j in range(features):
                magnitude = row[j] & mask
                top = magnitude if magnitude > top else top
            if top > 0:
                low = top if top < low else low
                high = top if top > high else high
        spans[0, b], spans[1, b] = low, high


def set_apart(signal: Tensor, past: int, window: int) -> tuple[Tensor, Tensor | None]:
    """A signal ``[past + time, ...]`` with zeros for what is not finite, and what to add to the output for it.

    That is NaN for ``window`` steps from each such number on, by lane, and 0 elsewhere: ``[time, ...]``. None where all
    is finite, which is looked up on a CPU only: nothing is read back from an accelerator.
    """
    if signal.device.type == "cpu" and math.isfinite(float(signal.detach().sum())):
        return signal, None
    finite = signal.isfinite()
    bad = (~finite).to(signal.dtype).flatten(1).T.unsqueeze(1)  # [lane, 1, past + time]
    reached = F.max_pool1d(F.pad(bad, (max(window - 1 - past, 0), 0)), window, 1) if signal.numel() else bad
    reached = reached.squeeze(1).T[-(len(signal) - past) :].reshape(-1, *signal.shape[1:])
    return torch.where(finite, signal, 0.0), torch.where(reached > 0, math.nan, 0.0).to(signal.dtype)
