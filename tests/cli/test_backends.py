"""`snn-delays backends`: explaining a choice, calibrating the planner."""

from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path

import pytest
from click.testing import Result

from snn_delays.ops.delay import calibrate, cost
from snn_delays.ops.delay.calibrate import Shape

Ok = Callable[..., Result]
Bad = Callable[..., str]
SHAPE = "T=100,B=256,in=256,out=256,K=25"


@pytest.fixture(autouse=True)
def fresh_cost_model() -> Iterator[None]:
    cost.forget()
    yield
    cost.forget()


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
    monkeypatch.setattr(calibrate, "calibrate", partial(calibrate.calibrate, shapes=shapes))
    shown = snn("backends", "--calibrate").stdout
    path = cost.calibration()
    assert "2/2" in shown
    assert str(path) in shown
    assert set(cost.cost_model()) >= {"spectral", "gather", "dense"}
    assert cost.cost_model() != cost.MEASURED
    assert f"cost model of {path}" in snn("backends", "--explain", SHAPE).stdout
    path.write_text("{")
    cost.forget()
    with pytest.warns(UserWarning, match="is no cost model .* Delete the file"):
        assert cost.cost_model() == cost.MEASURED


def test_the_benchmarks_moved_to_the_repository(refused: Bad, snn: Ok, monkeypatch: pytest.MonkeyPatch) -> None:
    assert "make bench" in refused("bench", "--only", "lif")
    shapes = (Shape(6, 2, 4, 4, 3, 1.0),)
    monkeypatch.setattr(calibrate, "calibrate", partial(calibrate.calibrate, shapes=shapes))
    with pytest.warns(DeprecationWarning, match="snn-delays backends --calibrate"):
        assert "1/1" in snn("bench", "--calibrate").stdout
