"""`snn-delays export`, `targets` and `sweep` on a small run."""

import errno
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from click.testing import Result
from typer.testing import CliRunner

from snn_delays import cli
from snn_delays.chips.profiles import profiles
from snn_delays.export import targets
from snn_delays.export.nir.write import read_nir
from snn_delays.export.targets import FORMATS
from snn_delays.ir.canonical import read_network
from snn_delays.ir.trace import first_mismatch, make_trace, read_trace
from snn_delays.runs import samples
from snn_delays.runs.sweep import COLUMNS, EARLIER, SWEEPS, markdown
from tests.support import tiny_runs

Ok, Bad = Callable[..., Result], Callable[..., str]


@pytest.fixture
def run(snn: Ok, recipe: Path, tmp_path: Path) -> Path:
    snn("train", recipe, "--out", tmp_path / "run", "--accelerator", "cpu", "--set", "model.min_delay_steps=1")
    return tmp_path / "run"


def files(folder: Path) -> list[str]:
    return sorted(str(path.relative_to(folder)) for path in folder.rglob("*"))


def test_every_format_is_written_whole_with_its_trace_and_report(snn: Ok, run: Path) -> None:
    for name, one in FORMATS.items():
        clamp = ["--clamp"] if one.profile == "spinnaker2" else []
        shown = snn("export", run, "--to", name, "--samples", 4, *clamp).stdout
        folder = run / "export" / name
        network, trace = read_network(folder / "network.npz"), read_trace(folder / "golden.npz")
        assert first_mismatch(network, trace, make_trace(network, trace.counts).outputs) is None
        assert trace.samples == 4
        assert network.whole == (one.arithmetic == "whole")
        assert "discretised" in shown
        assert str(folder / "network.npz") in shown
        report = json.loads((folder / "report.json").read_text())
        assert report["format"] == name
        assert report["fidelity"]["samples"] == 16
        assert "SynOps" in (folder / "report.txt").read_text()
        assert (folder / "spikes.png").stat().st_size > 1000
        assert (folder / "delays.png").stat().st_size > 1000
        assert not [path for path in (run / "export").iterdir() if path.name.startswith(".")]


def test_a_target_bits_and_encoding(snn: Ok, run: Path, tmp_path: Path) -> None:
    shown = snn("export", run, "--to", "brian2", "--target", "loihi2", "--weight-bits", 4).stdout
    assert "weights on 4 bits" in shown
    assert "Loihi 2" in shown
    network = read_network(run / "export" / "brian2_loihi2" / "network.npz")
    assert network.whole
    assert all(np.abs(synapses.weight).max() <= 7 for _, synapses in network.all_synapses())
    snn("export", run, "--encoding", "branch", "--time-unit", "ms", "--out", tmp_path / "branch")
    assert read_nir(tmp_path / "branch" / "network.nir").metadata["time_unit"] == "ms"
    snn("export", run, "--weight-bits", "ternary", "--scale", "free", "--out", tmp_path / "branch")
    network = read_network(tmp_path / "branch" / "network.npz")
    assert all(len(np.unique(np.abs(synapses.weight))) == 1 for _, synapses in network.all_synapses())


def test_relays_hold_what_spinnaker2_cannot(snn: Ok, run: Path) -> None:
    snn("export", run, "--to", "spinnaker2", "--relays", "--samples", 2)
    network = read_network(run / "export" / "spinnaker2" / "network.npz")
    assert max(synapses.max_delay_steps for _, synapses in network.all_synapses()) > 7


def test_check_prints_the_fit_and_says_by_its_status(snn: Ok, refused: Bad, run: Path) -> None:
    shown = snn("export", run, "--check", "--target", "loihi2").stdout
    assert "loihi2" in shown
    assert "fits" in shown
    result = CliRunner().invoke(cli.app, ["export", str(run), "--check", "--target", "xylo"])
    assert result.exit_code == 1
    assert "delays" in result.stdout
    assert not (run / "export").exists()
    assert "--check needs --target" in refused("export", run, "--check")
    clamped = ["--target", "loihi2", "--weight-bits", "4", "--max-delay-steps", "3", "--clamp"]
    shown = snn("export", run, "--check", *clamped).stdout
    assert "4 bit" in shown
    assert "longest 3" in shown


def test_targets_lists_formats_and_chips(snn: Ok) -> None:
    shown = snn("targets").stdout
    assert all(name in shown for name in (*FORMATS, *profiles()))


def test_targets_of_a_run(snn: Ok, run: Path, tmp_path: Path) -> None:
    shown = snn("targets", run).stdout
    assert all(name in shown for name in profiles())
    page = tmp_path / "page.md"
    page.write_text("<!-- costs -->\n<!-- /costs -->\n")
    snn("targets", run, "--write", page)
    rows = {
        line.split(" | ")[0].strip("| "): line.split(" | ")[1:] for line in page.read_text().splitlines() if "|" in line
    }
    assert rows["loihi2"][0].startswith("yes")
    assert rows["xylo"][0].startswith("no")
    assert set(rows["xylo"][1:]) == {"-", "- |"}
    spikes, synops = (int(cell.replace(",", "")) for cell in rows["nest"][4:6])
    assert 0 < spikes < synops


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--to", "onnx"], "unknown format 'onnx'; the formats are npz, nir"),
        (["--target", "loihi7"], "there is no profile 'loihi7'"),
        (["--weight-bits", "1"], "weight_bits must lie in 2..16 or be 'ternary', got 1"),
        (["--weight-bits", "many"], "--weight-bits takes a number from 2 to 16 or ternary, got 'many'"),
        (["--scale", "log", "--weight-bits", "4"], "scale of weights must be one of"),
        (["--samples", "-1"], "must be 0 or more, got -1"),
        (["--to", "lava", "--encoding", "branch"], "--encoding belongs to --to nir"),
        (["--encoding", "loop"], "loop"),
        (["--to", "lava", "--time-unit", "s"], "--time-unit belongs to --to nir"),
        (["--time-unit", "h"], "time_unit must be one of s, ms, us"),
        (["--relays"], "--relays belongs to --to spinnaker2"),
        (["--split", "train"], "validation or test, got 'train'"),
        (["--max-delay-steps", "2"], "delays above 2 steps"),
        (["--to", "spinnaker2"], "delays above 7 steps"),
        (["--to", "lava", "--target", "spinnaker2", "--clamp"], "lava holds networks of integers"),
    ],
)
def test_what_cannot_be_is_one_line_and_leaves_nothing(
    refused: Bad, run: Path, arguments: list[str], message: str
) -> None:
    before = files(run)
    assert message in refused("export", run, *arguments)
    assert files(run) == before


def test_a_soft_reset_does_not_go_where_there_is_none(snn: Ok, refused: Bad, recipe: Path, tmp_path: Path) -> None:
    run = tmp_path / "soft"
    snn("train", recipe, "--out", run, "--set", "model.reset=soft", "--accelerator", "cpu")
    for to in ("nir", "nest", "pynn", "lava"):
        assert "soft" in refused("export", run, "--to", to)
    assert not [name for name in files(run) if name.startswith("export/") and Path(run / name).is_file()]
    for to in ("brian2", "c99", "hdl"):
        snn("export", run, "--to", to, "--samples", 2)


def test_folders_that_cannot_be_written(
    refused: Bad, snn: Ok, run: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    taken = tmp_path / "taken"
    taken.mkdir()
    (taken / "thesis.tex").write_text("years of work")
    (taken / "network.npz").write_text("somebody else's")
    assert "is there already and was not made by this program" in refused("export", run, "--out", taken)
    assert files(taken) == ["network.npz", "thesis.tex"]
    (tmp_path / "file").write_text("")
    assert "cannot write the export" in refused("export", run, "--out", tmp_path / "file")
    snn("export", run, "--out", tmp_path / "good")
    (tmp_path / "good" / "results.txt").write_text("of a simulation")
    snn("export", run, "--out", tmp_path / "good")
    assert (tmp_path / "good" / "results.txt").read_text() == "of a simulation"
    before = (tmp_path / "good" / "network.npz").read_bytes()

    def full(*_: Any) -> bytes:
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(targets, "trace_bytes", full)
    assert "No space left on device" in refused("export", run, "--out", tmp_path / "good")
    assert (tmp_path / "good" / "network.npz").read_bytes() == before
    assert not [path for path in tmp_path.iterdir() if path.name.startswith(".good")]


def test_sweep_opens_test_data_when_asked_and_says_so(
    snn: Ok, refused: Bad, run: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    options = ("--weight-bits", "8", "--max-delays", "62", "--table", tmp_path / "sweep.csv")
    with monkeypatch.context() as patch:
        patch.setattr(samples, "load_binned", tiny_runs.fake_load)  # which refuses test data
        assert "1 rows, of 16 validation samples" in snn("sweep", run, *options).stdout
    assert "1 rows, of 64 test samples" in snn("sweep", run, *options, "--split", "test").stdout
    rows = SWEEPS.read(tmp_path / "sweep.csv")
    assert [(row["split"], row["samples"], row["readout"]) for row in rows] == [
        ("validation", "16", "as trained"), ("test", "64", "as trained"),
    ]  # fmt: skip
    assert [line.split("|")[-2].strip() for line in markdown(rows).splitlines()[2:]] == ["16 validation", "64 test"]
    assert "validation or test, got 'train'" in refused("sweep", run, *options, "--split", "train")


def test_a_sweep_of_the_first_version_was_of_test_data_and_masked(tmp_path: Path) -> None:
    table = tmp_path / "sweep.csv"
    table.write_text(",".join(EARLIER[0]) + "\ntoy,a set,loihi2,24,,8,24,0,0.9,0.8,300,0,0.1.0,2026-11-21\n")
    (row,) = SWEEPS.read(table)
    assert (row["split"], row["samples"], row["readout"], row["integer_accuracy"]) == ("test", "300", "masked", "0.8")
    assert markdown([row]).splitlines()[2].endswith("| 90.0% | 80.0% | loihi2 | 300 test, masked |")


def test_a_sweep_that_calls_the_integers_whole_is_read_and_written_anew(tmp_path: Path) -> None:
    table = tmp_path / "sweep.csv"
    line = "toy,a set,loihi2,24,,8,24,0,test,300,as trained,0.9,0.8,0,0.1.0,2026-11-27"
    table.write_text(",".join(EARLIER[1]) + "\n" + line + "\n")
    (row,) = SWEEPS.read(table)
    assert row["integer_accuracy"] == "0.8"
    SWEEPS.append(table, [row])
    assert table.read_text().splitlines() == [",".join(COLUMNS), line, line]


def test_the_table_of_sweeps_is_found_by_its_former_name(
    snn: Ok, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    SWEEPS.append(tmp_path / "experiments" / "whole_numbers.csv", [dict.fromkeys(COLUMNS, "0")])
    assert "| 0 bits |" in snn("sweep").stdout


def test_sweep_measures_and_appends(snn: Ok, refused: Bad, run: Path, tmp_path: Path) -> None:
    table, page = tmp_path / "sweep.csv", tmp_path / "page.md"
    page.write_text("before\n<!-- integer arithmetic -->\n<!-- /integer arithmetic -->\nafter\n")
    limits = "62,9,0"
    snn("sweep", run, "--weight-bits", "8,ternary", "--max-delays", limits, "--table", table, "--write", page)
    rows = SWEEPS.read(table)
    trained = int(rows[0]["trained_max_delay_steps"])
    kept = [limit for limit in (62, 9, 0) if limit < trained] + [trained]
    assert {(row["weight_bits"], int(row["max_delay_steps"])) for row in rows} == {
        (bits, limit) for bits in ("8", "ternary") for limit in kept
    }
    assert table.read_text().splitlines()[0] == ",".join(COLUMNS)
    by_limit = {int(row["max_delay_steps"]): int(row["delays_clamped"]) for row in rows}
    assert by_limit[max(kept)] == 0
    assert by_limit[0] > 0
    assert page.read_text().count("| loihi2 |") == len(rows)
    assert len(snn("sweep", "--table", table).stdout.splitlines()) == len(rows) + 2
    assert "does not compute in integer arithmetic" in refused("sweep", run, "--target", "nest", "--table", table)
    assert "integers separated by commas" in refused("sweep", run, "--max-delays", "7;0", "--table", table)
    assert len(SWEEPS.read(table)) == len(rows)
