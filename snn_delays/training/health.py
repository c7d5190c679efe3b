"""Populations that stopped computing: silent ones pass no gradient on, saturated ones no information."""

from collections.abc import Mapping
from typing import Any

SATURATED = 0.99  # spikes per neuron and step from which a population fires all the time


def silent_and_saturated(rates: Mapping[str, float]) -> dict[str, str]:
    """Entries of an epoch's record: names of populations that never fired on validation data, and that always did."""
    return {
        "silent": " ".join(name for name, rate in rates.items() if rate == 0),
        "saturated": " ".join(name for name, rate in rates.items() if rate >= SATURATED),
    }


def warning(row: Mapping[str, Any], recipe: Any) -> str | None:
    """The warning about such populations, with the keys to change; None if an epoch had none."""
    silent, saturated = row.get("silent"), row.get("saturated")
    found = [f"{silent} never fired"] if silent else []
    found += [f"{saturated} fired in at least {SATURATED:.0%} of all steps"] if saturated else []
    if not found:
        return None
    return f"epoch {row['epoch']}: {'; '.join(found)} on validation data: {recipe.remedy(bool(silent))}"
