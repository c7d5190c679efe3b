"""Records of a run's folder that are damaged, of another kind, or a stranger's: one line with file and key."""

import json
from pathlib import Path
from typing import Any

import pytest

from snn_delays.errors import CheckpointError
from snn_delays.runs.evaluate import read_evaluation
from snn_delays.runs.results import append_result, read_results
from snn_delays.training import checkpoint
from snn_delays.training.runlog import Run, create_run
from tests.support import tiny_runs

ROW = {"epoch": 1, "seconds": 1.0, "train_loss": 2.0, "valid_loss": 2.0, "valid_accuracy": 0.5, "sigma": None}
PROGRESS = {"history": [ROW], "best_epoch": 1, "source": "made up", "checksum": "none"}
EVALUATION = {
    "run": "tiny", "data": "made up", "parameters": 8, "test_samples": 4, "seed": 0, "epochs": 1,
    "valid_accuracy": 0.5, "test_accuracy": 0.5,
    "test_accuracy_real_delays": 0.5, "test_accuracy_unseen_speakers": None,
}  # fmt: skip


@pytest.fixture
def run(tmp_path: Path) -> Run:
    made = create_run(tmp_path / "run", tiny_runs.tiny_recipe())
    (made.checkpoints / "epoch-0001").mkdir(parents=True)
    (made.checkpoints / "epoch-0001" / checkpoint.PROGRESS).write_text(json.dumps(PROGRESS))
    return made


def test_sound_records_are_read_as_they_are(run: Run) -> None:
    assert run.progress() == PROGRESS
    run.evaluation.write_text(json.dumps({**EVALUATION, "of a later version": [1]}))
    assert read_evaluation(run)["of a later version"] == [1]


@pytest.mark.parametrize(
    ("key", "value"),
    [
        ("history", None), ("history", [{**ROW, "epoch": 2}]), ("history", [{**ROW, "valid_loss": "1"}]),
        ("history", [{**ROW, "rate_hidden1": []}]), ("history", [1]), ("best_epoch", "1"), ("best_epoch", 2),
        ("best_epoch", -1), ("source", 3), ("class_names", "abc"), ("fine_tuning", {}),
    ],
)  # fmt: skip
def test_progress_that_is_damaged(run: Run, key: str, value: Any) -> None:
    path = run.checkpoints / "epoch-0001" / checkpoint.PROGRESS
    path.write_text(json.dumps({**PROGRESS, key: value}))
    with pytest.raises(CheckpointError, match=f"{checkpoint.PROGRESS} is damaged: .*{key}"):
        run.progress()


@pytest.mark.parametrize("text", ["", "{}", "[]", "null", "[" * 100_000, '{"a": ' + "9" * 5000 + "}", "\udcff"])
def test_json_that_is_none(run: Run, text: str) -> None:
    path = run.checkpoints / "epoch-0001" / checkpoint.PROGRESS
    path.write_bytes(text.encode(errors="surrogateescape"))
    run.evaluation.write_bytes(text.encode(errors="surrogateescape"))
    with pytest.raises(CheckpointError, match=checkpoint.PROGRESS):
        run.progress()
    with pytest.raises(CheckpointError, match=r"evaluation\.json"):
        read_evaluation(run)


@pytest.mark.parametrize(
    ("key", "value"),
    [
        ("test_samples", None),
        ("parameters", "8"),
        ("test_accuracy", []),
        ("run", 1),
        ("confusion", [["a"]]),
        ("seed", None),
        ("epochs", "1"),
        ("test_accuracy_masked", "1"),
    ],
)
def test_evaluations_that_are_damaged(run: Run, key: str, value: Any) -> None:
    run.evaluation.write_text(json.dumps({**EVALUATION, key: value}))
    with pytest.raises(CheckpointError, match=rf"evaluation\.json is damaged: {key}"):
        read_evaluation(run)


@pytest.mark.parametrize(
    ("more", "message"),
    [
        ({"confusion": [[1, 2], [3]]}, "as many columns as rows"),
        ({"readout": "as trained", "test_accuracy_masked": 0.5}, "valid_accuracy_masked is missing"),
        ({"accuracy_of_tomorrow": {}}, "accuracy_of_tomorrow should be a number"),
    ],
)
def test_evaluations_that_contradict_themselves(run: Run, more: dict[str, Any], message: str) -> None:
    run.evaluation.write_text(json.dumps({**EVALUATION, **more}))
    with pytest.raises(CheckpointError, match=message):
        read_evaluation(run)


def test_what_a_picture_needs_must_be_there(run: Run) -> None:
    run.evaluation.write_text(json.dumps(EVALUATION))
    with pytest.raises(CheckpointError, match="has no confusion"):
        read_evaluation(run, "confusion")


@pytest.mark.parametrize("name", ["epoch-²", "epoch-1", "epoch-00001", "epoch-", "epoch-x"])
def test_folders_that_are_no_epochs(run: Run, name: str) -> None:
    (run.checkpoints / name).mkdir()
    assert checkpoint.epochs_saved(run.checkpoints) == [1]


@pytest.mark.parametrize("name", ["figures", "checkpoints", "export"])
def test_links_in_the_places_that_are_written(run: Run, tmp_path: Path, name: str) -> None:
    if (run.folder / name).exists():
        (run.folder / name).rename(tmp_path / "moved")
    (run.folder / name).symlink_to(tmp_path)
    with pytest.raises(CheckpointError, match=f"{name} is a link to {tmp_path}"):
        run.own(name, "nir")
    if name != "export":
        with pytest.raises(CheckpointError, match="is a link"):
            getattr(run, name)


@pytest.mark.parametrize(
    ("damage", "message"),
    [
        (lambda row: row.replace("tiny", "tiny,more"), "line 3 has more values"),
        (lambda row: row.rsplit(",", 1)[0], "line 3 has fewer values"),
        (lambda row: row.replace(",0.5000,", ",nan,", 1), "line 3: valid_accuracy is 'nan'"),
        (lambda row: row.replace(",8,", ",x,", 1), "line 3: parameters is 'x'"),
        (lambda row: row.replace("tiny", '"ti"ny'), "no table in CSV"),
        (lambda row: row.replace("tiny", "\udcff"), "no table in CSV"),
    ],
)
def test_tables_name_the_line_that_is_damaged(tmp_path: Path, damage: Any, message: str) -> None:
    table = tmp_path / "results.csv"
    append_result(table, EVALUATION)
    append_result(table, EVALUATION)
    head, good, bad = table.read_text().splitlines()
    table.write_bytes("\n".join([head, good, damage(bad), ""]).encode(errors="surrogateescape"))
    with pytest.raises(CheckpointError, match=message):
        read_results(table)
