"""The table of results grows by rows, never loses one, and the README shows what it says."""

from pathlib import Path

import pytest

from snn_delays.errors import CheckpointError, DataError
from snn_delays.files import write_between_markers
from snn_delays.training.results import append_result, markdown, read_results

ROOT = Path(__file__).resolve().parents[2]
EVALUATION = {
    "run": "toy", "data": "SHD-regenerated", "delays": "learned", "hidden": "256x256", "parameters": 214016,
    "seed": 0, "epochs": 25,
    "best_epoch": 19, "valid_accuracy": 0.98, "test_accuracy": 0.92, "test_accuracy_real_delays": 0.913,
    "test_accuracy_unseen_speakers": None, "test_accuracy_known_speakers": 0.96, "test_samples": 2264,
    "training_minutes": 18.5, "confusion": [[1]],
}  # fmt: skip


def test_rows_are_appended_under_one_header(tmp_path):
    table = tmp_path / "results.csv"
    append_result(table, EVALUATION)
    append_result(table, {**EVALUATION, "run": "second", "hidden": "128"})
    assert [(row["run"], row["hidden"]) for row in read_results(table)] == [("toy", "256x256"), ("second", "128")]
    assert table.read_text().count("test_accuracy_real_delays") == 1


def test_a_table_of_other_columns_is_left_alone(tmp_path):
    table = tmp_path / "results.csv"
    table.write_text("a,b\n1,2\n")
    with pytest.raises(CheckpointError, match="other columns"):
        append_result(table, EVALUATION)
    assert table.read_text() == "a,b\n1,2\n"


def test_markdown_has_a_row_for_every_result(tmp_path):
    append_result(tmp_path / "results.csv", EVALUATION)
    lines = markdown(read_results(tmp_path / "results.csv")).splitlines()
    assert lines[2] == "| learned | 256x256 | 214,016 | 25 | 1 | 92.0% | 91.3% | - | SHD-regenerated |"
    assert len({line.count("|") for line in lines}) == 1


def test_runs_that_differ_by_their_seed_share_a_line(tmp_path):
    table = tmp_path / "results.csv"
    for seed, accuracy in ((0, 0.5), (1, 0.91), (2, 0.93), (0, 0.92)):  # the second run of seed 0 counts
        append_result(table, {**EVALUATION, "seed": seed, "test_accuracy": accuracy})
    append_result(table, {**EVALUATION, "epochs": 40})
    lines = markdown(read_results(table)).splitlines()[2:]
    assert len(lines) == 2
    assert "| 25 | 3 | 92.0% ± 1.0% | 91.3% ± 0.0% | - |" in lines[0]
    assert "| 40 | 1 | 92.0% | 91.3% | - |" in lines[1]


def test_delays_in_text_are_compared_seed_by_seed(tmp_path):
    table = tmp_path / "results.csv"
    of_text = {**EVALUATION, "data": "a text", "hidden": "3x96 after", "test_accuracy": None}
    for delays, bits in (("token", (2.5, 2.7)), ("learned", (2.4, 2.62))):
        for seed, value in enumerate(bits):
            append_result(table, {**of_text, "delays": delays, "seed": seed, "test_bits_per_byte": value})
    append_result(table, {**of_text, "delays": "learned", "seed": 7, "test_bits_per_byte": 9.0})  # token has none
    append_result(table, {**of_text, "delays": "fixed", "hidden": "2x96 after", "test_bits_per_byte": 2.0})
    token, learned, alone = markdown(read_results(table)).splitlines()[2:]
    assert "| 2 | 2.600 ± 0.141 | - |" in token
    assert "| -0.090 ± 0.014 |" in learned  # the means of all their seeds would say +2.07
    assert "| 1 | 2.000 | - |" in alone


def test_the_table_goes_between_its_markers(tmp_path):
    document = tmp_path / "page.md"
    document.write_text("before\n<!-- results -->\nold\n<!-- /results -->\nafter\n")
    write_between_markers(document, "results", "new\n")
    assert document.read_text() == "before\n<!-- results -->\nnew\n<!-- /results -->\nafter\n"
    document.write_text("no place\n")
    with pytest.raises(DataError, match="no lines"):
        write_between_markers(document, "results", "new\n")


@pytest.mark.parametrize(
    ("document", "column", "begins"),
    [
        ("README.md", "data", "SHD"),
        ("docs/nmnist.md", "data", "N-MNIST"),
        ("docs/spikegpt.md", "run", "spikegpt_delays"),
    ],
)
def test_documents_show_the_table_as_it_is(document, column, begins):
    text = (ROOT / document).read_text(encoding="utf-8")
    shown = text.partition("<!-- results -->\n")[2].partition("<!-- /results -->")[0]
    rows = [row for row in read_results(ROOT / "experiments" / "results.csv") if row[column].startswith(begins)]
    assert shown == markdown(rows)
