"""Delays against what chips can hold."""

from collections.abc import Mapping

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from numpy.typing import ArrayLike

from snn_delays.errors import ConfigError, ShapeError
from snn_delays.plot.style import BLUE, GREEN, INK, ORANGE, RED, array, axes_or_new, panels

COLOURS, LINES = (RED, ORANGE, GREEN, INK), ("-", "--", ":")


def delay_budget(
    delay_steps: ArrayLike, limits: Mapping[str, int | None], *, name: str = "", ax: Axes | None = None
) -> Axes:
    """How many synapses have each delay, and the longest that each target holds, with the share beyond it.

    Args:
        delay_steps: of the synapses of a population, integers >= 0, ``[synapse]``.
        limits: longest delay by target, in steps; None for a target without a limit.
        name: of the population.
        ax: where to draw.

    Raises ConfigError for negative delays or limits.
    """
    delays = array(delay_steps, 1, "delays")
    known = {target: limit for target, limit in limits.items() if limit is not None}
    if delays.min() < 0 or any(limit < 0 for limit in known.values()):
        raise ConfigError(f"delays and limits must be >= 0 steps, got {delays.min():g} and {known}")
    ax = axes_or_new(ax)
    # Targets far beyond the longest delay would squeeze the histogram; they are named, not drawn.
    shown = 1.15 * max(float(delays.max()), 5.0)
    edges = np.arange(delays.max() + 2) - 0.5
    counts, _ = np.histogram(delays, edges)
    ax.stairs(counts, edges, fill=True, color=BLUE, alpha=0.8)
    groups: dict[int, list[str]] = {}
    for target, limit in known.items():
        groups.setdefault(limit, []).append(target)
    for i, (limit, targets) in enumerate(sorted(groups.items())):
        label = f"{', '.join(targets)}: {limit}, {_share(int((delays > limit).sum()), delays.size)} beyond"
        if limit > shown:
            ax.plot([], [], " ", label=label)
            continue
        style, colour = LINES[i // len(COLOURS) % len(LINES)], COLOURS[i % len(COLOURS)]
        ax.axvline(limit + 0.5, color=colour, linestyle=style, linewidth=1.6, label=label)
    free = [target for target, limit in limits.items() if limit is None]
    if free:
        ax.plot([], [], " ", label=f"{', '.join(free)}: no limit")
    ax.set(xlim=(-0.9, shown), xlabel="delay (steps)", ylabel="synapses")
    ax.set_title(f"{name} ({delays.size:,} synapses)".strip(), loc="left", fontsize=10)
    if limits:
        ax.legend(frameon=False, fontsize=8, loc="center left", bbox_to_anchor=(1.01, 0.5))
    return ax


def delay_budget_figure(populations: Mapping[str, ArrayLike], limits: Mapping[str, int | None]) -> Figure:
    """One :func:`delay_budget` for each population, delays by its name. Raises ShapeError if there is none."""
    if not populations:
        raise ShapeError("there is no population with delays to draw")
    figure, axes = panels(len(populations), 1, 8.5, 2.4 * len(populations))
    for ax, (name, delays) in zip(axes[:, 0], populations.items()):
        delay_budget(delays, limits, name=name, ax=ax)
    return figure


def _share(part: int, total: int) -> str:
    """In percent; "none" and "all" mean exactly that."""
    if part in (0, total):
        return "all" if part else "none"
    return f"{min(max(part / total, 0.01), 0.99):.0%}"
