"""A trained network is a value: what is done with it opens no data set, but where samples are requested."""

import json
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from typer.testing import CliRunner

import snn_delays
from snn_delays import cli
from snn_delays.discrete.streaming import StreamingEngine
from snn_delays.errors import CheckpointError, ConfigError, ExportError
from snn_delays.export.targets import FORMATS
from snn_delays.ir.canonical import read_network
from snn_delays.ir.trace import first_mismatch, make_trace, read_trace
from snn_delays.nn import LIF, layers_of
from snn_delays.runs import samples
from snn_delays.runs.evaluate import evaluate
from snn_delays.runs.export import ExportOptions, check_fit, export
from snn_delays.runs.figures import draw
from snn_delays.runs.generate import continue_text
from snn_delays.runs.load import load
from snn_delays.runs.sweep import sweep_precision
from snn_delays.runs.targets import compare_targets
from snn_delays.training import checkpoint, sources
from snn_delays.training.runlog import Run


def never(*_: Any, **__: Any) -> None:
    raise AssertionError("a data set was opened")


@pytest.fixture
def no_data(monkeypatch: pytest.MonkeyPatch) -> None:
    """Any look for a data set fails."""
    for module in (sources, samples):
        monkeypatch.setattr(module, "load_binned", never)


@pytest.fixture
def run(trained: Run, tmp_path: Path) -> Run:
    """A copy of the trained run, whose files a test may add to."""
    shutil.copytree(trained.folder, tmp_path / "run")
    return Run(tmp_path / "run", trained.recipe)


@pytest.fixture
def file(trained: Run, tmp_path: Path) -> Path:
    """The weights of the best epoch alone."""
    path = tmp_path / "network.safetensors"
    shutil.copy(checkpoint.network_file(trained.checkpoints, trained.best_epoch()), path)
    return path


@pytest.mark.usefixtures("no_data")
def test_the_canary_dies_where_samples_are_requested(run: Run) -> None:
    for opens in (
        lambda: export(run, "npz"),
        lambda: evaluate(run),
        lambda: draw(run, ["rasters"]),
        lambda: compare_targets(run),
        lambda: sweep_precision(run, "loihi2", [8], [62]),
    ):
        with pytest.raises(AssertionError, match="a data set was opened"):
            opens()


@pytest.mark.usefixtures("no_data")
@pytest.mark.parametrize("name", [name for name in FORMATS if name != "spinnaker2"])  # which takes no delay of 0
def test_every_format_is_exported_from_the_file_alone(name: str, file: Path, tmp_path: Path) -> None:
    made = export(file, name, out=tmp_path / "out", samples=0)
    network, trace = read_network(made.folder / "network.npz"), read_trace(made.folder / "golden.npz")
    assert first_mismatch(network, trace, make_trace(network, trace.counts).outputs) is None
    assert all(output.any() for output in trace.outputs.values())
    assert trace.notes["data"].startswith("random events")
    report = json.loads((made.folder / "report.json").read_text())
    assert (report["fidelity"], report["cost"]) == (None, None)
    assert (report["network"]["run"], report["network"]["trained_on"]) == ("tiny", "made up")
    assert (made.folder / "delays.png").exists()


@pytest.mark.usefixtures("no_data")
def test_run_checkpoint_file_and_network_export_alike(run: Run, file: Path, tmp_path: Path) -> None:
    of_run = export(run, "npz", samples=0)
    assert of_run.folder == run.folder / "export" / "npz"
    folder = checkpoint.network_file(run.checkpoints, run.best_epoch()).parent
    for i, source in enumerate((run.folder, str(run.folder), folder, file, load(file))):
        made = snn_delays.export(source, "npz", out=tmp_path / str(i), samples=0)
        assert (made.folder / "network.npz").read_bytes() == (of_run.folder / "network.npz").read_bytes()
        assert (made.folder / "golden.npz").exists()


@pytest.mark.usefixtures("no_data")
def test_inputs_of_ones_own_are_traced(file: Path, tmp_path: Path) -> None:
    counts = (np.random.default_rng(0).random((40, 2, 12)) < 0.2).astype(np.uint8)
    made = export(file, "npz", out=tmp_path / "out", inputs=counts)
    np.testing.assert_array_equal(made.trace.counts, counts)
    assert json.loads((tmp_path / "out" / "report.json").read_text())["cost"]["samples"] == 2


@pytest.mark.usefixtures("no_data")
def test_a_network_without_a_card_says_how_long_its_steps_are(file: Path, tmp_path: Path) -> None:
    network = load(file)
    network.card = None
    with pytest.raises(ConfigError, match="give dt_ms"):
        export(network, "nir", out=tmp_path / "out", samples=0)
    made = export(network, "nir", out=tmp_path / "out", samples=0, dt_ms=2.0)
    assert made.network.dt_ms == 2.0
    assert "run" not in made.network.notes
    with pytest.raises(CheckpointError, match="no card of its data"):
        export(network, "nir", out=tmp_path / "out", dt_ms=2.0)
    with pytest.raises(ConfigError, match="out=FOLDER"):
        export(network, "nir", samples=0, dt_ms=2.0)


@pytest.mark.usefixtures("no_data")
def test_random_events_that_make_nothing_fire_make_no_trace(file: Path, tmp_path: Path) -> None:
    network = load(file)
    for _, layer in layers_of(network):
        if isinstance(layer, LIF):
            layer.threshold = 1e9
    with pytest.raises(ExportError, match="random events make no trace"):
        export(network, "npz", out=tmp_path / "out", samples=0)
    assert not (tmp_path / "out").exists()


@pytest.mark.usefixtures("no_data")
def test_a_file_is_checked_against_chips(file: Path) -> None:
    assert check_fit(file, ExportOptions("loihi2")).fits
    assert not check_fit(load(file), ExportOptions("xylo")).fits


def test_what_fits_needs_no_samples_and_costs_do(file: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    counted = compare_targets(file)
    for module in (sources, samples):
        monkeypatch.setattr(module, "load_binned", never)
    fits = compare_targets(file, samples=0)
    assert [row[:5] for row in fits.rows] == [row[:5] for row in counted.rows]
    assert {cell for row in fits.rows for cell in row[5:]} == {"-"}
    assert any(cell != "-" for row in counted.rows for cell in row[5:])


@pytest.mark.usefixtures("no_data")
def test_delays_and_curves_are_drawn(run: Run) -> None:
    assert [path.name for path in draw(run, ["delays", "curves"])] == ["delays.png", "curves.png"]


@pytest.mark.usefixtures("no_data")
def test_a_file_streams(file: Path) -> None:
    discrete = snn_delays.discretize(snn_delays.load(file)).double()
    counts = (np.random.default_rng(0).random((40, 12)) < 0.2).astype(np.uint8)
    engine = StreamingEngine(discrete, dtype=np.float64)
    streamed = np.stack([engine.step(x).copy() for x in counts])
    whole = discrete(torch.from_numpy(counts[:, None]).double())[0][:, 0].numpy()
    np.testing.assert_allclose(streamed, whole, atol=1e-9)
    assert 0.02 < float(discrete.hidden1(torch.from_numpy(counts[:, None]).double())[0].mean()) < 0.6


def test_a_file_is_evaluated_as_its_run_and_writes_nothing(run: Run, file: Path) -> None:
    before = sorted(file.parent.iterdir())
    of_run, of_file = evaluate(run), evaluate(file)
    assert of_file == {key: of_run[key] for key in of_file}
    assert {"test_accuracy", "test_accuracy_real_delays", "confusion", "test_accuracy_unseen_speakers"} <= set(of_file)
    assert evaluate(load(file)) == of_file
    assert sorted(file.parent.iterdir()) == before


def test_other_speakers_are_measured_without_the_training_set(run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sources, "load_binned", never)
    assert evaluate(run, on="ssc")["test_accuracy_unseen_speakers"] is None


def test_text_is_generated_from_the_file_alone(finished: Run, tmp_path: Path) -> None:
    path = tmp_path / "network.safetensors"
    shutil.copy(checkpoint.network_file(finished.checkpoints, finished.best_epoch()), path)
    of_run, of_file = ("".join(continue_text(source, "der ", tokens=20)) for source in (finished, path))
    assert len(of_run) >= 10
    assert of_run == of_file
    with pytest.raises(ConfigError, match="this is for runs of"):
        export(path, "npz", out=tmp_path / "out", samples=0)


@pytest.mark.usefixtures("no_data")
def test_commands_open_no_data(run: Run, file: Path, tmp_path: Path) -> None:
    for command in (
        ["export", run.folder, "--samples", 0],
        ["export", file, "--samples", 0, "--to", "c99", "--out", tmp_path / "c99"],
        ["export", file, "--check", "--target", "loihi2"],
        ["targets", file, "--samples", 0],
        ["plot", run.folder, "--what", "delays,curves"],
    ):
        result = CliRunner().invoke(cli.app, [str(word) for word in command])
        assert result.exit_code == 0, result.output
    assert (tmp_path / "c99" / "golden.h").exists()
