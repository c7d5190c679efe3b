"""Step times of a network that is streamed."""

from collections.abc import Mapping

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import PercentFormatter
from numpy.typing import ArrayLike, NDArray

from snn_delays.errors import ConfigError, ShapeError
from snn_delays.plot.style import BLUE, GREEN, INK, ORANGE, RED, array, axes_or_new, panels

COLORS = (BLUE, ORANGE, GREEN, RED)


def step_times(sides: Mapping[str, ArrayLike], *, dt_ms: float, ax: Axes | None = None) -> Axes:
    """Share of steps that took no longer, by time; one curve a side, its real-time factor beside its name.

    ``sides``: microseconds of every step. The dashed line is the length of a step, ``dt_ms``; what lies left of it
    keeps up. The real-time factor is that of the median step. Raises ShapeError for no sides or times that are not
    positive, ConfigError unless ``dt_ms`` is positive.
    """
    if not sides:
        raise ShapeError("there are no step times to draw")
    if not (np.isfinite(dt_ms) and dt_ms > 0):
        raise ConfigError(f"dt_ms must be a positive number of milliseconds, got {dt_ms}")
    ax = axes_or_new(ax)
    for (name, values), color in zip(sides.items(), COLORS * len(sides)):
        us = np.sort(_times(values))
        share = np.arange(1, us.size + 1) / us.size
        factor = dt_ms * 1e3 / np.median(us)
        label = f"{name}: median {_duration(float(np.median(us)))},\nreal-time factor {factor:.3g}"
        ax.step(us, share, where="post", color=color, linewidth=1.6, label=label)
        ax.plot(np.median(us), 0.5, marker="o", markersize=4, color=color)
    ax.axvline(dt_ms * 1e3, color=INK, linewidth=0.9, linestyle="--")
    ax.annotate(
        f"step of {dt_ms:g} ms", (dt_ms * 1e3, 0.03), xycoords=("data", "axes fraction"), xytext=(-3, 0),
        textcoords="offset points", rotation=90, ha="right", va="bottom", fontsize=7, color=INK,
    )  # fmt: skip
    ax.set(xscale="log", ylim=(0, 1.02), xlabel="time of a step", ylabel="share of steps no longer")
    ax.xaxis.set_major_formatter(lambda us, _: _duration(us))
    ax.yaxis.set_major_formatter(PercentFormatter(1.0, decimals=0))
    ax.legend(frameon=False, fontsize=7, loc="lower center", bbox_to_anchor=(0.5, 1.0), ncols=2)
    return ax


def step_time_by_activity(
    active: ArrayLike, step_us: ArrayLike, *, color: str = BLUE, label: str = "", ax: Axes | None = None
) -> Axes:
    """Time of every step against how many inputs and neurons were active in it, and the median along it.

    Raises ShapeError if there are not as many of both, or times that are not positive.
    """
    counts, us = array(active, 1, "active inputs and neurons"), _times(step_us)
    if counts.shape != us.shape:
        raise ShapeError(f"{counts.size} counts of activity but {us.size} step times")
    ax = axes_or_new(ax)
    ax.plot(counts, us, linestyle="none", marker=".", markersize=2.5, color=color, alpha=0.35, markeredgewidth=0)
    order = np.argsort(counts, kind="stable")
    groups = np.array_split(order, min(12, np.unique(counts).size))
    middle = [(np.median(counts[group]), np.median(us[group])) for group in groups]
    ax.plot(*zip(*middle), color=color, linewidth=1.6, label=label or None)
    ax.set(xlabel="active inputs and neurons in the step", ylabel="time of the step")
    ax.set_ylim(0, 2 * np.percentile(us, 95))
    ax.yaxis.set_major_formatter(lambda us, _: _duration(us))
    return ax


def streaming_figure(sides: Mapping[str, ArrayLike], active: ArrayLike, *, dt_ms: float, title: str = "") -> Figure:
    """Step times of all sides, and those of the first by activity. Raises as its panels do."""
    figure, axes = panels(1, 2, 9.0, 3.4, title=title, width_ratios=[1.2, 1])
    left, right = axes[0]
    step_times(sides, dt_ms=dt_ms, ax=left)
    name, first = next(iter(sides.items()))
    step_time_by_activity(active, first, ax=right)
    above = int((np.asarray(first) > right.get_ylim()[1]).sum())
    note = f" ({above} of {np.size(first)} steps above)" if above else ""
    right.set_title(f"{name}, by activity{note}", fontsize=7)
    return figure


def _times(values: ArrayLike) -> NDArray[np.float64]:
    us = array(values, 1, "step times")
    if us.min() <= 0:
        raise ShapeError(f"step times must be positive, got {us.min():g}")
    return us


def _duration(us: float) -> str:
    if us >= 1e6:
        return f"{us / 1e6:.3g} s"
    return f"{us / 1e3:.3g} ms" if us >= 1e3 else f"{us:.3g} µs"
