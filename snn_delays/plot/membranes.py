"""Membranes of the readout."""

from collections.abc import Sequence

import numpy as np
from matplotlib.axes import Axes
from numpy.typing import ArrayLike

from snn_delays.errors import ConfigError
from snn_delays.plot.style import BLUE, GREY, RED, array, axes_or_new


def membrane_traces(
    v: ArrayLike,
    *,
    dt_ms: float,
    label: int,
    prediction: int,
    class_names: Sequence[str],
    ax: Axes | None = None,
    length: int | None = None,
) -> Axes:
    """Readout membranes ``[time, class]`` of one sample; the true class and the predicted one stand out.

    ``length`` greys the steps after the recording's end. Raises ShapeError for another shape, ConfigError for a class
    that is not there.
    """
    traces = array(v, 2, "readout membranes")
    steps, classes = traces.shape
    for what, number in (("label", label), ("prediction", prediction)):
        if not 0 <= number < classes:
            raise ConfigError(f"{what} {number} is none of the {classes} classes")
    if len(class_names) != classes:
        raise ConfigError(f"{classes} classes need as many names, got {len(class_names)}")
    ax = axes_or_new(ax, 7.5, 3.2)
    time = (np.arange(steps) + 1) * dt_ms
    others = [c for c in range(classes) if c not in (label, prediction)]
    ax.plot(time, traces[:, others], color=GREY, linewidth=0.6)
    if prediction != label:
        ax.plot(time, traces[:, prediction], color=RED, linewidth=1.6, label=f"predicted: {class_names[prediction]}")
    said = "true and predicted" if prediction == label else "true"
    ax.plot(time, traces[:, label], color=BLUE, linewidth=1.6, label=f"{said}: {class_names[label]}")
    if length is not None and length < steps:
        ax.axvspan(length * dt_ms, steps * dt_ms, color=GREY, alpha=0.25, linewidth=0)
    ax.set(xlim=(0, steps * dt_ms), xlabel="time (ms)", ylabel="membrane of the readout")
    ax.legend(frameon=False, fontsize=8, loc="upper right")
    return ax
