"""NEST: a script that builds the network of ``iaf_psc_delta`` neurons and compares."""

from pathlib import Path

from snn_delays.export.files import complete
from snn_delays.ir.canonical import CanonicalNetwork, Membrane
from snn_delays.ir.trace import Trace


def refuses(network: CanonicalNetwork, target: str = "NEST") -> str | None:
    """Why ``iaf_psc_delta`` cannot be this network: integers, a soft reset, or no finite time constant."""
    for population in network.populations:
        numbers = population.arithmetic
        if not isinstance(numbers, Membrane):
            return (
                f"{population.name} computes in integers, {target} in real ones; discretize without a target that "
                "has integers, or export to brian2, c99 or lava"
            )
        if population.fires and numbers.reset == "soft":
            return (
                f"{population.name} has a soft reset, {target}'s neuron resets to v_reset only; train with "
                'reset = "hard", or export to brian2'
            )
        if not 0.0 < numbers.decay < 1.0:
            return (
                f"{population.name} has tau_steps {numbers.tau_steps:g}, a decay of {numbers.decay:g} in a step; "
                f"{target} decays by exp(-1/tau), which lies between 0 and 1; export to brian2"
            )
    return None


def write(network: CanonicalNetwork, trace: Trace, folder: Path) -> None:
    """Add ``run_nest.py``, ``exchange.py`` and ``README.txt`` to a folder with ``network.npz``, ``golden.npz``."""
    complete(folder, "nest", trace, "scripts/run_nest.py")
