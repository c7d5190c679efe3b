"""SHD-regenerated, from the two archives of spikes it is kept in, and the balanced subset that comes with the package.

    python -m experiments.studies.shd_regenerated convert ARCHIVE...
    python -m experiments.studies.shd_regenerated subset TRAIN_ARCHIVE TEST_ARCHIVE FOLDER

``convert`` writes each archive to where the recipes look for the data set; ``subset`` makes the bundled files again.
The archives are not published; docs/data.md says how to encode the like from the public audio.
"""

import argparse
import lzma
import random
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from experiments.studies.spike_archive import SpikeArchive, read_archive
from snn_delays.data.catalogue.identity import identify
from snn_delays.data.catalogue.locate import data_path
from snn_delays.data.catalogue.lookup import card
from snn_delays.data.files import checksums
from snn_delays.data.formats.shd import write_shd_hdf5
from snn_delays.errors import DataError
from snn_delays.files import atomic_path

ARCHIVES = {
    "c0f268106700c21ff39f0e2cdeae69955bcb802f6f4833345d5ba8131835737f": "train",
    "4cb9d42acceb565ca6ae5cc4f8c4a55151f7898a88ebcb0b48c8b59ef015e2e7": "test",
}
TRAIN_SPEAKERS = (0, 1, 2, 3, 6, 7, 8, 9, 10, 11)
TEST_SPEAKERS = (4, 5)  # in no training set, neither SHD's nor this one
_SEED = 2026


def draw_subset(archive: SpikeArchive, speakers: Sequence[int], per_class: int, seed: int) -> SpikeArchive:
    """``per_class`` samples of every class, spread over ``speakers`` as evenly as possible, then shuffled.

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
            expected = everyone + (speaker in extra)
            pool = np.flatnonzero((archive.label == label) & (archive.speaker == speaker))
            if pool.size < expected:
                raise DataError(f"speaker {speaker} has {pool.size} samples of class {label}, {expected} are needed")
            pool = pool[np.argsort(archive.trial[pool])]
            chosen += generator.sample(pool.tolist(), expected)
    generator.shuffle(chosen)
    return archive.subset(np.array(chosen, dtype=np.int64))


def convert(archive: Path, out: Path | None = None) -> Path:
    """Write an archive as HDF5 to where the data set is looked for, or to ``out``; returns the path.

    Raises DataError for an archive of another checksum, or if the file written is not that of the card.
    """
    of = card("shd-regenerated")
    if (split := ARCHIVES.get(found := checksums(archive).sha256)) is None:
        raise DataError(f"{archive} has sha256 {found}, which is that of neither archive of SHD-regenerated")
    path = data_path(of, of.split(split)) if out is None else out
    write(read_archive(archive), path)
    if identify(path) != of.display_name:
        raise DataError(f"{path} was written, but its checksum is not that of {of.display_name}; remove it")
    return path


def write(samples: SpikeArchive, path: Path) -> None:
    """Write samples in SHD's layout, with the empty archive beside them that Tonic expects."""
    write_shd_hdf5(path, samples, len(samples), n_spikes=samples.step.size)
    path.with_name(path.name + ".zip").touch()


def make_bundled_subset(train_archive: Path, test_archive: Path, folder: Path) -> tuple[Path, Path]:
    """Write the two files of the bundled subset: 50 training and 15 test samples a class, other speakers in each."""
    draws = {"train": (train_archive, TRAIN_SPEAKERS, 50), "test": (test_archive, TEST_SPEAKERS, 15)}
    paths = []
    for split, (archive, speakers, per_class) in draws.items():
        plain = folder / f"shd_{split}.h5"
        write_shd_hdf5(plain, drawn := draw_subset(read_archive(archive), speakers, per_class, _SEED), len(drawn))
        paths.append(folder / f"{plain.name}.xz")
        with atomic_path(paths[-1]) as temporary:
            temporary.write_bytes(lzma.compress(plain.read_bytes(), preset=9 | lzma.PRESET_EXTREME))
        plain.unlink()
    return paths[0], paths[1]


def main(arguments: Sequence[str] | None = None) -> None:
    """The program."""
    parser = argparse.ArgumentParser(prog="python -m experiments.studies.shd_regenerated", description=__doc__)
    commands = parser.add_subparsers(dest="command", required=True)
    commands.add_parser("convert").add_argument("archives", type=Path, nargs="+")
    subset = commands.add_parser("subset")
    for name in ("train_archive", "test_archive", "folder"):
        subset.add_argument(name, type=Path)
    given = parser.parse_args(arguments)
    if given.command == "convert":
        paths: Sequence[Path] = [convert(archive) for archive in given.archives]
    else:
        paths = make_bundled_subset(given.train_archive, given.test_archive, given.folder)
    for path in paths:
        print(f"written: {path}")


if __name__ == "__main__":
    main()
