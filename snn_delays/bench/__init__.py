"""The benchmark a user runs on their own machine: every peer beside us, in one process."""

from snn_delays.bench.cases import CASES
from snn_delays.bench.run import Case, Side, run_case

__all__ = ["CASES", "Case", "Side", "run_case"]
