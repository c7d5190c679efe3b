"""A batch of samples, and the collate function of a ``DataLoader``."""

from collections.abc import Sequence
from typing import Literal, NamedTuple

import torch
from torch import Tensor

from snn_delays.arguments import integer
from snn_delays.errors import ConfigError, DataError


class Batch(NamedTuple):
    """Samples side by side.

    ``counts`` uint8 (float32 where the input is not of spikes) ``[time, batch, channel]``, of an event camera ``[time,
    batch, polarity, y, x]``, zero after a sample's end; ``lengths`` int64 ``[batch]``, in steps: how
    far the readout and the loss may look; ``labels`` int64 ``[batch]`` (float32 ``[batch, class]`` after CutMix).
    """

    counts: Tensor
    lengths: Tensor
    labels: Tensor


def pad_collate(
    samples: Sequence[tuple[Tensor, int]],
    tail_steps: int = 0,
    padding: Literal["masked", "published"] = "masked",
) -> Batch:
    """The ``collate_fn`` of a ``DataLoader`` over a :class:`BinnedDataset`: ``counts``, ``lengths``, ``labels``.

    ``samples``: pairs ``(counts [time, *sensor], label)``. They are padded with zeros at the end and put side by side,
    ``[time, batch, *sensor]``, as :meth:`BinnedDataset.batch` does; ``functools.partial`` sets ``tail_steps`` and
    ``padding``, which mean the same there. Raises DataError for no samples or samples of different sensors.
    """
    tail_steps = check_padding(tail_steps, padding)
    if not samples:
        raise DataError("a batch needs at least one sample")
    kinds = {(tuple(counts.shape[1:]), counts.dtype) for counts, _ in samples}
    if len(kinds) > 1:
        raise DataError(f"samples of a batch differ in sensor or dtype: {sorted(map(str, kinds))}")
    lengths = torch.tensor([len(counts) + tail_steps for counts, _ in samples])
    first = samples[0][0]
    padded = first.new_zeros((int(lengths.max()), len(samples), *first.shape[1:]))
    for i, (counts, _) in enumerate(samples):
        padded[: len(counts), i] = counts
    if padding == "published":
        lengths.fill_(int(lengths.max()))
    return Batch(padded, lengths, torch.tensor([int(label) for _, label in samples]))


def check_padding(tail_steps: int, padding: str) -> int:
    """``tail_steps`` as an int. Raises ConfigError if it is negative, or for an unknown padding."""
    if padding not in ("masked", "published"):
        raise ConfigError(f"unknown padding {padding!r}; choose masked or published")
    return integer("tail_steps", tail_steps, least=0)
