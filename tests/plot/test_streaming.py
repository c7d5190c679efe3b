"""The pictures of step times show every step and write the real-time factor."""

import numpy as np
import pytest

from snn_delays.errors import ConfigError, ShapeError
from snn_delays.plot import save_figure
from snn_delays.plot.streaming import step_time_by_activity, step_times, streaming_figure

US = np.random.default_rng(0).gamma(4.0, 2.0, 400)
ACTIVE = np.random.default_rng(1).integers(0, 60, 400)


def test_step_times_are_a_distribution_with_the_step_marked():
    ax = step_times({"engine": US, "layers": US * 500}, dt_ms=1.0)
    curve, middle, *_, line = ax.lines
    np.testing.assert_array_equal(curve.get_xdata(), np.sort(US))
    np.testing.assert_allclose(curve.get_ydata(), np.arange(1, 401) / 400)
    assert middle.get_xdata()[0] == np.median(US)
    assert list(line.get_xdata()) == [1000.0, 1000.0]
    first, second = (text.get_text() for text in ax.get_legend().get_texts())
    assert f"engine: median {np.median(US):.3g} µs,\nreal-time factor {1e3 / np.median(US):.3g}" == first
    assert f"layers: median {np.median(US) / 2:.3g} ms" in second
    assert [text.get_text() for text in ax.texts] == ["step of 1 ms"]


def test_the_real_time_factor_follows_the_step():
    def factor(dt_ms):
        return float(step_times({"a": [2.0]}, dt_ms=dt_ms).get_legend().get_texts()[0].get_text().split()[-1])

    assert (factor(1.0), factor(0.1)) == (500.0, 50.0)


def test_times_by_activity_have_a_dot_a_step():
    dots, median = step_time_by_activity(ACTIVE, ACTIVE * 0.1 + 3).lines
    np.testing.assert_array_equal(dots.get_xdata(), ACTIVE)
    np.testing.assert_allclose(dots.get_ydata(), ACTIVE * 0.1 + 3)
    np.testing.assert_allclose(median.get_ydata(), np.array(median.get_xdata()) * 0.1 + 3)
    assert len(median.get_xdata()) == 12


def test_the_figure_says_how_many_steps_lie_above():
    us = US.copy()
    us[:2] = 1e4
    for values, above in ((us, True), (np.full(400, 3.0), False)):
        right = streaming_figure({"engine": values}, ACTIVE, dt_ms=1.0, title="a run").axes[1]
        assert ("(2 of 400 steps above)" in right.get_title()) == above


@pytest.mark.parametrize(
    ("draw", "error", "message"),
    [
        (lambda: step_times({}, dt_ms=1.0), ShapeError, "no step times"),
        (lambda: step_times({"a": []}, dt_ms=1.0), ShapeError, "empty"),
        (lambda: step_times({"a": [1.0, 0.0]}, dt_ms=1.0), ShapeError, "must be positive, got 0"),
        (lambda: step_times({"a": [np.nan]}, dt_ms=1.0), ShapeError, "not finite"),
        (lambda: step_times({"a": [1.0]}, dt_ms=-1.0), ConfigError, "dt_ms must be a positive number"),
        (lambda: step_time_by_activity([1, 2], [1.0]), ShapeError, "2 counts of activity but 1 step times"),
    ],
)
def test_what_cannot_be_drawn_is_refused(draw, error, message):
    with pytest.raises(error, match=message):
        draw()


def test_the_same_figure_gives_the_same_bytes(tmp_path):
    first, second = (
        save_figure(streaming_figure({"a": US, "b": US * 9}, ACTIVE, dt_ms=1.0), tmp_path / name).read_bytes()
        for name in ("a.png", "b.png")
    )
    assert first == second
