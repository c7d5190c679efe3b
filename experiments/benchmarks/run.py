"""Timing sides against each other: checked first, interleaved, medians and spread, peak memory."""

import gc
import math
import statistics
import time
from collections.abc import Callable
from dataclasses import dataclass, field

import torch

from experiments.benchmarks.memory import peak_mib


@dataclass(frozen=True)
class Side:
    """One way to do the work of a case: ``work()`` does it once, ``configuration`` says in words what it is.

    ``memory_work`` is run in its place for the peak memory, where ``work`` replays what was allocated before.
    """

    name: str
    configuration: str
    work: Callable[[], None]
    memory_work: Callable[[], None] | None = None


@dataclass(frozen=True)
class Case:
    """Some work, and the sides that do it, ours first. ``check`` raises AssertionError unless they compute the same.

    ``notes`` name the sides that were left out, and why. ``follows_itself``: in use the work is done again and again,
    and finds memory and caches as it left them; before each timed round a side then does it once untimed.
    """

    name: str
    sides: tuple[Side, ...]
    check: Callable[[], None]
    notes: tuple[str, ...] = ()
    follows_itself: bool = False


@dataclass
class Timing:
    """What was measured of a side, over ``repeats`` interleaved rounds."""

    side: str
    configuration: str
    seconds: list[float] = field(default_factory=list)
    peak_mib: float | None = None

    @property
    def median(self) -> float:
        """Median seconds of one round."""
        return statistics.median(self.seconds)

    @property
    def quartiles(self) -> tuple[float, float]:
        """A quarter of the rounds took less than the first, a quarter more than the second; in seconds."""
        if len(self.seconds) < 2:
            return self.seconds[0], self.seconds[0]
        low, _, high = statistics.quantiles(self.seconds, n=4, method="inclusive")
        return low, high


def run_case(case: Case, repeats: int = 7, device: torch.device | None = None, end: float = math.inf) -> list[Timing]:
    """Check the sides of a case against each other, then run them in turn.

    The first round warms up (compilers, caches), the second measures memory, ``repeats`` more are timed.
    No round but the first begins after ``end``, of ``time.monotonic``. Raises AssertionError if the sides do not
    compute the same.
    """
    device = device or torch.device("cpu")
    case.check()
    timings = [Timing(side.name, side.configuration) for side in case.sides]
    for side in case.sides:
        side.work()
    gc.collect()
    gc.freeze()  # what is there by now stays; the collections between the sides need not look at it again
    try:
        for side, timing in zip(case.sides, timings):
            timing.peak_mib = peak_mib(side.memory_work or side.work, device)
        for done in range(repeats):
            if done and time.monotonic() > end:
                break
            for side, timing in zip(case.sides, timings):
                if case.follows_itself:
                    side.work()
                timing.seconds.append(_seconds(side.work, device))
    finally:
        gc.unfreeze()
    return timings


def _seconds(work: Callable[[], None], device: torch.device) -> float:
    gc.collect()
    if device.type == "cuda":
        torch.cuda.synchronize(device)
    began = time.perf_counter()
    work()
    if device.type == "cuda":
        torch.cuda.synchronize(device)
    return time.perf_counter() - began
