"""The script for Brian2, run in numpy on its equations and schedule: spike for spike, and a wrong delay is seen."""

import runpy
import sys
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from snn_delays.export import brian2
from snn_delays.export.targets import write_export
from snn_delays.ir.canonical import to_bytes
from tests.support import fake_brian2
from tests.support.canonical_networks import random_network, random_trace

SETTINGS: list[dict[str, Any]] = [
    {},
    {"recurrent": True, "min_delay_steps": 1, "strict": True},
    {"decay_input": True, "v_reset": 0.125, "recurrent": True},
    {"reset": "soft"},
    {"whole": True, "recurrent": True},
    {"whole": True, "reset": "soft"},
]


@pytest.fixture
def run(monkeypatch: pytest.MonkeyPatch) -> Iterator[Callable[[Path], int]]:
    """Runs the script of a folder; its exit status."""
    fake_brian2.forget()
    monkeypatch.setitem(sys.modules, "brian2", fake_brian2.module())

    def ran(folder: Path) -> int:
        monkeypatch.syspath_prepend(str(folder))
        monkeypatch.setattr(sys, "argv", [str(folder / "run_brian2.py"), "--samples", "2"])
        with pytest.raises(SystemExit) as ended:
            runpy.run_path(str(folder / "run_brian2.py"), run_name="__main__")
        assert isinstance(ended.value.code, int)
        return ended.value.code

    yield ran
    fake_brian2.forget()


@pytest.mark.parametrize("settings", SETTINGS)
def test_the_script_runs_spike_for_spike(
    settings: dict[str, Any], tmp_path: Path, run: Callable[[Path], int], capsys: pytest.CaptureFixture[str]
) -> None:
    network = random_network(**settings)
    write_export(network, random_trace(network), "brian2", tmp_path / "there")
    assert run(tmp_path / "there") == 0
    assert capsys.readouterr().out.count("equal") == len(network.populations)
    first = network.populations[0]
    delays = first.synapses.delay_steps.copy()
    delays[np.argmax(np.abs(first.synapses.weight))] += 1
    wrong = replace(first, synapses=replace(first.synapses, delay_steps=delays))
    (tmp_path / "there/network.npz").write_bytes(
        to_bytes(replace(network, populations=(wrong, *network.populations[1:])))
    )
    assert run(tmp_path / "there") == 1
    assert "first mismatch at (sample" in capsys.readouterr().out


@pytest.mark.parametrize("settings", SETTINGS)
def test_brian2_takes_every_network(settings: dict[str, Any]) -> None:
    assert brian2.refuses(random_network(**settings)) is None


def test_integers_have_no_order_of_summation(tmp_path: Path) -> None:
    network = random_network(whole=True)
    brian2.write(network, random_trace(network), tmp_path)
    readme = (tmp_path / "README.txt").read_text()
    assert "Integers, which no order of summation changes." in readme
    assert "1e-12" not in readme
