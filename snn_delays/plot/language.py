"""Language models: spikes under the text, firing rates, loss along the context."""

from collections.abc import Iterable, Mapping, Sequence
from functools import cache
from itertools import cycle

import numpy as np
from matplotlib.axes import Axes
from matplotlib.colors import to_rgb
from matplotlib.figure import Figure
from matplotlib.font_manager import FontProperties, findfont, get_font
from matplotlib.patches import Patch
from matplotlib.ticker import MaxNLocator
from numpy.typing import ArrayLike, NDArray

from snn_delays.errors import ConfigError, ShapeError
from snn_delays.plot.style import BLUE, GREEN, GREY, INK, ORANGE, RED, array, axes_or_new, panels

_VISIBLE = {" ": "·", "\n": "↵", "\r": "␍", "\t": "→"}
_WIDTH, _TALLEST, _WIDEST = 10.0, 60.0, 128  # inches, inches, tokens


def token_raster_figure(
    symbols: Sequence[str],
    layers: Mapping[str, ArrayLike],
    *,
    neurons: int = 64,
    bits: ArrayLike | None = None,
    tokens_per_row: int = 64,
    title: str = "",
) -> Figure:
    """Layers under the text: a band for each population, the first at the top, a dash for each spike.

    ``symbols``: the text of every token, written above its column (space as ·, newline as ↵); long texts go on in
    further rows. ``layers``: spikes ``[time, neuron]`` (0/1) by name. Of each, ``neurons`` spread evenly are drawn; the
    rate beside the name is that of all of them. ``bits``: of each token given those before it, as a strip on top.

    Raises ShapeError unless all have as many steps as there are symbols, ConfigError for a picture that no one could
    read or values that are no spikes.
    """
    steps = len(symbols)
    spikes = {name: _spikes(values, steps, name) for name, values in layers.items()}
    if not steps or not spikes:
        raise ShapeError(f"a token raster needs tokens and layers, got {steps} tokens and {len(spikes)} layers")
    if neurons < 1 or not 1 <= tokens_per_row <= _WIDEST:
        raise ConfigError(
            f"neurons must be >= 1 and tokens_per_row in 1..{_WIDEST} (more could not be read), got {neurons} and "
            f"{tokens_per_row}"
        )
    surprise = None if bits is None else array(bits, 1, "bits")
    if surprise is not None and surprise.size != steps:
        raise ShapeError(f"{surprise.size} values of bits for {steps} tokens")
    rows = -(-steps // tokens_per_row)
    columns = -(-steps // rows)
    strip, band = 0.5, float(np.clip(5.0 / len(spikes), 0.24, 0.7))
    heights = ([] if surprise is None else [strip]) + [band * len(spikes)]
    tall = 0.5 + rows * (sum(heights) + 0.7)
    if tall > _TALLEST:
        raise ConfigError(
            f"{steps} tokens in {rows} rows over {len(spikes)} layers would be a picture {tall:.0f} inches high; draw "
            f"fewer tokens or layers, or more than {tokens_per_row} tokens in a row (up to {_WIDEST})"
        )
    figure, axes = panels(rows * len(heights), 1, _WIDTH, tall, title=title, height_ratios=heights * rows)
    grid = axes[:, 0]
    for row in range(rows):
        pair = grid[row * len(heights) : (row + 1) * len(heights)]
        part = slice(row * columns, min((row + 1) * columns, steps))
        if surprise is not None:
            _strip(pair[0], surprise, part, columns)
        _bands(pair[-1], spikes, part, columns, neurons, band)
        _write(pair[-1], symbols[part.start : part.stop], part.start, columns)
    return figure


def bits_by_position(curves: Mapping[str, ArrayLike], *, unit: str = "byte", ax: Axes | None = None) -> Axes:
    """Loss along the window: bits per byte (or whatever ``unit``) by position, counted from 1; one colour a run.

    ``curves``: the mean loss at each position, by run. Pale: as given; bold: means over stretches that grow by a
    quarter, as the axis is logarithmic. The mean over the window stands beside the name. Raises ShapeError for no runs.
    """
    if not curves:
        raise ShapeError("there is no run to draw")
    ax = axes_or_new(ax, 6.0, 3.4)
    for (name, values), color in zip(curves.items(), (BLUE, ORANGE, GREEN, RED, INK) * len(curves)):
        bits = array(values, 1, f"bits of {name}")
        seen = np.arange(1, bits.size + 1)
        ax.plot(seen, bits, color=color, linewidth=0.5, alpha=0.2, zorder=1)
        stretch = np.floor(np.log(seen) / np.log(1.25) + 1e-9).astype(int)
        counts = np.bincount(stretch)
        here = counts > 0
        middle, mean = (np.bincount(stretch, weights)[here] / counts[here] for weights in (np.log(seen), bits))
        ax.plot(np.exp(middle), mean, color=color, linewidth=1.6, label=f"{name}: {bits.mean():.3f}")
    ax.set(xscale="log", xlabel="position in the window (tokens)", ylabel=f"bits per {unit}")
    ax.xaxis.set_major_formatter(lambda position, _: f"{position:g}")
    ax.grid(axis="y", color=GREY, linewidth=0.4, alpha=0.5)
    ax.legend(frameon=False, fontsize=7, title="mean over the window", title_fontsize=7)
    return ax


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
        blocks.setdefault(_block_and_kind(name)[0], []).append(name)
    bars = len(names) * len(runs)
    ax = axes_or_new(ax, float(np.clip(2.0 + 0.16 * bars + 0.2 * len(blocks), 4.5, 14.0)), 3.2)
    colors = _kind_colors(names)
    strengths = np.linspace(0.35, 1.0, len(runs)) if len(runs) > 1 else np.ones(1)
    x, middles = 0.0, []
    for members in blocks.values():
        middles.append(x + (len(members) * len(runs) - 1) / 2)
        for name in members:
            for run, strength in zip(runs.values(), strengths):
                if name in run:
                    drawn = ax.bar(x, run[name], 0.9, color=_paler(colors[_block_and_kind(name)[1]], strength))
                    if bars <= 36 or run[name] == 0:
                        color = INK if run[name] else RED
                        ax.bar_label(drawn, [f"{100 * run[name]:.2g}"], fontsize=6, padding=1, color=color)
                x += 1
        x += 1.2
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


def visible(symbol: str) -> str:
    """A token as it is written: white space shown, what has no picture as its code point (``0x07``)."""
    return "".join(_VISIBLE.get(char) or (char if _has_picture(char) else f"0x{ord(char):02x}") for char in symbol)


def _block_and_kind(name: str) -> tuple[str, str]:
    """``block3.time.spike`` is ``("block3", "time.spike")``; a name without a dot is a block, of the kind ``spike``."""
    block, _, kind = name.partition(".")
    return block, kind or "spike"


def _kind_colors(names: Iterable[str]) -> dict[str, str]:
    """A colour for every kind of population, in their order: the same kinds look the same in every picture."""
    return dict(zip(dict.fromkeys(_block_and_kind(name)[1] for name in names), cycle((BLUE, ORANGE, GREEN, RED, INK))))


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


@cache
def _has_picture(char: str) -> bool:
    font = get_font(findfont(FontProperties(family="DejaVu Sans Mono")))
    return char.isprintable() and font.get_char_index(ord(char)) != 0


def _spikes(values: ArrayLike, steps: int, name: str) -> NDArray[np.bool_]:
    spikes = array(values, 2, f"the spikes of {name}")
    if len(spikes) != steps:
        raise ShapeError(f"{name} has {len(spikes)} steps for {steps} tokens")
    if not np.isin(spikes, (0, 1)).all():
        raise ConfigError(f"{name} must hold spikes, 0 or 1, got values {spikes.min():g}..{spikes.max():g}")
    return spikes.astype(bool)


def _bands(
    ax: Axes, layers: Mapping[str, NDArray[np.bool_]], part: slice, columns: int, neurons: int, inches: float
) -> None:
    colors = _kind_colors(layers)
    for i, (name, spikes) in enumerate(layers.items()):
        shown = np.unique(np.linspace(0, spikes.shape[1] - 1, min(neurons, spikes.shape[1])).round().astype(int))
        time, neuron = np.nonzero(spikes[part][:, shown])
        y = i + 0.06 + 0.88 * (neuron + 0.5) / len(shown)
        ax.hlines(
            y, part.start + time - 0.38, part.start + time + 0.38, color=colors[_block_and_kind(name)[1]],
            linewidth=float(np.clip(0.95 * 72 * inches * 0.88 / len(shown), 0.3, 3.0)),
        )  # fmt: skip
    ax.hlines(np.arange(1, len(layers)), part.start - 0.5, part.start + columns - 0.5, color=GREY, linewidth=0.4)
    labels = [f"{name}  {100 * spikes.mean():.1f} %" for name, spikes in layers.items()]
    ax.set_yticks(np.arange(len(layers)) + 0.5, labels, fontsize=7, parse_math=False)
    ax.set(xlim=(part.start - 0.5, part.start + columns - 0.5), ylim=(len(layers), 0))
    ax.set_ylabel("layers, first at the top" if len(layers) > 3 else "layers", fontsize=7)
    ax.set_xlabel("token", fontsize=7)
    ax.tick_params(axis="y", length=0)


def _write(ax: Axes, symbols: Sequence[str], start: int, columns: int) -> None:
    """The tokens above their columns, upright where they do not fit, and the tokens' numbers below."""
    texts = [visible(symbol) for symbol in symbols]
    column = 72 * 0.8 * _WIDTH / columns  # points; names and margins take the rest of the width
    size = float(np.clip(column, 4.5, 9.0))
    above = ax.secondary_xaxis("top")
    above.set_xticks(start + np.arange(len(texts)), texts, family="monospace", fontsize=size, parse_math=False)
    for label in above.get_xticklabels():
        if len(label.get_text()) > 1 and len(label.get_text()) * 0.62 * size > column:
            label.set_rotation(90)
    above.tick_params(length=0, pad=2)
    for axes in (ax, above):
        axes.spines[:].set_visible(False)
    ax.xaxis.set_major_locator(MaxNLocator(8, integer=True))
    ax.tick_params(axis="x", labelsize=7, length=2)


def _strip(ax: Axes, bits: NDArray[np.float64], part: slice, columns: int) -> None:
    ax.bar(np.arange(part.start, part.stop), bits[part], 0.76, color=GREY)
    ax.set(xlim=(part.start - 0.5, part.start + columns - 0.5), ylim=(0, max(1.0, 1.05 * bits.max())))
    ax.spines[["top", "right", "bottom"]].set_visible(False)
    ax.set_xticks([])
    ax.yaxis.set_major_locator(MaxNLocator(2, integer=True))
    ax.tick_params(labelsize=7)
    ax.set_ylabel("bits", fontsize=7)
