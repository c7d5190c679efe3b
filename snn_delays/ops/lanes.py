"""What the Numba kernels share: tensors seen as arrays of lanes, and threads. A lane is one (batch, neuron) pair."""

import math

import numba
import numpy as np
import torch
from torch import Tensor

from snn_delays.ops.waiting import wait_asleep

BLOCK = 512  # lanes that a kernel works through together; a few rows of them fit the first-level cache


def array(tensor: Tensor) -> np.ndarray:
    """The numbers of a tensor, contiguous."""
    return tensor.detach().contiguous().numpy()


def as_rows(tensor: Tensor) -> np.ndarray:
    """``[time, batch, neuron]`` as a contiguous array ``[time, lane]``."""
    steps, *lanes = tensor.shape
    return tensor.detach().contiguous().view(steps, math.prod(lanes)).numpy()


def as_row(tensor: Tensor) -> np.ndarray:
    """``[batch, neuron]`` as a contiguous array ``[lane]``."""
    return tensor.detach().contiguous().view(-1).numpy()


def per_lane(tensor: Tensor, shape: torch.Size) -> np.ndarray:
    """``[neuron]``, or one number, for every lane of ``[batch, neuron]``: ``[lane]``."""
    return np.broadcast_to(tensor.detach().numpy(), shape).ravel()


def follow_torch_threads() -> None:
    """Have the next kernel use as many threads as torch does.

    Both set the number of threads of one OpenMP: a kernel with another number would change torch's, and with it the
    order of torch's sums.
    """
    threads = min(torch.get_num_threads(), numba.config.NUMBA_NUM_THREADS)
    numba.set_num_threads(threads)
    wait_asleep("numba")
    if torch.get_num_threads() != threads:  # Numba's pool, when it is first made, sets the number of all its threads
        torch.set_num_threads(threads)
