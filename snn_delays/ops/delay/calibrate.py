"""Fitting the delay layer's cost model to this machine (see :mod:`snn_delays.ops.delay.cost`): calls by their sizes."""

import json
import statistics
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch

from snn_delays.errors import ConfigError
from snn_delays.files import cache_folder, write_text
from snn_delays.ops.delay import OPERATION, cost, delayed_linear

ROUNDS = 5
_NAMES = {"T": "steps", "B": "batch", "in": "inputs", "out": "outputs", "K": "max_delay_steps", "sigma": "sigma_steps"}


@dataclass(frozen=True)
class Shape:
    """Sizes of a delay layer's call; ``sigma_steps`` 0 means fixed integer delays."""

    steps: int
    batch: int
    inputs: int
    outputs: int
    max_delay_steps: int
    sigma_steps: float

    def __str__(self) -> str:
        taps = f"sigma {self.sigma_steps:g}" if self.sigma_steps else "integer delays"
        return f"T={self.steps}, B={self.batch}, {self.inputs} -> {self.outputs}, K={self.max_delay_steps + 1}, {taps}"

    def tensors(self) -> dict[str, Any]:
        """Arguments of :func:`delayed_linear`, drawn from a fixed seed."""
        draw = torch.Generator().manual_seed(0)
        weight = torch.randn(self.outputs, self.inputs, 1, generator=draw).requires_grad_()
        delay = torch.rand(self.outputs, self.inputs, 1, generator=draw) * self.max_delay_steps
        delay = delay.requires_grad_() if self.sigma_steps else delay.round()
        x = (torch.rand(self.steps, self.batch, self.inputs, generator=draw) < 0.05).float().requires_grad_()
        return {
            "x": x, "weight": weight, "delay": delay, "sigma": torch.tensor(self.sigma_steps or 0.5),
            "max_delay_steps": self.max_delay_steps, "taps": "gaussian" if self.sigma_steps else "linear",
        }  # fmt: skip

    def call(self) -> dict[str, Any]:
        """The call as backends receive it."""
        return {**self.tensors(), "history": None}


def parse_shape(text: str) -> Shape:
    """A shape from ``T=100,B=256,in=256,out=256,K=25,sigma=12``; sigma, in steps, 0 without it: fixed integer delays.

    Raises ConfigError for a size that is missing, unknown, not a number or out of range.
    """
    pairs = [item.strip().partition("=") for item in text.split(",") if item.strip()]
    given: dict[str, float] = {"sigma": 0.0}
    for name, _, value in pairs:
        if name not in _NAMES:
            raise ConfigError(f"a shape has no {name!r}; it has {', '.join(_NAMES)}")
        try:
            given[name] = float(value) if name == "sigma" else int(value)
        except ValueError:
            raise ConfigError(f"{name}={value} of the shape is not a number") from None
        if not (given[name] >= 0 if name == "sigma" else given[name] >= 1) or given[name] == float("inf"):
            raise ConfigError(f"{name}={value} of the shape is out of range")
    missing = [name for name in _NAMES if name not in given]
    if missing:
        raise ConfigError(f"the shape lacks {missing[0]}; write T=100,B=256,in=256,out=256,K=25,sigma=12")
    given["K"] -= 1
    return Shape(**{_NAMES[name]: value for name, value in given.items()})  # type: ignore[arg-type]


SHAPES = tuple(
    Shape(*sizes)
    for sizes in (
        (100, 256, 256, 256, 24, 12.0), (100, 256, 256, 256, 24, 0.5), (100, 256, 256, 256, 24, 0.0),
        (100, 64, 140, 256, 24, 3.0), (100, 256, 256, 20, 24, 0.0), (100, 8, 64, 64, 24, 0.5),
        (100, 256, 64, 64, 4, 0.5), (100, 64, 256, 256, 1, 0.0), (300, 16, 256, 256, 99, 3.0),
        (1000, 8, 128, 128, 299, 10.0), (1000, 8, 128, 128, 29, 0.0), (20, 1, 256, 256, 24, 0.0),
        (50, 64, 512, 512, 24, 12.0), (20, 4, 16, 16, 9, 1.0), (1, 1, 256, 256, 24, 0.0),
        (100, 1, 140, 128, 24, 0.0), (50, 32, 32, 32, 2, 0.5),
    )
)  # fmt: skip


def calibrate(progress: Callable[[str], None] = lambda _: None, shapes: tuple[Shape, ...] = SHAPES) -> Path:
    """Time every backend on a grid of shapes, fit its numbers, write them to the cache folder; returns the file.

    ``progress`` receives a line for every shape and for the fit. Interrupted, it leaves the earlier calibration.
    """
    rows: dict[tuple[str, str], list[tuple[tuple[float, ...], float]]] = {}
    totals: list[dict[str, float]] = []
    for number, shape in enumerate(shapes, 1):
        times, total = [], {}
        for backend, seconds in _measure(shape):
            total[backend] = sum(seconds)
            for name, things, took in zip(cost.PASSES, cost.features(backend, shape.call()), seconds):
                rows.setdefault((backend, name), []).append((things, took))
            times.append(f"{backend} {sum(seconds) * 1e3:.1f} ms")
        totals.append(total)
        progress(f"{number}/{len(shapes)}  {shape}: {', '.join(times)}")
    fitted: dict[str, dict[str, list[float]]] = {}
    for (backend, name), measured in rows.items():
        fitted.setdefault(backend, {})[name] = fit(*zip(*measured))
        progress(
            f"{backend} {name}: " + ", ".join(f"{s:.3g} s per {t}" for s, t in zip(fitted[backend][name], cost.THINGS))
        )
    path = cache_folder() / cost.FILE
    note = {"torch": torch.__version__, "threads": torch.get_num_threads(), "things": cost.THINGS, "seconds": fitted}
    write_text(path, json.dumps(note, indent=1))
    cost.forget()
    chosen = [OPERATION.choose(shape.call()).name for shape in shapes]
    lost = [total[name] / min(total.values()) for name, total in zip(chosen, totals)]
    progress(
        f"chosen with these: the fastest for {lost.count(1.0)} of {len(lost)} shapes, at worst {max(lost):.2f} times it"
    )
    return path


def fit(things: tuple[tuple[float, ...], ...], seconds: tuple[float, ...]) -> list[float]:
    """Numbers >= 0 that explain the times best, relative errors counting alike.

    Least squares; while a number comes out negative, the most negative is set to zero and the rest fitted again.
    """
    design, target = np.array(things) / np.array(seconds)[:, None], np.ones(len(seconds))
    scale = np.maximum(np.abs(design).max(0), 1e-300)
    active = [column for column in range(design.shape[1]) if np.any(design[:, column])]
    numbers = np.zeros(design.shape[1])
    while active:
        solution = np.linalg.lstsq(design[:, active] / scale[active], target, rcond=None)[0] / scale[active]
        if solution.min() >= 0:
            numbers[active] = solution
            break
        active.pop(int(np.argmin(solution * scale[active])))
    return [float(number) for number in numbers]


def _measure(shape: Shape) -> Iterator[tuple[str, tuple[float, float]]]:
    """Median seconds forward and backward of every backend that serves the shape, in interleaved rounds."""
    names = [candidate.backend.name for candidate in OPERATION.explain(shape.call()) if candidate.refusal is None]
    seconds: dict[str, list[tuple[float, float]]] = {name: [] for name in names if name != "reference"}
    for round_ in range(ROUNDS + 1):
        for name, times in seconds.items():
            arguments = shape.tensors()
            began = time.perf_counter()
            y, _ = delayed_linear(**arguments, backend=name)
            between = time.perf_counter()
            y.backward(y.detach())
            if round_:
                times.append((between - began, time.perf_counter() - between))
    for name, times in seconds.items():
        forward, backward = zip(*times)
        yield name, (statistics.median(forward), statistics.median(backward))
