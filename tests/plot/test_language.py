"""Pictures of language models: every spike under its token, every rate, share and curve as given."""

import warnings
from pathlib import Path

import matplotlib
import numpy as np
import pytest
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from snn_delays import plot
from snn_delays.errors import ConfigError, ShapeError
from snn_delays.plot.language import visible
from snn_delays.plot.shift_delays import delay_shares

matplotlib.use("agg")

TEXT = "To be, or not\nto be: $x$ that"  # mathematics is not set, it is shown


def spikes(steps: int = len(TEXT), neurons: int = 20, seed: int = 0, rate: float = 0.2) -> np.ndarray:
    return (np.random.default_rng(seed).random((steps, neurons)) < rate).astype(np.float32)


def marks(ax: Axes, layer: int) -> np.ndarray:
    """Middles (token, place in the band counted from 0) of a band's dashes."""
    dashes = np.array(ax.collections[layer].get_segments())
    assert (dashes[:, 0, 1] == dashes[:, 1, 1]).all()
    return np.stack([dashes[:, :, 0].mean(1), dashes[:, 0, 1] - layer], 1)


def words(ax: Axes) -> list[str]:
    (above,) = ax.child_axes
    return [label.get_text() for label in above.get_xticklabels()]


def axis_labels(ax: Axes) -> list[str]:
    return [label.get_text() for label in ax.get_yticklabels()]


def legend(ax: Axes | Figure) -> list[str]:
    found = ax.legends[0] if isinstance(ax, Figure) else ax.get_legend()
    return [text.get_text() for text in found.get_texts()]


def drawn(figure: Figure, path: Path) -> bytes:
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        return plot.save_figure(figure, path / "a.png", dpi=50).read_bytes()


# Token rasters


def test_every_spike_stands_under_its_token() -> None:
    first, second = spikes(), spikes(neurons=7, seed=1)
    (ax,) = plot.token_raster_figure(TEXT, {"embedding": first, "block0.time.spike": second}, title="run").axes
    for layer, raster in enumerate((first, second)):
        time, neuron = np.nonzero(raster)
        assert len(time) > 20
        places = np.stack([time, 0.06 + 0.88 * (neuron + 0.5) / raster.shape[1]], 1)
        np.testing.assert_allclose(marks(ax, layer), places, atol=1e-6)
    assert ax.get_ylim() == (2, 0)  # the first layer at the top, as the label says
    assert ax.get_ylabel().startswith("layers")
    assert words(ax) == [{" ": "·", "\n": "↵"}.get(char, char) for char in TEXT]
    assert axis_labels(ax) == [
        f"embedding  {100 * first.mean():.1f} %",
        f"block0.time.spike  {100 * second.mean():.1f} %",
    ]


def test_neurons_are_chosen_evenly_and_the_rate_is_that_of_all() -> None:
    raster = np.zeros((4, 101))
    raster[:, :51] = 1
    raster[2, 100] = 1
    (ax,) = plot.token_raster_figure("abcd", {"a": raster}, neurons=5).axes  # 0, 25, 50, 75, 100
    assert sorted(map(tuple, np.round(marks(ax, 0), 3))) == sorted(
        (float(t), round(0.06 + 0.88 * (i + 0.5) / 5, 3)) for t in range(4) for i in (0, 1, 2, 4) if i < 4 or t == 2
    )
    assert axis_labels(ax) == [f"a  {100 * raster.mean():.1f} %"]


def test_long_texts_go_on_in_further_rows_and_lose_nothing() -> None:
    text, raster, bits = TEXT * 5, spikes(5 * len(TEXT)), np.arange(5.0 * len(TEXT))
    figure = plot.token_raster_figure(text, {"a": raster}, bits=bits)
    strips, bands = figure.axes[::2], figure.axes[1::2]
    assert len(bands) == len(strips) == 3
    assert "".join("".join(words(ax)) for ax in bands) == "".join(map(visible, text))
    together = np.concatenate([marks(ax, 0) for ax in bands])
    np.testing.assert_allclose(together[:, 0], np.nonzero(raster)[0], atol=1e-9)
    heights = [bar.get_height() for ax in strips for bar in ax.patches]
    assert heights == bits.tolist()
    assert len({ax.get_ylim() for ax in strips}) == 1
    for ax, strip in zip(bands, strips):
        assert ax.get_xlim() == strip.get_xlim()
        assert ax.get_xlim()[1] - ax.get_xlim()[0] == 49  # rows of nearly one length: 145 = 49 + 49 + 47


def test_a_silent_layer_is_an_empty_band() -> None:
    (ax,) = plot.token_raster_figure("abc", {"a": np.zeros((3, 4)), "b": np.ones((3, 4))}).axes
    assert len(ax.collections[0].get_segments()) == 0
    assert len(ax.collections[1].get_segments()) == 12
    assert axis_labels(ax) == ["a  0.0 %", "b  100.0 %"]


def test_whole_words_are_upright_only_where_they_do_not_fit(tmp_path: Path) -> None:
    tokens = ["The ", "a ", "ne", "uro", "morphic"] * 8
    figure = plot.token_raster_figure(tokens, {"a": spikes(40)})
    (above,) = figure.axes[0].child_axes
    turned = {label.get_text() for label in above.get_xticklabels() if label.get_rotation() == 90}
    assert turned == {"The·", "uro", "morphic"}
    few = plot.token_raster_figure(tokens[:5], {"a": spikes(5)})
    assert not any(label.get_rotation() for label in few.axes[0].child_axes[0].get_xticklabels())
    assert drawn(figure, tmp_path) != drawn(few, tmp_path)


def test_what_has_no_picture_is_written_as_its_number(tmp_path: Path) -> None:
    assert [visible(symbol) for symbol in ("a ", "\t", "\x07", "\u4e2d", "é", "")] == [
        "a·",
        "→",
        "0x07",
        "0x4e2d",
        "é",
        "",
    ]
    symbols = ["\x00", "$", "\u4e2d", "$", "\\frac", "_^"]
    drawn(plot.token_raster_figure(symbols, {"$a$": spikes(6)}, title="$\\no$"), tmp_path)


def test_equal_figures_have_equal_bytes(tmp_path: Path) -> None:
    first, second = (drawn(plot.token_raster_figure(TEXT, {"a": spikes()}), tmp_path) for _ in range(2))
    assert first == second


@pytest.mark.parametrize(
    ("draw", "error", "message"),
    [
        (lambda: plot.token_raster_figure("abc", {"a": spikes(4)}), ShapeError, "a has 4 steps for 3 tokens"),
        (
            lambda: plot.token_raster_figure("abc", {"a": np.zeros((3, 2, 2))}),
            ShapeError,
            "spikes of a must have 2 axes",
        ),
        (lambda: plot.token_raster_figure("abc", {"a": np.full((3, 2), 0.5)}), ConfigError, r"0 or 1, got values 0.5"),
        (lambda: plot.token_raster_figure("abc", {}), ShapeError, "3 tokens and 0 layers"),
        (lambda: plot.token_raster_figure("", {}), ShapeError, "0 tokens"),
        (lambda: plot.token_raster_figure("abc", {"a": spikes(3)}, bits=[1.0]), ShapeError, "1 values of bits for 3"),
        (lambda: plot.token_raster_figure("abc", {"a": spikes(3)}, neurons=0), ConfigError, "got 0 and 64"),
        (lambda: plot.token_raster_figure("abc", {"a": spikes(3)}, tokens_per_row=300), ConfigError, r"1\.\.128"),
        (
            lambda: plot.token_raster_figure("a" * 9000, {"a": spikes(9000, 1)}),
            ConfigError,
            "9000 tokens in 141 rows .* draw fewer tokens or layers, or more than 64",
        ),
    ],
)
def test_what_cannot_be_a_token_raster_is_refused(draw, error, message) -> None:
    with pytest.raises(error, match=message):
        draw()


# Firing rates

RATES = {"embedding.spike": 0.5, "block0.time.spike": 0.1, "block0.channel.spike": 0.0, "block1.time.spike": 0.3}


def test_a_bar_for_each_population_grouped_by_block_coloured_by_kind() -> None:
    ax = plot.firing_rates(RATES, title="run")
    assert [bar.get_height() for bar in ax.patches] == list(RATES.values())
    assert [label.get_text() for label in ax.get_xticklabels()] == ["embedding", "block0", "block1"]
    assert legend(ax) == ["spike", "time.spike", "channel.spike"]
    colors = [bar.get_facecolor() for bar in ax.patches]
    assert colors[1] == colors[3]
    assert len(set(colors)) == 3
    middles = [bar.get_x() + bar.get_width() / 2 for bar in ax.patches]
    np.testing.assert_allclose(ax.get_xticks(), [middles[0], (middles[1] + middles[2]) / 2, middles[3]])
    assert [text.get_text() for text in ax.texts] == ["50", "10", "0", "30"]


def test_runs_stand_side_by_side_and_a_missing_population_leaves_a_gap(tmp_path: Path) -> None:
    after = {name: rate / 2 for name, rate in RATES.items() if name != "block0.channel.spike"}
    ax = plot.firing_rates({"before": RATES, "after": after})
    assert [bar.get_height() for bar in ax.patches] == [0.5, 0.25, 0.1, 0.05, 0.0, 0.3, 0.15]
    assert legend(ax)[3:] == ["before", "after"]
    lefts = [bar.get_x() for bar in ax.patches]
    assert lefts == sorted(lefts)
    np.testing.assert_allclose(np.diff(lefts[:5]), [1, 2.2, 1, 1])
    drawn(ax.figure, tmp_path)


def test_a_silent_population_is_named_however_many_there_are() -> None:
    ax = plot.firing_rates({f"block{i}.spike": 0.0 if i == 17 else 0.1 for i in range(40)})
    (silent,) = ax.texts
    assert silent.get_text() == "0"
    assert ax.get_legend() is None  # one kind, one run: nothing to distinguish


@pytest.mark.parametrize(
    ("rates", "error", "message"),
    [
        ({}, ShapeError, "no firing rates"),
        ({"a": {}}, ShapeError, "no firing rates"),
        ({"a": 12.0}, ConfigError, r"of a must lie in 0\.\.1, got 12"),
        ({"run": {"a": float("nan")}}, ConfigError, r"of a in run must lie in 0\.\.1, got nan"),
        ({"run": {"a": 0.1}, "b": 0.2}, ConfigError, "by population or by run"),
    ],
)
def test_what_are_no_rates_is_refused(rates, error, message) -> None:
    with pytest.raises(error, match=message):
        plot.firing_rates(rates)


# Delays of a shift


def shift(points: int = 3, mixes: int = 3, neurons: int = 16, seed: int = 0, longest: int = 7) -> tuple:
    draw = np.random.default_rng(seed)
    return draw.uniform(0, longest, (points, mixes, neurons)), draw.normal(size=(points, mixes, neurons))


def test_shares_are_those_of_the_absolute_weights_at_integer_delays() -> None:
    delays = np.array([[[0.4, 3.0]], [[1.6, 0.0]]])
    weights = np.array([[[1.0, -2.0]], [[-1.0, 0.0]]])
    weighted, counted, mean = delay_shares((delays, weights), 3, "a")
    np.testing.assert_allclose(weighted, [[0.25, 0, 0.25, 0.5]])
    np.testing.assert_allclose(counted, [[0.5, 0, 0.25, 0.25]])
    np.testing.assert_allclose(mean, [(0.4 + 1.6 + 6) / 4])
    weighted, counted, mean = delay_shares((delays, 0 * weights), 3, "a")
    assert weighted.sum() == mean.sum() == 0
    assert counted.sum() == 1


def test_a_panel_for_each_shift_a_colour_for_each_mix(tmp_path: Path) -> None:
    delays = {"block0.time": shift(), "block0.channel": shift(mixes=2, seed=1)}
    figure = plot.shift_delays_figure(delays, max_delay_steps=7)
    assert [ax.get_title("left") for ax in figure.axes] == list(delays)
    assert legend(figure) == ["key", "value", "receptance", "share of the points"]
    for ax, (name, given) in zip(figure.axes, delays.items()):
        weighted, counted, _ = delay_shares(given, 7, name)
        np.testing.assert_allclose([bar.get_height() for bar in ax.patches], weighted.ravel())
        lines = [line[0, 1] for lines in ax.collections for line in lines.get_segments()]
        np.testing.assert_allclose(lines, counted.ravel())
        middles = np.array([bar.get_x() + bar.get_width() / 2 for bar in ax.patches]).reshape(len(weighted), 8)
        np.testing.assert_allclose(middles.mean(0), np.arange(8), atol=1e-9)
    time, channel = ([ax.patches[8 * mix].get_facecolor() for mix in range(len(ax.patches) // 8)] for ax in figure.axes)
    assert time[0] == channel[0]  # key
    assert time[2] == channel[1]  # receptance
    assert time[1] not in channel  # value
    drawn(figure, tmp_path)


def test_where_the_weight_was_before_training_stands_behind_in_grey() -> None:
    after, before = shift(), shift(seed=5)
    (ax,) = plot.shift_delays_figure({"a": after}, max_delay_steps=7, before={"a": before}).axes
    grey, colored = ([bar for bar in ax.patches if (bar.get_alpha() is not None) == which] for which in (True, False))
    np.testing.assert_allclose([bar.get_height() for bar in grey], delay_shares(before, 7, "a")[0].ravel())
    np.testing.assert_allclose([bar.get_height() for bar in colored], delay_shares(after, 7, "a")[0].ravel())


def test_mixes_are_named_for_all_or_by_shift() -> None:
    delays = {"a": shift(mixes=1), "b": shift(mixes=2)}
    names = legend(
        plot.shift_delays_figure(delays, max_delay_steps=7, mixes={"a": ["spikes"], "b": ["spikes", "current"]})
    )
    assert names[:2] == ["spikes", "current"]
    with pytest.raises(ShapeError, match="a has 1 mixes but there are names for 2: x, y"):
        plot.shift_delays_figure(delays, max_delay_steps=7, mixes=("x", "y"))
    with pytest.raises(ShapeError, match="b has 2 mixes but there are names for 0: none"):
        plot.shift_delays_figure(delays, max_delay_steps=7, mixes={"a": ["x"]})


@pytest.mark.parametrize(
    ("draw", "error", "message"),
    [
        (lambda: plot.shift_delays_figure({}, max_delay_steps=7), ShapeError, "no shift"),
        (
            lambda: plot.shift_delays_figure({"a": shift()}, max_delay_steps=3),
            ConfigError,
            r"a must lie in 0\.\.3 steps, got 0",
        ),
        (
            lambda: plot.shift_delays_figure({"a": (shift()[0], shift(points=2)[1])}, max_delay_steps=7),
            ShapeError,
            r"shape \(3, 3, 16\) but weights of shape \(2, 3, 16\)",
        ),
        (
            lambda: plot.shift_delays_figure({"a": shift()}, max_delay_steps=7, before={}),
            ShapeError,
            "delays of a but initial",
        ),
        (
            lambda: plot.shift_delays_figure({"a": shift()}, max_delay_steps=7, before={"a": shift(mixes=2)}),
            ShapeError,
            "a has 3 mixes but had 2 before",
        ),
        (
            lambda: plot.shift_delays_figure({"a": ([1.0], [1.0])}, max_delay_steps=7),
            ShapeError,
            "delays of a must have 3 axes",
        ),
    ],
)
def test_what_cannot_be_a_delay_histogram_is_refused(draw, error, message) -> None:
    with pytest.raises(error, match=message):
        draw()


# Loss along the window


def test_loss_by_position_as_given_and_in_growing_stretches(tmp_path: Path) -> None:
    curve = np.random.default_rng(0).uniform(1, 3, 300)
    ax = plot.bits_by_position({"a": curve, "b": curve[:50] + 1})
    raw, smooth = ax.lines[:2]
    np.testing.assert_array_equal(raw.get_ydata(), curve)
    np.testing.assert_array_equal(raw.get_xdata(), np.arange(1, 301))
    x, y = smooth.get_xdata(), smooth.get_ydata()
    assert (x[0], y[0]) == (1, curve[0])  # the first position alone
    last = np.floor(np.log(300) / np.log(1.25))
    assert y[-1] == pytest.approx(curve[int(np.ceil(1.25**last)) - 1 :].mean())
    assert legend(ax) == [f"a: {curve.mean():.3f}", f"b: {curve[:50].mean() + 1:.3f}"]
    assert ax.get_xscale() == "log"
    assert plot.bits_by_position({"a": curve}, unit="character", ax=ax).get_ylabel() == "bits per character"
    drawn(ax.figure, tmp_path)
    flat = plot.bits_by_position({"a": np.full(1000, 2.0)}).lines[1]
    np.testing.assert_allclose(flat.get_ydata(), 2.0)


def test_no_loss_is_refused() -> None:
    with pytest.raises(ShapeError, match="no run"):
        plot.bits_by_position({})
    with pytest.raises(ShapeError, match="bits of a holds 1 values that are not finite"):
        plot.bits_by_position({"a": [1.0, float("nan")]})
