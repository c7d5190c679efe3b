"""Timing sides against each other: checked first, interleaved, medians and spread, peak memory."""

import gc
import statistics
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path

import torch


@dataclass(frozen=True)
class Side:
    """One way to do the work of a case: ``work()`` does it once, ``configuration`` says in words what it is."""

    name: str
    configuration: str
    work: Callable[[], None]


@dataclass(frozen=True)
class Case:
    """Some work, and the sides that do it, ours first. ``check`` raises AssertionError unless they compute the same."""

    name: str
    sides: tuple[Side, ...]
    check: Callable[[], None]


@dataclass
class Timing:
    """What was measured of a side, over ``repeats`` interleaved rounds."""

    case: str
    side: str
    configuration: str
    seconds: list[float] = field(default_factory=list)
    peak_mib: float | None = None

    @property
    def median(self) -> float:
        """Median seconds of one round."""
        return statistics.median(self.seconds)


def run_case(case: Case, repeats: int = 7) -> list[Timing]:
    """Check the sides of a case against each other, then time them in turn; the first round only warms up.

    Peak memory is the high-water mark of the process over its level before, largest of all rounds; None where the
    system does not tell. Raises AssertionError if the sides do not compute the same.
    """
    case.check()
    timings = [Timing(case.name, side.name, side.configuration) for side in case.sides]
    for round_ in range(repeats + 1):
        for side, timing in zip(case.sides, timings):
            gc.collect()
            before = _reset_peak()
            began = time.perf_counter()
            side.work()
            if torch.cuda.is_available():
                torch.cuda.synchronize()
            took = time.perf_counter() - began
            after = _peak_mib()
            if round_:
                timing.seconds.append(took)
            if before is not None and after is not None:
                timing.peak_mib = max(timing.peak_mib or 0.0, after - before)
    return timings


def _status(key: str) -> float | None:
    try:
        lines = Path("/proc/self/status").read_text().splitlines()
    except OSError:
        return None
    return next((int(line.split()[1]) / 1024 for line in lines if line.startswith(key)), None)


def _reset_peak() -> float | None:
    """Have Linux forget the high-water mark; resident memory now, in MiB."""
    try:
        Path("/proc/self/clear_refs").write_text("5")
    except OSError:
        return None
    return _status("VmRSS")


def _peak_mib() -> float | None:
    return _status("VmHWM")
