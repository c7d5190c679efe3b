"""The table of results, written by the program only."""

import csv
import io
from datetime import datetime, timezone
from pathlib import Path
from typing import Any

import snn_delays
from snn_delays.errors import CheckpointError
from snn_delays.files import write_text

COLUMNS = (
    "run", "data", "delays", "hidden", "parameters", "seed", "epochs", "best_epoch", "valid_accuracy", "test_accuracy",
    "test_accuracy_real_delays", "test_accuracy_unseen_speakers", "test_accuracy_known_speakers", "test_samples",
    "training_minutes", "version", "date",
)  # fmt: skip


def append_result(path: Path, evaluation: dict[str, Any], hidden: tuple[int, ...]) -> None:
    """Add an evaluation to a table of results; rows already there stay as they are.

    Raises CheckpointError if the file has other columns or cannot be written.
    """
    row = {
        **{key: evaluation[key] for key in COLUMNS if key in evaluation},
        "hidden": "x".join(map(str, hidden)),
        "version": snn_delays.__version__,
        "date": datetime.now(timezone.utc).date().isoformat(),
    }
    row = {key: f"{value:.4f}" if isinstance(value, float) else value for key, value in row.items()}
    try:
        before = path.read_text(encoding="utf-8") if path.exists() else ",".join(COLUMNS) + "\n"
        if before.splitlines()[:1] != [",".join(COLUMNS)]:
            raise CheckpointError(f"{path} has other columns than this version writes; append to a new file")
        text = io.StringIO()
        csv.DictWriter(text, COLUMNS, lineterminator="\n").writerow(row)
        write_text(path, before + ("" if before.endswith("\n") else "\n") + text.getvalue())
    except OSError as error:
        raise CheckpointError(f"cannot append to {path}: {error.strerror}") from error
