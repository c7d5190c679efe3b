"""Accuracy in integer arithmetic against bits of weights and longest delay, on validation or test data, in a table."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from snn_delays.chips.profiles import profile
from snn_delays.discrete.discretize import discretize
from snn_delays.errors import ExportError
from snn_delays.nn import layers_with_delays
from snn_delays.runs.load import trained
from snn_delays.runs.results import AS_TRAINED, stamp
from snn_delays.runs.samples import samples_of
from snn_delays.runs.table import CsvTable, Table
from snn_delays.training.callbacks import Callback
from snn_delays.training.measure import measure
from snn_delays.training.runlog import Run

COLUMNS = (
    "run", "data", "target", "trained_max_delay_steps", "fine_tuned_bits", "weight_bits", "max_delay_steps",
    "delays_clamped", "split", "samples", "readout", "real_accuracy", "integer_accuracy", "seed", "version", "date",
)  # fmt: skip
EARLIER = (
    (
        "run", "data", "target", "trained_max_delay_steps", "fine_tuned_bits", "weight_bits", "max_delay_steps",
        "delays_clamped", "real_accuracy", "whole_accuracy", "test_samples", "seed", "version", "date",
    ),
    tuple("whole_accuracy" if column == "integer_accuracy" else column for column in COLUMNS),
)  # fmt: skip


def _upgraded(row: dict[str, str]) -> dict[str, str]:
    """Rows of the first version were of test data, with the masked readout."""
    first = {"split": "test", "samples": row["test_samples"], "readout": "masked"} if "test_samples" in row else {}
    return {"integer_accuracy": row["whole_accuracy"], **first}


SWEEPS = CsvTable(
    COLUMNS,
    maker="snn-delays sweep",
    numbers=("delays_clamped", "real_accuracy", "integer_accuracy"),
    earlier=EARLIER,
    upgrade=_upgraded,
)


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

    Raises ExportError where the target does not compute in integers, or cannot hold the network.
    """
    if profile(target).arithmetic != "whole":
        raise ExportError(f"{target} does not compute in integer arithmetic; name a target that does, as generic")
    opened = trained(source, "events")
    network, recipe = opened.network, opened.recipe
    dataset, chosen = samples_of(recipe, split, callback)
    longest = recipe.max_delay_steps
    above = [limit for limit in max_delay_steps if limit >= longest]
    limits = [limit for limit in max_delay_steps if limit < longest or limit == min(above)]
    real = measure(discretize(network), dataset, chosen, recipe).accuracy
    rows = []
    for bits, limit in ((bits, limit) for bits in weight_bits for limit in limits):
        discrete = discretize(network, target=target, weight_bits=bits, max_delay_steps=limit, clamp=True)
        rows.append(
            {
                "run": recipe.name,
                "data": dataset.source,
                "target": target,
                "trained_max_delay_steps": longest,
                "fine_tuned_bits": getattr(recipe.fine_tuning, "weight_bits", "") or "",
                "weight_bits": bits,
                "max_delay_steps": max(layer.max_delay_steps for layer in layers_with_delays(discrete).values()),
                "delays_clamped": sum(layer.delays_over_limit for layer in discrete.report.layers),
                "split": split,
                "samples": len(chosen),
                "readout": AS_TRAINED,
                "real_accuracy": f"{real:.4f}",
                "integer_accuracy": f"{measure(discrete, dataset, chosen, recipe).accuracy:.4f}",
                "seed": recipe.seed,
                **stamp(),
            }
        )
    return rows


def markdown(rows: list[dict[str, str]]) -> str:
    """The table as the documents show it, the last of equal rows counting; a line for each network, bits and split."""
    heads = (
        "trained with delays up to", "weights fine-tuned", "weights exported", "longest delay", "delays clamped",
        "real numbers", "integer arithmetic", "target", "measured on",
    )  # fmt: skip
    key = ("run", "seed", "target", "weight_bits", "max_delay_steps", "split")
    latest = {tuple(row[column] for column in key): row for row in rows}
    cells = [
        (
            row["trained_max_delay_steps"], _bits(row["fine_tuned_bits"]), _bits(row["weight_bits"]),
            row["max_delay_steps"], f"{int(float(row['delays_clamped'])):,}", f"{float(row['real_accuracy']):.1%}",
            f"{float(row['integer_accuracy']):.1%}", row["target"],
            f"{int(row['samples']):,} {row['split']}" + (f", {row['readout']}" if row["readout"] != AS_TRAINED else ""),
        )
        for row in latest.values()
    ]  # fmt: skip
    return Table(heads, cells).markdown()


def _bits(bits: str) -> str:
    return f"{bits} bits" if bits not in ("", "ternary") else bits or "-"
