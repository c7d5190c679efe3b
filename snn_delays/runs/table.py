"""Tables of results: as Markdown or for the screen, and as CSV, to which the program adds rows."""

import csv
import io
import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from snn_delays.errors import CheckpointError
from snn_delays.files import locked, write_text
from snn_delays.reading import read_text


@dataclass(frozen=True)
class Table:
    """Rows of cells under ``heads``; no heads where the first cell of a row names the others."""

    heads: Sequence[str]
    rows: Sequence[Sequence[str]]
    title: str = ""

    def markdown(self) -> str:
        """The table as the documents show it."""
        head, *rows = (
            "| " + " | ".join(cell.replace("|", r"\|") for cell in row) + " |" for row in (self.heads, *self.rows)
        )
        return "\n".join([head, "|" + "---|" * len(self.heads), *rows]) + "\n"


@dataclass(frozen=True)
class Page:
    """Tables and, below them, lines."""

    tables: Sequence[Table]
    lines: Sequence[str] = ()


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
            before = read_text(path) or head + "\n"
            first = before.splitlines()[0]
            if earlier and first == ",".join(earlier):
                before = _written_anew(before, columns, former)
            elif first != head:
                raise CheckpointError(f"{path} has other columns than this version writes; append to a new file")
            write_text(path, before + ("" if before.endswith("\n") else "\n") + text.getvalue())
    except OSError as error:
        raise CheckpointError(f"cannot append to {path}: {error.strerror}") from error
    except ValueError as error:
        raise CheckpointError(f"cannot append to {path}: {error}") from error


def read_rows(
    path: Path,
    columns: Sequence[str],
    maker: str,
    earlier: Sequence[str] = (),
    former: Former = lambda row: {},
    numbers: Sequence[str] = (),
    optional: Sequence[str] = (),
) -> list[dict[str, str]]:
    """Rows of a table that the command ``maker`` makes, of a version before as ``former`` says.

    ``numbers`` are finite; ``optional`` are that or empty. Raises CheckpointError if there is no table, it has other
    columns, or a row is damaged: with its line and column.
    """
    try:
        text = read_text(path)
        if earlier and text.splitlines()[:1] == [",".join(earlier)]:
            text = _written_anew(text, columns, former)
        reader = csv.DictReader(io.StringIO(text), strict=True)
        if text and tuple(reader.fieldnames or ()) != tuple(columns):
            raise CheckpointError(f"{path} has other columns than this version writes")
        rows = []
        for row in reader:
            _check(row, f"{path}, line {reader.line_num}", (*numbers, *optional), optional)
            rows.append(row)
    except OSError as error:
        raise CheckpointError(f"cannot read {path}: {error.strerror}; `{maker}` makes one") from error
    except (ValueError, csv.Error) as error:
        raise CheckpointError(f"{path} is no table in CSV ({error}); `{maker}` makes one") from error
    return rows


def _check(row: dict[Any, Any], where: str, numbers: Sequence[str], optional: Sequence[str]) -> None:
    if None in row or None in row.values():
        raise CheckpointError(f"{where} has {'more' if None in row else 'fewer'} values than there are columns")
    for key in numbers:
        try:
            good = math.isfinite(float(row[key])) if row[key] else key in optional
        except ValueError:
            good = False
        if not good:
            raise CheckpointError(f"{where}: {key} is {row[key]!r}, expected a number; mend or remove that row")


def _written_anew(before: str, columns: Sequence[str], former: Former) -> str:
    text = io.StringIO()
    writer = csv.DictWriter(text, columns, lineterminator="\n", extrasaction="ignore")
    writer.writeheader()
    writer.writerows({**row, **former(row)} for row in csv.DictReader(io.StringIO(before)))
    return text.getvalue()
