"""How cost grows: exponents, points that are kept, a table and a picture."""

import json
from pathlib import Path

import pytest
from typer.testing import CliRunner

from experiments.benchmarks import growth
from experiments.benchmarks.growth import OURS, PEER, Axis, app, exponent, timed
from experiments.benchmarks.sides import missing


def run(*arguments: object, code: int = 0) -> str:
    result = CliRunner().invoke(app, [str(argument) for argument in arguments])
    assert result.exit_code == code, result.stderr
    return result.stdout if code == 0 else result.stderr


def test_the_exponent_is_that_of_the_power() -> None:
    points = {str(n): {"square": [3.0 * n**2], "constant": [5.0]} for n in (2, 4, 16)}
    assert exponent(points, "square") == pytest.approx(2)
    assert exponent(points, "constant") == pytest.approx(0, abs=1e-12)


def test_sides_take_turns_until_the_time_is_over() -> None:
    order: list[str] = []
    sides = {name: lambda name=name: order.append(name) for name in "ab"}
    assert timed(sides, 3, 1e9, lambda: float(len(order))) == {"a": [1.0] * 3, "b": [1.0] * 3}
    assert order == list("ab") * 4
    assert len(timed(sides, 9, 0.0, lambda: 0.0)["a"]) == 1


def test_points_are_kept_and_drawn(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    if missing("dcls", "spikingjelly"):
        pytest.skip("a peer is not installed")
    monkeypatch.setitem(growth.AXES, "batch", Axis((1, 2), "B", "samples"))
    monkeypatch.setattr(growth, "BASE", {**growth.BASE, "time": 10, "width": 8, "window": 4})
    monkeypatch.setattr(growth, "check_axis", lambda *_: None)  # its own test is test_canaries
    document, out = tmp_path / "page.md", tmp_path / "growth.json"
    document.write_text("<!-- growth -->\n<!-- /growth -->\n")
    given = ("--cpu", "--only", "batch", "--rounds", 1, "--out", out, "--pictures", tmp_path, "--write", document)
    assert "batch 2: snn_delays" in run(*given)
    text = document.read_text()
    assert "| batch | 1 to 2 | B^" in text
    assert "](growth_batch.png)" in text
    assert (tmp_path / "growth_batch.png").stat().st_size > 5000
    record = json.loads(out.read_text())
    assert record["points"]["batch"].keys() == {"1", "2"}
    assert record["points"]["batch"]["1"].keys() == {OURS, PEER}
    assert "batch 2:" not in run(*given)  # done before
    assert "holds CPU times, not wall times" in run("--only", "batch", "--out", out, code=2)


def test_an_unknown_axis_is_one_line() -> None:
    assert "nothing grows by 'bach'" in run("--only", "bach", code=2)
