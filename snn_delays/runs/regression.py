"""What is measured of a network that predicts a series, and how that is shown."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from snn_delays.discrete.discretize import discretize
from snn_delays.errors import ConfigError
from snn_delays.runs.load import Trained, trainable_parameters
from snn_delays.runs.table import Page, Table, number
from snn_delays.training.callbacks import Callback
from snn_delays.training.rounding import rounding_facts, with_fractional_delays
from snn_delays.training.runlog import Run
from snn_delays.training.tasks.regression import RegressionTraining, measure_errors, windows_of

_COLUMNS = {
    "valid_nmse": "valid",
    "test_nmse_fractional": "test,\nfractional delays",
    "test_nmse": "test,\nrounded",
    "test_nmse_real_delays": "test,\nas trained",
    "mean_rounding_steps": "mean\n|d - round(d)|",
}


class Regression(RegressionTraining):
    """A number that lies ahead."""

    def evaluate(self, trained: Trained, *, on: str | None, device: str, callback: Callback | None) -> dict[str, Any]:
        """NMSE on the test part and what belongs to it, see :func:`snn_delays.runs.evaluate.evaluate`."""
        if on is not None:
            raise ConfigError("--on takes the test samples of another event data set, and this run predicts a series")
        recipe, network = self.recipe, trained.network.to(device)
        data, discrete = windows_of(recipe), discretize(network)
        fractional, integer, real = (
            measure_errors(form, data.test, recipe, device)
            for form in (with_fractional_delays(network), discrete, network)
        )
        return {
            "parameters": trainable_parameters(network),
            "test_samples": len(data.test.y),
            "sigma": recipe.sigma_at(max(trained.card.epoch - 1, 0)),
            "valid_nmse": trained.best.get("valid_nmse"),
            "test_nmse_fractional": fractional.nmse,
            "test_nmse": integer.nmse,
            "test_nmse_real_delays": real.nmse,
            "firing_rates": integer.rates,
            "firing_rate": integer.rate,
            "lost_in_discretization": str(discrete.report).splitlines(),
            **rounding_facts(network),
        }

    def figures(self, run: Run, names: Sequence[str] = (), sample: int | None = None) -> list[Path]:
        """Delays, learning curves, firing rates."""
        from snn_delays.runs.figures import REGRESSION, draw_pictures

        return draw_pictures(REGRESSION, run, names, sample)

    @staticmethod
    def page(results: Sequence[dict[str, Any]]) -> Page:
        """A row for each evaluation."""
        heads = ("run", "delays", "trainable\nparameters", *_COLUMNS.values())
        rows = [
            (r["run"], r["delays"], f"{r['parameters']:,}", *(number(r, key, ".4f") for key in _COLUMNS))
            for r in results
        ]
        kinds = sorted({f"{r['data']}, {r['test_samples']:,} test windows" for r in results})
        return Page([Table(heads, rows)], [f"NMSE; data: {'; '.join(kinds)}; epochs chosen on the validation part"])
