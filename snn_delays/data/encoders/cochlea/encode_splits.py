"""Recordings to the files of a whole data set: one for each split, with the same classes and speakers in all."""

import json
import shutil
from collections.abc import Mapping, Sequence
from pathlib import Path

from snn_delays.data.catalogue.lookup import split_path
from snn_delays.data.encoders.cochlea.batch import encode_files, parts_of
from snn_delays.data.encoders.cochlea.encode import Cochlea
from snn_delays.data.encoders.cochlea.labels import Labels, label_files
from snn_delays.data.encoders.cochlea.listing import BatchReport, nameable, unnameable
from snn_delays.data.encoders.cochlea.splitting import SPLITS, split_recordings
from snn_delays.data.files import Progress, writing
from snn_delays.errors import CheckpointError, DataError
from snn_delays.files import alone_in, write_text
from snn_delays.reading import read_json


def encode_splits(
    files: Sequence[Path],
    out: Path,
    rules: Mapping[str, str],
    cochlea: Cochlea | None = None,
    *,
    labels: Path | None = None,
    scheme: str = "auto",
    parts: Path | None = None,
    seed: int = 0,
    workers: int | None = None,
    progress: Progress | None = None,
) -> dict[Path, BatchReport]:
    """Encode recordings into ``words_train.h5``, ``words_test.h5`` and so on for ``out = words.h5``.

    ``rules``: which recordings are held out, see :func:`split_recordings`; without any, the column ``split`` of the
    table ``labels``. Without that either, all are written to ``out``. All else, and what is kept of a run that was
    stopped, is as for :func:`encode_files`. Returns what was written where.

    Raises DataError as these two do, or if a file of the set is there that no stopped run left.
    """
    files, out = [Path(file) for file in files], Path(out)
    known = [file for file in files if nameable(file)]
    if not known:
        reason = f"; the first: {unnameable(files[0])}" if files else "; name WAV or FLAC files"
        raise DataError(f"none of the {len(files)} recordings can be used{reason}")
    found = label_files(known, labels, scheme)
    if not (rules or found.split):
        report = encode_files(
            files, out, cochlea, labels=labels, scheme=scheme, parts=parts, seed=seed, workers=workers,
            progress=progress,
        )  # fmt: skip
        return {out: report}
    split = dict(zip(known, split_recordings(known, found, rules, seed)))
    folder = parts_of(out) if parts is None else Path(parts)
    # Written before the first file of the set and gone after the last: files that it names are of a run that stopped.
    unfinished = folder / f"{out.name}.unfinished.json"
    outs = {name: split_path(out, name) for name in SPLITS if name in split.values()}
    reports: dict[Path, BatchReport] = {}
    with writing(folder):
        folder.mkdir(parents=True, exist_ok=True)
    try:
        with alone_in(folder):
            _clear(out, unfinished)
            with writing(unfinished):
                write_text(unfinished, json.dumps([path.name for path in outs.values()]))
            for name, path in outs.items():
                chosen = [i for i, file in enumerate(known) if split[file] == name]
                reports[path] = encode_files(
                    [known[i] for i in chosen], path, cochlea, labels=_part(found, chosen), parts=folder,
                    seed=seed, workers=workers, progress=progress,
                )  # fmt: skip
            unfinished.unlink()
            if parts is None:
                shutil.rmtree(folder)
    except CheckpointError as error:
        raise DataError(f"another process is encoding into {folder}; wait for it, or name another file") from error
    lost = tuple((file, unnameable(file)) for file in files if not nameable(file))
    first = outs[next(iter(outs))]
    reports[first] = BatchReport(reports[first].written, reports[first].reused, (*reports[first].failed, *lost))
    return reports


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


def _part(of: Labels, chosen: list[int]) -> Labels:
    return Labels(tuple(of.label[i] for i in chosen), tuple(of.speaker[i] for i in chosen), of.class_names)
