"""Changes made to a training batch at random: pure functions, every draw from the generator passed in.

Each takes a :class:`Batch` and returns a new one; the one given stays as it was. Draws are made per sample. Those about
channels are for sensors with one row of them; for cameras see :mod:`snn_delays.data.augment_events`.
"""

from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor

from snn_delays.arguments import integer
from snn_delays.data.augment_events import check_probability
from snn_delays.data.batches import Batch
from snn_delays.errors import ConfigError


def channel_shift(batch: Batch, max_shift: int, generator: torch.Generator) -> Batch:
    """Move each sample along the channels by k drawn from -max_shift to max_shift, both included.

    ``out[t, b, c] = counts[t, b, c - k_b]``; what leaves at one edge is lost, zeros enter at the other.

    ``max_shift``: channels after grouping, so the published 40 of 700 is 8 of 140. Raises ConfigError unless
    ``0 <= max_shift < channels``. Source: Meszaros, Knight and Nowotny, Nature Communications 2025 (SHD: 40 of 700).
    """
    n_channels, max_shift = _channels(batch), integer("max_shift", max_shift)
    if not 0 <= max_shift < n_channels:
        raise ConfigError(f"max_shift must lie in 0 to {n_channels - 1} channels, got {max_shift}")
    shift = _integers(batch, -max_shift, max_shift, generator)
    source = torch.arange(n_channels, device=shift.device) - shift[:, None]
    inside = (source >= 0) & (source < n_channels)
    picked = batch.counts.gather(2, source.clamp(0, n_channels - 1).expand_as(batch.counts))
    return batch._replace(counts=picked * inside)


def time_shift(batch: Batch, max_shift_steps: int, generator: torch.Generator, *, per_channel: bool = False) -> Batch:
    """Delay each sample by k steps drawn from 0 to max_shift_steps, both included; no spike is lost.

    ``out[t, b, c] = counts[t - k, b, c]`` with ``k = k_b``, or with ``per_channel`` another ``k_bc`` for each channel,
    as the code of DelRec (arXiv 2509.24852) shifts single inputs. The batch grows by ``max_shift_steps``; the length of
    a sample grows by its (largest) k. Raises ConfigError for a negative ``max_shift_steps``.
    """
    max_shift_steps = integer("max_shift_steps", max_shift_steps, least=0)
    n_steps, n_samples, *sensor = batch.counts.shape
    high = (n_samples, _channels(batch)) if per_channel else (n_samples, *[1] * len(sensor))
    shift = torch.randint(max_shift_steps + 1, high, generator=generator, device=generator.device)
    shift = shift.to(batch.counts.device)
    source = torch.arange(n_steps + max_shift_steps, device=shift.device).view(-1, *[1] * shift.ndim) - shift
    inside = (source >= 0) & (source < n_steps)
    index = source.clamp(0, n_steps - 1).expand(-1, -1, *sensor)
    lengths = batch.lengths + shift.flatten(1).amax(1).to(batch.lengths.device)
    return batch._replace(counts=batch.counts.gather(0, index) * inside, lengths=lengths)


def neuron_mask(batch: Batch, probability: float, max_size: int, generator: torch.Generator) -> Batch:
    """With ``probability``, silence a block of neighbouring channels of a sample, for all its steps.

    Size drawn from 0 to ``max_size`` channels, place from all where the block fits. Hammouamri et al. (ICLR 2024) have
    it in their code, switched off: probability 0.65, size below a fifth of the channels (``max_size=27`` of 140).
    Raises ConfigError for a probability outside [0, 1] or a ``max_size`` above the channels.
    """
    n_channels = _channels(batch)
    extent = torch.full((batch.counts.shape[1],), n_channels, device=batch.counts.device)
    start, size = _block(batch, probability, max_size, extent, generator)
    place = torch.arange(n_channels, device=start.device)
    hidden = (place >= start[:, None]) & (place < (start + size)[:, None])
    return batch._replace(counts=batch.counts.masked_fill(hidden, 0))


def time_mask(batch: Batch, probability: float, max_size_steps: int, generator: torch.Generator) -> Batch:
    """With ``probability``, silence a stretch of a sample on all channels.

    Length drawn from 0 to ``max_size_steps``, place from all where the stretch fits into the sample's own length.
    Hammouamri et al. (ICLR 2024) have it in their code, switched off: probability 0.65, below a third of the largest
    delay (``max_size_steps=7`` of 25). Raises ConfigError for a probability outside [0, 1] or a stretch that is longer
    than the shortest sample.
    """
    start, size = _block(batch, probability, max_size_steps, batch.lengths.to(batch.counts.device), generator)
    hidden = _stretch(batch, start, size)
    return batch._replace(counts=batch.counts.masked_fill(_over(hidden, batch), 0))


def cutmix(batch: Batch, n_classes: int, probability: float, generator: torch.Generator) -> Batch:
    """With ``probability``, replace a stretch of a sample by the same steps of the next sample of the batch.

    ``lambda ~ U(0, 1)``, ``size = floor(lambda * length)``, place drawn where it fits; the label becomes
    ``(1 - m) onehot(own) + m onehot(next)`` with ``m = size / length``, the share that was replaced. The last sample
    takes from the first. Hammouamri et al. (ICLR 2024) have it in their code, switched off, with probability 0.5,
    ``m = lambda`` and the padded length; with padding masked, only a sample's own steps are cut here.

    Returns a batch whose ``labels`` are float32 ``[batch, n_classes]`` and sum to one. Raises ConfigError for a
    probability outside [0, 1] or labels beyond ``n_classes``.
    """
    check_probability(probability)
    if batch.labels.max() >= n_classes:
        raise ConfigError(f"label {int(batch.labels.max())} does not fit {n_classes} classes")
    device = batch.counts.device
    lengths = batch.lengths.to(device)
    share = _uniform(batch, generator) * _chosen(batch, probability, generator)
    size = (share * lengths).long()
    start = (_uniform(batch, generator) * (lengths - size + 1)).long()
    replaced = _stretch(batch, start, size)
    counts = torch.where(_over(replaced, batch), batch.counts.roll(-1, dims=1), batch.counts)
    onehot = F.one_hot(batch.labels, n_classes).float()
    mixed = (size / lengths).to(onehot)[:, None]
    return batch._replace(counts=counts, labels=(1 - mixed) * onehot + mixed * onehot.roll(-1, dims=0))


def _block(
    batch: Batch, probability: float, max_size: int, extent: Tensor, generator: torch.Generator
) -> tuple[Tensor, Tensor]:
    """Start and size ``[batch]`` of a block inside ``[0, extent)``; size 0 where a sample is left alone."""
    check_probability(probability)
    max_size = integer("the size of a masked block", max_size)
    if not 0 <= max_size <= int(extent.min()):
        raise ConfigError(f"a masked block may be 0 to {int(extent.min())} long here, got {max_size}")
    size = _integers(batch, 0, max_size, generator) * _chosen(batch, probability, generator)
    return (_uniform(batch, generator) * (extent - size + 1)).long(), size


def _stretch(batch: Batch, start: Tensor, size: Tensor) -> Tensor:
    """True ``[time, batch]`` from ``start`` on for ``size`` steps."""
    place = torch.arange(batch.counts.shape[0], device=start.device)[:, None]
    return (place >= start) & (place < start + size)


def _over(chosen: Tensor, batch: Batch) -> Tensor:
    """``[time, batch]`` as a mask over all channels."""
    return chosen.view(*chosen.shape, *[1] * (batch.counts.ndim - 2))


def _channels(batch: Batch) -> int:
    if batch.counts.ndim != 3:
        raise ConfigError(
            f"this augmentation moves or masks channels in a row; the batch has shape {tuple(batch.counts.shape)}, of "
            "a camera: use those on events"
        )
    return batch.counts.shape[2]


def _integers(batch: Batch, low: int, high: int, generator: torch.Generator) -> Tensor:
    shape = (batch.counts.shape[1],)
    return torch.randint(low, high + 1, shape, generator=generator, device=generator.device).to(batch.counts.device)


def _uniform(batch: Batch, generator: torch.Generator) -> Tensor:
    # float64, so that a draw just below 1 times a length stays below the length
    options: dict[str, Any] = {"generator": generator, "device": generator.device, "dtype": torch.float64}
    return torch.rand((batch.counts.shape[1],), **options).to(batch.counts.device)


def _chosen(batch: Batch, probability: float, generator: torch.Generator) -> Tensor:
    return _uniform(batch, generator) < probability
