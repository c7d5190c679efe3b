"""Tables of results: as Markdown or for the screen, and as CSV, to which the program adds rows."""

import csv
import io
import math
from collections.abc import Callable, Iterable, Mapping, Sequence
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


def number(result: Mapping[str, Any], key: str, form: str) -> str:
    """A number of a result as a cell; a dash where there is none."""
    return "-" if result.get(key) is None else f"{result[key]:{form}}"


@dataclass(frozen=True)
class CsvTable:
    """Tables in CSV of one kind, which the command ``maker`` makes.

    Attributes:
        columns: their names.
        maker: the command that adds rows.
        numbers, optional: columns of finite numbers; optional ones may be empty.
        earlier: columns of versions before. A table that has those is read, and written anew when rows are added.
        upgrade: what a row of such a table says in today's columns; it keeps those of its columns that there still are.
    """

    columns: Sequence[str]
    maker: str
    numbers: Sequence[str]
    optional: Sequence[str] = ()
    earlier: Sequence[Sequence[str]] = ()
    upgrade: Callable[[dict[str, str]], dict[str, str]] = lambda row: {}

    def append(self, path: Path, rows: Sequence[dict[str, Any]]) -> None:
        """Add rows to a table, a new one if need be; rows already there stay as they are.

        The table is locked from reading it to replacing it, so that of rows appended by several processes none is lost.
        Raises CheckpointError if the file has other columns or cannot be written.
        """
        try:
            with locked(path):
                before = self._today(read_text(path)) or self._text([], header=True)
                if before.splitlines()[0] != ",".join(self.columns):
                    raise CheckpointError(f"{path} has other columns than this version writes; append to a new file")
                write_text(path, before + ("" if before.endswith("\n") else "\n") + self._text(rows))
        except (OSError, ValueError) as error:
            reason = error.strerror if isinstance(error, OSError) else error
            raise CheckpointError(f"cannot append to {path}: {reason}") from error

    def read(self, path: Path) -> list[dict[str, str]]:
        """Rows of a table.

        Raises CheckpointError if there is no table, it has other columns, or a row is damaged: with its line and
        column.
        """
        try:
            text = self._today(read_text(path))
            reader = csv.DictReader(io.StringIO(text), strict=True)
            if text and tuple(reader.fieldnames or ()) != tuple(self.columns):
                raise CheckpointError(f"{path} has other columns than this version writes")
            return [self._checked(row, f"{path}, line {reader.line_num}") for row in reader]
        except OSError as error:
            raise CheckpointError(f"cannot read {path}: {error.strerror}; `{self.maker}` makes one") from error
        except (ValueError, csv.Error) as error:
            raise CheckpointError(f"{path} is no table in CSV ({error}); `{self.maker}` makes one") from error

    def _checked(self, row: dict[Any, Any], where: str) -> dict[str, str]:
        if None in row or None in row.values():
            raise CheckpointError(f"{where} has {'more' if None in row else 'fewer'} values than there are columns")
        for key in (*self.numbers, *self.optional):
            try:
                good = math.isfinite(float(row[key])) if row[key] else key in self.optional
            except ValueError:
                good = False
            if not good:
                raise CheckpointError(f"{where}: {key} is {row[key]!r}, expected a number; mend or remove that row")
        return row

    def _today(self, text: str) -> str:
        """A table's text, of an earlier version in today's columns."""
        if not any(text.splitlines()[:1] == [",".join(columns)] for columns in self.earlier):
            return text
        return self._text(({**row, **self.upgrade(row)} for row in csv.DictReader(io.StringIO(text))), header=True)

    def _text(self, rows: Iterable[dict[str, Any]], *, header: bool = False) -> str:
        text = io.StringIO()
        writer = csv.DictWriter(text, self.columns, lineterminator="\n", extrasaction="ignore")
        if header:
            writer.writeheader()
        writer.writerows(rows)
        return text.getvalue()
