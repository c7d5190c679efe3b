"""`snn-delays backends --explain` and `snn-delays bench`."""

from collections.abc import Callable
from functools import partial
from pathlib import Path

import pytest
import torch
from click.testing import Result

from snn_delays import bench
from snn_delays.bench import calibrate, read_record
from snn_delays.bench.shapes import Shape
from snn_delays.bench.sizes import TINY
from snn_delays.ops.delay import cost

Ok = Callable[..., Result]
Bad = Callable[..., str]
SHAPE = "T=100,B=256,in=256,out=256,K=25"


@pytest.fixture(autouse=True)
def small_cases_and_a_fresh_cost_model(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(bench, "Benchmark", partial(bench.Benchmark, sizes=TINY))
    cost.cost_model.cache_clear()
    yield
    cost.cost_model.cache_clear()


def chosen(shown: str) -> str:
    (line,) = [line for line in shown.splitlines() if "chosen" in line]
    return line.split("│")[1].strip()


def test_explain_shows_the_choice_and_what_it_rests_on(snn: Ok) -> None:
    wide, whole = snn("backends", "--explain", f"{SHAPE},sigma=12").stdout, snn("backends", "--explain", SHAPE).stdout
    assert (chosen(wide), chosen(whole)) == ("spectral", "gather")
    assert "T=100, B=256, 256 -> 256, K=25, sigma 12" in wide
    assert "taps that matter: 25" in wide
    assert "taps that matter: 1;" in whole
    assert "it runs on a CUDA GPU and the input is on cpu" in whole
    assert "cost model of the package" in whole


@pytest.mark.parametrize(
    ("shape", "says"),
    [
        ("T=100", "the shape lacks B"),
        (f"{SHAPE},colour=3", "a shape has no 'colour'"),
        (SHAPE.replace("256", "many"), "B=many of the shape is not a number"),
        (f"{SHAPE},sigma=-1", "sigma=-1 of the shape is out of range"),
        (f"{SHAPE},sigma=nan", "sigma=nan of the shape is out of range"),
        (SHAPE.replace("T=100", "T=0"), "T=0 of the shape is out of range"),
    ],
)
def test_a_shape_that_is_none(shape: str, says: str, refused: Bad) -> None:
    assert says in refused("backends", "--explain", shape)


def test_calibration_serves_from_then_on(snn: Ok, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    shapes = (Shape(6, 2, 4, 4, 3, 1.0), Shape(9, 8, 6, 5, 4, 0.0))
    monkeypatch.setattr(bench.calibrate, "calibrate", partial(calibrate.calibrate, shapes=shapes))
    shown = snn("bench", "--calibrate").stdout
    path = cost.calibration()
    assert "2/2" in shown
    assert str(path) in shown
    assert set(cost.cost_model()) >= {"spectral", "gather", "dense"}
    assert cost.cost_model() != cost.MEASURED
    assert f"cost model of {path}" in snn("backends", "--explain", SHAPE).stdout
    path.write_text("{")
    cost.cost_model.cache_clear()
    with pytest.warns(UserWarning, match="is no cost model .* Delete the file"):
        assert cost.cost_model() == cost.MEASURED


def test_bench_prints_writes_and_reads_back(snn: Ok, refused: Bad, tmp_path: Path) -> None:
    out, document = tmp_path / "bench.json", tmp_path / "benchmark.md"
    document.write_text("before\n<!-- benchmark -->\nold\n<!-- /benchmark -->\nafter\n")
    arguments = ("bench", "--only", "delay-integer-*", "--repeats", 1, "--out", out, "--write", document)
    shown = snn(*arguments, "--threads", 1).stdout
    assert torch.get_num_threads() == 1
    for word in ("delay-integer-training", "delay-integer-inference", "torch Linear", "peak memory", "quartiles"):
        assert word in shown
    assert [case["name"] for case in read_record(out)["cases"]] == ["delay-integer-training", "delay-integer-inference"]
    text = document.read_text()
    assert text.startswith("before\n<!-- benchmark -->\n")
    assert text.endswith("<!-- /benchmark -->\nafter\n")
    assert "old" not in text
    again = snn("bench", "--from", out).stdout
    assert again.count("torch Linear") == shown.count("torch Linear") > 0
    assert "the benchmark has no case 'warp'" in refused("bench", "--only", "warp")
    assert "at least one round, got 0" in refused("bench", "--repeats", 0)
    assert "--threads must be at least 1, got 0" in refused("bench", "--threads", 0)
    assert "cannot read" in refused("bench", "--from", tmp_path / "nothing.json")
    if not torch.cuda.is_available():
        assert "torch finds no CUDA GPU" in refused("bench", "--device", "cuda")


def test_an_interrupted_bench_keeps_what_was_measured(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, snn: Ok) -> None:
    out, measured = tmp_path / "bench.json", bench.Benchmark.func._measured

    def stops(self: bench.Benchmark, entry: bench.Entry, device: torch.device) -> dict:
        if entry.name == "delay-integer-inference":
            raise KeyboardInterrupt
        return measured(self, entry, device)

    monkeypatch.setattr(bench.Benchmark.func, "_measured", stops)
    from typer.testing import CliRunner

    from snn_delays import cli

    arguments = ["bench", "--only", "delay-integer-*", "--repeats", "1", "--out", str(out)]
    assert CliRunner().invoke(cli.app, arguments).exit_code == 130
    assert [case["name"] for case in read_record(out)["cases"]] == ["delay-integer-training"]
