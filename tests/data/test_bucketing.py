import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from snn_delays.data.bucketing import bucketed
from snn_delays.errors import ConfigError


def generator(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def padding_share(batches, lengths) -> float:
    """Share of all steps of padded batches that are padding."""
    used = sum(int(lengths[batch].sum()) for batch in batches)
    return 1 - used / sum(int(lengths[batch].max()) * len(batch) for batch in batches)


@given(n=st.integers(0, 90), size=st.integers(1, 20), batches=st.integers(1, 5), seed=st.integers(0, 5))
def test_every_index_is_in_exactly_one_batch(n, size, batches, seed):
    random = np.random.default_rng(seed)
    indices, lengths = random.permutation(200)[:n], random.integers(1, 100, 200)
    cut = bucketed(indices, lengths, size, generator(seed), batches)
    assert sorted(np.concatenate(cut).tolist() if cut else []) == sorted(indices.tolist())
    assert sum(len(batch) < size for batch in cut) <= 1
    assert len(cut) == -(-n // size)


def test_like_lengths_meet_and_batches_come_in_a_drawn_order():
    lengths = np.random.default_rng(1).integers(20, 140, 8000)
    indices = np.random.default_rng(2).permutation(8000)
    plain = [indices[i : i + 256] for i in range(0, 8000, 256)]
    cut = bucketed(indices, lengths, 256, generator())
    assert padding_share(plain, lengths) > 0.35
    assert padding_share(cut, lengths) < 0.06
    longest = [int(lengths[batch].max()) for batch in cut]
    assert longest != sorted(longest)
    again = bucketed(indices, lengths, 256, generator())
    assert all(np.array_equal(a, b) for a, b in zip(cut, again))
    other = bucketed(indices, lengths, 256, generator(1))
    assert [batch.tolist() for batch in other] != [batch.tolist() for batch in cut]


def test_sizes_below_one_are_refused():
    with pytest.raises(ConfigError, match="batch_size must be at least 1, got 0"):
        bucketed(np.arange(3), np.ones(3, dtype=int), 0, generator())
