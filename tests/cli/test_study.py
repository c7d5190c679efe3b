"""`study`, `report`, `reproduce` and `perturb`: what they print and write, and how they refuse."""

import csv
from collections.abc import Callable
from pathlib import Path

import pytest
from click.testing import Result
from typer.testing import CliRunner

from snn_delays import cli
from snn_delays.runs import study
from tests.runs.test_study import Here

Ok = Callable[..., Result]
Bad = Callable[..., str]


@pytest.fixture
def here(monkeypatch: pytest.MonkeyPatch) -> Here:
    made = Here()
    monkeypatch.setattr(study, "run_commands", made)
    return made


@pytest.fixture
def file(tmp_path: Path, recipe: Path) -> Path:
    path = tmp_path / "mine.toml"
    variants = 'variants.learned = {}\nvariants.none = { model.delays = "none" }\ncontrol = "none"\n'
    path.write_text(f'recipe = "{recipe.name}"\nseeds = [3, 4]\nset = {{ training.epochs = 1 }}\n{variants}')
    return path


def test_a_study_and_its_report(snn: Ok, here: Here, file: Path, tmp_path: Path) -> None:
    out = tmp_path / "out"
    shown = snn("study", file, "--out", out, "--workers", 1).stdout.replace("\n", " ")
    assert shown.count("best epoch 1") == 4
    assert f"4 of 4 runs are finished; next: snn-delays report {out}" in shown
    shown = snn("study", file, "--out", out).stdout
    assert "4 of 4 runs are finished already" in shown
    assert len(here.calls) == 4
    document = tmp_path / "page.md"
    document.write_text("<!-- study mine -->\n<!-- /study mine -->\n")
    shown = snn("report", out, "--write", document).stdout
    assert "valid_accuracy" in shown
    assert "paired t-test" in shown.replace("\n", " ")
    assert f"written: {out / 'report' / 'curves.png'}" in shown.replace("\n", "")
    assert "| learned | 2 | " in document.read_text()
    assert "valid_loss" in snn("report", out, "--measure", "valid_loss", "--control", "learned").stdout
    assert "against learned" in (out / "report" / "table.md").read_text()


def test_a_failed_run_makes_the_exit_code_1(here: Here, file: Path, tmp_path: Path) -> None:
    here.instead["none_seed_3"] = [(2, "no such data (exit code 2)")]
    result = CliRunner().invoke(cli.app, ["study", str(file), "--out", str(tmp_path / "out"), "--workers", "1"])
    assert result.exit_code == 1
    shown = result.stdout.replace("\n", "")
    assert (
        f"failed: none_seed_3: no such data (exit code 2); see {tmp_path / 'out' / 'logs' / 'none_seed_3'}.txt" in shown
    )
    assert "3 of 4 runs are finished" in shown


def test_refusals(refused: Bad, file: Path, recipe: Path, tmp_path: Path) -> None:
    assert "cannot read the study" in refused("study", tmp_path / "none.toml")
    text = file.read_text()
    file.write_text(text.replace("training.epochs", "training.epoch"))
    assert "unknown key 'training.epoch'; did you mean 'epochs'" in refused("study", file)
    file.write_text(text + "seedz = 3\n")
    assert "unknown key 'seedz'" in refused("study", file)
    file.write_text(text)
    assert "no Dask scheduler answers at 'nonsense://x'" in refused("study", file, "--scheduler", "nonsense://x")
    assert "no run of" in refused("report", file)
    assert "control = 'nobody' is no variant" in refused("report", file, "--control", "nobody")
    assert "has no study.toml" in refused("report", tmp_path)
    assert "takes numbers separated by commas, got 'much'" in refused("perturb", tmp_path, "--jitter", "much")


def test_a_row_is_reproduced(snn: Ok, refused: Bad, recipe: Path, tmp_path: Path) -> None:
    table, out = tmp_path / "results.csv", tmp_path / "again"
    snn("train", recipe, "--out", tmp_path / "run", "--set", "seed=5", "--accelerator", "cpu")
    snn("evaluate", tmp_path / "run", "--append", "--table", table)
    words = ("reproduce", "tiny:5", "--table", table, "--recipe", recipe)
    shown = snn(*words, "--out", out).stdout
    assert f"{out} agrees with the row" in shown.replace("\n", "")
    assert "1.96 sqrt(2 p (1 - p) / n)" in shown.replace("\n", " ")
    assert "+0.0000" in shown
    with table.open() as opened:
        (row,) = csv.DictReader(opened)
    other = table.read_text().replace(f",{row['test_accuracy']},", f",{1 - float(row['test_accuracy']) / 3:.4f},")
    assert other != table.read_text()
    table.write_text(other)
    result = CliRunner().invoke(cli.app, [str(word) for word in (*words, "--out", out)])
    assert result.exit_code == 1
    assert f"{out} does not agree: test_accuracy" in result.stdout.replace("\n", "")
    snn(*words, "--out", out, "--tolerance", 1)
    assert "has the rows 1 to 1, not 7" in refused("reproduce", 7, "--table", table)
    assert "of that recipe it has the seeds 5" in refused("reproduce", "tiny:6", "--table", table)
    assert "did you mean 'tiny'?" in refused("reproduce", "tiney", "--table", table)
    assert "no recipe at tiny" in refused("reproduce", "1", "--table", table)
    wrong = refused(*words, "--set", "training.epochs=3")
    assert "the row has epochs = 2, recipe tiny 3; change the recipe as the row was made, with --set" in wrong
    assert "the row has hidden = 10, recipe tiny 9;" in refused(*words, "--set", "model.hidden=[9]")
    table.write_text(other + other.splitlines()[1].replace(",learned,10,", ",learned,12,") + "\n")
    assert "has 2 kinds of rows 'tiny:5'; name one by its number: 1: made up, learned, 10, 2; 2: made" in refused(
        *words
    )


def test_perturb(snn: Ok, refused: Bad, recipe: Path, tmp_path: Path) -> None:
    run = tmp_path / "run"
    snn("train", recipe, "--out", run, "--accelerator", "cpu")
    shown = snn("perturb", run, "--jitter", "0,30", "--permute-delays", "--seeds", 2).stdout
    assert "jitter (ms)" in shown
    assert "spikes deleted" not in shown
    for name in ("perturb.csv", "perturb.md", "perturb.png"):
        assert (run / "perturb" / name).exists()
        assert f"written: {run / 'perturb' / name}" in shown.replace("\n", "")
    weights = next((run / "checkpoints").glob("epoch-0002/*.safetensors"))
    assert "is no run folder; say with --out" in refused("perturb", weights, "--delete", "0.5")
    snn("perturb", weights, "--delete", "0.5", "--seeds", 1, "--out", tmp_path / "other")
    assert "delete must lie in 0 to 1, got 2" in refused("perturb", run, "--delete", "2")
