"""Holding out part of the training set for validation, by a named rule."""

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from snn_delays.arguments import integer, real
from snn_delays.data.dataset import BinnedDataset
from snn_delays.errors import ConfigError

_RULES = ("speakers", "fraction")


def validation_split(
    dataset: BinnedDataset,
    rule: str = "speakers",
    *,
    speakers: Sequence[int] = (),
    fraction: float = 0.2,
    seed: int = 0,
) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Indices into a training set: ``(train, validation)``, disjoint, together everything, both ascending.

    ``rule="speakers"``: validation is every sample of ``speakers``; no speaker is in both parts, as in SHD's test set.
    ``rule="fraction"``: validation is ``fraction`` of each class (rounded, at least one), drawn with ``seed``; speakers
    are in both parts, so that accuracy comes out higher than on unseen speakers.

    Raises ConfigError for an unknown rule, a speaker who is not there, or an empty part. Give this function training
    data only: test data are for the one final evaluation.
    """
    if rule == "published_test_selected":
        raise ConfigError(
            "validation rule 'published_test_selected' chooses the model on the test set, and test data choose "
            "nothing; choose speakers or fraction"
        )
    if rule not in _RULES:
        raise ConfigError(f"unknown validation rule {rule!r}; choose {' or '.join(_RULES)}")
    fraction, seed = real("validation fraction", fraction), integer("seed", seed, least=0)
    chosen = _by_speaker(dataset, speakers) if rule == "speakers" else _by_fraction(dataset, fraction, seed)
    train, validation = np.flatnonzero(~chosen), np.flatnonzero(chosen)
    if not (train.size and validation.size):
        raise ConfigError(f"rule {rule!r} leaves {train.size} training and {validation.size} validation samples")
    return train, validation


def _by_speaker(dataset: BinnedDataset, speakers: Sequence[int]) -> NDArray[np.bool_]:
    present = sorted(set(dataset.speakers.tolist()))
    if not speakers:
        raise ConfigError(f"rule 'speakers' needs at least one speaker to hold out; the training set has {present}")
    if absent := [speaker for speaker in speakers if speaker not in present]:
        raise ConfigError(f"speaker {absent[0]} is not in the training set, which has {present}")
    return np.asarray(np.isin(dataset.speakers, list(speakers)))


def _by_fraction(dataset: BinnedDataset, fraction: float, seed: int) -> NDArray[np.bool_]:
    if not 0 < fraction < 1:
        raise ConfigError(f"fraction must lie between 0 and 1, got {fraction}")
    generator = np.random.default_rng(seed)
    chosen = np.zeros(len(dataset), dtype=bool)
    for label in np.unique(dataset.labels):
        members = generator.permutation(np.flatnonzero(dataset.labels == label))
        chosen[members[: max(1, round(fraction * members.size))]] = True
    return chosen
