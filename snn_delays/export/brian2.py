"""Brian2: a script that builds the network in it and compares; every canonical network runs."""

from pathlib import Path

from snn_delays.export.scripts import close_calls, place
from snn_delays.ir.canonical import CanonicalNetwork
from snn_delays.ir.trace import Trace

README = """\
The network as a Brian2 script.

run_brian2.py   builds network.npz in Brian2, runs the samples of golden.npz and compares: python run_brian2.py
exchange.py     reads and compares; used by it
network.npz     the network, synapse by synapse
golden.npz      samples, and what the reference simulator made of them

pip install brian2==2.9.0 numpy==2.3.5     seen equal spike for spike with these, Python 3.11 and the numpy target
brian2 2.9 does not import with numpy 2.4. One step is 1 ms of Brian2's time.
{arithmetic}
"""


def refuses(network: CanonicalNetwork) -> str | None:
    """None: real and whole numbers, both resets and all delays can be said in Brian2's equations."""
    del network
    return None


def write(network: CanonicalNetwork, trace: Trace, folder: Path) -> None:
    """Add ``run_brian2.py``, ``exchange.py`` and ``README.txt`` to a folder with ``network.npz``, ``golden.npz``."""
    place(folder, "run_brian2.py")
    arithmetic = "Whole numbers, which no order of summation changes." if network.whole else close_calls(trace)
    (folder / "README.txt").write_text(README.format(arithmetic=arithmetic))
