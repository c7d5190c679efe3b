from dataclasses import replace

import numpy as np
import pytest
import torch

from experiments.studies.spike_archive import pack
from snn_delays.data.binning import Binning
from snn_delays.data.bucketing import bucketed
from snn_delays.data.dataset import BinnedDataset, ResidentDataset
from snn_delays.data.events import Events, Sample
from snn_delays.data.splits import validation_split
from snn_delays.errors import ConfigError, DataError
from snn_delays.training.language_measure import Encoded


def dataset(n=60, n_classes=4, n_speakers=5, channels=3) -> BinnedDataset:
    random = np.random.default_rng(1)
    lengths = random.integers(1, 9, n)
    return BinnedDataset(
        counts=random.integers(1, 200, (lengths.sum(), channels)).astype(np.uint8),
        offsets=np.concatenate([[0], np.cumsum(lengths)]),
        labels=np.arange(n) % n_classes,
        speakers=np.arange(n) // n_classes % n_speakers,
        source="made up",
        checksum="0" * 64,
        binning=Binning(),
        n_classes=n_classes,
        class_names=tuple("abcd"[:n_classes]),
    )


def test_a_batch_holds_each_sample_then_zeros():
    data = dataset()
    chosen = [7, 3, 50]
    batch = data.batch(chosen, tail_steps=4)
    own = data.lengths()[chosen]
    assert batch.counts.dtype == torch.uint8
    assert batch.lengths.dtype == batch.labels.dtype == torch.int64
    assert batch.counts.shape == (own.max() + 4, 3, 3)
    assert batch.lengths.tolist() == (own + 4).tolist()
    assert batch.labels.tolist() == data.labels[chosen].tolist()
    for j, i in enumerate(chosen):
        assert np.array_equal(batch.counts[: own[j], j], data.sample(i))
        assert not batch.counts[own[j] :, j].any()


def test_a_masked_sample_does_not_depend_on_its_neighbours_and_a_published_one_does():
    data = dataset()
    longest, shortest = int(data.lengths().argmax()), int(data.lengths().argmin())
    alone = data.batch([shortest], tail_steps=2)
    together = data.batch([shortest, longest], tail_steps=2)
    assert together.lengths[0] == alone.lengths[0]
    steps = int(alone.lengths[0])
    assert torch.equal(together.counts[:steps, 0], alone.counts[:, 0])
    published = data.batch([shortest, longest], tail_steps=2, padding="published")
    assert torch.equal(published.counts, together.counts)
    assert published.lengths.tolist() == [published.counts.shape[0]] * 2 != together.lengths.tolist()


def test_a_subset_is_the_samples_named():
    data = dataset()
    chosen = np.array([9, 2, 2, 59])
    part = data.subset(chosen)
    assert len(part) == 4
    for j, i in enumerate(chosen):
        assert np.array_equal(part.sample(j), data.sample(i))
    assert part.speakers.tolist() == data.speakers[chosen].tolist()
    assert (part.source, part.binning) == (data.source, data.binning)
    assert len(data.subset([])) == 0


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"counts": np.zeros((4, 3), np.int16)}, "counts must be uint8 or float32"),
        ({"offsets": np.arange(3)}, "60 labels need 61 offsets"),
        ({"offsets": np.arange(61)}, "offsets must rise from 0 to the"),
        ({"labels": np.full(60, 4)}, "labels must lie in 0 to 3"),
        ({"labels": np.full(60, -1)}, "labels must lie in 0 to 3"),
        ({"class_names": ("a",)}, "4 classes need as many names"),
    ],
)
def test_arrays_that_contradict_each_other_are_refused(change, message):
    with pytest.raises(DataError, match=message):
        replace(dataset(), **change)


def test_a_sample_without_steps_has_no_place():
    offsets = dataset().offsets.copy()
    offsets[5] = offsets[4]
    with pytest.raises(DataError, match="at least one"):
        replace(dataset(), offsets=offsets)


def test_impossible_batches_are_refused():
    data = dataset()
    for wrong in ([60], [-1]):
        with pytest.raises(DataError, match="indices must lie in 0 to 59"):
            data.batch(wrong)
    with pytest.raises(ConfigError, match=r"tail_steps must be an integer, got 2\.5"):
        data.batch([0], tail_steps=2.5)
    with pytest.raises(DataError, match="indices"):
        data.sample(-1)
    with pytest.raises(DataError, match="at least one sample"):
        data.batch([])
    with pytest.raises(ConfigError, match="tail_steps"):
        data.batch([0], tail_steps=-1)
    with pytest.raises(ConfigError, match="unknown padding 'zeros'"):
        data.batch([0], padding="zeros")


def test_validation_speakers_are_in_no_training_sample():
    data = dataset()
    train, validation = validation_split(data, "speakers", speakers=(1, 3))
    assert not set(train) & set(validation)
    assert sorted([*train, *validation]) == list(range(60))
    assert set(data.speakers[validation]) == {1, 3}
    assert not set(data.speakers[train]) & {1, 3}


def test_a_fraction_is_stratified_disjoint_and_repeatable():
    data = dataset()
    train, validation = validation_split(data, "fraction", fraction=0.2, seed=3)
    assert not set(train) & set(validation)
    assert sorted([*train, *validation]) == list(range(60))
    assert np.bincount(data.labels[validation]).tolist() == [3] * 4  # a fifth of 15
    again = validation_split(data, "fraction", fraction=0.2, seed=3)
    assert np.array_equal(validation, again[1])
    assert not np.array_equal(validation, validation_split(data, "fraction", fraction=0.2, seed=4)[1])
    assert set(data.speakers[train]) & set(data.speakers[validation])  # this rule does not keep speakers apart


@pytest.mark.parametrize(
    ("rule", "arguments", "message"),
    [
        ("speakers", {}, "at least one speaker"),
        ("speakers", {"speakers": (1, 12)}, "speaker 12 is not in the training set"),
        ("speakers", {"speakers": range(5)}, "leaves 0 training"),
        ("fraction", {"fraction": 0.0}, "fraction must lie between"),
        ("fraction", {"fraction": 1.0}, "fraction must lie between"),
        ("published_test_selected", {}, "test data choose nothing"),
        ("speaker", {}, "unknown validation rule 'speaker'; choose speakers or fraction"),
    ],
)
def test_impossible_splits_are_refused(rule, arguments, message):
    with pytest.raises(ConfigError, match=message):
        validation_split(dataset(), rule, **arguments)


@pytest.mark.parametrize("padding", ["masked", "published"])
@pytest.mark.parametrize("tail", [0, 4])
def test_a_resident_data_set_gives_the_same_batches(padding: str, tail: int) -> None:
    data = dataset()
    resident = ResidentDataset(data, "cuda" if torch.cuda.is_available() else "cpu")
    for chosen in ([7, 3, 50], [0], [len(data) - 1, 0, 0], np.arange(len(data))):
        ours, want = resident.batch(chosen, tail, padding), data.batch(chosen, tail, padding)
        assert all(torch.equal(a.cpu(), b) for a, b in zip(ours, want, strict=True))
        assert ours.counts.device.type == resident.device.type
    with pytest.raises(DataError, match="indices must lie in"):
        resident.batch([len(data)])
    with pytest.raises(ConfigError, match="unknown padding"):
        resident.batch([0], padding="left")


@pytest.mark.parametrize("dtype", [np.uint8, np.float32])
def test_a_camera_keeps_its_axes_in_a_batch(dtype):
    flat = dataset()
    data = replace(flat, counts=flat.counts.astype(dtype).reshape(-1, 1, 1, flat.n_channels))
    assert (data.sensor, data.n_channels) == ((1, 1, flat.n_channels), flat.n_channels)
    batch = data.batch([3, 1], tail_steps=2)
    assert batch.counts.shape[2:] == data.sensor
    assert batch.counts.numpy().dtype == dtype
    assert np.array_equal(batch.counts[:, :, 0, 0], flat.batch([3, 1], tail_steps=2).counts)
    row = data.in_a_row()
    assert np.shares_memory(row.counts, data.counts)
    assert row.sensor == flat.sensor
    assert flat.in_a_row() is flat
    near = ResidentDataset(data, "cpu").batch([3, 1], tail_steps=2)
    assert all(a.equal(b) for a, b in zip(near, batch))


# Which samples are meant


def choosers():
    data = dataset()
    archive = pack([Sample(Events([0], [0], 2), int(label), 0) for label in data.labels], [0] * 60, tick_us=1)
    sentences = Encoded([np.array([i]) for i in range(60)], torch.from_numpy(data.labels))
    return {
        "subset": lambda i: data.subset(i).labels,
        "batch": lambda i: data.batch(i).labels,
        "resident": lambda i: ResidentDataset(data, "cpu").batch(i).labels,
        "archive": lambda i: archive.subset(i).label,
        "sentences": lambda i: sentences.batch(i, "cpu")[2],
        "bucketed": lambda i: data.labels[np.sort(np.concatenate(bucketed(i, data.lengths(), 7, torch.Generator())))],
    }


@pytest.mark.parametrize("name", choosers())
def test_indices_are_integers_of_any_kind_or_a_mask(name):
    choose, labels = choosers()[name], dataset().labels
    mask = labels == 3
    for kind in (mask, mask.tolist(), torch.from_numpy(mask)):
        assert choose(kind).tolist() == [3] * 15
    for kind in ([2, 9, 59], (2, 9, 59), range(2, 60, 19), np.uint8([2, 9, 59]), torch.tensor([2, 9, 59])):
        chosen = np.asarray(kind)
        assert choose(kind).tolist() == labels[chosen].tolist()
    assert choose([np.int64(2), np.uint8(9)]).tolist() == labels[[2, 9]].tolist()
    for wrong, message in (
        ([0.9], "integers or a boolean mask, got float64 such as"),
        ([1.0, 2.0], "float64"),
        (mask[:-1], "a mask over 60 samples needs as many entries, got 59"),
        ([0, -1], r"0 to 59, got indices\[1\] = -1"),
        ([60], r"0 to 59, got indices\[0\] = 60"),
        (3, "one axis"),
        ([[1, 2]], "one axis"),
        (["1"], "integers"),
        ([[1], [2, 3]], "cannot be read as one array"),
        ((i for i in range(3)), "one axis"),
    ):
        with pytest.raises(DataError, match=message):
            choose(wrong)


def test_one_sample_is_chosen_by_an_integer():
    data = dataset()
    for i in (7, np.int64(7), np.uint8(7), torch.tensor(7)):
        counts, label = data[i]
        assert np.array_equal(counts, data.sample(7))
        assert (label, type(label)) == (int(data.labels[7]), int)
        assert np.array_equal(data.sample(i), data.sample(7))
    for wrong in (-1, 60, True, 0.5, slice(2), [1], "1", None):
        with pytest.raises(DataError):
            data[wrong]
        with pytest.raises(DataError):
            data.sample(wrong)
    assert [label for _, label in data] == data.labels.tolist()
    data[7][0].fill_(0)  # a copy
    assert data.sample(7).any()


# Recordings in memory


def test_events_become_a_data_set():
    events = [Events([0, 25_000], [1, 3], 4), Events([9_999], [0], 4), Events([0, 0, 0], [2, 2, 2], 4)]
    data = BinnedDataset.from_arrays(events, ["up", "down", "up"], binning=Binning(channel_group=2), source="mine")
    assert (data.class_names, data.labels.tolist()) == (("down", "up"), [1, 0, 1])
    assert data.sample(0).tolist() == [[1, 0], [0, 0], [0, 1]]
    assert (data.lengths().tolist(), data.speakers.tolist(), data.source) == ([3, 1, 1], [-1] * 3, "mine")
    with pytest.raises(DataError, match="recording 1 has no events"):
        BinnedDataset.from_arrays([events[0], Events([], [], 4)], [0, 1])
    with pytest.raises(DataError, match="differ in sensor"):
        BinnedDataset.from_arrays([events[0], Events([0], [0], 5)], [0, 1])


@pytest.mark.parametrize("dtype", [np.uint8, np.int64, np.uint16, bool, np.float32, np.float64])
def test_counts_become_a_data_set(dtype):
    counts = np.random.default_rng(0).integers(0, 2, (6, 5, 3)).astype(dtype)
    data = BinnedDataset.from_arrays(counts, np.arange(6) % 3, speakers=[4] * 6, class_names="abc")
    ragged = BinnedDataset.from_arrays([c[: i + 1] for i, c in enumerate(counts[:5])], [0, 1, 2, 0, 1])
    assert data.counts.dtype == (np.float32 if np.dtype(dtype).kind == "f" else np.uint8)
    assert np.array_equal(data.counts.reshape(6, 5, 3), counts)
    assert ragged.lengths().tolist() == [1, 2, 3, 4, 5]
    assert (ragged.class_names, data.class_names) == (("0", "1", "2"), ("a", "b", "c"))
    assert data.checksum != ragged.checksum
    assert data.checksum == BinnedDataset.from_arrays(counts, np.arange(6) % 3, class_names="abc").checksum


@pytest.mark.parametrize(
    ("recordings", "options", "message"),
    [
        (np.full((2, 3, 4), 256), {}, "recording 0 has counts from 256 to 256"),
        (np.full((2, 3, 4), -1), {}, "recording 0 has counts from -1"),
        (np.full((2, 3, 4), np.nan), {}, "recording 0 holds values that are not finite"),
        (np.full((2, 3, 4), 0.1), {}, r"float32 would change; give .astype\(np.float32\)"),
        (np.zeros((2, 3)), {}, r"recording 0 must be Events or counts \[time, channel\]"),
        (np.zeros((2, 0, 3)), {}, "at least one step"),
        ([], {"labels": []}, "at least one recording"),
        (np.zeros((2, 3, 4), complex), {}, "holds complex"),
        (np.zeros((2, 3, 4)), {"labels": [0.0, 1.0]}, "labels must be integers or names"),
        (np.zeros((2, 3, 4)), {"labels": [[0], [1]]}, "one axis"),
        (np.zeros((2, 3, 4)), {"labels": [0, 1, 2]}, "3 labels need 4 offsets"),
        (
            np.zeros((2, 3, 4)),
            {"labels": ["a", "b"], "class_names": ["a", "c"]},
            "label 'b' is none of the classes a, c",
        ),
        (np.zeros((2, 3, 4)), {"speakers": [0.5, 1]}, "speakers must hold integers"),
        (np.zeros((2, 3, 4)), {"labels": [0, 5], "class_names": ["a", "c"]}, "labels must lie in 0 to 1"),
    ],
)
def test_recordings_that_no_data_set_holds_are_refused(recordings, options, message):
    with pytest.raises(DataError, match=message):
        BinnedDataset.from_arrays(recordings, **({"labels": [0, 1]} | options))


def test_a_batch_that_no_memory_holds_is_refused_before_it_is_made():
    long = np.broadcast_to(np.zeros((1, 700), np.uint8), (1 << 20, 700))
    data = replace(
        BinnedDataset.from_arrays(np.zeros((2, 1, 700), np.uint8), [0, 1]), counts=long, offsets=[0, 1, 1 << 20]
    )
    with pytest.raises(DataError, match=r"32 samples padded to 1,048,575 steps .* longest recording \(sample 1\)"):
        data.batch([0, 1] * 16)
