"""A network leaves without data: every format is written, and none says that nothing compared equal."""

import json
import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from snn_delays.chips.cost import cost_of, energy
from snn_delays.chips.profiles import profile
from snn_delays.errors import ExportError
from snn_delays.export.targets import FORMATS, write_export
from snn_delays.ir.canonical import read_network, to_bytes
from snn_delays.ir.trace import make_trace, read_trace
from tests.support.canonical_networks import random_network

WHOLE = random_network(whole=True, min_delay_steps=1)
REAL = random_network(weight_bits=4, min_delay_steps=1, max_delay_steps=8, bias=False)


@pytest.mark.parametrize("form", FORMATS)
def test_every_format_is_written_without_samples(form: str, tmp_path: Path) -> None:
    network = WHOLE if FORMATS[form].arithmetic == "whole" else REAL
    trace = make_trace(network, np.zeros((0, 0, network.inputs)))
    options = {"relays": True} if form == "spinnaker2" else {}
    files = write_export(network, trace, form, tmp_path / "there", **options)
    assert to_bytes(read_network(files[0])) == to_bytes(network)
    assert read_trace(files[1]).samples == 0
    for script in ("run_brian2.py", "run_nest.py"):
        if (tmp_path / "there" / script).is_file():
            code = "import exchange; exchange.read_trace('.')"
            done = subprocess.run([sys.executable, "-c", code], cwd=tmp_path / "there", capture_output=True, text=True)
            assert done.returncode == 1
            assert "golden.npz has no samples, so there is nothing to compare" in done.stderr


@pytest.mark.parametrize(("form", "tool"), [("c99", "cc"), ("hdl", "iverilog")])
def test_engines_build_and_refuse_to_compare_nothing(form: str, tool: str, tmp_path: Path) -> None:
    if shutil.which(tool) is None or shutil.which("make") is None:
        pytest.skip(f"no {tool}")
    write_export(WHOLE, make_trace(WHOLE, np.zeros((0, 0, WHOLE.inputs))), form, tmp_path / "there")
    done = subprocess.run(["make"], cwd=tmp_path / "there", capture_output=True, text=True)
    assert done.returncode != 0
    assert "there are no samples to compare; export the network with samples" in done.stdout
    assert "warning" not in done.stderr


def test_a_cost_without_samples_is_memory_alone() -> None:
    network = random_network()
    cost = cost_of(network, make_trace(network, np.zeros((0, 0, network.inputs))), profile("generic8"))
    assert "no samples, so spikes and synaptic operations are not counted" in str(cost)
    assert "nan" not in str(cost)
    found = json.loads(json.dumps(cost.as_json(), allow_nan=False))
    assert found["total"]["synops"] is None
    assert found["memory_bits"] > 0
    with pytest.raises(ExportError, match="no synaptic operations were counted"):
        energy(cost, picojoule_per_synop=1.0, assumption="a chip")
