"""Populations that stopped computing: silent ones pass no gradient on, saturated ones no information."""

from collections.abc import Mapping
from typing import Any

from snn_delays.recipes.events import Recipe

SATURATED = 0.99  # spikes per neuron and step from which a population fires all the time


def silent_and_saturated(rates: Mapping[str, float]) -> dict[str, str]:
    """Entries of an epoch's record: names of populations that never fired on validation data, and that always did."""
    return {
        "silent": " ".join(name for name, rate in rates.items() if rate == 0),
        "saturated": " ".join(name for name, rate in rates.items() if rate >= SATURATED),
    }


def warning(row: Mapping[str, Any], recipe: Any) -> str | None:
    """What to tell of such populations, with the keys to turn; None if an epoch had none."""
    silent, saturated = row.get("silent"), row.get("saturated")
    found = [f"{silent} never fired"] if silent else []
    found += [f"{saturated} fired in at least {SATURATED:.0%} of all steps"] if saturated else []
    if not found:
        return None
    return f"epoch {row['epoch']}: {'; '.join(found)} on validation data: {_remedy(recipe, bool(silent))}"


def _remedy(recipe: Any, silent: bool) -> str:
    if not isinstance(recipe, Recipe):
        return (
            f"lower training.lr (now {recipe.training.lr:g}), or begin with other weights: model.init (now "
            f"{recipe.model.init!r}) or seed"
        )
    lower, raise_ = ("lower", "raise") if silent else ("raise", "lower")
    return (
        f"{lower} model.threshold (now {recipe.model.threshold:g}) or {raise_} model.tau_mem_ms (now "
        f"{recipe.model.tau_mem_ms:g}); weights grow or shrink with training.max_lr_weight (now "
        f"{recipe.training.max_lr_weight:g}) and begin with seed"
    )
