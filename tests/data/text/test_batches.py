"""Crops, windows and streams: every token predicted once, every position equally likely."""

from collections import Counter

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from snn_delays.data.text import (
    RandomCrops,
    streams,
    windows,
)
from snn_delays.errors import ConfigError, DataError


def test_crops_lie_inside_and_repeat_with_the_generator():
    tokens = np.arange(100, 130, dtype=np.int32)
    crops = RandomCrops(tokens, context=7)
    x, y = crops.batch(500, torch.Generator().manual_seed(1))
    assert x.shape == y.shape == (7, 500)
    assert x.dtype == y.dtype == torch.int64
    assert torch.equal(y, x + 1)
    assert torch.equal(x[1:], y[:-1])
    assert (int(x.min()), int(y.max())) == (100, 129)
    again = crops.batch(500, torch.Generator().manual_seed(1))
    other = crops.batch(500, torch.Generator().manual_seed(2))
    assert torch.equal(x, again[0])
    assert not torch.equal(x, other[0])
    generator = torch.Generator().manual_seed(1)
    assert not torch.equal(crops.batch(500, generator)[0], crops.batch(500, generator)[0])


def is_uniform(starts: np.ndarray, positions: int) -> bool:
    counts = np.bincount(starts, minlength=positions)
    expected = len(starts) / positions
    return len(counts) == positions and bool((abs(counts - expected) < 5 * expected**0.5).all())


def test_every_beginning_is_equally_likely():
    crops = RandomCrops(np.arange(25, dtype=np.int32), context=5)
    assert crops.positions == 20
    starts = crops.batch(20_000, torch.Generator().manual_seed(0))[0][0].numpy()
    assert is_uniform(starts, 20)
    assert not is_uniform(starts[starts < 19], 20)  # without the last one
    assert not is_uniform(starts // 2 * 2, 20)


def test_the_smallest_split_has_one_crop():
    x, y = RandomCrops(np.array([4, 5, 6], np.int32), 2).batch(3, torch.Generator())
    assert x.T.tolist() == [[4, 5]] * 3
    assert y.T.tolist() == [[5, 6]] * 3
    with pytest.raises(DataError, match="2 tokens are too few for crops of 2"):
        RandomCrops(np.array([4, 5], np.int32), 2)
    with pytest.raises(ConfigError, match="count must be at least 1, got 0"):
        RandomCrops(np.array([4, 5], np.int32), 1).batch(0, torch.Generator())


# Every token once

Batches = list[tuple[torch.Tensor, torch.Tensor, torch.Tensor]]


def each_token_once(n: int, batches: Batches) -> bool:
    """Of tokens 0 to n - 1 in order: whether each but the first is predicted once, and from the one before it."""
    predicted = Counter(int(token) for _, y, counted in batches for token in y[counted])
    from_before = all(torch.equal(x[counted] + 1, y[counted]) for x, y, counted in batches)
    return from_before and predicted == Counter(range(1, n))


@given(st.integers(2, 60), st.integers(1, 20), st.integers(1, 5))
def test_windows_predict_every_token_once(n, context, batch):
    batches = list(windows(np.arange(n, dtype=np.int32), context, batch))
    assert each_token_once(n, batches)
    starts = [int(start) for x, _, _ in batches for start in x[0]]
    assert starts == list(range(0, n - 1, context))
    for x, y, counted in batches:
        assert x.shape == y.shape == counted.shape
        assert (x.shape[0], x.dtype, counted.dtype) == (context, torch.int64, torch.bool)
        assert x.shape[1] == batch or x is batches[-1][0]
        assert not x[~counted].any()
        assert not y[~counted].any()


@given(st.integers(2, 60), st.integers(1, 8), st.integers(1, 20))
def test_streams_predict_every_token_once_and_go_on(n, count, chunk):
    tokens = np.arange(n, dtype=np.int32)
    if n - 1 < count:
        with pytest.raises(DataError, match=f"{n} tokens are too few for {count} streams; take at most {n - 1}"):
            list(streams(tokens, count, chunk))
        return
    batches = list(streams(tokens, count, chunk))
    assert each_token_once(n, batches)
    assert all(x.shape == (chunk, count) for x, _, _ in batches[:-1])
    whole_x, whole_y, counted = (torch.cat(parts) for parts in zip(*batches))
    assert counted[:-1].all()  # only the last step of a shorter stream does not count
    for column in range(count):
        seen = whole_x[counted[:, column], column]
        assert torch.equal(seen, seen[0] + torch.arange(len(seen)))
        if column:
            assert int(seen[0]) == int(whole_y[counted[:, column - 1], column - 1][-1])


def test_the_count_notices_a_lost_a_doubled_and_a_shifted_prediction():
    tokens = np.arange(30, dtype=np.int32)
    right = list(windows(tokens, 7, 2))
    assert each_token_once(30, right)
    assert not each_token_once(30, right[:-1])
    assert not each_token_once(30, [*right, right[0]])
    assert not each_token_once(30, [(x, y, torch.ones_like(counted)) for x, y, counted in right])
    assert not each_token_once(30, [(y, y, counted) for _, y, counted in right])
    apart = [batch for piece in (tokens[:15], tokens[15:]) for batch in streams(piece, 1, 4)]
    assert not each_token_once(30, apart)  # cut without the overlap of one: token 15 is never predicted


def test_arguments_below_one_and_splits_without_a_prediction():
    tokens = np.arange(9, dtype=np.int32)
    for call, says in (
        (lambda: windows(tokens, 0, 1), "context must be at least 1, got 0"),
        (lambda: windows(tokens, 1, 0), "batch"),
        (lambda: streams(tokens, 0, 1), "streams"),
        (lambda: streams(tokens, 1, -1), "chunk must be at least 1, got -1"),
        (lambda: RandomCrops(tokens, 0), "context"),
    ):
        with pytest.raises(ConfigError, match=says):
            list(call())
    for call in (lambda: windows(tokens[:1], 1, 1), lambda: streams(tokens[:1], 1, 1)):
        with pytest.raises(DataError, match="a split of 1 tokens has nothing to predict"):
            list(call())
