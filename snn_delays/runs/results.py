"""The table of results, written by the program only."""

import statistics
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime, timezone
from pathlib import Path
from typing import Any

import snn_delays
from snn_delays.errors import ConfigError
from snn_delays.runs.table import CsvTable, Table

COLUMNS = (
    "run", "data", "delays", "hidden", "parameters", "seed", "epochs", "best_epoch", "readout", "valid_accuracy",
    "valid_accuracy_masked", "test_accuracy", "test_accuracy_masked", "test_accuracy_real_delays",
    "test_accuracy_unseen_speakers", "test_accuracy_known_speakers", "test_samples", "valid_bits_per_byte",
    "test_bits_per_byte", "test_bits_per_byte_carried", "firing_rate", "training_minutes", "version", "date",
    "delay_rounding", "mean_rounding_steps", "test_accuracy_fractional", "valid_nmse", "test_nmse",
    "test_nmse_fractional", "test_nmse_real_delays",
)  # fmt: skip
AS_TRAINED = "as trained"  # of a readout
_MEASURED = ("test_", "valid_", "firing", "mean_")
_NEW = ("readout", "valid_accuracy_masked", "test_accuracy_masked")
_BEFORE = COLUMNS[: COLUMNS.index("delay_rounding")]  # results of rounding and of regression


def _upgraded(row: dict[str, str]) -> dict[str, str]:
    """What a row from before the readout was measured as trained says today; rows of text have nothing of it."""
    return with_readout(dict(row)) if row["test_accuracy_real_delays"] and "readout" not in row else {}


RESULTS = CsvTable(
    COLUMNS,
    maker="evaluate --append",
    numbers=("seed",),
    optional=("parameters", "epochs", *(key for key in COLUMNS if key.startswith(_MEASURED))),
    earlier=(_BEFORE, tuple(column for column in _BEFORE if column not in _NEW)),
    upgrade=_upgraded,
)


def with_readout(evaluation: dict[str, Any]) -> dict[str, Any]:
    """An evaluation of events that says how its readout was measured; those of versions that do not were masked."""
    if "readout" in evaluation or "test_accuracy_real_delays" not in evaluation:
        return evaluation
    masked = {f"{part}_accuracy_masked": evaluation[f"{part}_accuracy"] for part in ("valid", "test")}
    return {**evaluation, "readout": "masked", **masked}


def stamp() -> dict[str, str]:
    """Version and date of a row."""
    return {"version": snn_delays.__version__, "date": datetime.now(timezone.utc).date().isoformat()}


def append_result(path: Path, evaluation: dict[str, Any]) -> None:
    """Add an evaluation to a table of results, see :meth:`snn_delays.runs.table.CsvTable.append`."""
    row = {**with_readout(evaluation), **stamp()}
    RESULTS.append(path, [{key: f"{v:.4f}" if isinstance(v, float) else v for key, v in row.items()}])


def read_results(path: Path) -> list[dict[str, str]]:
    """Rows of a table of results, see :meth:`snn_delays.runs.table.CsvTable.read`."""
    return RESULTS.read(path)


@dataclass(frozen=True)
class _Series:
    """Rows that differ by their seed alone, by seed; the last of a seed counts."""

    rows: dict[str, dict[str, str]]

    def __getitem__(self, column: str) -> str:
        """What a column says of all of them."""
        return next(iter(self.rows.values()))[column]

    @property
    def trainable(self) -> str:
        return f"{int(float(self['parameters'])):,}" if self["parameters"] else "-"

    def values(self, column: str) -> list[str]:
        return [row[column] for row in self.rows.values()]

    def against(self, others: "Sequence[_Series]") -> str:
        """Mean and deviation of the bits that a change of the token shift costs, taken seed by seed."""
        alike = ("run", "data", "hidden", "epochs", "version")
        plain = [o for o in others if o["delays"] == "token" and all(o[key] == self[key] for key in alike)][-1:]
        if not plain or plain[0] is self:
            return "-"
        bits, plain_bits = (
            {seed: float(row["test_bits_per_byte"]) for seed, row in series.rows.items()} for series in (self, *plain)
        )
        return spread([bits[seed] - plain_bits[seed] for seed in bits if seed in plain_bits], sign="+")


def _series(rows: list[dict[str, str]]) -> list[_Series]:
    groups: dict[tuple[str, ...], dict[str, dict[str, str]]] = {}
    for row in rows:
        alike = ("run", "data", "delays", "hidden", "parameters", "epochs", "readout", "version")
        groups.setdefault(tuple(row[key] for key in alike), {})[row["seed"]] = row
    return [_Series(group) for group in groups.values()]


def markdown(rows: list[dict[str, str]]) -> str:
    """The table as the documents show it: a line for runs that differ by their seed alone, with mean and deviation.

    Rows with bits per byte, of language models, and rows with NMSE, of regression, make tables of their own.
    """
    kinds: dict[Any, list[dict[str, str]]] = {_of_classes: [], _of_text: [], _of_regression: []}
    for row in rows:
        kind = _of_text if row["test_bits_per_byte"] else _of_regression if row["test_nmse"] else _of_classes
        kinds[kind].append(row)
    return "\n".join(table(part).markdown() for table, part in kinds.items() if part)


def _of_classes(rows: list[dict[str, str]]) -> Table:
    """Columns on the readout are there where not all rows are as trained, or the masked readout gives other numbers."""
    odd = any(row["readout"] not in ("", AS_TRAINED) for row in rows)
    masked = odd or any(row["test_accuracy_masked"] not in ("", row["test_accuracy"]) for row in rows)
    shares = {
        "test_accuracy": "test, integer delays",
        "test_accuracy_real_delays": "real delays",
        "test_accuracy_unseen_speakers": "unseen speakers",
        **({"test_accuracy_masked": "masked readout"} if masked else {}),
    }
    names = {**({"readout": "readout"} if odd else {}), "data": "data"}
    cells = [
        [
            series["delays"], series["hidden"], series.trainable, series["epochs"], str(len(series.rows)),
            *(spread(series.values(key), ".1%") for key in shares), *(series[key] for key in names),
        ]
        for series in _series(rows)
    ]  # fmt: skip
    return Table(["delays", "network", "trainable", "epochs", "seeds", *shares.values(), *names.values()], cells)


def _of_regression(rows: list[dict[str, str]]) -> Table:
    errors = {
        "test_nmse_fractional": "fractional delays",
        "test_nmse": "NMSE, rounded",
        "test_nmse_real_delays": "as trained",
        "mean_rounding_steps": "mean of abs(d - round(d))",
    }
    cells = [
        [
            series["run"], series["delays"], series["delay_rounding"] or "-", series["hidden"], series.trainable,
            series["epochs"], str(len(series.rows)), *(spread(series.values(key), ".4f") for key in errors),
            series["data"],
        ]
        for series in _series(rows)
    ]  # fmt: skip
    heads = ("run", "delays", "rounding", "network", "trainable", "epochs", "seeds", *errors.values(), "data")
    return Table(heads, cells)


def _of_text(rows: list[dict[str, str]]) -> Table:
    heads = (
        "network", "delays", "trainable", "seeds", "test, bits per byte", "against token, same seeds", "state carried",
        "firing", "data",
    )  # fmt: skip
    groups = _series(rows)
    cells = [
        [
            series["hidden"], series["delays"], series.trainable, str(len(series.rows)),
            spread(series.values("test_bits_per_byte")), series.against(groups),
            spread(series.values("test_bits_per_byte_carried")), spread(series.values("firing_rate"), ".1%"),
            series["data"],
        ]
        for series in groups
    ]  # fmt: skip
    return Table(heads, cells)


def bits_by_variant(rows: list[dict[str, str]]) -> dict[str, dict[str, dict[str, list[float]]]]:
    """Test bits per byte of all seeds, by data set, network and delays. Raises ConfigError if no row has any."""
    bits: dict[str, dict[str, dict[str, list[float]]]] = {}
    for series in _series([row for row in rows if row["test_bits_per_byte"]]):
        values = [float(value) for value in series.values("test_bits_per_byte")]
        bits.setdefault(series["data"], {}).setdefault(series["hidden"], {})[series["delays"]] = values
    if not bits:
        raise ConfigError("none of these rows is of a language model; choose others with --only or --run")
    return bits


def spread(values: Sequence[float | str], form: str = ".3f", sign: str = "") -> str:
    """Mean, and sample deviation where there are several; a dash where there is none or one is missing."""
    if not values or "" in values:
        return "-"
    numbers = [float(value) for value in values]
    mean = f"{statistics.mean(numbers):{sign}{form}}"
    return mean if len(numbers) == 1 else f"{mean} ± {statistics.stdev(numbers):{form}}"
