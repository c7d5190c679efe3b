"""Delays of a token shift that learned them."""

from collections.abc import Mapping, Sequence
from itertools import cycle

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.patches import Patch
from matplotlib.ticker import MaxNLocator
from numpy.typing import ArrayLike, NDArray

from snn_delays.errors import ConfigError, ShapeError
from snn_delays.plot.style import BLUE, GREEN, GREY, INK, ORANGE, RED, array, panels

_COLORS = (BLUE, ORANGE, GREEN, RED)
_RWKV = {3: ("key", "value", "receptance"), 2: ("key", "receptance")}  # time mixing, channel mixing
Shift = tuple[ArrayLike, ArrayLike]


def shift_delays_figure(
    delays: Mapping[str, Shift],
    *,
    max_delay_steps: int,
    before: Mapping[str, Shift] | None = None,
    mixes: Sequence[str] | Mapping[str, Sequence[str]] | None = None,
) -> Figure:
    """Where the weight of every shift lies: share of each mix's |weight| by delay, rounded to integer tokens.

    ``delays``: by shift, its delays (steps) and weights, both ``[points, mixes, neurons]``; ``before``: the same at
    initialisation, drawn grey behind. Lines: share of the points, whatever their weight. ``mixes``: their names, for
    all or by shift; by default those of RWKV (key, value and receptance; key and receptance where there are two).
    The mean delay of each mix stands on the right. The shares' axis grows as their square root, to show a hundredth.

    Raises ShapeError for other shapes or shifts, ConfigError for delays outside ``0..max_delay_steps``.
    """
    if not delays:
        raise ShapeError("there is no shift with delays to draw")
    if before is not None and before.keys() != delays.keys():
        raise ShapeError(f"delays of {', '.join(delays)} but initial delays of {', '.join(before)}")
    named = {name: _mix_names(shift, mixes, name) for name, shift in delays.items()}
    colors = dict(zip(dict.fromkeys(mix for names in named.values() for mix in names), cycle(_COLORS)))
    columns = min(len(delays), 3 if max_delay_steps <= 10 else 2 if max_delay_steps <= 40 else 1)
    rows = -(-len(delays) // columns)
    width = {1: 6.0 if max_delay_steps <= 40 else 9.0, 2: 9.2, 3: 10.0}[columns]
    figure, axes = panels(rows, columns, width, 0.5 + 2.1 * rows, sharex=True, sharey=True)
    grid = axes.ravel()
    for ax, (name, shift) in zip(grid, delays.items()):
        initial = None if before is None else before[name]
        _panel(ax, shift, initial, max_delay_steps, [colors[mix] for mix in named[name]], name)
        ax.set_title(name, loc="left", fontsize=9)
        ax.label_outer()
    highest = max(bar.get_height() for ax in grid[: len(delays)] for bar in ax.patches)
    grid[0].set_ylim(0, min(1.3 * highest, 1.0) or 1.0)  # the axes share it
    for ax in grid[len(delays) :]:
        ax.remove()
    for ax in grid[len(delays) - columns : len(delays)]:
        ax.set_xlabel("delay (tokens)")
        ax.tick_params(labelbottom=True)
    keys: list[Patch | Line2D] = [Patch(color=color, label=mix) for mix, color in colors.items()]
    keys.append(Line2D([], [], color=INK, linewidth=0.8, label="share of the points"))
    if before is not None:
        keys.append(Patch(color=GREY, label="before training"))
    figure.legend(handles=keys, frameon=False, fontsize=7, loc="outside upper center", ncols=len(keys))
    figure.supylabel("share of the mix's |weight|", fontsize=9)
    return figure


def delay_shares(
    shift: Shift, max_delay_steps: int, what: str
) -> tuple[NDArray[np.float64], NDArray[np.float64], NDArray[np.float64]]:
    """Shares ``[mix, delay]`` by |weight| and by count, and the mean delay by |weight| of each mix.

    A mix whose weights are all 0 has shares of 0.
    """
    steps, weight = array(shift[0], 3, f"delays of {what}"), np.abs(array(shift[1], 3, f"weights of {what}"))
    if steps.shape != weight.shape:
        raise ShapeError(f"{what} has delays of shape {steps.shape} but weights of shape {weight.shape}")
    if steps.min() < 0 or steps.max() > max_delay_steps:
        raise ConfigError(
            f"delays of {what} must lie in 0..{max_delay_steps} steps, got {steps.min():g}..{steps.max():g}"
        )
    shape = steps.shape[1], max_delay_steps + 1
    bins = (np.rint(steps).astype(int) + shape[1] * np.arange(shape[0])[:, None]).ravel()  # of each mix its own
    weighted = np.bincount(bins, weight.ravel(), shape[0] * shape[1]).reshape(shape)
    counted = np.bincount(bins, minlength=shape[0] * shape[1]).reshape(shape)
    total = weighted.sum(1, keepdims=True)
    weighted = np.divide(weighted, total, out=np.zeros_like(weighted), where=total > 0)
    mean = np.divide((weight * steps).sum((0, 2)), total[:, 0], out=np.zeros(len(total)), where=total[:, 0] > 0)
    return weighted, counted / counted.sum(1, keepdims=True), mean


def _panel(ax: Axes, shift: Shift, before: Shift | None, longest: int, colors: Sequence[str], name: str) -> None:
    weighted, counted, mean = delay_shares(shift, longest, name)
    initial = None if before is None else delay_shares(before, longest, f"{name} before")[0]
    if initial is not None and initial.shape != weighted.shape:
        raise ShapeError(f"{name} has {len(weighted)} mixes but had {len(initial)} before")
    steps, width = np.arange(longest + 1), 0.84 / len(weighted)
    for mix, color in enumerate(colors):
        x = steps - 0.42 + (mix + 0.5) * width
        if initial is not None:
            ax.bar(x, initial[mix], width, color=GREY, alpha=0.6)
        ax.bar(x, weighted[mix], 0.6 * width, color=color)
        ax.hlines(counted[mix], x - width / 2, x + width / 2, color=INK, linewidth=0.7)
    ax.set_title("mean delay " + ", ".join(f"{value:.1f}" for value in mean), loc="right", fontsize=7)
    ax.set_yscale("function", functions=(lambda y: np.sqrt(np.maximum(y, 0)), np.square))
    ticks = (0, 0.01, 0.05, 0.1, 0.25, 0.5, 1)
    ax.set_yticks(ticks, [f"{100 * tick:g} %" for tick in ticks])
    ax.set_xlim(-0.6, longest + 0.6)
    ax.xaxis.set_major_locator(MaxNLocator(9, integer=True))


def _mix_names(shift: Shift, mixes: Sequence[str] | Mapping[str, Sequence[str]] | None, name: str) -> Sequence[str]:
    have = array(shift[0], 3, f"delays of {name}").shape[1]
    names = mixes.get(name, ()) if isinstance(mixes, Mapping) else mixes
    if names is None:
        names = _RWKV.get(have) or tuple(f"mix {i}" for i in range(have))
    if len(names) != have:
        raise ShapeError(f"{name} has {have} mixes but there are names for {len(names)}: {', '.join(names) or 'none'}")
    return names
