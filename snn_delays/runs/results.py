"""The table of results, written by the program only."""

import statistics
from collections.abc import Sequence
from datetime import datetime, timezone
from pathlib import Path
from typing import Any

import snn_delays
from snn_delays.errors import ConfigError
from snn_delays.runs.table import Table, append_rows, read_rows

COLUMNS = (
    "run", "data", "delays", "hidden", "parameters", "seed", "epochs", "best_epoch", "readout", "valid_accuracy",
    "valid_accuracy_masked", "test_accuracy", "test_accuracy_masked", "test_accuracy_real_delays",
    "test_accuracy_unseen_speakers", "test_accuracy_known_speakers", "test_samples", "valid_bits_per_byte",
    "test_bits_per_byte", "test_bits_per_byte_carried", "firing_rate", "training_minutes", "version", "date",
)  # fmt: skip
AS_TRAINED = "as trained"  # of a readout
_NEW = ("readout", "valid_accuracy_masked", "test_accuracy_masked")
EARLIER = tuple(column for column in COLUMNS if column not in _NEW)


def _former(row: dict[str, str]) -> dict[str, str]:
    """What a row from before the readout was measured as trained says today; rows of text have nothing of it."""
    said = with_readout(dict(row)) if row["test_accuracy_real_delays"] else {}
    return {key: said[key] for key in _NEW if key in said}


def with_readout(evaluation: dict[str, Any]) -> dict[str, Any]:
    """An evaluation of events that says how its readout was measured; those of versions that do not were masked."""
    if "readout" in evaluation or "test_accuracy_real_delays" not in evaluation:
        return evaluation
    masked = {f"{part}_accuracy_masked": evaluation[f"{part}_accuracy"] for part in ("valid", "test")}
    return {**evaluation, "readout": "masked", **masked}


def append_result(path: Path, evaluation: dict[str, Any]) -> None:
    """Add an evaluation to a table of results; rows already there stay as they are.

    Raises CheckpointError if the file has other columns or cannot be written.
    """
    evaluation = with_readout(evaluation)
    row = {
        **{key: evaluation[key] for key in COLUMNS if key in evaluation},
        "version": snn_delays.__version__,
        "date": datetime.now(timezone.utc).date().isoformat(),
    }
    row = {key: f"{value:.4f}" if isinstance(value, float) else value for key, value in row.items()}
    append_rows(path, COLUMNS, [row], EARLIER, _former)


def read_results(path: Path) -> list[dict[str, str]]:
    """Rows of a table of results. Raises CheckpointError if there is none, or it has other columns."""
    measured = [key for key in COLUMNS if key.startswith(("test_", "valid_", "firing"))]
    optional = ("parameters", "epochs", *measured)
    return read_rows(path, COLUMNS, "evaluate --append", EARLIER, _former, ("seed",), optional)


def markdown(rows: list[dict[str, str]]) -> str:
    """The table as the documents show it: a line for runs that differ by their seed alone, with mean and deviation.

    Rows with bits per byte, of language models, make a table of their own after the others.
    """
    of_text = [row for row in rows if row["test_bits_per_byte"]]
    others = [row for row in rows if not row["test_bits_per_byte"]]
    return "\n".join(table(part).markdown() for part, table in ((others, _of_classes), (of_text, _of_text)) if part)


def _of_classes(rows: list[dict[str, str]]) -> Table:
    """Columns on the readout are there where not all rows are as trained, or the masked readout gives other numbers."""
    odd = any(row["readout"] not in ("", AS_TRAINED) for row in rows)
    masked = odd or any(row["test_accuracy_masked"] not in ("", row["test_accuracy"]) for row in rows)
    heads = [
        "delays", "network", "trainable", "epochs", "seeds", "test, integer delays", "real delays", "unseen speakers",
        *["masked readout"] * masked, *["readout"] * odd, "data",
    ]  # fmt: skip
    cells = []
    keys = ["test_accuracy", "test_accuracy_real_delays", "test_accuracy_unseen_speakers"]
    for seeds in _alike(rows):
        first = next(iter(seeds.values()))
        shares = [_share([row[key] for row in seeds.values()]) for key in [*keys, *["test_accuracy_masked"] * masked]]
        trainable = _count(first["parameters"])
        cells.append([
            first["delays"], first["hidden"], trainable, first["epochs"], str(len(seeds)), *shares,
            *[first["readout"]] * odd, first["data"],
        ])  # fmt: skip
    return Table(heads, cells)


def _of_text(rows: list[dict[str, str]]) -> Table:
    heads = (
        "network", "delays", "trainable", "seeds", "test, bits per byte", "against token, same seeds", "state carried",
        "firing", "data",
    )  # fmt: skip
    cells = []
    groups = _alike(rows)
    plain = {_network(seeds): seeds for seeds in groups if next(iter(seeds.values()))["delays"] == "token"}
    for seeds in groups:
        first = next(iter(seeds.values()))
        cells.append([
            first["hidden"], first["delays"], _count(first["parameters"]), str(len(seeds)),
            _spread([row["test_bits_per_byte"] for row in seeds.values()]), _against(seeds, plain.get(_network(seeds))),
            _spread([row["test_bits_per_byte_carried"] for row in seeds.values()]),
            _share([row["firing_rate"] for row in seeds.values()]), first["data"],
        ])  # fmt: skip
    return Table(heads, cells)


def _network(seeds: dict[str, dict[str, str]]) -> tuple[str, ...]:
    """What rows share that differ in their delays alone."""
    first = next(iter(seeds.values()))
    return tuple(first[key] for key in ("run", "data", "hidden", "epochs", "version"))


def _against(seeds: dict[str, dict[str, str]], plain: dict[str, dict[str, str]] | None) -> str:
    """Mean and deviation of the bits that a change of the token shift costs, taken seed by seed."""
    if plain is None or seeds is plain:
        return "-"
    key = "test_bits_per_byte"
    costs = [float(row[key]) - float(plain[seed][key]) for seed, row in seeds.items() if seed in plain]
    return _spread(costs, sign="+")


def bits_by_variant(rows: list[dict[str, str]]) -> dict[str, dict[str, dict[str, list[float]]]]:
    """Test bits per byte of all seeds, by data set, network and delays. Raises ConfigError if no row has any."""
    found: dict[str, dict[str, dict[str, list[float]]]] = {}
    for seeds in _alike([row for row in rows if row["test_bits_per_byte"]]):
        first = next(iter(seeds.values()))
        values = [float(row["test_bits_per_byte"]) for row in seeds.values()]
        found.setdefault(first["data"], {}).setdefault(first["hidden"], {})[first["delays"]] = values
    if not found:
        raise ConfigError("none of these rows is of a language model; choose others with --only or --run")
    return found


def _alike(rows: list[dict[str, str]]) -> list[dict[str, dict[str, str]]]:
    """Rows that differ by their seed alone, by seed; the last of a seed counts."""
    groups: dict[tuple[str, ...], dict[str, dict[str, str]]] = {}
    for row in rows:
        alike = tuple(
            row[key] for key in ("run", "data", "delays", "hidden", "parameters", "epochs", "readout", "version")
        )
        groups.setdefault(alike, {})[row["seed"]] = row
    return list(groups.values())


def _count(number: str) -> str:
    """A count; a dash where it is missing."""
    return f"{int(float(number)):,}" if number else "-"


def _spread(values: Sequence[float | str], form: str = ".3f", sign: str = "") -> str:
    """Mean, and sample deviation where there are several; a dash where there is none or one is missing."""
    if not values or "" in values:
        return "-"
    numbers = [float(value) for value in values]
    mean = f"{statistics.mean(numbers):{sign}{form}}"
    return mean if len(numbers) == 1 else f"{mean} ± {statistics.stdev(numbers):{form}}"


def _share(values: Sequence[str]) -> str:
    return _spread(values, ".1%")
