"""Brian2: a script that builds the network in it and compares; every canonical network runs."""

from pathlib import Path

from snn_delays.export.files import complete
from snn_delays.ir.canonical import CanonicalNetwork
from snn_delays.ir.trace import Trace


def refuses(network: CanonicalNetwork) -> str | None:
    """None: real numbers and integers, both resets and all delays have a form in Brian2."""


def write(network: CanonicalNetwork, trace: Trace, folder: Path) -> None:
    """Add ``run_brian2.py``, ``exchange.py`` and ``README.txt`` to a folder with ``network.npz``, ``golden.npz``."""
    exact = {"arithmetic": "Integers, which no order of summation changes."} if network.whole else {}
    complete(folder, "brian2", trace, "scripts/run_brian2.py", **exact)
