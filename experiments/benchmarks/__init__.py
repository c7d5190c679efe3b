"""The benchmark a user runs on their own machine: every peer beside us, in one process."""

from experiments.benchmarks.catalogue import CASES, Entry, by_importance, select
from experiments.benchmarks.record import Benchmark, read_record
from experiments.benchmarks.run import Case, Side, Timing, run_case

__all__ = [
    "CASES",
    "Benchmark",
    "Case",
    "Entry",
    "Side",
    "Timing",
    "by_importance",
    "read_record",
    "run_case",
    "select",
]
