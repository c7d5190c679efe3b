"""Ctrl-C is one line and exit code 130, also where an exception would be lost or turned into another."""

import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from snn_delays.cli import interrupt
from tests.support import ROOT

pytestmark = pytest.mark.skipif(sys.platform == "win32", reason="needs signals")
ENTRY = "import sys; from snn_delays.cli import main; sys.argv = ['snn-delays', *sys.argv[1:]]; main()"


def interrupted_where(module: str, body: str, folder: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    """The entry point, its import of a module replaced by one that receives the signal."""
    (folder / f"{module}.py").write_text(f"import os, signal\n{body}")
    path = os.pathsep.join([str(folder), *filter(None, [os.environ.get("PYTHONPATH")])])
    command, environment = [sys.executable, "-c", ENTRY, *arguments], {**os.environ, "PYTHONPATH": path}
    return subprocess.run(command, cwd=ROOT, env=environment, capture_output=True, text=True, timeout=900)


SIGNAL = "os.kill(os.getpid(), signal.SIGINT)"


@pytest.mark.parametrize("swallowed", [False, True])
def test_while_the_command_line_is_loaded(swallowed: bool, tmp_path: Path) -> None:
    body = (
        f"try:\n    {SIGNAL}\nexcept BaseException:\n    raise RuntimeError('half a module')\n" if swallowed else SIGNAL
    )
    done = interrupted_where("typer", body, tmp_path, "--help")
    assert (done.returncode, done.stderr, done.stdout) == (130, "error: interrupted\n", "")


def test_while_a_command_loads_what_it_needs(tmp_path: Path) -> None:
    body = f"try:\n    {SIGNAL}\nexcept BaseException:\n    raise RuntimeError('half a module')\n"
    done = interrupted_where("lightning_fabric", body, tmp_path, "train", "demo", "--out", str(tmp_path / "run"))
    assert (done.returncode, done.stderr, done.stdout) == (130, "error: interrupted\n", "")


def test_inside_a_command_it_is_an_exception_again_and_its_handler_goes(monkeypatch: pytest.MonkeyPatch) -> None:
    before = signal.getsignal(signal.SIGINT)
    signal.signal(signal.SIGINT, signal.default_int_handler)
    try:
        assert interrupt.end_at_once()
        with interrupt.raised(), pytest.raises(KeyboardInterrupt):
            signal.raise_signal(signal.SIGINT)
        assert signal.getsignal(signal.SIGINT) is interrupt._end
        interrupt.raise_again()
        assert signal.getsignal(signal.SIGINT) is signal.default_int_handler
        signal.signal(signal.SIGINT, signal.SIG_IGN)  # as of a process in the background
        assert not interrupt.end_at_once()
        assert signal.getsignal(signal.SIGINT) is signal.SIG_IGN
    finally:
        signal.signal(signal.SIGINT, before)
