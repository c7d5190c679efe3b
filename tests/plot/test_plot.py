"""Pictures show the numbers they are given, refuse what cannot be drawn, and come out the same twice."""

import subprocess
import sys

import numpy as np
import pytest

from snn_delays import plot
from snn_delays.errors import ConfigError, ShapeError

NAMES = ("zero", "one", "two")


def _dots(ax):
    return ax.collections[0].get_offsets()


def test_a_raster_has_a_dot_for_every_active_step():
    counts = np.random.default_rng(0).poisson(0.3, (40, 12))
    ax = plot.raster(counts, dt_ms=2.0)
    time, neuron = np.nonzero(counts)
    assert len(time) > 50
    np.testing.assert_allclose(np.asarray(_dots(ax)), np.stack([(time + 0.5) * 2.0, neuron], 1))


def test_a_silent_raster_says_so():
    ax = plot.raster(np.zeros((5, 3)), dt_ms=1.0)
    assert [text.get_text() for text in ax.texts] == ["no spikes"]
    assert not ax.collections


def test_raster_counts_its_rate_before_the_end_only():
    counts = np.zeros((10, 4))
    counts[:5] = 1
    ax = plot.raster(counts, dt_ms=1.0, length=5)
    assert ax.get_title("right").startswith("1.000 spikes")
    assert ax.patches[0].get_x() == 5.0


def test_rasters_share_their_time_axis():
    figure = plot.raster_figure({"input": np.eye(6), "hidden1": np.ones((6, 3))}, dt_ms=10.0)
    assert [ax.get_title("left") for ax in figure.axes] == ["input", "hidden1"]
    assert {ax.get_xlim() for ax in figure.axes} == {(0.0, 60.0)}


def test_a_delay_histogram_counts_every_delay():
    delays = np.random.default_rng(0).uniform(0, 24, 500)
    ax = plot.delay_histogram(delays, max_delay_steps=24, dt_ms=10.0, initial=np.zeros(500))
    heights = [bar.get_height() for bar in ax.patches[:25]]
    assert sum(heights) == 500
    np.testing.assert_array_equal(heights, np.bincount(np.round(delays).astype(int), minlength=25))


def test_movement_reports_what_moved():
    before, after = np.array([1.0, 2.0, 3.0, 4.0]), np.array([1.0, 2.0, 3.0, 8.0])
    title = plot.delay_movement(before, after, dt_ms=10.0, max_delay_steps=8).get_title("left")
    assert "moved 1.00 steps (10 ms)" in title
    assert "25% by more than a step; 25% at the ends" in title


def test_delays_figure_has_two_panels_a_layer():
    layer = (np.array([1.0, 5.0]), np.array([2.0, 4.0]), 0, 8)
    figure = plot.delays_figure({"hidden1": layer, "readout": layer}, dt_ms=10.0)
    labels = [ax.get_xlabel() for ax in figure.axes]
    assert labels.count("delay (steps)") == labels.count("initial delay (steps)") == 2


def test_membranes_name_the_true_and_the_predicted_class():
    v = np.random.default_rng(0).normal(size=(7, 3))
    ax = plot.membrane_traces(v, dt_ms=1.0, label=0, prediction=2, class_names=NAMES)
    assert [text.get_text() for text in ax.get_legend().get_texts()] == ["predicted: two", "true: zero"]
    np.testing.assert_array_equal(ax.lines[-1].get_ydata(), v[:, 0])


def test_curves_are_the_history():
    history = {
        "epoch": [1, 2, 3], "train_loss": [3.0, 2.0, 1.0], "valid_loss": [3.0, 2.5, 2.0],
        "train_accuracy": [0.1, 0.5, 0.9], "valid_accuracy": [0.1, 0.4, 0.6], "sigma": [12.0, 3.0, 0.5],
        "best_epoch": 3,
    }  # fmt: skip
    loss, accuracy, sigma = plot.learning_curves_figure(history).axes
    np.testing.assert_array_equal(loss.lines[1].get_ydata(), history["valid_loss"])
    np.testing.assert_array_equal(accuracy.lines[0].get_ydata(), history["train_accuracy"])
    np.testing.assert_array_equal(sigma.lines[0].get_ydata(), history["sigma"])
    assert "best: 3" in [text.get_text() for text in loss.texts]


def test_curves_of_a_language_model():
    history = {
        "epoch": [1, 2], "train_loss": [3.0, 2.0], "valid_loss": [3.0, 2.5], "valid_bits_per_byte": [4.3, 3.6],
        "firing_rate": [0.031, 0.034], "best_epoch": 2,
    }  # fmt: skip
    figure = plot.learning_curves_figure(history)
    assert [ax.get_ylabel() for ax in figure.axes] == ["loss", "bits per byte", "firing rate"]
    _, bits, rate = figure.axes
    np.testing.assert_array_equal(bits.lines[0].get_ydata(), history["valid_bits_per_byte"])
    figure.canvas.draw()
    labels = [tick.get_text() for tick in rate.get_yticklabels()]
    assert all(label.endswith("%") for label in labels)
    assert len(set(labels)) == len(labels)  # a rate that hardly moves has ticks that differ


def test_confusion_writes_every_count_and_the_accuracy():
    matrix = np.array([[5, 1, 0], [0, 6, 0], [2, 0, 4]])
    ax = plot.confusion_matrix(matrix, class_names=NAMES)
    assert sorted(int(text.get_text()) for text in ax.texts) == [1, 2, 4, 5, 6]
    assert ax.get_title() == "83.3% of 18 samples right"


@pytest.mark.parametrize(
    ("draw", "error", "message"),
    [
        (lambda: plot.raster(np.zeros(3), dt_ms=1.0), ShapeError, r"2 axes, got shape \(3,\)"),
        (lambda: plot.raster(np.zeros((0, 3)), dt_ms=1.0), ShapeError, "empty"),
        (lambda: plot.raster(np.array([[np.nan]]), dt_ms=1.0), ShapeError, "1 values that are not finite"),
        (lambda: plot.raster(-np.ones((2, 2)), dt_ms=1.0), ShapeError, "down to -1"),
        (lambda: plot.raster(np.ones((2, 2)), dt_ms=1.0, length=3), ConfigError, r"1\.\.2 steps, got 3"),
        (lambda: plot.raster_figure({}, dt_ms=1.0), ShapeError, "no layer"),
        (lambda: plot.delays_figure({}, dt_ms=1.0), ShapeError, "no layer"),
        (lambda: plot.delay_histogram([3.0], max_delay_steps=2, dt_ms=1.0), ConfigError, r"0\.\.2 steps"),
        (lambda: plot.delay_movement([1.0], [1.0, 2.0], dt_ms=1.0), ShapeError, "1 initial delays but 2"),
        (
            lambda: plot.membrane_traces(np.ones((4, 3)), dt_ms=1.0, label=3, prediction=0, class_names=NAMES),
            ConfigError,
            "label 3 is none of the 3",
        ),
        (
            lambda: plot.membrane_traces(np.ones((4, 3)), dt_ms=1.0, label=0, prediction=0, class_names=("a",)),
            ConfigError,
            "as many names",
        ),
        (lambda: plot.confusion_matrix(np.ones((2, 3)), class_names=NAMES), ShapeError, "3 classes"),
        (
            lambda: plot.learning_curves_figure({"epoch": [1, 2], "train_loss": [1.0]}),
            ShapeError,
            "1 values for 2 epochs",
        ),
    ],
)
def test_what_cannot_be_drawn_is_refused(draw, error, message):
    with pytest.raises(error, match=message):
        draw()


@pytest.mark.parametrize(
    ("suffix", "begins"), [(".png", b"\x89PNG"), (".pdf", b"%PDF"), (".svg", b"<?xml"), (".PDF", b"%PDF")]
)
def test_the_suffix_is_the_format_and_the_same_figure_gives_the_same_bytes(tmp_path, suffix, begins):
    first, second = (
        plot.save_figure(plot.raster_figure({"input": np.eye(5)}, dt_ms=1.0), tmp_path / f"{name}{suffix}").read_bytes()
        for name in ("a", "b")
    )
    assert first == second
    assert first.startswith(begins)
    assert not any(word in first for word in (b"Matplotlib v", b"CreationDate", b"dc:date"))
    assert sorted(p.name for p in tmp_path.iterdir()) == [f"a{suffix}", f"b{suffix}"]


@pytest.mark.parametrize("name", ["a.jpg", "a", "a.tiff", ".png"])
def test_other_formats_are_refused(tmp_path, name):
    with pytest.raises(ConfigError, match=r"pictures are written as \.png, \.pdf, \.svg"):
        plot.save_figure(plot.raster_figure({"input": np.eye(5)}, dt_ms=1.0), tmp_path / name)
    assert list(tmp_path.iterdir()) == []


def test_drawing_leaves_pyplot_alone():
    code = "import sys; from snn_delays import plot; plot.raster([[1, 0]], dt_ms=1.0); print(*sys.modules)"
    loaded = subprocess.run([sys.executable, "-c", code], check=True, capture_output=True, text=True).stdout.split()
    assert "matplotlib" in loaded
    assert "matplotlib.pyplot" not in loaded
