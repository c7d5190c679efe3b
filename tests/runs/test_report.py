"""Reports of studies: intervals and tests as SciPy computes them, paired by seed; what is missing is named."""

import csv
import io
import math
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from snn_delays.errors import ConfigError
from snn_delays.recipes.study import parse_study
from snn_delays.runs.report import Interval, Report, report
from snn_delays.runs.study import Folder
from tests.runs.test_study import TEXT, Here, done, folder_of, here  # noqa: F401

stats = pytest.importorskip("scipy.stats")
STUDY = {
    "name": "s",
    "recipe": "demo",
    "seeds": [1, 2, 3, 4],
    "control": "none",
    "variants": {"learned": {}, "none": {}},
}
LEARNED, NONE = {1: 0.81, 2: 0.84, 3: 0.79, 4: 0.9}, {1: 0.7, 3: 0.74, 4: 0.66}


def made_up(tmp_path: Path, values: dict[str, dict[int, float]], **changes: Any) -> Report:
    found: Any = {label: {s: (None, {"test_accuracy": v}) for s, v in of.items()} for label, of in values.items()}
    return Report(Folder(tmp_path, parse_study({**STUDY, **changes}, "here")), "test_accuracy", found, ("none_seed_2",))


@pytest.mark.parametrize("values", [(0.81, 0.84, 0.79, 0.9), (-3.0, 2.0), (1e-3, 2e-3, -1e-3)])
def test_the_interval_and_its_test(values: Sequence[float]) -> None:
    of, test = Interval(tuple(values)), stats.ttest_1samp(values, 0.0)
    assert (of.n, of.mean, of.std) == (
        len(values),
        pytest.approx(np.mean(values)),
        pytest.approx(np.std(values, ddof=1)),
    )
    interval = test.confidence_interval(0.95)
    assert of.half_width is not None
    assert (of.mean - of.half_width, of.mean + of.half_width) == pytest.approx((interval.low, interval.high))
    assert of.p == pytest.approx(test.pvalue)


def test_too_few_values_have_no_interval() -> None:
    one, alike = Interval((0.5,)), Interval((0.5, 0.5))
    assert (one.std, one.half_width, one.p) == (None, None, None)
    assert (alike.std, alike.half_width, alike.p) == (0.0, 0.0, None)


def test_differences_are_paired_by_seed(tmp_path: Path) -> None:
    learned, none = made_up(tmp_path, {"learned": LEARNED, "none": NONE}).rows
    assert (learned.interval.n, none.interval.n, none.difference) == (4, 3, None)
    assert learned.difference is not None
    pairs = [(LEARNED[seed], NONE[seed]) for seed in (1, 3, 4)]
    test = stats.ttest_rel(*zip(*pairs))
    assert learned.difference.mean == pytest.approx(np.mean([a - b for a, b in pairs]))
    assert learned.difference.p == pytest.approx(test.pvalue)
    assert learned.difference.p != pytest.approx(stats.ttest_ind(list(LEARNED.values()), list(NONE.values())).pvalue)


def test_the_tables(tmp_path: Path) -> None:
    made = made_up(tmp_path, {"learned": LEARNED, "none": NONE})
    markdown = made.table().markdown().splitlines()
    assert markdown[0] == (
        "| variant | seeds | test_accuracy, mean ± std | 95 % interval | against none, same seeds | p |"
    )
    assert markdown[2].startswith("| learned | 4 | 83.5% ± 4.8% | 75.9% to 91.1% | +13.3% (3 pairs, ")
    assert markdown[3].endswith("| - | - |")
    assert made.page().lines[1] == "not finished: none_seed_2"
    assert "paired t-test" in made.page().lines[0]
    learned, none = csv.DictReader(io.StringIO(made.csv()))
    assert (learned["n"], learned["pairs"], learned["control"], none["control"]) == ("4", "3", "none", "")
    assert float(learned["p_paired_t"]) == made.rows[0].difference.p  # type: ignore[union-attr]
    assert math.isclose(float(learned["ci_high"]) - float(learned["ci_low"]), 2 * made.rows[0].interval.half_width)  # type: ignore[operator]


def test_a_control_at_every_place_of_the_grid(tmp_path: Path) -> None:
    values = {
        f"{name}, data.tail_steps={tail}": {seed: value + tail / 100 for seed, value in of.items()}
        for tail in (0, 4) for name, of in (("learned", LEARNED), ("none", NONE))
    }  # fmt: skip
    made = made_up(tmp_path, values, grid={"data.tail_steps": [0, 4]})
    assert [row.control for row in made.rows] == ["none, data.tail_steps=0", None, "none, data.tail_steps=4", None]
    alone = made_up(tmp_path, values, grid={"data.tail_steps": [0, 4]}, control="none, data.tail_steps=0")
    assert [row.control for row in alone.rows].count("none, data.tail_steps=0") == 3


def test_a_study_from_its_runs(here: Here, folder_of: Any) -> None:  # noqa: F811
    folder = folder_of(TEXT + 'control = "none"\n')
    with pytest.raises(ConfigError, match=r"no run of .* is finished"):
        report(folder)
    here.instead["none_seed_4"] = [(1, "failed")]
    done(folder)
    made = report(folder)
    assert made.measure == "test_accuracy"
    assert made.missing == ("none_seed_4",)
    assert [row.interval.n for row in made.rows] == [2, 1]
    table, table_csv, runs, picture = made.write()
    assert table.read_text() == made.table().markdown()
    assert table_csv.read_text() == made.csv()
    rows = list(csv.DictReader(io.StringIO(runs.read_text())))
    assert [(row["variant"], row["seed"]) for row in rows] == [("learned", "3"), ("learned", "4"), ("none", "3")]
    assert all(float(row["train_loss"]) > 0 for row in rows)
    assert picture.name == "curves.png"
