"""The benchmark a user runs on their own machine: every peer beside us, in one process."""

from snn_delays.bench.catalogue import CASES, Entry, select
from snn_delays.bench.record import Benchmark, read_record
from snn_delays.bench.run import Case, Side, Timing, run_case

__all__ = ["CASES", "Benchmark", "Case", "Entry", "Side", "Timing", "read_record", "run_case", "select"]
