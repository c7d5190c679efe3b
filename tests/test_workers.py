"""Processes of the command line that others wait for: their ends, and that none outlives who started it."""

import contextlib
import subprocess
import sys
import time
from pathlib import Path

import pytest

from snn_delays.workers import run_commands

CALL = """
import sys
from pathlib import Path
from snn_delays.workers import run_commands
run_commands([["--plugin", sys.argv[1], "backends"]], Path(sys.argv[2]), Path(sys.argv[2] + ".stop"), 1)
"""


@pytest.fixture
def log(tmp_path: Path) -> Path:
    return tmp_path / "log.txt"


def plugin(tmp_path: Path, code: str) -> list[str]:
    """A command that does something at its start."""
    path = tmp_path / "plugin.py"
    path.write_text(f"import os, pathlib, time\n{code}\n")
    return ["--plugin", str(path), "backends"]


def test_commands_run_until_one_fails(log: Path, tmp_path: Path) -> None:
    stop = tmp_path / "stop"
    assert run_commands([["--version"], ["--version"]], log, stop, 1) == (0, "")
    assert log.read_text().count("snn_delays ") == 2
    wrong = ["--plugin", str(tmp_path / "none.py"), "backends"]
    code, reason = run_commands([wrong, ["--version"]], log, stop, 1)
    assert (code, log.read_text().count("snn_delays 0")) == (2, 2)
    assert reason.startswith("cannot import the plugin")
    assert reason.endswith("(exit code 2)")


def test_a_process_that_is_killed_and_its_threads(log: Path, tmp_path: Path) -> None:
    words = plugin(tmp_path, "print(os.environ['OMP_NUM_THREADS'], flush=True); os.kill(os.getpid(), 9)")
    assert run_commands([words], log, tmp_path / "stop", 3) == (-9, "its process was killed (exit code -9)")
    assert log.read_text() == "3\n"


def test_the_stop_file_ends_it(log: Path, tmp_path: Path) -> None:
    stop = tmp_path / "stop"
    words = plugin(tmp_path, f"pathlib.Path({str(stop)!r}).touch(); time.sleep(3600)")
    assert run_commands([words], log, stop, 1)[0] == -9


def test_it_ends_with_the_process_that_waits_for_it(log: Path, tmp_path: Path) -> None:
    note = tmp_path / "pid"
    plugin(tmp_path, f"pathlib.Path({str(note)!r}).write_text(str(os.getpid()) + '.'); time.sleep(3600)")
    parent = subprocess.Popen([sys.executable, "-c", CALL, tmp_path / "plugin.py", log])
    try:
        while not note.exists() or not note.read_text().endswith("."):
            assert parent.poll() is None
            time.sleep(0.05)
    finally:
        parent.kill()
    parent.wait()
    stat = Path(f"/proc/{int(note.read_text()[:-1])}/stat")
    with contextlib.suppress(OSError):  # gone; or ended, and nobody has asked how
        while stat.read_text().rpartition(")")[2].split()[0] != "Z":
            time.sleep(0.05)
