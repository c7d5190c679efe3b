"""Rows of the table of results trained again, and whether what comes out agrees."""

import math
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from snn_delays.errors import ConfigError
from snn_delays.messages import did_you_mean
from snn_delays.recipes.files import load_recipe
from snn_delays.recipes.registry import task_of
from snn_delays.runs.results import read_results, with_readout
from snn_delays.runs.table import Table

SAME = ("data", "delays", "hidden", "parameters", "epochs", "readout", "test_samples")
"""What must be equal."""
NEAR = (
    "test_accuracy", "test_accuracy_real_delays", "test_bits_per_byte", "test_bits_per_byte_carried", "test_nmse",
    "test_nmse_real_delays",
)  # fmt: skip
KIND = ("data", "delays", "hidden", "epochs")
BITS, NMSE = 0.01, 0.2
TOLERANCE = (
    "tolerance of an accuracy p of n test samples: 1.96 sqrt(2 p (1 - p) / n), within which two equally good networks "
    f"differ in 95 of 100 cases; of bits per byte: {BITS:.0%}, of an NMSE: {NMSE:.0%}. On the row's machine with its "
    "versions, equal"
)


@dataclass(frozen=True)
class Compared:
    """A number or name in the row and now; ``tolerance``: how far they may be apart, None where they must be equal."""

    key: str
    row: str
    now: Any
    tolerance: float | None

    @property
    def agrees(self) -> bool:
        """Whether they do."""
        if isinstance(self.now, (int, float)) and self.row:
            return abs(float(self.row) - self.now) <= (self.tolerance or 0.0)
        return self.row == ("" if self.now is None else str(self.now))


def find_row(table: Path, which: str) -> dict[str, str]:
    """A row by its number, from 1; or the last one of a recipe, given as ``RECIPE`` or ``RECIPE:SEED``.

    Raises ConfigError if there is none, or rows of that name are of different data or networks.
    """
    rows = read_results(table)
    if which.isdecimal():
        if not 1 <= int(which) <= len(rows):
            raise ConfigError(f"{table} has the rows 1 to {len(rows)}, not {which}")
        return rows[int(which) - 1]
    name, _, seed = which.partition(":")
    found = [row for row in rows if row["run"] == name and seed in ("", row["seed"])]
    if not found:
        hint = did_you_mean(name, {row["run"] for row in rows})
        seeds = sorted({row["seed"] for row in rows if row["run"] == name})
        there = (
            f"of that recipe it has the seeds {', '.join(seeds)}" if seeds else f"{hint}name RECIPE:SEED or a number"
        )
        raise ConfigError(f"{table} has no row {which!r}; {there}")
    kinds = {tuple(row[key] for key in KIND): 1 + rows.index(row) for row in found}
    if len(kinds) > 1:
        listed = "; ".join(f"{number}: {', '.join(filter(None, kind))}" for kind, number in list(kinds.items())[:5])
        raise ConfigError(f"{table} has {len(kinds)} kinds of rows {which!r}; name one by its number: {listed} ...")
    return found[-1]


def recipe_of(row: Mapping[str, str], recipe: str | None = None, changes: tuple[str, ...] = ()) -> Any:
    """The recipe of a row, by its name or from ``recipe``, with the row's seed.

    Raises ConfigError if it is not known, or of other epochs or another network than the row.
    """
    loaded = load_recipe(recipe or row["run"], (*changes, f"seed={row['seed']}"))
    now = {**task_of(loaded).describe(), "epochs": loaded.training.epochs}
    for key in ("epochs", "delays", "hidden"):
        if row[key] and str(now[key]) != row[key]:
            raise ConfigError(
                f"the row has {key} = {row[key]}, recipe {loaded.name} {now[key]}; change the recipe as the row was "
                "made, with --set section.key=value"
            )
    return loaded


def compare(row: Mapping[str, str], evaluation: dict[str, Any], tolerance: float | None = None) -> list[Compared]:
    """What must be equal, and the test numbers that the row has. ``tolerance`` replaces those of :data:`TOLERANCE`.

    Raises ConfigError for a row without any test number.
    """
    if not any(row[key] for key in NEAR):
        raise ConfigError(f"the row of {row['run']} has no test number to compare: {', '.join(NEAR)}")
    now = with_readout(evaluation)
    found = [Compared(key, row[key], now.get(key), None) for key in SAME if row[key] or now.get(key)]
    for key in NEAR:
        if row[key]:
            value, samples = float(row[key]), max(int(float(row["test_samples"] or 1)), 1)
            share = BITS if "bits" in key else NMSE if "nmse" in key else None
            spread = 1.96 * math.sqrt(2 * value * (1 - value) / samples) if share is None else share * value
            rounded = 0.5e-4  # the table has four places
            found.append(Compared(key, row[key], now.get(key), rounded + (spread if tolerance is None else tolerance)))
    return found


def as_table(found: list[Compared]) -> Table:
    """For the screen."""
    rows = []
    for each in found:
        number = isinstance(each.now, float)
        now = f"{each.now:.4f}" if number else "-" if each.now is None else str(each.now)
        difference = f"{each.now - float(each.row):+.4f}" if number and each.row else ""
        near = "equal" if each.tolerance is None else f"{each.tolerance:.4f}"
        rows.append((each.key, each.row or "-", now, difference, near, "yes" if each.agrees else "no"))
    return Table(("", "row", "now", "difference", "tolerance", "agrees"), rows)
