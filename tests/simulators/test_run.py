"""The program that runs exports in their simulators: what its table says, and when it writes a page."""

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from snn_delays.export import nest
from snn_delays.ir.canonical import to_bytes
from snn_delays.ir.trace import Trace, trace_bytes
from tests.simulators import run as environments
from tests.support.canonical_networks import random_network, random_trace


def exported(folder: Path) -> Trace:
    """A network as NEST takes it, written into a folder."""
    network = random_network()
    trace = random_trace(network)
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "network.npz").write_bytes(to_bytes(network))
    (folder / "golden.npz").write_bytes(trace_bytes(trace))
    nest.write(network, trace, folder)
    return trace


SIMULATOR = """
import sys
import exchange
given = exchange.arguments()
network, trace = exchange.read_network(given.folder), exchange.read_trace(given.folder, given.samples)
outputs = {name: array.copy() for name, array in trace.outputs.items()}
outputs["hidden2"][7, 1, 3] ^= WRONG
sys.exit(exchange.compare(network, trace, outputs))
"""


@pytest.mark.parametrize(
    ("script", "must_differ", "good", "result"),
    [
        (SIMULATOR.replace("WRONG", "0"), None, True, "equal"),
        (SIMULATOR.replace("WRONG", "1"), None, False, "DIFFERS first at (sample 1, layer hidden2, t 7, neuron 3)"),
        (SIMULATOR.replace("WRONG", "1"), "hidden2", True, "differs in hidden2, as it must"),
        (SIMULATOR.replace("WRONG", "1"), "hidden1", False, "DIFFERS first in hidden2, BUT MUST DIFFER in hidden1"),
        (SIMULATOR.replace("WRONG", "0"), "hidden2", False, "EQUAL, BUT MUST DIFFER in hidden2"),
        ("raise SystemExit(1)", None, False, "BROKE (exit status 1)"),
        ("raise SystemExit(1)", "hidden2", False, "BROKE (exit status 1)"),
        ("print('no simulator was asked')", None, False, "BROKE (exit status 0)"),
    ],
)
def test_the_table_says_what_happened(
    tmp_path: Path, script: str, must_differ: str | None, good: bool, result: str
) -> None:
    trace = exported(tmp_path)
    (tmp_path / "run_nest.py").write_text(script)
    if must_differ:
        (tmp_path / "must_differ").write_text(f"{must_differ}\nwhy\n")
    row = environments.run(Path(sys.executable), tmp_path / "run_nest.py", 2)
    assert (row.good, row.result) == (good, result)
    if not result.startswith("BROKE"):
        assert row.samples == "2"
        assert row.spikes == ", ".join(str(int(trace.outputs[name][:, :2].sum())) for name in ("hidden1", "hidden2"))


MARKS = "before\n<!-- simulators -->\n<!-- /simulators -->\nafter\n"


def marked(folder: Path) -> Path:
    page = folder / "page.md"
    page.write_text(MARKS)
    return page


OWN = {"target": "c99 (cc)", "network": "demo/c99", "samples": "20", "spikes": "7", "seconds": "1", "result": "equal"}


@pytest.mark.parametrize(
    ("own", "wrong", "status"),
    [
        ({"good": True}, "1", 0),
        ({"good": True}, "0", 1),
        ({"good": False, "result": "DIFFERS: somewhere"}, "1", 1),
        ({"good": False, "result": "SKIPPED: no cc"}, "1", 0),
    ],
)
def test_the_page_is_written_when_all_is_as_it_must_be(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, own: dict[str, Any], wrong: str, status: int
) -> None:
    for folder, script in (("cases/nest/plain", "0"), ("cases/nest/canary_hidden2", wrong), ("demo/nest", "0")):
        exported(tmp_path / folder)
        (tmp_path / folder / "run_nest.py").write_text(SIMULATOR.replace("WRONG", script))
    (tmp_path / "cases/nest/canary_hidden2/must_differ").write_text("hidden2\n")
    (tmp_path / "own.json").write_text(json.dumps([OWN | own]))
    page = marked(tmp_path)
    monkeypatch.setattr(environments, "prepare", lambda environment: (Path(sys.executable), ""))
    monkeypatch.setattr(sys, "argv", ["run.py", str(tmp_path), "--write", str(page), "--samples", "2"])
    assert environments.main() == status
    text = page.read_text()
    if status or not own["good"]:
        assert text == MARKS
        return
    assert [line.split(" | ")[1] for line in text.splitlines() if line.endswith(" equal |")] == [
        "demo/c99",
        "demo/nest",
    ]
    assert "cases" not in text
    assert "canary" not in text
    output = "And 2 runs of random networks as they must be, 1 of them of networks that are wrong by one delay and"
    assert output in text


def test_a_missing_interpreter_is_a_loud_skip(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    exported(tmp_path / "network")
    page = marked(tmp_path)
    monkeypatch.setattr(environments, "interpreter", lambda version: None)
    monkeypatch.setattr(sys, "argv", ["run.py", str(tmp_path), "--write", str(page)])
    assert environments.main() == 0
    assert page.read_text() == MARKS
    output = capsys.readouterr().out
    assert "page.md is left as it was" in output
    assert "SKIPPED: no Python 3.11 or 3.12" in output
    assert "SKIPPED, so NOT checked: nest" in output
    assert "0 of 1 as they must be" in output


def test_a_folder_without_exports_is_an_error(tmp_path: Path) -> None:
    program = Path(environments.__file__)
    done = subprocess.run([sys.executable, str(program), str(tmp_path)], capture_output=True, text=True, check=False)
    assert done.returncode == 1
    assert "no export with one of run_brian2.py" in done.stdout
