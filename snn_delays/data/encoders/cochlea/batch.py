"""Many recordings to files in SHD's layout: in parallel, resumable, one bad file costing only itself."""

import hashlib
import json
import os
import shutil
import zipfile
from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import BrokenExecutor, as_completed
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path

import numpy as np

from snn_delays.arguments import integer
from snn_delays.data.catalogue.lookup import split_path
from snn_delays.data.encoders.cochlea.audio import SUFFIXES, need
from snn_delays.data.encoders.cochlea.encode import Cochlea, fingerprint
from snn_delays.data.encoders.cochlea.labels import Labels, label_files
from snn_delays.data.encoders.cochlea.listing import BatchReport, nameable, unnameable, write_list
from snn_delays.data.encoders.cochlea.splitting import SPLITS, split_recordings
from snn_delays.data.events import Events, Sample
from snn_delays.data.files import Progress, writing
from snn_delays.data.formats.shd import write_shd_hdf5
from snn_delays.errors import CheckpointError, DataError
from snn_delays.files import alone_in, atomic_path, write_text
from snn_delays.npy import read_npy
from snn_delays.reading import read_bytes, read_json
from snn_delays.workers import executor

_VERSION = 1  # of the spikes: raise it when equal settings give other spikes, so that old parts are not used
_SPIKE_BYTES, _MOST_BYTES = 8, 1 << 32  # of a part: time and channel; one beyond all sound is damaged


def find_audio(places: Sequence[Path]) -> list[Path]:
    """Files as given, and in the place of a folder all WAV and FLAC files inside it, in the order of their paths.

    Links that lead nowhere are among them, so that the caller can report them.

    Raises DataError for a folder without any, or if nothing is given.
    """
    files: dict[Path, None] = {}
    for place in places:
        inside = [place]
        if place.is_dir():
            named = (p for p in place.rglob("*") if p.suffix.lower() in SUFFIXES)
            inside = sorted(p for p in named if p.is_file() or _is_dangling(p))
            if not inside:
                raise DataError(f"{place} holds no {' or '.join(SUFFIXES)} files")
        files |= dict.fromkeys(inside)
    if not files:
        raise DataError("no recordings are given; name WAV or FLAC files, or folders that hold them")
    return list(files)


def _is_dangling(path: Path) -> bool:
    return path.is_symlink() and not path.exists()


def encode_files(
    files: Sequence[Path],
    out: Path,
    cochlea: Cochlea | None = None,
    *,
    labels: Path | Labels | None = None,
    scheme: str = "auto",
    parts: Path | None = None,
    seed: int = 0,
    workers: int | None = None,
    progress: Progress | None = None,
) -> BatchReport:
    """Encode recordings into one HDF5 file in SHD's layout, samples in the order of ``files``.

    Every recording draws from ``seed`` and its own contents: neither order nor ``workers`` (processes; default: all
    cores) change a spike. Finished recordings are kept in the folder ``<out>.parts`` until the file is written, whole
    or not at all; a run that was stopped goes on from there. ``parts`` names another folder, which is kept for later
    calls. A recording that cannot be used is left out and reported. ``<out>.csv``, written before ``out``, says which
    file each sample is, and why some are none.

    ``labels``, ``scheme``: see :func:`label_files`; or the :class:`Labels` of ``files``.

    With more than one worker, a script must guard its own start with ``if __name__ == "__main__"``.

    Raises DataError if ``out`` exists or cannot be written, a class cannot be read, or no recording can be used.
    """
    reports = encode_splits(
        files, out, None, cochlea, labels=labels, scheme=scheme, parts=parts, seed=seed, workers=workers,
        progress=progress,
    )  # fmt: skip
    return reports[Path(out)]


def encode_splits(
    files: Sequence[Path],
    out: Path,
    rules: Mapping[str, str] | None,
    cochlea: Cochlea | None = None,
    *,
    labels: Path | Labels | None = None,
    scheme: str = "auto",
    parts: Path | None = None,
    seed: int = 0,
    workers: int | None = None,
    scheduler: str | None = None,
    progress: Progress | None = None,
) -> dict[Path, BatchReport]:
    """Encode recordings into ``words_train.h5``, ``words_test.h5`` and so on for ``out = words.h5``.

    Classes and speakers have the same numbers in all of them. ``rules``: which recordings are for validation and test,
    see :func:`split_recordings`; without any, the column ``split`` of the table ``labels``. Without that either, or
    where ``rules`` are None, all are written to ``out``. ``scheduler``: address of a Dask scheduler; its workers then
    encode, and are to see the same files. All else, and what is kept of a run that was stopped, is as for
    :func:`encode_files`. Returns what was written where.

    Raises DataError as these two do, or if a file of the set is there that no stopped run left; ConfigError if no
    scheduler answers.
    """
    files, out = [Path(file) for file in files], Path(out)
    workers = (os.cpu_count() or 1) if workers is None else integer("workers", workers, least=1)
    if not files:
        raise DataError("no recordings are given; name WAV or FLAC files")
    for module in ("soundfile", "scipy.special"):
        need(module)
    # By their numbers, so that what cannot be listed stays in its place and is reported.
    known = [i for i, file in enumerate(files) if nameable(file)]
    if not known:
        raise DataError(f"none of the {len(files)} recordings can be used; the first: {unnameable(files[0])}")
    if isinstance(labels, Labels):
        known = list(range(len(files)))
        if len(labels.label) != len(files):
            raise DataError(f"{len(files)} recordings need as many labels, got {len(labels.label)}")
    else:
        labels = label_files([files[i] for i in known], labels, scheme)
    split: dict[int, str] = {}
    if rules is not None and (rules or labels.split):
        split = dict(zip(known, split_recordings([files[i] for i in known], labels, rules, seed)))
    elif out.exists():
        raise DataError(f"{out} exists already; remove it or name another file")
    with _parts_folder(out, parts) as folder:
        classes = dict(zip(known, zip(labels.label, labels.speaker)))
        job = _Job(folder.absolute(), cochlea or Cochlea(), seed)  # for workers with another working folder
        batch = _Batch(files, classes, labels.class_names, job, workers, scheduler, progress)
        if not split:
            return {out: batch.write(out, range(len(files)))}
        names = [name for name in SPLITS if name in split.values()]
        # Written before the first file of the set and gone after the last: files that it names are of a stopped run.
        unfinished = folder / f"{out.name}.unfinished.json"
        _clear(out, unfinished)
        with writing(unfinished):
            write_text(unfinished, json.dumps([split_path(out, name).name for name in names]))
        reports = {}
        for name in names:
            # What cannot be listed has no split and is reported with the first.
            chosen = [i for i in range(len(files)) if split.get(i, names[0]) == name]
            reports[split_path(out, name)] = batch.write(split_path(out, name), chosen)
        unfinished.unlink()
        return reports


@contextmanager
def _parts_folder(out: Path, parts: Path | None) -> Iterator[Path]:
    """The folder in which finished recordings wait, for this process alone; gone in the end unless ``parts`` named it.

    Raises DataError if another process has it, or it cannot be made.
    """
    folder = out.with_name(out.name + ".parts") if parts is None else Path(parts)
    try:
        with writing(folder):
            folder.mkdir(parents=True, exist_ok=True)
        with alone_in(folder):
            yield folder
            if parts is None:
                shutil.rmtree(folder)
    except CheckpointError as error:
        raise DataError(
            f"another process is encoding into {out} or {folder}; wait for it, or name another file"
        ) from error


def _clear(out: Path, unfinished: Path) -> None:
    """Remove the files that a stopped run left; refuse those of any other."""
    try:
        left = read_json(unfinished)
    except (OSError, ValueError):
        left = []
    for name in SPLITS:
        path = split_path(out, name)
        if path.exists() and not (isinstance(left, list) and path.name in left):
            raise DataError(f"{path} exists already; remove it or name another file")
        path.unlink(missing_ok=True)


@dataclass(frozen=True)
class _Part:
    """A finished recording, or the reason why there is none."""

    path: Path | None
    reason: str = ""
    reused: bool = False


@dataclass(frozen=True)
class _Job:
    """What a worker needs to know. A part's name carries everything that shapes its spikes, so none can be stale."""

    folder: Path
    cochlea: Cochlea
    seed: int

    def __call__(self, file: Path) -> _Part:
        if not nameable(file):
            return _Part(None, unnameable(file))
        if _is_dangling(file):
            return _Part(None, f"{file} is a link to {os.readlink(file)}, which is not there; repair or remove it")
        try:
            content = fingerprint(file)
            key = json.dumps([_VERSION, asdict(self.cochlea), self.seed, content.hex()])
            part = self.folder / f"{hashlib.sha256(key.encode()).hexdigest()[:32]}.npy"
            if self._complete(part):
                return _Part(part, reused=True)
            events = self.cochlea.encode(file, self.seed)
        except DataError as error:
            return _Part(None, str(error))
        except OSError as error:
            return _Part(None, f"cannot read {file}: {error.strerror or error}; check its path and permissions")
        with writing(part), atomic_path(part) as temporary, temporary.open("wb") as stream:
            np.save(stream, np.stack([events.t_us, events.channel]).astype(np.uint32))
        return _Part(part)

    def load(self, part: Path) -> Events:
        t_us, channel = read_npy(read_bytes(part, _MOST_BYTES))
        return Events(t_us, channel, self.cochlea.channels)

    def _complete(self, part: Path) -> bool:
        try:
            self.load(part)
        except (OSError, EOFError, ValueError, zipfile.BadZipFile):  # none yet, or damaged since it was written
            return False
        return True


@dataclass(frozen=True)
class _Batch:
    """Recordings, (label, speaker) of those whose names can be read, and how they are encoded."""

    files: Sequence[Path]
    classes: Mapping[int, tuple[int, int]]
    class_names: tuple[str, ...]
    job: _Job
    workers: int
    scheduler: str | None
    progress: Progress | None

    def write(self, out: Path, chosen: Sequence[int]) -> BatchReport:
        """Encode some of the recordings into a file, its list first."""
        files = [self.files[i] for i in chosen]
        parts = self._run(files)
        good = [(part.path, *self.classes[i]) for i, part in zip(chosen, parts) if part.path is not None]
        failed = tuple((file, part.reason) for file, part in zip(files, parts) if part.path is None)
        if not good:
            raise DataError(f"none of the {len(files)} recordings can be used; the first: {failed[0][1]}")
        samples = (Sample(self.job.load(path), label, speaker) for path, label, speaker in good)
        n_spikes = sum(path.stat().st_size for path, _, _ in good) // _SPIKE_BYTES
        listed = out.with_name(out.name + ".csv")
        with writing(listed):
            classes = [self.classes.get(i) for i in chosen]
            write_list(listed, files, [part.reason for part in parts], classes, self.class_names)
        with writing(out):
            write_shd_hdf5(out, samples, len(good), self.class_names, n_spikes=n_spikes)
        return BatchReport(len(good), sum(part.reused for part in parts), failed)

    def _run(self, files: list[Path]) -> list[_Part]:
        """The part of every file, in the order of the files."""
        # By size: neighbours then share the membrane's table, which is made for one padded length.
        order = sorted(range(len(files)), key=lambda i: files[i].stat().st_size if files[i].is_file() else 0)
        done: dict[int, _Part] = {}

        def add(i: int, part: _Part) -> None:
            done[i] = part
            if self.progress is not None:
                self.progress(len(done), len(files))

        workers = min(self.workers, len(files))
        if workers == 1 and self.scheduler is None:
            for i in order:
                add(i, self.job(files[i]))
            return [done[i] for i in range(len(files))]
        try:
            with executor(workers, self.scheduler) as (pool, _):
                there = {i: files[i] if self.scheduler is None else files[i].absolute() for i in order}
                futures = {pool.submit(self.job, there[i]): i for i in order}
                for future in as_completed(futures):
                    add(futures[future], future.result())
        except BrokenExecutor as error:
            raise DataError(
                "a worker process was killed, usually because memory ran out; run again with fewer workers: "
                f"the {len(done)} recordings that are done are kept"
            ) from error
        return [done[i] for i in range(len(files))]
