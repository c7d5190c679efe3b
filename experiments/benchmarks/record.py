"""A benchmark from its first case to its record: what was measured, on what machine, how."""

import json
import math
import time
from collections.abc import Iterator, Sequence
from datetime import datetime, timezone
from pathlib import Path
from typing import Any

import torch

from experiments.benchmarks.catalogue import Entry
from experiments.benchmarks.machine import machine
from experiments.benchmarks.memory import HOW
from experiments.benchmarks.run import Case, Timing, run_case
from experiments.benchmarks.sizes import PUBLISHED, Sizes
from snn_delays.errors import ConfigError, DataError
from snn_delays.files import write_text

LONG_REPEATS = 3
TIMING = (
    "Every side is checked before it is timed. One process; a round to warm up, a round for the peak memory, then the "
    "timed rounds, in which the sides take turns. Medians, and the quartiles as the spread."
)


class Benchmark:
    """Runs cases one by one and keeps the record as far as it has come.

    ``repeats``: timed rounds of a case, for long cases at most three. ``devices``: "cpu", "cuda" or both, in the order
    they are to be run in; without any, all there are. ``minutes``: what is not begun after that is left out, and named
    in the record. Raises ConfigError for less than one round, or a device that is not there.
    """

    def __init__(
        self,
        entries: Sequence[Entry],
        repeats: int = 7,
        devices: Sequence[str] = (),
        sizes: Sizes = PUBLISHED,
        minutes: float = math.inf,
    ) -> None:
        if repeats < 1:
            raise ConfigError(f"the benchmark needs at least one round, got {repeats}")
        for device in devices:
            if device not in ("cpu", "cuda"):
                raise ConfigError(f"the benchmark runs on cpu or cuda, got {device!r}")
            if device == "cuda" and not torch.cuda.is_available():
                raise ConfigError("the benchmark is to run on cuda, and torch finds no CUDA GPU here")
        self.entries, self.repeats, self.sizes, self.minutes = tuple(entries), repeats, sizes, minutes
        self.devices = tuple(devices) or ("cpu", *(["cuda"] if torch.cuda.is_available() else []))
        self.record: dict[str, Any] = {
            "date": datetime.now(timezone.utc).isoformat(timespec="seconds"),
            "machine": machine(),
            "method": {"timing": TIMING, "memory": HOW, "repeats": repeats},
            "cases": [],
            "left_out": [],
        }

    def run(self) -> Iterator[dict[str, Any]]:
        """The record of every case when it is done; ``failed`` says why its sides were not timed, if they were not."""
        end = time.monotonic() + 60 * self.minutes
        torch.backends.cudnn.enabled = True  # the published code turns it off; the peer shall have it
        for device in map(torch.device, self.devices):
            for entry in self.entries:
                if entry.host and device.type != self.devices[0]:
                    continue
                if time.monotonic() >= end:
                    self.record["left_out"].append(entry.name)
                    continue
                self.record["cases"].append(self._measured(entry, device, end))
                yield self.record["cases"][-1]

    def _measured(self, entry: Entry, device: torch.device, end: float) -> dict[str, Any]:
        case, timings, failed = Case(entry.name, (), lambda: None), [], None
        repeats = min(self.repeats, LONG_REPEATS) if entry.long else self.repeats
        try:
            case = entry.make(self.sizes, device)
            timings = run_case(case, repeats, device, end)
        except Exception as error:  # of a driver, of a peer: the cases that follow run all the same
            failed = str(error) if isinstance(error, AssertionError) else f"{type(error).__name__}: {error}"
        return {
            "name": entry.name,
            "title": case.name,
            "device": device.type,
            "notes": list(case.notes),
            "failed": failed,
            "sides": [_side(timing) for timing in timings],
        }

    def save(self, latest: Path) -> Path:
        """Write the record under its date into the folder ``latest`` less its suffix, and over ``latest``; the path."""
        text = json.dumps(self.record, indent=1)
        stamp = self.record["date"].replace(":", "").replace("+0000", "Z")
        path = latest.with_suffix("") / f"{stamp}.json"
        write_text(path, text)
        write_text(latest, text)
        return path


def read_record(path: Path) -> dict[str, Any]:
    """A record as it was saved. Raises DataError if the file is none."""
    try:
        record = json.loads(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise DataError(f"cannot read {path}: {error.strerror}; `make bench` makes one") from error
    except ValueError as error:
        raise DataError(f"{path} is no record of a benchmark: {error}") from error
    if not isinstance(record, dict) or not {"machine", "method", "cases", "date"} <= set(record):
        raise DataError(f"{path} is no record of a benchmark of this version; run `make bench` again")
    return record


def _side(timing: Timing) -> dict[str, Any]:
    low, high = timing.quartiles
    return {
        "side": timing.side, "configuration": timing.configuration, "median": timing.median, "quartiles": [low, high],
        "peak_mib": timing.peak_mib, "seconds": timing.seconds,
    }  # fmt: skip
