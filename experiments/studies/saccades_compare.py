"""How like recordings the simulated N-MNIST is: the same digits, recorded and simulated, in one table.

    python -m experiments.studies.saccades_compare NMNIST MNIST [--write docs/nmnist.md]

``NMNIST``: a folder with ``Train/<label>/*.bin`` and so on, whose files are numbered from 1 by their image; ``MNIST``:
the folder of the idx files. The test recordings were made in another session, in which the picture lay elsewhere; the
simulation follows (``TEST_SHIFT_PX``).
"""

import argparse
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from snn_delays.data.encoders.saccades import N_CHANNELS, SENSOR, session_path_px, simulate_saccades
from snn_delays.data.events import Events
from snn_delays.data.formats.idx import read_mnist
from snn_delays.data.formats.nmnist import NmnistRecordings
from snn_delays.errors import DataError
from snn_delays.files import write_between_markers

Floats = NDArray[np.float64]
SACCADES_US = (105_000, 215_000)  # where one ends and the next begins, in the recordings
_BIN_US, _BINS = 10_000, 31
_FAR_PX = 7  # nothing that moves comes so far from the ink


@dataclass(frozen=True)
class Pairs:
    """The same digits twice: ``recorded[i]`` and ``simulated[i]`` show ``images[i]``, a ``labels[i]``."""

    images: NDArray[np.uint8]
    labels: NDArray[np.int64]
    recorded: list[Events]
    simulated: list[Events]

    def __len__(self) -> int:
        return len(self.labels)

    def sides(self) -> dict[str, list[Events]]:
        """Both by their names."""
        return {"recorded": self.recorded, "simulated": self.simulated}

    def only(self, which: NDArray[np.bool_]) -> "Pairs":
        """A part of the digits."""
        i = np.flatnonzero(which)
        return Pairs(self.images[i], self.labels[i], [self.recorded[k] for k in i], [self.simulated[k] for k in i])


def load_pairs(nmnist: Path, mnist: Path, split: Literal["Train", "Test"] = "Train", seed: int = 0) -> Pairs:
    """The recordings in ``nmnist/<split>``, and as many simulated ones of the same images of MNIST.

    Raises DataError if a file's label is not that of its image, or a file is damaged.
    """
    images, labels = read_mnist(mnist, "train" if split == "Train" else "test")
    recordings = NmnistRecordings(nmnist / split)
    unnamed = [file for file in recordings.files if not (file.stem.isdecimal() and 0 < int(file.stem) <= len(images))]
    if unnamed:
        raise DataError(f"{unnamed[0]} is not named by a number from 1 to {len(images)}, that of its image in MNIST")
    index = np.array([int(file.stem) - 1 for file in recordings.files])
    wrong = labels[index] != np.array(recordings.labels)
    if wrong.any():
        i = int(wrong.argmax())
        raise DataError(
            f"{recordings.files[i]} is labelled {recordings.labels[i]}, image {index[i]} of MNIST {labels[index[i]]}; "
            "the files are not numbered from 1 by their images"
        )
    path = session_path_px(split)
    simulated = [simulate_saccades(images[i], np.random.default_rng([seed, i]), path_px=path) for i in index]
    return Pairs(images[index], labels[index].astype(np.int64), [s.events for s in recordings], simulated)


def saccade_frames(events: Events) -> Floats:
    """Counts ``[saccade, polarity, y, x]``."""
    saccade = np.searchsorted(SACCADES_US, events.t_us, side="right")
    flat = np.bincount(saccade * N_CHANNELS + events.channel, minlength=3 * N_CHANNELS)
    return flat.reshape(3, 2, SENSOR, SENSOR).astype(np.float64)


def measure(recordings: Sequence[Events], images: NDArray[np.uint8]) -> dict[str, float]:
    """Numbers by which recordings of ``images`` can be compared, by name."""
    counts = np.array([len(events) for events in recordings])
    frames = np.mean([saccade_frames(events) for events in recordings], axis=0)
    same, other = (np.concatenate(gaps) / 1000 for gaps in zip(*(_intervals(events) for events in recordings)))
    noise = np.mean([_far_rates(events, image) for events, image in zip(recordings, images)], axis=0)
    ends = [events.t_us[-1] / 1000 for events in recordings]
    return {
        "events a recording, mean": counts.mean(),
        "events a recording, standard deviation": counts.std(),
        "events a recording, 1st percentile": np.percentile(counts, 1),
        "events a recording, 99th percentile": np.percentile(counts, 99),
        "share of ON events, %": 100 * frames[:, 1].sum() / frames.sum(),
        **{f"events in saccade {k + 1}": frames[k].sum() for k in range(3)},
        "last event, ms, mean": float(np.mean(ends)),
        "interval of equal polarity in a pixel, ms, 1 %": np.percentile(same, 1),
        "interval of equal polarity in a pixel, ms, median": np.percentile(same, 50),
        "interval of equal polarity in a pixel, ms, 90 %": np.percentile(same, 90),
        "interval of changing polarity in a pixel, ms, 1 %": np.percentile(other, 1),
        "interval of changing polarity in a pixel, ms, median": np.percentile(other, 50),
        "largest count of a pixel, mean": float(np.mean([np.bincount(e.channel).max() for e in recordings])),
        "ON events per s and pixel far from ink": noise[1],
        "OFF events per s and pixel far from ink": noise[0],
    }


def agreement(pairs: Pairs) -> dict[str, float]:
    """How a simulation agrees with the recording of the same digit; correlations are over all pixels and polarities."""
    counts = np.array([(len(a), len(b)) for a, b in zip(pairs.recorded, pairs.simulated)])
    time = [_time_histogram(side) for side in (pairs.recorded, pairs.simulated)]
    shares = [t / t.sum() for t in time]
    a, b = (np.stack([saccade_frames(e) for e in side]) for side in (pairs.recorded, pairs.simulated))
    shifted = np.array([_next_of_class(pairs.labels, i) for i in range(len(a))])
    digits = np.unique(pairs.labels)
    means = [(a[pairs.labels == d].mean(0), b[pairs.labels == d].mean(0)) for d in digits]
    return {
        "correlation of the counts of events, over digits": float(np.corrcoef(counts.T)[0, 1]),
        "share of events in another 10 ms bin, %": 50 * np.abs(shares[0] - shares[1]).sum(),
        **{f"correlation of the frames of saccade {k + 1}": _correlation(a[:, k], b[:, k]) for k in range(3)},
        "the same, saccades 1 and 2 exchanged": _correlation(a[:, 0], b[:, 1]),
        "the same, with the recording of another image of the digit": _correlation(a, a[shifted]),
        "correlation of the mean frames of a digit, lowest of all": min(
            _correlation(x[k][None], y[k][None]) for x, y in means for k in range(3)
        ),
    }


def cross_validated(pairs: Pairs, folds: int = 5) -> dict[tuple[str, str], float]:
    """As :func:`transfer`, every fold tested by what was trained on the others; no digit is in both, of either kind."""
    fold = np.random.default_rng(0).permutation(len(pairs)) % folds
    parts = [transfer(pairs.only(fold != k), pairs.only(fold == k)) for k in range(folds)]
    sizes = np.bincount(fold)
    return {key: float(np.average([part[key] for part in parts], weights=sizes)) for key in parts[0]}


def transfer(train: Pairs, test: Pairs, penalty: float = 1.0) -> dict[tuple[str, str], float]:
    """Share of right answers, % by (trained on, tested on), of ridge regression on the square roots of the counts
    [saccade, polarity, y, x]."""
    right = {}
    for a, trained in train.sides().items():
        x = np.stack([_features(events) for events in trained])
        middle = x.mean(0)
        x = x - middle
        targets = np.eye(10)[train.labels] - 0.1
        weights = x.T @ np.linalg.solve(x @ x.T + penalty * len(x) * np.eye(len(x)), targets)
        for b, tested in test.sides().items():
            scores = np.stack([(_features(events) - middle) @ weights for events in tested])
            right[a, b] = 100 * float((scores.argmax(1) == test.labels).mean())
    return right


def table(train: Pairs, test: Pairs) -> str:
    """Everything above in Markdown."""
    title = " | ".join(f"{name}, {kind}" for name in ("train", "test") for kind in train.sides())
    lines = [f"{len(train):,} training digits and {len(test):,} test digits", ""]
    lines += [f"| | {title} |", "|---|---|---|---|---|"]
    found = [measure(side, pairs.images) for pairs in (train, test) for side in pairs.sides().values()]
    lines += [f"| {name} | " + " | ".join(f"{side[name]:,.4g}" for side in found) + " |" for name in found[0]]
    lines += ["", "| recorded against simulated | train | test |", "|---|---|---|"]
    both = [agreement(pairs) for pairs in (train, test)]
    lines += [f"| {name} | {both[0][name]:.3f} | {both[1][name]:.3f} |" for name in both[0]]
    lines += ["", "| ridge regression, % right | within train (5 folds) | train to test |", "|---|---|---|"]
    within, across = cross_validated(train), transfer(train, test)
    lines += [f"| trained on {a}, tested on {b} | {n:.1f} | {across[a, b]:.1f} |" for (a, b), n in within.items()]
    return "\n".join(lines) + "\n"


def _features(events: Events) -> Floats:
    return np.sqrt(saccade_frames(events)).ravel()


def _time_histogram(recordings: Sequence[Events]) -> NDArray[np.int64]:
    t_us = np.concatenate([events.t_us for events in recordings])
    return np.bincount(np.minimum(t_us // _BIN_US, _BINS - 1), minlength=_BINS)


def _intervals(events: Events) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Times in us between successive events of a pixel, of equal and of changing polarity."""
    polarity, pixel = np.divmod(events.channel, SENSOR**2)
    order = np.lexsort((events.t_us, pixel))
    gap, pixel, polarity = np.diff(events.t_us[order]), pixel[order], polarity[order]
    within, equal = pixel[1:] == pixel[:-1], polarity[1:] == polarity[:-1]
    return gap[within & equal], gap[within & ~equal]


def _far_rates(events: Events, image: NDArray[np.uint8]) -> Floats:
    """Events per second and pixel far from ink, [OFF, ON]."""
    ink = np.zeros((SENSOR, SENSOR), dtype=bool)
    edge = (SENSOR - image.shape[0]) // 2
    ink[edge:-edge, edge:-edge] = image > 0
    rows, columns = (np.flatnonzero(ink.any(axis)) for axis in (1, 0))
    far = np.ones((SENSOR, SENSOR), dtype=bool)
    if rows.size:
        top, left = max(0, rows[0] - _FAR_PX), max(0, columns[0] - _FAR_PX)
        far[top : rows[-1] + _FAR_PX + 1, left : columns[-1] + _FAR_PX + 1] = False
    counts = np.bincount(events.channel, minlength=N_CHANNELS).reshape(2, SENSOR, SENSOR)
    return counts[:, far].sum(1) / max(1, far.sum()) / (_BINS * _BIN_US / 1e6)


def _next_of_class(labels: NDArray[np.int64], i: int) -> int:
    """The next recording of the same digit, the first following the last."""
    others = np.flatnonzero(labels == labels[i])
    return int(others[(np.searchsorted(others, i) + 1) % others.size])


def _correlation(a: Floats, b: Floats) -> float:
    """Mean over the first axis of the correlation of what follows."""
    a, b = a.reshape(len(a), -1), b.reshape(len(b), -1)
    a, b = a - a.mean(1, keepdims=True), b - b.mean(1, keepdims=True)
    return float(np.mean((a * b).sum(1) / np.sqrt((a**2).sum(1) * (b**2).sum(1))))


def main(arguments: Sequence[str] | None = None) -> None:
    """The program."""
    parser = argparse.ArgumentParser(prog="experiments.studies.saccades_compare", description=__doc__.split("\n")[0])
    parser.add_argument("nmnist", type=Path, help="folder with Train/ and Test/ of recorded N-MNIST")
    parser.add_argument("mnist", type=Path, help="folder with MNIST's four idx files")
    parser.add_argument("--write", type=Path, help="document in which to renew the tables")
    given = parser.parse_args(arguments)
    text = table(load_pairs(given.nmnist, given.mnist, "Train"), load_pairs(given.nmnist, given.mnist, "Test"))
    print(text)
    if given.write is not None:
        write_between_markers(given.write, "saccades", text)


if __name__ == "__main__":
    main()
