"""Spikes before and after: kept, lost and new are distinguished."""

import numpy as np
import pytest

from snn_delays import plot
from snn_delays.errors import ShapeError


def test_spikes_are_sorted_by_what_became_of_them() -> None:
    before, after = np.zeros((10, 4)), np.zeros((10, 4))
    before[[1, 2, 3], 0] = after[[1, 2], 0] = 1  # two stayed, one lost
    after[5:9, 2] = 1  # four new
    ax = plot.changed_spikes(before, after, dt_ms=10.0, title="hidden1")
    labels = [text.get_text() for text in ax.get_legend().get_texts()]
    assert labels == ["kept 2", "lost 1", "new 4"]
    kept, lost, new = (np.asarray(dots.get_offsets()) for dots in ax.collections)
    assert kept.tolist() == [[15.0, 0.0], [25.0, 0.0]]
    assert lost.tolist() == [[35.0, 0.0]]
    assert new[:, 0].tolist() == [55.0, 65.0, 75.0, 85.0]
    assert ax.get_xlim() == (0, 100)


def test_a_panel_for_each_layer_and_clear_errors() -> None:
    raster = np.eye(6)
    figure = plot.changed_spikes_figure({"a": raster, "b": raster}, {"a": raster, "b": raster}, dt_ms=1.0, title="run")
    assert [ax.get_title("left") for ax in figure.axes] == ["a", "b"]
    with pytest.raises(ShapeError, match=r"shapes \(6, 6\) and \(5, 6\)"):
        plot.changed_spikes(raster, raster[:5], dt_ms=1.0)
    with pytest.raises(ShapeError, match="must be the same, at least one"):
        plot.changed_spikes_figure({"a": raster}, {"b": raster}, dt_ms=1.0)
    with pytest.raises(ShapeError, match="at least one"):
        plot.changed_spikes_figure({}, {}, dt_ms=1.0)
