"""Firing rates of the populations of a network built of blocks."""

from collections.abc import Iterable, Mapping
from itertools import cycle

import numpy as np
from matplotlib.axes import Axes
from matplotlib.colors import to_rgb
from matplotlib.patches import Patch

from snn_delays.errors import ConfigError, ShapeError
from snn_delays.plot.style import BLUE, GREEN, INK, ORANGE, RED, axes_or_new


def split_name(name: str) -> tuple[str, str]:
    """The block and the kind of a population: ``block3.time.spike`` is ``("block3", "time.spike")``.

    A name without a dot is a block of its own, of the kind ``spike``.
    """
    block, _, kind = name.partition(".")
    return block, kind or "spike"


def kind_colors(names: Iterable[str]) -> dict[str, str]:
    """A colour for every kind among populations, in their order: the same kinds look the same in every picture."""
    kinds = dict.fromkeys(split_name(name)[1] for name in names)
    return dict(zip(kinds, cycle((BLUE, ORANGE, GREEN, RED, INK))))


def firing_rates(
    rates: Mapping[str, float] | Mapping[str, Mapping[str, float]],
    *,
    ax: Axes | None = None,
    title: str | None = None,
) -> Axes:
    """Share of steps in which a population's neurons fire: bars by block, one colour a kind.

    ``rates``: rate (0 to 1) by name, such as ``block3.time.spike``; or such a mapping for each of several runs, which
    then stand side by side, the first palest; what a run has not got leaves a gap. A rate of 0 is written out.

    Raises ShapeError if there is nothing to draw, ConfigError for rates outside 0..1.
    """
    runs = _runs(rates)
    names = list(dict.fromkeys(name for run in runs.values() for name in run))
    if not names:
        raise ShapeError("there are no firing rates to draw")
    blocks: dict[str, list[str]] = {}
    for name in names:
        blocks.setdefault(split_name(name)[0], []).append(name)
    bars = len(names) * len(runs)
    ax = axes_or_new(ax, float(np.clip(2.0 + 0.16 * bars + 0.2 * len(blocks), 4.5, 14.0)), 3.2)
    colors = kind_colors(names)
    strengths = np.linspace(0.35, 1.0, len(runs)) if len(runs) > 1 else np.ones(1)
    left, middles = 0.0, []
    for members in blocks.values():
        for i, name in enumerate(members):
            for j, (run, strength) in enumerate(zip(runs.values(), strengths)):
                if name in run:
                    x = left + i * len(runs) + j
                    drawn = ax.bar(x, run[name], 0.9, color=_paler(colors[split_name(name)[1]], strength))
                    if bars <= 36 or run[name] == 0:
                        color = INK if run[name] else RED
                        ax.bar_label(drawn, [f"{100 * run[name]:.2g}"], fontsize=6, padding=1, color=color)
        width = len(members) * len(runs)
        middles.append(left + (width - 1) / 2)
        left += width + 1.2
    crowded = len(blocks) > 8 and bars / len(blocks) < 5
    ax.set_xticks(middles, list(blocks), rotation=45 if crowded else 0, ha="right" if crowded else "center")
    ax.tick_params(axis="x", length=0)
    ax.margins(x=0.01, y=0.08)
    ax.set_ylim(bottom=0)
    ax.yaxis.set_major_formatter(lambda rate, _: f"{100 * rate:g}")
    ax.set_ylabel("firing rate (% of steps)")
    keys = [Patch(color=color, label=kind) for kind, color in colors.items()] if len(colors) > 1 else []
    if len(runs) > 1:
        keys += [Patch(color=_paler(INK, strength), label=run) for run, strength in zip(runs, strengths)]
    columns = max(int(ax.get_window_extent().width / ax.figure.dpi / 1.6), 1)
    if keys:
        ax.legend(handles=keys, frameon=False, fontsize=7, loc="lower left", bbox_to_anchor=(0.0, 1.0), ncols=columns)
    if title:
        ax.set_title(title, loc="left", fontsize=9, pad=6 + 13 * -(-len(keys) // columns))
    return ax


def _runs(rates: Mapping[str, float] | Mapping[str, Mapping[str, float]]) -> dict[str, dict[str, float]]:
    nested = {run: dict(values) for run, values in rates.items() if isinstance(values, Mapping)}
    flat = {name: float(rate) for name, rate in rates.items() if not isinstance(rate, Mapping)}
    if nested and flat:
        raise ConfigError(f"firing rates are either by population or by run, got both: {[*nested, *flat][:4]}")
    runs = nested or {"": flat}
    for run, values in runs.items():
        for name, rate in values.items():
            if not 0 <= rate <= 1:
                raise ConfigError(
                    f"the firing rate of {name}{f' in {run}' if run else ''} must lie in 0..1, got {rate}"
                )
    return runs


def _paler(color: str, strength: float) -> tuple[float, float, float]:
    red, green, blue = (1 - strength * (1 - part) for part in to_rgb(color))
    return red, green, blue
