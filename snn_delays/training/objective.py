"""From readout membranes to class scores, loss and predictions; only a sample's own steps count."""

import torch
import torch.nn.functional as F
from torch import Tensor

from snn_delays.errors import ConfigError, ShapeError
from snn_delays.ops.backends import without_reading


def valid_steps(lengths: Tensor, steps: int) -> Tensor:
    """Bool ``[time, batch]``: whether a step belongs to its sample. ``lengths`` in steps, ``[batch]``."""
    if not without_reading(lengths.device) and (int(lengths.min()) < 1 or int(lengths.max()) > steps):
        raise ShapeError(f"lengths must lie in 1..{steps} steps, got {int(lengths.min())}..{int(lengths.max())}")
    return torch.arange(steps, device=lengths.device).unsqueeze(1) < lengths


def class_scores(v: Tensor, valid: Tensor, readout: str = "softmax_sum") -> Tensor:
    """Scores ``[batch, class]`` from readout membranes ``[time, batch, class]``.

    ``softmax_sum``: the sum over valid steps of the softmax over classes (the published readout);
    ``membrane_mean``, ``membrane_sum``, ``membrane_max``: of the membrane over valid steps; ``membrane_last``: after
    the last of them.
    """
    mask = valid.unsqueeze(-1)
    if readout == "softmax_sum":
        return (v.softmax(-1) * mask).sum(0)
    if readout == "membrane_mean":
        return (v * mask).sum(0) / mask.sum(0)
    if readout == "membrane_max":
        return v.masked_fill(~mask, -torch.inf).amax(0)
    if readout == "membrane_sum":
        return (v * mask).sum(0)
    if readout == "membrane_last":
        last = (valid.sum(0) - 1).view(1, -1, 1)  # valid steps come first
        return v.gather(0, last.expand(1, -1, v.shape[-1]))[0]
    known = "softmax_sum, membrane_mean, membrane_sum, membrane_max or membrane_last"
    raise ConfigError(f"unknown readout {readout!r}; choose {known}")


def loss(scores: Tensor, target: Tensor) -> Tensor:
    """Cross-entropy of the scores; ``target`` holds class numbers ``[batch]`` or class weights ``[batch, class]``.

    With ``softmax_sum`` scores this is the published loss: a log-softmax over sums of softmaxes.
    """
    return F.cross_entropy(scores, target)
