"""Seeds of variants, side by side."""

import numpy as np
import pytest

from snn_delays.errors import ConfigError, ShapeError
from snn_delays.plot import save_figure, variants_figure
from snn_delays.runs.results import COLUMNS, bits_by_variant

PANELS = {"a": {"after": {"token": [2.0, 2.1, 2.2], "learned": [1.9]}, "none": {"token": [1.5]}}, "b": {}}


def test_a_dot_for_every_seed_and_a_line_at_the_mean(tmp_path):
    figure = variants_figure(PANELS, ylabel="bits")
    first = figure.axes[0]
    dots = [line for line in first.lines if line.get_marker() == "o" and len(line.get_ydata())]
    assert sorted(float(y) for line in dots for y in line.get_ydata()) == [1.5, 1.9, 2.0, 2.1, 2.2]
    means = sorted(float(part.get_segments()[0][0][1]) for part in first.collections)
    assert means == pytest.approx([1.5, 1.9, 2.1])
    for line in dots:  # within their group's place
        assert np.ptp(np.asarray(line.get_xdata())) < 0.5
        assert abs(float(np.mean(line.get_xdata())) - round(float(np.mean(line.get_xdata())))) < 0.5
    assert [text.get_text() for text in figure.legends[0].get_texts()] == ["token", "learned"]
    assert save_figure(figure, tmp_path / "variants.png").stat().st_size > 5000


def test_nothing_to_draw_is_refused():
    with pytest.raises(ShapeError, match="no results"):
        variants_figure({"a": {}}, ylabel="bits")


def test_results_are_grouped_by_data_network_and_delays():
    def row(**values):
        return {**dict.fromkeys(COLUMNS, ""), "parameters": "10", **values}

    rows = [
        row(data="x", hidden="3x96 after", delays="token", seed="0", test_bits_per_byte="2.5"),
        row(data="x", hidden="3x96 after", delays="token", seed="1", test_bits_per_byte="2.6"),
        row(data="x", hidden="3x96 after", delays="learned", seed="0", test_bits_per_byte="2.4"),
        row(data="y", hidden="256", delays="learned", seed="0", test_accuracy="0.9"),
    ]
    assert bits_by_variant(rows) == {"x": {"3x96 after": {"token": [2.5, 2.6], "learned": [2.4]}}}
    with pytest.raises(ConfigError, match="none of these rows"):
        bits_by_variant(rows[3:])
