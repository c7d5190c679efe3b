"""A synthetic task as a data set: its splits in the place of files."""

import hashlib
from pathlib import Path

import numpy as np

from snn_delays.data.card import Card
from snn_delays.data.events import Sample
from snn_delays.data.recordings import Reader, Recordings
from snn_delays.data.synthetic import BENCHMARKS, TASKS
from snn_delays.data.synthetic.benchmarks import Benchmark
from snn_delays.data.synthetic.task import SyntheticTask


class SyntheticRecordings(Recordings):
    """A split of a task, drawn when opened. ``path`` names the task; it has no file.

    Raises ConfigError for a split that is not ``"train"``, ``"valid"`` or ``"test"``.
    """

    def __init__(self, task: SyntheticTask | Benchmark, split: str, seed: int = 0) -> None:
        self.path = Path(task.name)
        self.sensor = (task.channels,)
        self.class_names = task.class_names
        self._samples = task.split(split, seed)

    def __len__(self) -> int:
        return len(self._samples)

    def __getitem__(self, i: int) -> Sample:
        return self._samples[self.number(i)]

    def checksum(self) -> str:
        """sha256 over number of spikes, times, channels and label of every sample, int64, little-endian."""
        digest = hashlib.sha256()
        for sample in self._samples:
            for values in ([len(sample.events), sample.label], sample.events.t_us, sample.events.channel):
                digest.update(np.asarray(values, dtype="<i8").tobytes())
        return digest.hexdigest()

    def source(self) -> str:
        """The name of the task: what is drawn from a seed is what it says it is."""
        return str(self.path)


def open_synthetic(card: Card, split: str, path: Path, reader: Reader) -> SyntheticRecordings:
    """A split of the task that has the card's name, drawn from the seed on the card."""
    del path, reader
    return SyntheticRecordings({**TASKS, **BENCHMARKS}[card.name], split, card.settings["seed"])
