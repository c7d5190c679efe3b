"""A binned data set in PyTorch's own loaders."""

import pickle
from functools import partial

import numpy as np
import pytest
import torch
from torch.utils.data import ConcatDataset, DataLoader, Subset, random_split

from snn_delays.data import Binning, load_binned, pad_collate
from snn_delays.data.dataset import BinnedDataset
from snn_delays.errors import ConfigError, DataError


def dataset(n=20) -> BinnedDataset:
    random = np.random.default_rng(2)
    counts = [random.integers(0, 9, (int(steps), 3), dtype=np.uint8) for steps in random.integers(1, 9, n)]
    return BinnedDataset.from_arrays(counts, np.arange(n) % 4)


def equal(a, b) -> bool:
    return all(torch.equal(x, y) for x, y in zip(a, b)) and a._fields == b._fields


@pytest.mark.parametrize("padding", ["masked", "published"])
@pytest.mark.parametrize("tail_steps", [0, 5])
def test_collated_samples_are_the_batch_of_the_data_set(padding, tail_steps):
    data = dataset()
    collate = partial(pad_collate, tail_steps=tail_steps, padding=padding)
    for k, batch in enumerate(DataLoader(data, batch_size=6, collate_fn=collate)):
        chosen = range(6 * k, min(6 * k + 6, 20))
        assert equal(batch, data.batch(chosen, tail_steps, padding))
    assert k == 3


@pytest.mark.parametrize("context", ["fork", "spawn"])
@pytest.mark.parametrize("memory", ["ram", "mapped"])
def test_workers_give_the_same_batches(tmp_path, monkeypatch, memory, context):
    data = load_binned("synthetic-ordering", "valid", Binning("fixed", 1.0, 1), memory=memory)
    assert isinstance(data.counts, np.memmap) == (memory == "mapped")
    data = data.in_a_row()
    alone = list(DataLoader(data, batch_size=128, collate_fn=pad_collate))
    loader = DataLoader(data, batch_size=128, collate_fn=pad_collate, num_workers=2, multiprocessing_context=context)
    together = list(loader)
    assert len(alone) == len(together) == 4
    assert all(map(equal, alone, together))


def test_a_mapped_set_is_pickled_as_its_place_in_the_file():
    data = load_binned("synthetic-ordering", "train", Binning("fixed", 0.1, 1), memory="mapped")
    content = pickle.dumps(data)
    assert len(content) < data.counts.nbytes / 2
    again = pickle.loads(content)
    assert isinstance(again.counts, np.memmap)
    assert np.array_equal(again.counts, data.counts)
    part = data.subset([3, 1])
    assert np.array_equal(pickle.loads(pickle.dumps(part)).counts, part.counts)
    assert np.array_equal(pickle.loads(pickle.dumps(dataset())).counts, dataset().counts)
    cache = again.counts.filename
    with open(cache, "r+b") as file:
        file.truncate(100)
    with pytest.raises(DataError, match="cannot be mapped again"):
        pickle.loads(content)


def test_splits_subsets_and_sums_of_data_sets():
    data = dataset()
    train, valid = random_split(data, [15, 5], generator=torch.Generator().manual_seed(0))
    assert sorted([*train.indices, *valid.indices]) == list(range(20))
    batch = next(iter(DataLoader(train, batch_size=15, collate_fn=pad_collate)))
    assert equal(batch, data.batch(train.indices))
    assert equal(next(iter(DataLoader(Subset(data, [4, 2]), 2, collate_fn=pad_collate))), data.batch([4, 2]))
    both = data + dataset()
    assert isinstance(both, ConcatDataset)
    assert torch.equal(both[23][0], data[3][0])
    shuffled = DataLoader(data, batch_size=20, shuffle=True, collate_fn=pad_collate)
    assert sorted(next(iter(shuffled)).labels.tolist()) == sorted(data.labels.tolist())
    single = next(iter(DataLoader(data, batch_size=1)))
    assert torch.equal(single[0][0], data[0][0])


def test_what_cannot_be_collated_is_refused():
    counts = torch.zeros(3, 2, dtype=torch.uint8)
    with pytest.raises(DataError, match="at least one sample"):
        pad_collate([])
    with pytest.raises(DataError, match="differ in sensor or dtype"):
        pad_collate([(counts, 0), (counts.float(), 1)])
    with pytest.raises(ConfigError, match="tail_steps"):
        pad_collate([(counts, 0)], tail_steps=-1)
    with pytest.raises(ConfigError, match="unknown padding"):
        pad_collate([(counts, 0)], padding="zeros")
