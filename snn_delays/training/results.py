"""The table of results, written by the program only."""

import statistics
from datetime import datetime, timezone
from pathlib import Path
from typing import Any

import snn_delays
from snn_delays.training.table import append_rows, read_rows

COLUMNS = (
    "run", "data", "delays", "hidden", "parameters", "seed", "epochs", "best_epoch", "valid_accuracy", "test_accuracy",
    "test_accuracy_real_delays", "test_accuracy_unseen_speakers", "test_accuracy_known_speakers", "test_samples",
    "training_minutes", "version", "date",
)  # fmt: skip


def append_result(path: Path, evaluation: dict[str, Any], layers: str) -> None:
    """Add an evaluation to a table of results; rows already there stay as they are. ``layers``: the hidden ones.

    Raises CheckpointError if the file has other columns or cannot be written.
    """
    row = {
        **{key: evaluation[key] for key in COLUMNS if key in evaluation},
        "hidden": layers,
        "version": snn_delays.__version__,
        "date": datetime.now(timezone.utc).date().isoformat(),
    }
    row = {key: f"{value:.4f}" if isinstance(value, float) else value for key, value in row.items()}
    append_rows(path, COLUMNS, [row])


def read_results(path: Path) -> list[dict[str, str]]:
    """Rows of a table of results. Raises CheckpointError if there is none, or it has other columns."""
    return read_rows(path, COLUMNS, "evaluate --append")


def markdown(rows: list[dict[str, str]]) -> str:
    """The table as the documents show it: a line for runs that differ by their seed alone, with mean and deviation."""
    heads = (
        "delays", "network", "trainable", "epochs", "seeds", "test, whole delays", "real delays", "unseen speakers",
        "data",
    )  # fmt: skip
    lines = [f"| {' | '.join(heads)} |", f"|{'|'.join(['---'] * len(heads))}|"]
    groups: dict[tuple[str, ...], dict[str, dict[str, str]]] = {}
    for row in rows:
        alike = tuple(row[key] for key in ("run", "data", "delays", "hidden", "parameters", "epochs", "version"))
        groups.setdefault(alike, {})[row["seed"]] = row  # the last of a seed counts
    for seeds in groups.values():
        first = next(iter(seeds.values()))
        keys = ("test_accuracy", "test_accuracy_real_delays", "test_accuracy_unseen_speakers")
        shares = [_share([row[key] for row in seeds.values()]) for key in keys]
        trainable = f"{int(first['parameters']):,}"
        cells = [first["delays"], first["hidden"], trainable, first["epochs"], str(len(seeds)), *shares, first["data"]]
        lines.append(f"| {' | '.join(cells)} |")
    return "\n".join(lines) + "\n"


def _share(values: list[str]) -> str:
    """Mean share, and sample deviation where there are several; a dash where one is missing."""
    if not all(values):
        return "-"
    numbers = [float(value) for value in values]
    mean = f"{statistics.mean(numbers):.1%}"
    return mean if len(numbers) == 1 else f"{mean} ± {statistics.stdev(numbers):.1%}"
