"""Views of CPU tensors as numpy arrays for the Numba kernels. A lane is one (batch, neuron) pair."""

import math

import numpy as np
from torch import Tensor

BLOCK = 512  # lanes that a kernel works through together; a few rows of them fit the first-level cache


def as_rows(tensor: Tensor) -> np.ndarray:
    """``[time, batch, neuron]`` as a contiguous array ``[time, lane]``."""
    steps, *lanes = tensor.shape
    return tensor.detach().contiguous().view(steps, math.prod(lanes)).numpy()


def as_row(tensor: Tensor) -> np.ndarray:
    """``[batch, neuron]`` as a contiguous array ``[lane]``."""
    return tensor.detach().contiguous().view(-1).numpy()
