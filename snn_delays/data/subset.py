"""The small balanced part of SHD-regenerated that travels with the package, and how it was drawn.

``python -m snn_delays.data.subset TRAIN_ARCHIVE TEST_ARCHIVE FOLDER`` makes it again, byte for byte.
"""

import random
import sys
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from snn_delays.data.archive import SpikeArchive, read_archive, write_archive
from snn_delays.errors import ConfigError, DataError

TRAIN_SPEAKERS = (0, 1, 2, 3, 6, 7, 8, 9, 10, 11)
TEST_SPEAKERS = (4, 5)  # in no training set, neither SHD's nor this one
_SEED = 2026


def draw_subset(archive: SpikeArchive, speakers: Sequence[int], per_class: int, seed: int) -> SpikeArchive:
    """``per_class`` samples of every class, spread over ``speakers`` as evenly as whole numbers allow, then shuffled.

    Where ``per_class`` is not a multiple of the number of speakers, the ones left over go to other speakers for each
    class in turn. The draw depends on (label, speaker, trial) and ``seed`` alone, not on the order of the archive.

    Raises DataError if a speaker has too few samples of a class.
    """
    generator = random.Random(seed)
    everyone, left_over = divmod(per_class, len(speakers))
    chosen: list[int] = []
    for label in range(int(archive.label.max()) + 1):
        extra = {speakers[(label * left_over + k) % len(speakers)] for k in range(left_over)}
        for speaker in speakers:
            wanted = everyone + (speaker in extra)
            pool = np.flatnonzero((archive.label == label) & (archive.speaker == speaker))
            if pool.size < wanted:
                raise DataError(f"speaker {speaker} has {pool.size} samples of class {label}, {wanted} are wanted")
            pool = pool[np.argsort(archive.trial[pool])]
            chosen += generator.sample(pool.tolist(), wanted)
    generator.shuffle(chosen)
    return archive.subset(np.array(chosen, dtype=np.int64))


def make_bundled_subset(train_archive: Path, test_archive: Path, folder: Path) -> tuple[Path, Path]:
    """Write the two archives of the bundled subset: 50 training and 15 test samples a class, other speakers in each."""
    paths = (folder / "shd_regen_subset_train.npz.xz", folder / "shd_regen_subset_test.npz.xz")
    write_archive(paths[0], draw_subset(read_archive(train_archive), TRAIN_SPEAKERS, 50, _SEED))
    write_archive(paths[1], draw_subset(read_archive(test_archive), TEST_SPEAKERS, 15, _SEED))
    return paths


if __name__ == "__main__":
    if len(sys.argv) != 4:
        raise ConfigError("usage: python -m snn_delays.data.subset TRAIN_ARCHIVE TEST_ARCHIVE FOLDER")
    make_bundled_subset(*(Path(argument) for argument in sys.argv[1:]))
