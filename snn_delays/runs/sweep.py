"""Accuracy in integer arithmetic against bits of weights and longest delay, on validation or test data, in a table."""

from collections.abc import Sequence
from datetime import datetime, timezone
from pathlib import Path
from typing import Any

import snn_delays
from snn_delays.chips.profiles import profile
from snn_delays.discrete.discretize import discretize
from snn_delays.errors import ExportError
from snn_delays.nn import layers_with_delays
from snn_delays.runs.load import trained
from snn_delays.runs.results import AS_TRAINED
from snn_delays.runs.samples import samples_of
from snn_delays.runs.table import Table, append_rows, read_rows
from snn_delays.training.callbacks import Callback
from snn_delays.training.measure import measure
from snn_delays.training.runlog import Run

COLUMNS = (
    "run", "data", "target", "trained_max_delay_steps", "fine_tuned_bits", "weight_bits", "max_delay_steps",
    "delays_clamped", "split", "samples", "readout", "real_accuracy", "whole_accuracy", "seed", "version", "date",
)  # fmt: skip
EARLIER = (
    "run", "data", "target", "trained_max_delay_steps", "fine_tuned_bits", "weight_bits", "max_delay_steps",
    "delays_clamped", "real_accuracy", "whole_accuracy", "test_samples", "seed", "version", "date",
)  # fmt: skip


def _former(row: dict[str, str]) -> dict[str, str]:
    """Rows of the version before were of test data, with the masked readout."""
    return {"split": "test", "samples": row["test_samples"], "readout": "masked"}


def sweep_precision(
    source: Run | Path | str | Any,
    target: str,
    weight_bits: Sequence[int | str | None],
    max_delay_steps: Sequence[int],
    callback: Callback | None = None,
    split: str = "validation",
) -> list[dict[str, Any]]:
    """A row for each number of bits and each longest delay; delays beyond it are clamped, and counted.

    ``split``: measure on ``"validation"`` samples, or on ``"test"``, which is for reporting a choice.

    ``real_accuracy`` is that of real numbers, delays integer but none clamped, weights as they were trained: on their
    grid where they were fine-tuned on one. ``max_delay_steps`` is the longest delay that the network has in the end.
    Limits above what the run was trained with change nothing; of those only the smallest is measured.

    Raises ExportError where the target does not compute in whole numbers, or cannot hold the network.
    """
    if profile(target).arithmetic != "whole":
        raise ExportError(f"{target} does not compute in whole numbers; name a target that does, as generic")
    opened = trained(source, "events")
    network, recipe = opened.network, opened.recipe
    dataset, chosen = samples_of(recipe, split, callback)
    longest = recipe.max_delay_steps
    above = [limit for limit in max_delay_steps if limit >= longest]
    limits = [limit for limit in max_delay_steps if limit < longest or limit == min(above)]
    real = measure(discretize(network), dataset, chosen, recipe).accuracy
    rows = []
    for bits in weight_bits:
        for limit in limits:
            whole = discretize(network, target=target, weight_bits=bits, max_delay_steps=limit, clamp=True)
            rows.append(
                {
                    "run": recipe.name,
                    "data": dataset.source,
                    "target": target,
                    "trained_max_delay_steps": longest,
                    "fine_tuned_bits": getattr(recipe.fine_tuning, "weight_bits", "") or "",
                    "weight_bits": bits,
                    "max_delay_steps": max(layer.max_delay_steps for layer in layers_with_delays(whole).values()),
                    "delays_clamped": sum(layer.delays_over_limit for layer in whole.report.layers),
                    "split": split,
                    "samples": len(chosen),
                    "readout": AS_TRAINED,
                    "real_accuracy": f"{real:.4f}",
                    "whole_accuracy": f"{measure(whole, dataset, chosen, recipe).accuracy:.4f}",
                    "seed": recipe.seed,
                    "version": snn_delays.__version__,
                    "date": datetime.now(timezone.utc).date().isoformat(),
                }
            )
    return rows


def append_sweep(path: Path, rows: list[dict[str, Any]]) -> None:
    """Add rows to the table, see :func:`snn_delays.runs.table.append_rows`."""
    append_rows(path, COLUMNS, rows, EARLIER, _former)


def read_sweep(path: Path) -> list[dict[str, str]]:
    """Rows of the table, see :func:`snn_delays.runs.table.read_rows`."""
    numbers = ("delays_clamped", "real_accuracy", "whole_accuracy")
    return read_rows(path, COLUMNS, "snn-delays sweep", EARLIER, _former, numbers)


def markdown(rows: list[dict[str, str]]) -> str:
    """The table as the documents show it, the last of equal rows counting; a line for each network, bits and split."""
    heads = (
        "trained with delays up to", "weights fine-tuned", "weights exported", "longest delay", "delays clamped",
        "real numbers", "whole numbers", "target", "measured on",
    )  # fmt: skip
    latest: dict[tuple[str, ...], dict[str, str]] = {}
    for row in rows:
        latest[tuple(row[key] for key in ("run", "seed", "target", "weight_bits", "max_delay_steps", "split"))] = row
    cells = []
    for row in latest.values():
        bits = row["weight_bits"] if row["weight_bits"] == "ternary" else f"{row['weight_bits']} bits"
        tuned = row["fine_tuned_bits"]
        cells.append((
            row["trained_max_delay_steps"], (tuned if tuned == "ternary" else f"{tuned} bits") if tuned else "-", bits,
            row["max_delay_steps"], f"{int(float(row['delays_clamped'])):,}", f"{float(row['real_accuracy']):.1%}",
            f"{float(row['whole_accuracy']):.1%}", row["target"], _measured_on(row),
        ))  # fmt: skip
    return Table(heads, cells).markdown()


def _measured_on(row: dict[str, str]) -> str:
    masked = "" if row["readout"] == AS_TRAINED else f", {row['readout']}"
    return f"{int(row['samples']):,} {row['split']}{masked}"
