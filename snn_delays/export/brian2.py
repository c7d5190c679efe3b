"""Brian2: a script that builds the network in it and compares; every canonical network runs."""

from pathlib import Path

from snn_delays.export.scripts import close_calls, place, write_readme
from snn_delays.ir.canonical import CanonicalNetwork
from snn_delays.ir.trace import Trace


def refuses(network: CanonicalNetwork) -> str | None:
    """None: real and integers, both resets and all delays can be said in Brian2's equations."""
    del network
    return None


def write(network: CanonicalNetwork, trace: Trace, folder: Path) -> None:
    """Add ``run_brian2.py``, ``exchange.py`` and ``README.txt`` to a folder with ``network.npz``, ``golden.npz``."""
    place(folder, "run_brian2.py")
    arithmetic = "Integers, which no order of summation changes." if network.whole else close_calls(trace)
    write_readme(folder, "brian2", arithmetic=arithmetic)
