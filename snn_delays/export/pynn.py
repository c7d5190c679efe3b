"""PyNN: connection lists and the neurons' parameters, for sPyNNaker and NEST, with a script that runs them on NEST."""

import json
import math
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np

from snn_delays.errors import ExportError
from snn_delays.export import nest
from snn_delays.export.files import complete
from snn_delays.ir.canonical import CanonicalNetwork, Membrane, Population, Synapses
from snn_delays.ir.trace import Trace

# A threshold that no integrator reaches; SpiNNaker's membranes, of 16 whole bits, hold it.
NEVER = 32767.0


def refuses(network: CanonicalNetwork) -> str | None:
    """Why PyNN's IF_curr_delta cannot be this network; as :func:`snn_delays.export.nest.refuses`."""
    return nest.refuses(network, "PyNN")


def write(network: CanonicalNetwork, trace: Trace, folder: Path) -> None:
    """Add ``pynn.json``, the lists, ``run_pynn.py``, ``exchange.py`` and ``README.txt`` to a folder.

    Of ``pynn.json``: ``timestep_ms``, ``max_delay_ms``, ``inputs`` and for each population ``name``, ``size``,
    ``fires``, ``cell`` (parameters of IF_curr_delta), ``i_offset`` per neuron (from step ``lag_steps`` on, by which the
    population runs late) and ``projections``: ``file``, ``receptor``, ``recurrent``.

    Raises ExportError for integrators whose membranes in the trace reach the threshold that PyNN's neurons must have.
    """
    for population in network.populations:
        peak = float(trace.outputs[population.name].max(initial=0))
        if not population.fires and peak >= NEVER:
            raise ExportError(
                f"{population.name}: its membranes reach {peak:g}; PyNN has no neuron without a threshold, and "
                f"{NEVER:g} is the highest that SpiNNaker holds. Scale the weights of {population.name} down"
            )
    # A spike takes a step to arrive at the least: with delays of 0, all feed-forward ones are one longer.
    late = int(network.lags)
    entries = [
        _entry(population, number * late, late, folder) for number, population in enumerate(network.populations, 1)
    ]
    longest = max((synapses.max_delay_steps for _, synapses in network.all_synapses()), default=0)
    outline = {
        "timestep_ms": 1.0,
        "max_delay_ms": float(longest + 1),
        "inputs": network.inputs,
        "populations": entries,
    }
    (folder / "pynn.json").write_text(json.dumps(outline, indent=1) + "\n")
    lagging = "one longer than the network's, as some are 0: population l runs l steps late"
    delays = lagging + " (recurrent ones are the network's)" if late else "the network's own"
    complete(folder, "pynn", trace, "scripts/run_pynn.py", delays=delays)


def _entry(population: Population, lag: int, late: int, folder: Path) -> dict[str, Any]:
    numbers = population.arithmetic
    assert isinstance(numbers, Membrane)
    tau, rest = -1.0 / math.log(numbers.decay), numbers.v_reset
    threshold = numbers.threshold if population.fires else NEVER
    if numbers.strict:  # above the threshold is at or above the next number
        threshold = math.nextafter(threshold, math.inf)
    return {
        "name": population.name,
        "size": population.size,
        "fires": population.fires,
        "lag_steps": lag,
        "cell": {"tau_m": tau, "cm": tau * (1.0 - numbers.decay), "tau_refrac": 0.0}
        | {"v_rest": rest, "v_reset": rest, "v_thresh": threshold},
        "i_offset": (numbers.gain * population.bias).tolist(),
        "projections": [
            projection
            for (name, synapses), longer in zip(population.parts.items(), (late, 0))
            for projection in _lists(name, synapses, numbers.gain, longer, folder)
        ],
    }


def _lists(prefix: str, synapses: Synapses, gain: float, late: int, folder: Path) -> Iterator[dict[str, Any]]:
    """One list per sign that occurs, written; what ``pynn.json`` has of them."""
    for receptor, sign in (("excitatory", 1), ("inhibitory", -1)):
        chosen = np.sign(synapses.weight) == sign
        if not chosen.any():
            continue
        name, delay = f"{prefix}.{receptor}.txt", synapses.delay_steps[chosen] + late
        columns = (synapses.source[chosen], synapses.target[chosen], synapses.weight[chosen] * gain, delay)
        np.savetxt(
            folder / name,
            np.column_stack(columns),
            fmt=("%d", "%d", "%.17g", "%d"),
            delimiter="\t",
            header='columns = ["i", "j", "weight", "delay"]',
        )
        yield {"file": name, "receptor": receptor, "recurrent": prefix.endswith(".recurrent")}
