"""The picture of delays against limits: bars, lines and shares are those of the data."""

from pathlib import Path

import matplotlib
import numpy as np
import pytest

from snn_delays.errors import ConfigError, ShapeError
from snn_delays.plot.delay_budget import delay_budget, delay_budget_figure
from snn_delays.plot.style import save_figure

matplotlib.use("agg")

DELAYS = np.array([0, 1, 1, 2, 7, 8, 8, 30])
LIMITS = {"none": 0, "short": 7, "same": 7, "long": 62, "exact": 30, "free": None}


def texts(ax: object) -> list[str]:
    return [text.get_text() for text in ax.get_legend().get_texts()]  # type: ignore[attr-defined]


def test_bars_count_the_delays_and_lines_stand_behind_the_last_step_that_fits() -> None:
    ax = delay_budget(DELAYS, LIMITS, name="hidden1")
    (bars,) = [patch for patch in ax.patches if hasattr(patch, "get_data")]
    values, edges, _ = bars.get_data()
    assert list(values) == list(np.bincount(DELAYS))
    assert edges[0] == -0.5
    assert edges[-1] == 30.5
    lines = [line.get_xdata()[0] for line in ax.lines if len(line.get_xdata())]
    assert lines == [0.5, 7.5, 30.5]  # 62 is far beyond the picture: named only
    assert ax.get_title(loc="left") == "hidden1 (8 synapses)"


def test_the_legend_has_every_target_and_its_share() -> None:
    assert texts(delay_budget(DELAYS, LIMITS)) == [
        "none: 0, 88% beyond",
        "short, same: 7, 38% beyond",
        "exact: 30, none beyond",
        "long: 62, none beyond",
        "free: no limit",
    ]


def test_a_single_synapse_beyond_is_not_rounded_away() -> None:
    delays = np.zeros(1000)
    delays[0] = 9
    assert texts(delay_budget(delays, {"a": 8})) == ["a: 8, 1% beyond"]
    assert texts(delay_budget(9 - delays, {"a": 0})) == ["a: 0, 99% beyond"]
    assert texts(delay_budget(delays + 1, {"a": 0})) == ["a: 0, all beyond"]


def test_a_row_for_each_population_and_equal_bytes(tmp_path: Path) -> None:
    made = [delay_budget_figure({"hidden1": DELAYS, "readout": DELAYS[:3]}, LIMITS) for _ in range(2)]
    assert len(made[0].axes) == 2
    first, second = (save_figure(figure, tmp_path / f"{i}.png", dpi=60) for i, figure in enumerate(made))
    assert first.read_bytes() == second.read_bytes()


def test_bad_input_is_refused() -> None:
    with pytest.raises(ConfigError, match="must be >= 0 steps"):
        delay_budget([-1, 2], LIMITS)
    with pytest.raises(ConfigError, match="must be >= 0 steps"):
        delay_budget([1, 2], {"a": -1})
    with pytest.raises(ShapeError, match="empty"):
        delay_budget([], LIMITS)
    with pytest.raises(ShapeError, match="no population"):
        delay_budget_figure({}, LIMITS)
