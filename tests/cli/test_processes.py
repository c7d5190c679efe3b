"""The command line as a process of its own: Ctrl-C, several processes, the installed command."""

import math
import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest
import torch

import snn_delays
from snn_delays.recipes.files import to_toml
from snn_delays.runs.evaluate import evaluate
from snn_delays.training import checkpoint
from snn_delays.training.runlog import open_run
from tests.support import tiny_runs


def command(*arguments: object) -> list[str]:
    return [sys.executable, "-m", tiny_runs.__name__, "cli", *map(str, arguments)]


def test_ctrl_c_leaves_a_run_that_can_be_used_and_continued(tmp_path: Path) -> None:
    recipe, folder = tmp_path / "long.toml", tmp_path / "run"
    recipe.write_text(to_toml(tiny_runs.tiny_recipe(training={"epochs": 100_000, "schedule_every": "epoch"})))
    process = subprocess.Popen(
        command("train", recipe, "--out", folder, "--accelerator", "cpu"),
        stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, start_new_session=True,
        preexec_fn=lambda: signal.signal(signal.SIGINT, signal.SIG_DFL),  # a shell's background job ignores it
    )  # fmt: skip
    try:
        assert process.stdout is not None
        for line in process.stdout:
            if line.startswith("epoch   2"):
                break
        process.send_signal(signal.SIGINT)
        _, errors = process.communicate(timeout=900)
    finally:
        process.kill()
    assert process.returncode == 130
    assert errors == "error: interrupted; what was finished is saved: start it again, train with --resume\n"
    run = open_run(folder)
    assert checkpoint.latest_epoch(run.checkpoints) >= 2  # type: ignore[operator]
    assert evaluate(run)["test_samples"] == 64


def test_in_a_pipe_training_prints_a_line_an_epoch(tmp_path: Path) -> None:
    recipe = tmp_path / "tiny.toml"
    recipe.write_text(to_toml(tiny_runs.tiny_recipe()))
    done = subprocess.run(
        command("train", recipe, "--out", tmp_path / "run", "--accelerator", "cpu"),
        capture_output=True, text=True, timeout=900, check=True,
    )  # fmt: skip
    lines = [line for line in done.stdout.splitlines() if line]
    assert [line[:9] for line in lines[:3]] == ["epoch   1", "epoch   2", "epoch   3"]
    assert len(lines) == 4
    assert lines[3].startswith("trained: ")
    assert "\x1b" not in done.stdout


def test_an_error_in_a_process_is_one_line_and_a_code(tmp_path: Path) -> None:
    script = Path(sys.executable).with_name("snn-delays")
    if not script.exists():
        pytest.skip("the package is not installed as a command here")
    done = subprocess.run(
        [script, "train", "demo", "--set", "training.epoch=3"],
        capture_output=True,
        text=True,
        timeout=900,
        cwd=tmp_path,
    )
    assert done.returncode == 2
    assert done.stdout == ""
    assert done.stderr.startswith(
        "error: demo: unknown key 'training.epoch'; did you mean 'epochs'? known here: epochs, "
    )
    assert done.stderr.count("\n") == 1


def test_the_package_runs_as_a_module() -> None:
    done = subprocess.run(
        [sys.executable, "-m", "snn_delays", "--version"], capture_output=True, text=True, timeout=900, check=True
    )
    assert done.stdout == f"snn_delays {snn_delays.__version__}\n"


HELP_OF_EVERY_VERB = """
import sys
import typer
from snn_delays.cli import app

def verbs(command, words=()):
    yield words
    for name, below in getattr(command, "commands", {}).items():
        yield from verbs(below, (*words, name))

for words in verbs(typer.main.get_command(app)):
    try:
        app([*words, "--help"])
    except SystemExit as done:
        assert done.code == 0, words
print(*[name for name in ("torch", "numba", "numpy", "matplotlib", "h5py", "lightning_fabric") if name in sys.modules])
"""


def test_help_of_every_verb_imports_nothing_heavy() -> None:
    done = subprocess.run(
        [sys.executable, "-c", HELP_OF_EVERY_VERB], capture_output=True, text=True, timeout=900, check=True
    )
    assert done.stdout.count("Usage:") > 20
    assert done.stdout.splitlines()[-1] == ""


@pytest.mark.slow
@pytest.mark.parametrize("launcher", ["itself", "torchrun"])
def test_two_processes_train_one_network(launcher: str, tmp_path: Path) -> None:
    recipe, folder = tmp_path / "tiny.toml", tmp_path / "run"
    recipe.write_text(to_toml(tiny_runs.tiny_recipe()))
    arguments = command("train", recipe, "--out", folder, "--accelerator", "cpu", "--devices", 2)
    if launcher == "torchrun":
        run = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc-per-node", "2"]
        arguments = [*run, *arguments[1:]]
    environment = {**os.environ, "TINY_KEEP": str(tmp_path)}
    done = subprocess.run(arguments, env=environment, capture_output=True, text=True, timeout=900)
    assert done.returncode == 0, done.stderr[-2000:]
    assert done.stdout.count("trained: ") == 1  # one of them reports
    history = open_run(folder).progress()["history"]
    assert [row["epoch"] for row in history] == [1, 2, 3]
    assert all(math.isfinite(row["train_loss"]) and math.isfinite(row["valid_loss"]) for row in history)
    first, second = (torch.load(tmp_path / f"process-{rank}.pt", weights_only=True) for rank in (0, 1))
    assert first.keys() == second.keys()
    for name in first:
        assert torch.equal(first[name], second[name]), name
    assert not torch.equal(first["readout.synapse.weight"], _untrained(folder))


def _untrained(folder: Path) -> torch.Tensor:
    from safetensors.torch import load_file

    return load_file(folder / "checkpoints" / "epoch-0000" / "model.safetensors")["readout.synapse.weight"]
