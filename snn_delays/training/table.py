"""Tables of results as CSV, to which the program adds rows."""

import csv
import io
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from snn_delays.errors import CheckpointError
from snn_delays.files import locked, write_text

# What a row of an earlier version says in today's columns; it keeps those of its columns that there still are.
Former = Callable[[dict[str, str]], dict[str, str]]


def append_rows(
    path: Path,
    columns: Sequence[str],
    rows: Sequence[dict[str, Any]],
    earlier: Sequence[str] = (),
    former: Former = lambda row: {},
) -> None:
    """Add rows to a table, which is made if need be; rows already there stay as they are.

    The table is locked from reading it to replacing it, so that of rows appended by several processes none is lost. A
    table with the columns ``earlier``, of a version before, is written anew with today's, its rows as ``former`` says.

    Raises CheckpointError if the file has other columns or cannot be written.
    """
    head = ",".join(columns)
    text = io.StringIO()
    csv.DictWriter(text, columns, lineterminator="\n").writerows(rows)
    try:
        with locked(path):
            before = path.read_text(encoding="utf-8") or head + "\n"
            first = before.splitlines()[0]
            if earlier and first == ",".join(earlier):
                before = _written_anew(before, columns, former)
            elif first != head:
                raise CheckpointError(f"{path} has other columns than this version writes; append to a new file")
            write_text(path, before + ("" if before.endswith("\n") else "\n") + text.getvalue())
    except OSError as error:
        raise CheckpointError(f"cannot append to {path}: {error.strerror}") from error


def read_rows(
    path: Path,
    columns: Sequence[str],
    maker: str,
    earlier: Sequence[str] = (),
    former: Former = lambda row: {},
) -> list[dict[str, str]]:
    """Rows of a table that the command ``maker`` makes, of a version before as ``former`` says.

    Raises CheckpointError if there is none, or it has other columns.
    """
    try:
        text = path.read_text(encoding="utf-8")
    except OSError as error:
        raise CheckpointError(f"cannot read {path}: {error.strerror}; `{maker}` makes one") from error
    if earlier and text.splitlines()[:1] == [",".join(earlier)]:
        text = _written_anew(text, columns, former)
    reader = csv.DictReader(io.StringIO(text))
    if text and tuple(reader.fieldnames or ()) != tuple(columns):
        raise CheckpointError(f"{path} has other columns than this version writes")
    return list(reader)


def _written_anew(before: str, columns: Sequence[str], former: Former) -> str:
    text = io.StringIO()
    writer = csv.DictWriter(text, columns, lineterminator="\n", extrasaction="ignore")
    writer.writeheader()
    writer.writerows({**row, **former(row)} for row in csv.DictReader(io.StringIO(before)))
    return text.getvalue()
