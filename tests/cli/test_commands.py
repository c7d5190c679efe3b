"""Commands: what they print and write, and how they refuse."""

import csv
import json
import shlex
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from click.testing import Result

from snn_delays import cli
from snn_delays.training.runlog import open_run

Ok = Callable[..., Result]
Bad = Callable[..., str]


@pytest.fixture
def run(snn: Ok, recipe: Path, tmp_path: Path) -> Path:
    snn("train", recipe, "--out", tmp_path / "run", "--accelerator", "cpu")
    return tmp_path / "run"


def test_help_names_every_command(snn: Ok) -> None:
    shown = snn("--help").stdout
    for command in (
        "train",
        "evaluate",
        "compare",
        "results",
        "plot",
        "export",
        "targets",
        "sweep",
        "demo",
        "backends",
        "data",
        "stream",
    ):
        assert command in shown
        assert "--help" in snn(command, "--help").stdout
    of_data = ("list", "download", "verify", "unpack", "show", "encode", "encode-speech-commands")
    for command in (*of_data, "simulate-nmnist"):
        assert command in snn("data", "--help").stdout


def test_train_writes_the_logs_that_are_named(snn: Ok, refused: Bad, recipe: Path, tmp_path: Path) -> None:
    snn("train", recipe, "--out", tmp_path / "run", "--accelerator", "cpu", "--logger", "csv")
    with (tmp_path / "run" / "logs" / "csv" / "metrics.csv").open() as file:
        assert [row["step"] for row in csv.DictReader(file)] == ["1", "2"]
    assert refused("train", recipe, "--logger", "csw").startswith(
        "error: there is no logger 'csw'; did you mean 'csv'? "
    )


def test_train_says_what_comes_next(snn: Ok, recipe: Path, tmp_path: Path) -> None:
    folder = tmp_path / "run"
    shown = snn("train", recipe, "--out", folder, "--set", "seed=5", "--set", "model.hidden=[9]").stdout
    assert "epoch   1" in shown
    assert "epoch   2" in shown
    assert "valid" in shown
    assert f"next: snn-delays evaluate {folder}" in shown.replace("\n", "")
    made = open_run(folder).recipe
    assert (made.seed, made.model.hidden) == (5, (9,))
    assert len(open_run(folder).progress()["history"]) == 2


def test_train_into_the_default_folder(snn: Ok, recipe: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    snn("train", "tiny.toml")
    assert open_run(tmp_path / "runs" / "tiny").best_epoch() >= 1


def test_train_twice(snn: Ok, refused: Bad, recipe: Path, run: Path) -> None:
    assert "holds a run already; continue it with --resume" in refused("train", recipe, "--out", run)
    before = (run / "metrics.csv").read_text()
    snn("train", recipe, "--out", run, "--resume")  # nothing is left to do
    assert (run / "metrics.csv").read_text() == before
    message = refused("train", recipe, "--out", run, "--resume", "--set", "model.hidden=[9]")
    assert "model.hidden = [10], the recipe now says [9]" in message
    shown = snn("train", recipe, "--out", run, "--resume", "--set", "training.epochs=4").stdout
    assert "training.epochs: 2 so far, 4 from here on" in shown
    assert len(open_run(run).progress()["history"]) == 4
    assert "lengthened only" in refused("train", recipe, "--out", run, "--resume")


def test_resume_starts_a_run_that_is_not_there(snn: Ok, recipe: Path, tmp_path: Path) -> None:
    snn("train", recipe, "--out", tmp_path / "new", "--resume")
    assert open_run(tmp_path / "new").best_epoch() >= 1


def test_evaluate_appends_rows_under_one_header(snn: Ok, run: Path, tmp_path: Path) -> None:
    table = tmp_path / "sub" / "results.csv"
    shown = snn("evaluate", run, "--append", "--table", table).stdout
    snn("evaluate", run, "--append", "--table", table)
    with table.open() as f:
        rows = list(csv.DictReader(f))
    result = json.loads((run / "evaluation.json").read_text())
    assert len(table.read_text().splitlines()) == 3
    assert rows[0] == rows[1]
    assert rows[0]["run"] == "tiny"
    assert rows[0]["test_accuracy"] == f"{result['test_accuracy']:.4f}"
    assert rows[0]["hidden"] == "10"
    assert f"{result['test_accuracy']:.1%}" in shown
    assert "made up, 64 test samples" in shown
    assert "appended to" in shown


def test_evaluate_without_append_writes_no_table(
    snn: Ok, run: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    snn("evaluate", run)
    assert not (tmp_path / "experiments").exists()


def test_append_to_a_foreign_table(refused: Bad, run: Path, tmp_path: Path) -> None:
    table = tmp_path / "other.csv"
    table.write_text("a,b\n1,2\n")
    assert "has other columns than this version writes" in refused("evaluate", run, "--append", "--table", table)
    assert table.read_text() == "a,b\n1,2\n"
    assert "has other columns" in refused("results", table)


def test_compare(snn: Ok, refused: Bad, run: Path, tmp_path: Path) -> None:
    assert "was not evaluated yet: snn-delays evaluate" in refused("compare", run)
    snn("evaluate", run)
    other = tmp_path / "copy"
    shutil.copytree(run, other)
    shown = snn("compare", run, other).stdout
    assert shown.count(f"tiny ({run})") == shown.count(f"tiny ({other})") == 1
    assert "held out of the training set" in shown
    assert "is no run folder" in refused("compare", run, tmp_path / "none")


def test_compare_tells_runs_of_one_name_apart(snn: Ok, recipe: Path, tmp_path: Path) -> None:
    for seed in (5, 6):
        snn("train", recipe, "--out", tmp_path / str(seed), "--set", f"seed={seed}", "--set", "training.epochs=1")
        snn("evaluate", tmp_path / str(seed))
    shown = snn("compare", tmp_path / "5", tmp_path / "6").stdout
    assert "tiny, seed = 5 " in shown
    assert "tiny, seed = 6 " in shown
    assert str(tmp_path) not in shown


def test_columns_say_what_they_are(snn: Ok, run: Path) -> None:
    shown = snn("evaluate", run).stdout
    assert "trainable" in shown
    assert "unseen" in shown
    found = json.loads((run / "evaluation.json").read_text())
    (run / "evaluation.json").write_text(json.dumps({**found, "test_accuracy_unseen_speakers": found["test_accuracy"]}))
    assert "unseen" not in snn("compare", run).stdout  # it would say the same once more


def test_a_start_that_fails_leaves_no_folder(refused: Bad, recipe: Path, tmp_path: Path) -> None:
    out = tmp_path / "new" / "run"
    refused("train", recipe, "--out", out, "--accelerator", "abacus")
    assert not out.parent.exists()
    out.mkdir(parents=True)
    (out / "notes.txt").write_text("mine")
    refused("train", recipe, "--out", out, "--accelerator", "abacus")
    assert [path.name for path in out.iterdir()] == ["notes.txt"]


def test_the_next_command_can_be_pasted(snn: Ok, recipe: Path, tmp_path: Path) -> None:
    folder = tmp_path / "mein Lauf é"
    shown = snn("train", recipe, "--out", folder, "--set", "training.epochs=1").stdout
    assert shlex.split(shown.partition("next: ")[2]) == ["snn-delays", "evaluate", str(folder)]


def test_results_prints_and_writes_the_table(snn: Ok, refused: Bad, run: Path, tmp_path: Path) -> None:
    table, document = tmp_path / "results.csv", tmp_path / "page.md"
    assert "cannot read" in refused("results", table)
    snn("evaluate", run, "--append", "--table", table)
    shown = snn("results", table).stdout
    assert shown.startswith("| delays |")
    document.write_text("before\n<!-- results -->\nold\n<!-- /results -->\nafter\n")
    snn("results", table, "--write", document)
    assert document.read_text() == f"before\n<!-- results -->\n{shown}<!-- /results -->\nafter\n"
    assert snn("results", table, "--only", "made").stdout == shown
    assert "no row of a data set that begins with 'N-MNIST'" in refused("results", table, "--only", "N-MNIST")
    document.write_text("nothing")
    assert "has no lines <!-- results -->" in refused("results", table, "--write", document)


def test_backends_says_which_serves_and_why_not(snn: Ok) -> None:
    shown = snn("backends").stdout
    for name in ("lif", "leaky_integrator", "norm_lif", "delayed_linear", "reference", "numba_cpu"):
        assert name in shown
    from snn_delays.ops.backends import operations

    assert shown.count("yes, chosen") == len(operations())


def test_data_list_verify_and_unpack(snn: Ok, refused: Bad, tmp_path: Path) -> None:
    shown = snn("data", "list").stdout
    assert "shd-regenerated-subset" in shown
    assert "CC BY 4.0" in shown
    assert next(line for line in shown.splitlines() if "shd-regenerated-subset" in line).rstrip(" │").endswith("yes")
    shown = snn("data", "verify", "shd-regenerated-subset").stdout
    assert shown.count("is SHD-regenerated (bundled subset)") == 2
    assert "unknown data set 'mnist'; did you mean 's-mnist' or 'n-mnist' or 'ps-mnist'? the catalogue has" in refused(
        "data", "verify", "mnist"
    )
    assert "is missing" in refused("data", "verify", "shd")
    junk = tmp_path / "junk.tar.gz"
    junk.write_bytes(b"junk")
    for verb in ("unpack", "convert"):  # the former name
        assert "which no card" in refused("data", verb, junk)
        assert "nothing.zip" in refused("data", verb, tmp_path / "nothing.zip", code=2)
    printed = refused("data", "convert", "shd_regen_test.npz.xz")
    assert "from a checkout: python -m experiments.studies.shd_regenerated convert shd_regen_test.npz.xz" in printed


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        (["train", "nothing.toml"], "no recipe at nothing.toml"),
        (["train", "dem"], "no recipe at dem"),
        (["train", "demo", "--set", "model.hiden=[3]"], "did you mean 'hidden'"),
        (["train", "demo", "--set", "x"], "--set takes section.key=value, got 'x'"),
        (["train", "demo", "--set", "data.validation=speakers"], "validation_speakers"),
        (["train", "demo", "--out", "OUT", "--accelerator", "abacus"], "accelerator 'abacus'"),
        (["train", "demo", "--out", "OUT", "--devices", "0"], "devices 0"),
        (["evaluate", "nowhere"], "nowhere is no run folder: it has no recipe.toml"),
        (["plot", "nowhere"], "nowhere is no run folder"),
        (["export", "nowhere"], "nowhere is no run folder"),
    ],
)
def test_refusals(arguments: list[str], says: str, refused: Bad, tmp_path: Path) -> None:
    assert says in refused(*[str(tmp_path / "out") if a == "OUT" else a for a in arguments])


@pytest.mark.parametrize("arguments", [["train"], ["trane"], ["train", "demo", "--epochs", "3"], ["data", "verify"]])
def test_misused_commands_are_explained_by_usage(arguments: list[str]) -> None:
    from typer.testing import CliRunner

    result = CliRunner().invoke(cli.app, arguments)
    assert result.exit_code == 2
    assert "Usage:" in result.stderr
    assert "Traceback" not in result.output


def test_runs_that_were_damaged(refused: Bad, run: Path) -> None:
    best = open_run(run).best_epoch()
    model = run / "checkpoints" / f"epoch-{best:04d}" / "model.safetensors"
    content = model.read_bytes()
    model.write_bytes(content[:100])
    assert f"cannot read {model}" in refused("evaluate", run)
    model.write_bytes(content)
    recipe = (run / "recipe.toml").read_text()
    assert "    10,\n" in recipe  # of hidden
    (run / "recipe.toml").write_text(recipe.replace("    10,\n", "    11,\n"))
    # torch's own message has several lines; ours has one
    assert "is of another network" in refused("evaluate", run)
    (run / "recipe.toml").write_text("name =")
    assert "is not valid TOML" in refused("evaluate", run)


def test_an_error_of_the_system_is_one_line(refused: Bad, run: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from snn_delays.runs import evaluate

    def full(path: Path, text: str) -> Any:
        raise OSError(28, "No space left on device", str(path))

    monkeypatch.setattr(evaluate, "write_text", full)
    message = refused("evaluate", run, code=1)
    assert "evaluation.json" in message
    assert "No space left on device" in message


def test_a_bug_is_not_hidden(run: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from typer.testing import CliRunner

    from snn_delays.runs import events

    monkeypatch.setattr(events, "measure", lambda *_: 1 / 0)
    assert isinstance(CliRunner().invoke(cli.app, ["evaluate", str(run)]).exception, ZeroDivisionError)


def test_plot(snn: Ok, refused: Bad, run: Path) -> None:
    assert "was not evaluated yet" in refused("plot", run, "--what", "confusion")
    snn("evaluate", run)
    shown = snn("plot", run).stdout
    names = {path.name for path in (run / "figures").iterdir()}
    assert names == {"rasters.png", "membranes.png", "delays.png", "curves.png", "confusion.png"}
    assert all((run / "figures" / name).stat().st_size > 1000 for name in names)
    assert shown.count("drawn:") == 5
    assert "there is no picture 'faces' of this run; choose from rasters" in refused("plot", run, "--what", "faces")
    assert "there is no validation sample 999; there are 0..15" in refused("plot", run, "--sample", 999)


def test_demo_on_made_up_data(snn: Ok, recipe: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for name, delays in cli.train.DEMOS.items():
        path = tmp_path / f"{name}.toml"
        path.write_text(f'base = "tiny.toml"\nname = "{path.stem}"\n[model]\ndelays = "{delays}"\n')
    monkeypatch.chdir(tmp_path)
    train_run = cli.train.train_run
    monkeypatch.setattr(cli.train, "train_run", lambda name, *rest, **to: train_run(f"{name}.toml", *rest, **to))
    shown = snn("demo", "--out", "runs", "--seeds", 2).stdout
    found = {
        name: [json.loads(Path("runs", folder, "evaluation.json").read_text()) for folder in (name, f"{name}_seed_1")]
        for name in cli.train.DEMOS
    }
    learned, fixed = ([100 * r["test_accuracy"] for r in found[name]] for name in ("demo", "demo_fixed_delays"))
    assert learned[0] != learned[1]
    row = next(line for line in shown.splitlines() if "learned" in line and "│" in line)
    assert f"{sum(learned) / 2:.1f} ± {abs(learned[0] - learned[1]) / 2**0.5:.1f}" in row
    gains = ", ".join(f"{a - b:+.1f}" for a, b in zip(learned, fixed))
    assert f"learned against fixed, seed by seed: {gains} points" in shown
    assert "mean ± standard deviation over 2 seeds" in shown
    assert "were not trained on" not in shown  # some of the made-up test samples are by known speakers
    assert shown.count("picture") == 5
    assert Path("runs/demo/export/nir/network.nir").exists()
    assert Path("runs/demo/export/c99/network.c").exists()
    snn("demo", "--out", "runs", "--seeds", 2)  # a second time trains nothing
    assert len(open_run(Path("runs/demo_seed_1")).progress()["history"]) == 2


def test_control_characters_of_others_stay_out_of_the_terminal(snn: Ok, refused: Bad, run: Path) -> None:
    snn("evaluate", run)
    found = json.loads((run / "evaluation.json").read_text())
    steering = {"run": "a\x1b]0;owned\x07", "data": "b\x1b[2J\u202e"}
    (run / "evaluation.json").write_text(json.dumps({**found, **steering}))
    shown = snn("compare", run).stdout
    assert "owned" in shown
    assert not {"\x1b", "\x07", "\u202e"} & set(shown)
    assert "\x1b" not in refused("compare", "no\x1b[2Jrun")


def test_pictures_are_not_written_through_a_link(refused: Bad, run: Path, tmp_path: Path) -> None:
    (tmp_path / "curves.png").write_text("mine")
    (run / "figures").symlink_to(tmp_path)
    assert "is a link" in refused("plot", run, "--what", "curves")
    assert (tmp_path / "curves.png").read_text() == "mine"


@pytest.mark.parametrize("error", [MemoryError(), RuntimeError("DefaultCPUAllocator: can't allocate memory: 1 TB")])
def test_memory_that_is_not_there_is_one_line(refused: Bad, run: Path, monkeypatch: Any, error: Exception) -> None:
    def fail(*_: Any) -> None:
        raise error

    monkeypatch.setattr("snn_delays.runs.load.open_run", fail)
    assert "not enough memory" in refused("evaluate", run, code=1)
