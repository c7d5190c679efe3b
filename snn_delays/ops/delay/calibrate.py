"""Fitting the delay layer's cost model to this machine (see :mod:`snn_delays.ops.delay.cost`)."""

import json
import statistics
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import torch

from snn_delays.files import cache_folder, write_text
from snn_delays.ops.delay import OPERATION, cost, delayed_linear
from snn_delays.ops.delay.call_shape import Shape

ROUNDS = 5


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
    lost = [total[_chosen(shape)] / min(total.values()) for shape, total in zip(shapes, totals)]
    progress(
        f"chosen with these: the fastest for {lost.count(1.0)} of {len(lost)} shapes, at worst {max(lost):.2f} times it"
    )
    return path


def _chosen(shape: Shape) -> str:
    return OPERATION.choose(shape.call()).name


def fit(things: tuple[tuple[float, ...], ...], seconds: tuple[float, ...]) -> list[float]:
    """Numbers >= 0 that explain the times best, relative errors counting alike.

    Least squares; while a number comes out negative, the most negative is set to zero and the rest fitted again.
    """
    design, target = np.array(things) / np.array(seconds)[:, None], np.ones(len(seconds))
    scale = np.maximum(np.abs(design).max(0), 1e-300)
    active = [column for column in range(design.shape[1]) if np.any(design[:, column])]
    numbers = np.zeros(design.shape[1])
    while active:
        found = np.linalg.lstsq(design[:, active] / scale[active], target, rcond=None)[0] / scale[active]
        if found.min() >= 0:
            numbers[active] = found
            break
        active.pop(int(np.argmin(found * scale[active])))
    return [float(number) for number in numbers]


def _measure(shape: Shape) -> Iterator[tuple[str, tuple[float, float]]]:
    """Median seconds forward and backward of every backend that serves the shape, in interleaved rounds."""
    names = [one.backend.name for one in OPERATION.explain(shape.call()) if one.refusal is None]
    taken: dict[str, list[tuple[float, float]]] = {name: [] for name in names if name != "reference"}
    for round_ in range(ROUNDS + 1):
        for name, times in taken.items():
            arguments = shape.tensors()
            began = time.perf_counter()
            y, _ = delayed_linear(**arguments, backend=name)
            between = time.perf_counter()
            y.backward(y.detach())
            if round_:
                times.append((between - began, time.perf_counter() - between))
    for name, times in taken.items():
        forward, backward = zip(*times)
        yield name, (statistics.median(forward), statistics.median(backward))
