"""The list beside a file of spikes: which recording each sample is, and why some are none."""

import csv
from collections.abc import Sequence
from dataclasses import dataclass
from io import StringIO
from pathlib import Path

from snn_delays.errors import DataError
from snn_delays.files import write_text
from snn_delays.reading import read_text


@dataclass(frozen=True)
class BatchReport:
    """What a batch did: recordings written, those of them taken from an earlier run, and (file, reason) of the rest."""

    written: int
    reused: int
    failed: tuple[tuple[Path, str], ...]


def nameable(file: Path) -> bool:
    """Whether a path and its folder, which may be its class, can be written as UTF-8; names on disk are any bytes."""
    try:
        f"{file}{file.absolute().parent.name}".encode()
    except UnicodeEncodeError:
        return False
    return True


def unnameable(file: Path) -> str:
    """Why a recording that is not :func:`nameable` is left out."""
    return f"{_printable(file)}: its path is not UTF-8, so it cannot be listed; rename the file or its folder"


def _printable(file: Path) -> str:
    return str(file).encode(errors="backslashreplace").decode()


def write_list(
    path: Path,
    files: Sequence[Path],
    reasons: Sequence[str],
    classes: Sequence[tuple[int, int] | None],
    names: Sequence[str],
) -> None:
    """Write what each sample is: ``reasons`` [file] are empty for samples; ``classes`` [file] are (label, speaker)."""
    text = StringIO()
    rows = csv.writer(text, lineterminator="\n")
    rows.writerow(["sample", "file", "label", "class", "speaker", "error"])
    sample = 0
    for file, reason, known in zip(files, reasons, classes):
        number = None if reason else sample  # None becomes an empty field
        sample += not reason
        label, speaker = known or (None, None)
        name = None if label is None else names[label]
        rows.writerow([number, _printable(file), label, name, None if speaker == -1 else speaker, reason])
    write_text(path, text.getvalue())


def read_report(out: Path) -> BatchReport:
    """The report of the run that wrote ``out``, from ``<out>.csv`` beside it; all are from an earlier run now.

    Raises DataError if that list is missing or is not one.
    """
    path = out.with_name(out.name + ".csv")
    try:
        table = csv.DictReader(StringIO(read_text(path)))
        rows = [(row["sample"], Path(row["file"]), row["error"]) for row in table]
    except (OSError, KeyError, TypeError, ValueError, csv.Error) as error:
        raise DataError(
            f"{out} is there, but not {path}, the list of what is in it ({error}); remove {out} to make both again"
        ) from error
    written = sum(sample != "" for sample, _, _ in rows)
    return BatchReport(written, written, tuple((file, reason) for sample, file, reason in rows if sample == ""))
