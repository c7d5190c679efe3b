"""Tables of results as CSV, to which the program adds rows."""

import csv
import io
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from snn_delays.errors import CheckpointError
from snn_delays.files import write_text


def append_rows(path: Path, columns: Sequence[str], rows: Sequence[dict[str, Any]]) -> None:
    """Add rows to a table, which is made if need be; rows already there stay as they are.

    Raises CheckpointError if the file has other columns or cannot be written.
    """
    head = ",".join(columns)
    try:
        before = path.read_text(encoding="utf-8") if path.exists() else head + "\n"
        if before.splitlines()[:1] != [head]:
            raise CheckpointError(f"{path} has other columns than this version writes; append to a new file")
        text = io.StringIO()
        csv.DictWriter(text, columns, lineterminator="\n").writerows(rows)
        write_text(path, before + ("" if before.endswith("\n") else "\n") + text.getvalue())
    except OSError as error:
        raise CheckpointError(f"cannot append to {path}: {error.strerror}") from error


def read_rows(path: Path, columns: Sequence[str], maker: str) -> list[dict[str, str]]:
    """Rows of a table that the command ``maker`` makes. Raises CheckpointError if there is none, or it has others."""
    try:
        reader = csv.DictReader(io.StringIO(path.read_text(encoding="utf-8")))
    except OSError as error:
        raise CheckpointError(f"cannot read {path}: {error.strerror}; `{maker}` makes one") from error
    if tuple(reader.fieldnames or ()) != tuple(columns):
        raise CheckpointError(f"{path} has other columns than this version writes")
    return list(reader)
