"""Batches of recordings that are about as long as one another, so that little of them is padding."""

import numpy as np
import torch
from numpy.typing import NDArray

from snn_delays.arguments import integer
from snn_delays.data.batches import sample_indices

BATCHES_A_BUCKET = 16


def bucketed(
    indices: NDArray[np.int64],
    lengths: NDArray[np.int64],
    batch_size: int,
    generator: torch.Generator,
    batches_a_bucket: int = BATCHES_A_BUCKET,
) -> list[NDArray[np.int64]]:
    """Cut ``indices`` into batches of samples of like length; every index is in exactly one.

    The indices, in the order given, are taken ``batches_a_bucket * batch_size`` at a time; each such bucket is sorted
    by length and cut into batches, and all batches are shuffled. Which samples meet still changes from epoch to epoch,
    as long as the order given does. Only the last batch of the last bucket may be smaller.

    ``lengths``: steps of every sample of the data set. Raises ConfigError for a size below 1.
    """
    batch_size = integer("batch_size", batch_size, least=1)
    batches_a_bucket = integer("batches_a_bucket", batches_a_bucket, least=1)
    indices = sample_indices(indices, len(lengths))
    size = batch_size * batches_a_bucket
    batches = []
    for start in range(0, len(indices), size):
        bucket = indices[start : start + size]
        bucket = bucket[np.argsort(lengths[bucket], kind="stable")]
        batches += [bucket[at : at + batch_size] for at in range(0, len(bucket), batch_size)]
    order = torch.randperm(len(batches), generator=generator, device=generator.device).tolist()
    return [batches[i] for i in order]
