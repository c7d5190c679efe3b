"""Series of numbers to be predicted, computed from their equations and cut into windows."""

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass, field
from itertools import pairwise
from typing import Any, NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from snn_delays.arguments import integer, real
from snn_delays.data.card import build, datasets_folder, read_toml
from snn_delays.errors import ConfigError
from snn_delays.messages import did_you_mean

SPLITS = ("train", "valid", "test")


@dataclass(frozen=True)
class SeriesCard:
    """A series: where it comes from, and in ``settings`` the constants of its equation."""

    name: str
    display_name: str
    description: str
    citation: str
    licence: str
    attribution: str
    source: str
    settings: dict[str, Any] = field(default_factory=dict)


class Windows(NamedTuple):
    """What is read, float32 ``[time, sample, 1]``, and what is to be predicted, ``[sample, 1]``."""

    x: Tensor
    y: Tensor


@dataclass(frozen=True, eq=False)
class SeriesWindows:
    """The windows of each part of a series. ``source``: name for tables; ``checksum``: sha256 of the series."""

    train: Windows
    valid: Windows
    test: Windows
    source: str
    checksum: str


def mackey_glass(
    tau: float = 17.0,
    *,
    beta: float = 0.2,
    gamma: float = 0.1,
    exponent: float = 10.0,
    dt: float = 0.1,
    x0: float = 1.2,
    discard: int = 5000,
    samples: int = 6000,
) -> NDArray[np.float64]:
    r"""The Mackey-Glass series, float64 ``[samples]``.

    .. math:: x_{k+1} = x_k + dt\left(\frac{\beta\,x_{k-D}}{1 + x_{k-D}^n} - \gamma\,x_k\right), \qquad D = \tau / dt

    from ``x = x0`` up to time 0. A sample is taken once a time unit, every ``1 / dt`` steps; the first ``discard`` are
    dropped. Raises ConfigError unless ``tau`` and 1 are multiples of ``dt``, or for numbers that cannot be.

    Source: Mackey and Glass, Science 197, 1977; constants as in the code published with DelRec, arXiv:2509.24852.
    """
    dt, tau = real("dt", dt, above=0), real("tau", tau, above=0)
    lag, every = round(tau / dt), round(1 / dt)
    if abs(lag * dt - tau) > 1e-9 or abs(every * dt - 1) > 1e-9 or not lag:
        raise ConfigError(f"tau ({tau:g}) and 1 must be multiples of the Euler step dt ({dt:g})")
    count = (integer("discard", discard, 0) + integer("samples", samples, 1)) * every
    x = [float(x0)] * (lag + 1)  # up to time 0; plain floats, of which each step needs the last two
    for k in range(count - every):
        late, now = x[k], x[k + lag]
        x.append(now + dt * (beta * late / (1 + late**exponent) - gamma * now))
    return np.array(x[lag::every][discard:])


SERIES = {"mackey-glass": mackey_glass}


def series_card(name: str) -> SeriesCard:
    """The card of a series. Raises ConfigError for a name that is none."""
    if name not in SERIES:
        raise ConfigError(f"unknown series {name!r}; {did_you_mean(name, SERIES)}there are {', '.join(SERIES)}")
    path = datasets_folder() / "series" / f"{name}.toml"
    card: SeriesCard = build(SeriesCard, read_toml(path), str(path))
    return card


def load_series(
    name: str, *, tau: float, window: int, horizon: int, split: Sequence[float] = (0.6, 0.2, 0.2)
) -> SeriesWindows:
    """A series in windows: ``window`` samples are read, and the one ``horizon`` steps after the last is predicted.

    The parts are contiguous and no window reaches from one into the next; mean and deviation of the training part scale
    all of them. ``tau``: the delay of the system. Raises ConfigError for a part that holds no window.
    """
    card = series_card(name)
    values = SERIES[name](tau, **card.settings)
    shares = np.concatenate([[0.0], np.cumsum(split)])
    cuts = [round(float(share) * len(values)) for share in shares]
    scaled = (values - values[: cuts[1]].mean()) / values[: cuts[1]].std()
    parts = []
    for part, (begin, end) in zip(SPLITS, pairwise(cuts)):
        if (count := end - begin - window - horizon + 1) < 1:
            raise ConfigError(
                f"the {part} part of {name!r} has {end - begin} samples, fewer than a window of {window} and a horizon "
                f"of {horizon}; take shorter ones"
            )
        own = scaled[begin:end].astype(np.float32)
        x = np.lib.stride_tricks.sliding_window_view(own, window)[:count].T
        first = window - 1 + horizon
        target = own[first : first + count]
        parts.append(Windows(torch.from_numpy(x[..., None].copy()), torch.from_numpy(target[:, None].copy())))
    source = f"{card.display_name}, tau {tau:g}, horizon {horizon}"
    checksum = hashlib.sha256(values.astype("<f8").tobytes()).hexdigest()
    return SeriesWindows(**dict(zip(SPLITS, parts)), source=source, checksum=checksum)
