"""The style of all pictures: colours, Axes, panels, checked arrays, and the one way in which a picture is saved."""

import io
from pathlib import Path
from typing import Any

import matplotlib
import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from numpy.typing import ArrayLike, NDArray

from snn_delays.errors import ConfigError, ShapeError
from snn_delays.files import atomic_path

# Okabe & Ito's palette, told apart by colour-blind readers.
INK, BLUE, ORANGE, GREEN, RED, GREY = "#222222", "#0072B2", "#E69F00", "#009E73", "#D55E00", "#B3B3B3"
COLORS = (INK, BLUE, ORANGE, GREEN, RED, "#9467bd", "#8c564b")  # of variants in one picture

# What Matplotlib would write of time and program, by format.
_TIMELESS: dict[str, dict[str, None]] = {
    "png": {"Software": None},
    "pdf": {"CreationDate": None, "Creator": None, "Producer": None},
    "svg": {"Date": None, "Creator": None},
}


def new_figure(width: float, height: float, **options: Any) -> Figure:
    """A figure of so many inches, laid out tightly, independent of pyplot."""
    return Figure(figsize=(width, height), layout="constrained", **options)


def axes_or_new(ax: Axes | None, width: float = 6.0, height: float = 3.5) -> Axes:
    """The axes given, or those of a new figure."""
    ax = new_figure(width, height).add_subplot() if ax is None else ax
    ax.spines[["top", "right"]].set_visible(False)
    ax.tick_params(labelsize=8)
    ax.xaxis.label.set_fontsize(9)
    ax.yaxis.label.set_fontsize(9)
    ax.title.set_fontsize(10)
    return ax


def panels(
    rows: int, columns: int, width: float, height: float, *, title: str = "", **options: Any
) -> tuple[Figure, NDArray[Any]]:
    """A figure of so many inches and its styled Axes ``[row, column]``; ``options`` as of ``Figure.subplots``."""
    figure = new_figure(width, height)
    axes = figure.subplots(rows, columns, squeeze=False, **options)
    for ax in axes.flat:
        axes_or_new(ax)
    if title:
        figure.suptitle(title, fontsize=10, parse_math=False)
    return figure, axes


def colorbar(ax: Axes, image: Any, label: str, **options: Any) -> Any:
    """A colour bar beside Axes, in the style of their labels."""
    bar = ax.figure.colorbar(image, ax=ax, pad=0.02, **options)
    bar.set_label(label, fontsize=8)
    bar.ax.tick_params(labelsize=7)
    return bar


def array(values: ArrayLike, ndim: int, what: str) -> NDArray[np.float64]:
    """Values as a finite float array of so many axes. Raises ShapeError otherwise."""
    x = np.asarray(values, dtype=np.float64)
    if x.ndim != ndim:
        raise ShapeError(f"{what} must have {ndim} axes, got shape {x.shape}")
    if x.size == 0:
        raise ShapeError(f"{what} is empty, shape {x.shape}")
    if bad := int((~np.isfinite(x)).sum()):
        raise ShapeError(f"{what} holds {bad} values that are not finite; there is nothing to draw")
    return x


def save_figure(figure: Any, path: Path | str, dpi: int = 150) -> Path:
    """Write a picture, whole or not at all; the same figure gives the same bytes. Returns the path.

    Its format is that of the suffix: ``.png``, ``.pdf`` or ``.svg``. Raises ConfigError for any other.
    """
    path = Path(path)
    kind = path.suffix.lower().removeprefix(".")
    if kind not in _TIMELESS:
        raise ConfigError(f"{path}: pictures are written as {', '.join(f'.{name}' for name in _TIMELESS)}")
    with atomic_path(path) as temporary:
        temporary.write_bytes(figure_bytes(figure, kind, dpi))
    return path


def figure_bytes(figure: Any, kind: str = "png", dpi: int = 150) -> bytes:
    """A picture as the bytes of a ``png``, ``pdf`` or ``svg`` file; the same figure gives the same bytes."""
    buffer = io.BytesIO()
    with matplotlib.rc_context({"svg.hashsalt": "snn_delays"}):
        figure.savefig(buffer, format=kind, dpi=dpi, metadata=_TIMELESS[kind])
    return buffer.getvalue()
