"""Pictures of many runs: what is drawn where."""

import numpy as np
import pytest

from snn_delays.errors import ShapeError
from snn_delays.plot import bands_figure, perturbation_figure, search_figure


def test_bands_are_a_deviation_about_the_mean() -> None:
    values = np.array([[0.2, 0.5, 0.9], [0.4, 0.7, 0.7]])
    figure = bands_figure({"valid_accuracy": {"learned": values, "none": values[:1]}, "valid_loss": {"none": values}})
    first, second = figure.axes
    assert [ax.get_ylabel() for ax in (first, second)] == ["valid accuracy", "valid loss"]
    np.testing.assert_allclose(first.lines[0].get_xydata(), [[1, 0.3], [2, 0.6], [3, 0.8]])
    (band,) = first.collections  # one seed has none
    corners = band.get_paths()[0].vertices
    np.testing.assert_allclose(
        [corners[:, 1].min(), corners[:, 1].max()], [0.3 - np.sqrt(0.02), 0.8 + np.sqrt(0.02)], rtol=1e-12
    )
    (legend,) = figure.legends
    assert [text.get_text() for text in legend.get_texts()] == ["learned", "none"]
    assert second.lines[0].get_color() == first.lines[1].get_color() != first.lines[0].get_color()


def test_a_search_and_the_best_so_far() -> None:
    trials = [({"lr": 0.01, "kind": "a"}, 0.3), ({"lr": 1.0, "kind": "b"}, 0.2), ({"lr": 0.1, "kind": "a"}, 0.5)]
    for maximize, best in ((True, [0.3, 0.3, 0.5]), (False, [0.3, 0.2, 0.2])):
        order, lr, kind = search_figure(trials, measure="valid_accuracy", maximize=maximize).axes
        assert order.lines[1].get_ydata().tolist() == best  # type: ignore[union-attr]
        assert (lr.get_xscale(), kind.get_xscale()) == ("log", "linear")
        assert [tick.get_text() for tick in kind.get_xticklabels()] == ["a", "b"]


def test_perturbations_beside_the_network_as_it_is() -> None:
    found = {"jitter (ms)": {0.0: [0.9], 5.0: [0.5, 0.7]}, "delays permuted": {0.0: [0.9], 1.0: [0.2]}}
    jitter, permuted = perturbation_figure(found, baseline=0.9, title="a run").axes
    means = next(line for line in jitter.lines if line.get_linestyle() == "-")
    np.testing.assert_allclose(means.get_xydata(), [[0, 0.9], [5, 0.6]])
    assert [line.get_ydata() for line in jitter.lines if line.get_linestyle() == "--"] == [[0.9, 0.9]]
    assert [tick.get_text() for tick in permuted.get_xticklabels()] == ["no", "yes"]


def test_nothing_to_draw() -> None:
    with pytest.raises(ShapeError, match="no curves"):
        bands_figure({"valid_loss": {}})
    with pytest.raises(ShapeError, match="values of trials is empty"):
        search_figure([], measure="valid_loss", maximize=False)
    with pytest.raises(ShapeError, match="nothing that was perturbed"):
        perturbation_figure({}, baseline=0.5)
