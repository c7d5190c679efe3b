"""What the runs of a study reached: mean, deviation, confidence interval, a paired test, learning curves."""

import csv
import io
import math
import statistics
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

from snn_delays.errors import ConfigError, MissingPackageError
from snn_delays.files import write_text
from snn_delays.recipes.study import Job, seeded
from snn_delays.runs.study import Folder, measure_of, numbers
from snn_delays.runs.table import Page, Table
from snn_delays.training.runlog import Run, open_run

CURVES = ("valid_accuracy", "valid_bits_per_byte", "valid_nmse", "valid_loss", "train_loss")
TEST = (
    "difference: mean over the seeds that both have, with its 95 % interval; p: two-sided paired t-test of the seeds' "
    "differences against 0, not corrected for the number of comparisons"
)


@dataclass(frozen=True)
class Interval:
    r"""A mean over ``n`` seeds with its sample deviation and 95 % confidence interval, by Student's t with n - 1.

    .. math:: \bar x \pm t_{0.975,\,n-1}\; s / \sqrt n, \qquad p = 2\,P(T_{n-1} > |\bar x| \sqrt n / s)

    ``p`` is that of a mean of 0; deviation, interval and p are None where there are too few seeds, p also where they do
    not differ.
    """

    values: tuple[float, ...]

    @property
    def n(self) -> int:
        """How many seeds."""
        return len(self.values)

    @property
    def mean(self) -> float:
        """Over seeds."""
        return statistics.mean(self.values)

    @property
    def std(self) -> float | None:
        """Sample standard deviation."""
        return statistics.stdev(self.values) if self.n > 1 else None

    @cached_property
    def half_width(self) -> float | None:
        """Of the interval."""
        return None if self.std is None else float(_t().ppf(0.975, self.n - 1)) * self.std / math.sqrt(self.n)

    @cached_property
    def p(self) -> float | None:
        """Of the two-sided one-sample t-test against 0; of paired differences, the paired t-test."""
        if not self.std:
            return None
        return float(2 * _t().sf(abs(self.mean) * math.sqrt(self.n) / self.std, self.n - 1))


@dataclass(frozen=True)
class Row:
    """A variant in a report: its interval, and that of its differences from the control where there is one."""

    label: str
    interval: Interval
    control: str | None = None
    difference: Interval | None = None


@dataclass(frozen=True)
class Report:
    """The report of a study.

    ``found``: by label and seed, the numbers of every finished run; ``missing``: names of runs that are not finished.
    """

    folder: Folder
    measure: str
    found: dict[str, dict[int, tuple[Run, dict[str, Any]]]]
    missing: tuple[str, ...]

    @cached_property
    def rows(self) -> list[Row]:
        """A row for each variant with a finished run, in the study's order; of a search the best trials first."""
        study = self.folder.study
        by_label = {
            label: {seed: float(each[self.measure]) for seed, (_, each) in of.items() if self.measure in each}
            for label, of in self.found.items()
        }
        rows = []
        for label, seeds in by_label.items():
            if not seeds:
                continue
            control = None if study.search is not None else study.control_of(label)
            theirs = by_label.get(control or "", {})
            pairs = tuple(value - theirs[seed] for seed, value in seeds.items() if seed in theirs)
            difference = Interval(pairs) if pairs else None
            rows.append(Row(label, Interval(tuple(seeds.values())), control, difference))
        if study.search is not None:
            rows.sort(key=lambda row: row.interval.mean, reverse=study.larger_is_better)
        return rows

    def table(self) -> Table:
        """For the screen and documents."""
        tested = any(row.control for row in self.rows)
        heads = ["variant", "seeds", f"{self.measure}, mean ± std", "95 % interval"]
        cells = []
        for row in self.rows:
            of, by = row.interval, row.difference
            cell = [row.label, str(of.n), self._spread(of), self._within(of)]
            if tested:
                cell += ["-" if by is None else f"{self._form(by.mean, '+')} ({by.n} pairs, {self._within(by, '+')})"]
                cell += ["-" if by is None or by.p is None else f"{by.p:.2g}"]
            cells.append(cell)
        if tested:
            heads += [f"against {self.folder.study.control}, same seeds", "p"]
        return Table(heads, cells)

    def page(self) -> Page:
        """The table, and what it is of."""
        lines = [TEST] if any(row.control for row in self.rows) else []
        if self.missing:
            lines.append(f"not finished: {', '.join(self.missing)}")
        return Page([self.table()], lines)

    def csv(self) -> str:
        """The same in full precision."""
        text = io.StringIO()
        writer = csv.writer(text, lineterminator="\n")
        writer.writerow(
            ["variant", "measure", "n", "mean", "std", "ci_low", "ci_high", "control", "pairs", "difference"]
            + ["difference_std", "difference_ci_low", "difference_ci_high", "p_paired_t"]
        )
        for row in self.rows:
            of, by = row.interval, row.difference
            mine = [row.label, self.measure, of.n, of.mean, of.std, *_ends(of)]
            theirs = [row.control] if by is None else [row.control, by.n, by.mean, by.std, *_ends(by), by.p]
            writer.writerow([*mine, *theirs, *[None] * (7 - len(theirs))])
        return text.getvalue()

    def runs_csv(self) -> str:
        """Every finished run: variant, seed, folder, and each number that is known of it."""
        each = [(label, seed, run, of) for label, seeds in self.found.items() for seed, (run, of) in seeds.items()]
        keys = sorted(
            {key for *_, of in each for key, value in of.items() if isinstance(value, (int, float))} - {"seed"}
        )
        text = io.StringIO()
        writer = csv.writer(text, lineterminator="\n")
        writer.writerow(["variant", "seed", "folder", *keys])
        writer.writerows([label, seed, run.folder, *(of.get(key) for key in keys)] for label, seed, run, of in each)
        return text.getvalue()

    def figure(self) -> Any:
        """Learning curves with bands; of a search, its trials."""
        from snn_delays import plot

        study = self.folder.study
        if study.search is not None:
            from snn_delays.runs.search import open_search

            trials = [t for t in open_search(self.folder, study.search).trials if t.value is not None]
            drawn = [(t.params, t.value) for t in trials]
            return plot.search_figure(drawn, measure=self.measure, maximize=study.larger_is_better)
        curves: dict[str, dict[str, list[list[float]]]] = {}
        for label, seeds in self.found.items():
            histories = [run.progress()["history"] for run, _ in seeds.values()]
            shortest = min(map(len, histories))
            for key in CURVES:
                if all(row.get(key) is not None for history in histories for row in history):
                    curves.setdefault(key, {})[label] = [[row[key] for row in h[:shortest]] for h in histories]
        return plot.bands_figure(curves)

    def write(self) -> list[Path]:
        """Write ``report/`` in the study's folder: tables as Markdown and CSV, every run, the picture; the files."""
        from snn_delays.plot import save_figure

        folder = self.folder.path / "report"
        texts = {"table.md": self.table().markdown(), "table.csv": self.csv(), "runs.csv": self.runs_csv()}
        for name, text in texts.items():
            write_text(folder / name, text)
        picture = save_figure(
            self.figure(), folder / ("curves.png" if self.folder.study.search is None else "search.png")
        )
        return [*(folder / name for name in texts), picture]

    def _form(self, value: float, sign: str = "") -> str:
        return f"{value:{sign}.1%}" if "accuracy" in self.measure else f"{value:{sign}.4f}"

    def _spread(self, of: Interval) -> str:
        return self._form(of.mean) + ("" if of.std is None else f" ± {self._form(of.std)}")

    def _within(self, of: Interval, sign: str = "") -> str:
        low, high = _ends(of)
        return "-" if low is None or high is None else f"{self._form(low, sign)} to {self._form(high, sign)}"


def report(folder: Folder) -> Report:
    """What the finished runs of a study reached.

    Raises ConfigError if no run is finished, or none has the study's measure; MissingPackageError without SciPy, or of
    a search without Optuna.
    """
    study = folder.study
    if study.search is None:
        expected: Sequence[Job] = seeded(study)
    else:
        from snn_delays.runs.search import open_search, trial_jobs

        expected = trial_jobs(folder, open_search(folder, study.search).trials)
    found: dict[str, dict[int, tuple[Run, dict[str, Any]]]] = {}
    missing = []
    for job in expected:
        there = (folder.run(job) / "recipe.toml").exists() and folder.epochs(job)
        run = open_run(folder.run(job)).pinned() if there else None
        if run is None or len(run.progress()["history"]) < run.recipe.training.epochs:
            missing.append(job.name)
        else:
            label = job.label if study.search is None else f"{job.name}, {job.label}"
            found.setdefault(label, {})[job.seed] = (run, numbers(run))
    if not found:
        raise ConfigError(f"no run of {folder.path} is finished; `snn-delays study` trains what is left")
    measure = measure_of(study, [each for seeds in found.values() for _, each in seeds.values()])
    return Report(folder, measure, found, tuple(missing))


def _ends(of: Interval) -> tuple[float | None, float | None]:
    return (None, None) if of.half_width is None else (of.mean - of.half_width, of.mean + of.half_width)


def _t() -> Any:
    try:
        from scipy.stats import t
    except ImportError as error:
        raise MissingPackageError(
            f"intervals and tests need SciPy ({error}): pip install 'snn-delays[study]'"
        ) from error
    return t
