"""The table of results grows by rows, never loses one, and the README shows what it says."""

import os
import sys
from pathlib import Path

import pytest

from snn_delays.errors import CheckpointError, DataError
from snn_delays.files import write_between_markers
from snn_delays.runs.results import append_result, markdown, read_results

ROOT = Path(__file__).resolve().parents[2]
EVALUATION = {
    "run": "toy", "data": "SHD-regenerated", "delays": "learned", "hidden": "256x256", "parameters": 214016,
    "seed": 0, "epochs": 25,
    "best_epoch": 19, "readout": "as trained", "valid_accuracy": 0.98, "valid_accuracy_masked": 0.98,
    "test_accuracy": 0.92, "test_accuracy_masked": 0.92, "test_accuracy_real_delays": 0.913,
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


def test_the_masked_readout_has_a_column_where_it_differs(tmp_path):
    append_result(tmp_path / "results.csv", {**EVALUATION, "test_accuracy_masked": 0.76})
    head, _, line = markdown(read_results(tmp_path / "results.csv")).splitlines()
    assert head.endswith("| unseen speakers | masked readout | data |")
    assert line.endswith("| 92.0% | 91.3% | - | 76.0% | SHD-regenerated |")


HEAD = (  # of version 0.1
    "run,data,delays,hidden,parameters,seed,epochs,best_epoch,valid_accuracy,test_accuracy,test_accuracy_real_delays,"
    "test_accuracy_unseen_speakers,test_accuracy_known_speakers,test_samples,valid_bits_per_byte,test_bits_per_byte,"
    "test_bits_per_byte_carried,firing_rate,training_minutes,version,date"
)


def earlier_table(path: Path) -> str:
    """The table of version 0.1: a run on events, measured masked, and one on text."""
    columns = HEAD.split(",")
    of_events = [EVALUATION.get(column, "") for column in columns]
    of_text = [
        "" if "accuracy" in key else {"test_bits_per_byte": 2.5, "firing_rate": 0.1}.get(key, 7) for key in columns
    ]
    rows = [",".join("" if cell is None else str(cell) for cell in row) for row in (columns, of_events, of_text)]
    path.write_text("\n".join(rows) + "\n")
    return path.read_text()


def test_rows_of_a_version_before_are_kept_and_say_that_they_were_masked(tmp_path):
    table = tmp_path / "results.csv"
    before = earlier_table(table)
    assert [row["readout"] for row in read_results(table)] == ["masked", ""]
    assert table.read_text() == before  # reading changes nothing
    append_result(table, {**EVALUATION, "test_accuracy": 0.94, "test_accuracy_masked": 0.91})
    old, text, new = read_results(table)
    assert (old["readout"], old["test_accuracy"], old["test_accuracy_masked"]) == ("masked", "0.92", "0.92")
    assert (text["readout"], text["test_bits_per_byte"], text["test_accuracy_masked"]) == ("", "2.5", "")
    assert (new["readout"], new["test_accuracy"], new["test_accuracy_masked"]) == ("as trained", "0.9400", "0.9100")
    shown = markdown([old, new]).splitlines()
    assert len(shown) == 4  # the two do not share a line, though seed and recipe are the same
    assert "| 92.0% | masked |" in shown[2]
    assert "| 91.0% | as trained |" in shown[3]


def test_an_evaluation_of_a_version_before_is_appended_as_masked(tmp_path):
    new = ("readout", "valid_accuracy_masked", "test_accuracy_masked")
    append_result(tmp_path / "results.csv", {key: value for key, value in EVALUATION.items() if key not in new})
    (row,) = read_results(tmp_path / "results.csv")
    assert (row["readout"], row["test_accuracy_masked"], row["valid_accuracy_masked"]) == ("masked", "0.9200", "0.9800")


@pytest.mark.skipif(sys.platform == "win32", reason="needs fork and locks of files")
def test_processes_that_append_at_once_lose_no_row(tmp_path):
    table, processes = tmp_path / "new" / "results.csv", 8
    reader, writer = os.pipe()
    children = []
    for seed in range(processes):
        child = os.fork()
        if not child:
            os.read(reader, 1)  # all begin together
            append_result(table, {**EVALUATION, "seed": seed})
            os._exit(0)
        children.append(child)
    os.write(writer, b"x" * processes)
    assert [os.waitpid(child, 0)[1] for child in children] == [0] * processes
    assert sorted(row["seed"] for row in read_results(table)) == [str(seed) for seed in range(processes)]
    assert [path.name for path in table.parent.iterdir()] == ["results.csv"]


def test_runs_that_differ_by_their_seed_share_a_line(tmp_path):
    table = tmp_path / "results.csv"
    for seed, accuracy in ((0, 0.5), (1, 0.91), (2, 0.93), (0, 0.92)):  # the second run of seed 0 counts
        append_result(table, {**EVALUATION, "seed": seed, "test_accuracy": accuracy, "test_accuracy_masked": accuracy})
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
