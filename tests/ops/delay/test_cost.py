"""Which backend serves a delay layer, and on what grounds."""

import json

import pytest
import torch

from snn_delays.ops import delayed_linear, use_backend
from snn_delays.ops.delay import OPERATION, cost
from snn_delays.ops.delay.calibrate import SHAPES, Shape, fit


@pytest.fixture(autouse=True)
def the_packages_own_model(tmp_path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SNN_DELAYS_CACHE", str(tmp_path))
    cost.forget()
    yield
    cost.forget()


def chosen(*sizes: float) -> str:
    return OPERATION.choose(Shape(*sizes).call()).name


def test_wide_taps_go_through_the_spectrum_and_integer_delays_gather() -> None:
    assert chosen(100, 256, 256, 256, 24, 12.0) == "spectral"
    assert chosen(100, 256, 256, 256, 24, 0.0) == "gather"
    assert chosen(1127, 8, 256, 256, 511, 256.0) == "spectral"
    assert chosen(100, 64, 256, 256, 1, 0.0) == "dense"


def test_a_backend_by_name_or_block_overrides_the_planner() -> None:
    shape = Shape(20, 2, 8, 8, 9, 4.0)
    calls = [delayed_linear(**shape.tensors())[0]]
    for name in ("reference", "dense", "spectral", "gather", "spectral_fft"):
        calls.append(delayed_linear(**shape.tensors(), backend=name)[0])
        with use_backend(delayed_linear=name):
            assert OPERATION.choose(shape.call()).name == name
    for y in calls[1:]:
        torch.testing.assert_close(y, calls[0], rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("shape", SHAPES, ids=str)
def test_every_estimate_is_a_time(shape: Shape) -> None:
    call = shape.call()
    for candidate in OPERATION.explain(call):
        exact = shape.sigma_steps or not candidate.backend.name.startswith("spectral")
        if candidate.refusal is None and candidate.backend.name != "reference" and exact:
            assert candidate.seconds is not None
            assert 0 < candidate.seconds < 100
            with torch.no_grad():
                assert cost.estimate(candidate.backend.name, call) < candidate.seconds  # no backward pass
    assert cost.estimate("reference", call) == float("inf")


@pytest.mark.parametrize(
    "sizes", [(2, 1, 2, 2, 1), (50, 3, 8, 8, 24), (100, 256, 256, 256, 24), (1127, 8, 256, 256, 511)]
)
def test_fixed_integer_delays_add_up_exactly_whatever_their_size(sizes: tuple[int, ...]) -> None:
    assert not chosen(*sizes, 0.0).startswith("spectral")


def test_twice_the_samples_cost_more_and_never_less() -> None:
    for backend in cost.MEASURED:
        times = [cost.estimate(backend, Shape(100, batch, 64, 64, 24, 3.0).call()) for batch in (8, 16, 64, 256)]
        assert times == sorted(times)


def test_a_calibration_takes_the_place_of_the_packages_numbers() -> None:
    slow = {name: [1.0] * len(cost.THINGS) for name in cost.PASSES}
    cost.calibration().write_text(json.dumps({"seconds": {"spectral": slow}}))
    cost.forget()
    assert chosen(100, 256, 256, 256, 24, 12.0) != "spectral"


NEGATIVE = {"seconds": {"spectral": {"forward": [-1, 0, 0, 0, 0], "backward": [0, 0, 0, 0, 0]}}}
SHORT = {"seconds": {"spectral": {"forward": [1]}}}


@pytest.mark.parametrize("text", ["{", "[]", json.dumps(SHORT), json.dumps(NEGATIVE)])
def test_a_damaged_calibration_is_named_and_not_used(text: str) -> None:
    cost.calibration().write_text(text)
    cost.forget()
    with pytest.warns(UserWarning, match=r"delay_cost_model.json is no cost model .*--calibrate"):
        assert cost.cost_model() == cost.MEASURED


def test_the_fit_finds_numbers_that_are_there_and_none_below_zero() -> None:
    things = tuple((1.0, 0.0, a, b, a * b) for a in (1.0, 3.0, 9.0) for b in (2.0, 5.0, 7.0))
    seconds = tuple(0.5 + 2.0 * row[2] + 0.1 * row[4] for row in things)
    assert fit(things, seconds) == pytest.approx([0.5, 0.0, 2.0, 0.0, 0.1], abs=1e-9)
    falling = tuple(10.0 - 0.5 * row[2] for row in things)
    assert min(fit(things, falling)) >= 0
