"""Sides take turns, nothing is timed on red, and the peak memory is that of the side."""

import pytest
import torch

from experiments.benchmarks import Case, Side, run_case
from experiments.benchmarks.memory import peak_mib
from experiments.benchmarks.run import Timing
from experiments.benchmarks.sides import assert_active, assert_close, forward_backward
from snn_delays.ops.workspace import scratch

CPU = torch.device("cpu")
MEGA = 2**20


def test_sides_take_turns_after_a_round_to_warm_up_and_one_for_memory() -> None:
    order = []
    sides = tuple(Side(name, "", lambda name=name: order.append(name)) for name in ("ours", "theirs"))
    timings = run_case(Case("toy", sides, lambda: None), repeats=3)
    assert order == ["ours", "theirs"] * 5
    assert [len(t.seconds) for t in timings] == [3, 3]


def test_a_step_that_follows_a_step_does_so_in_every_round() -> None:
    order = []
    sides = tuple(Side(name, "", lambda name=name: order.append(name)) for name in ("ours", "theirs"))
    timings = run_case(Case("toy", sides, lambda: None, follows_itself=True), repeats=2)
    assert order == ["ours", "theirs"] * 2 + ["ours", "ours", "theirs", "theirs"] * 2
    assert [len(t.seconds) for t in timings] == [2, 2]


def test_memory_is_measured_on_the_work_that_allocates() -> None:
    order = []
    side = Side("replay", "", lambda: order.append("replay"), lambda: order.append("step"))
    run_case(Case("toy", (side,), lambda: None), repeats=1)
    assert order == ["replay", "step", "replay"]


def test_nothing_is_timed_on_red() -> None:
    def check() -> None:
        raise AssertionError("they differ")

    with pytest.raises(AssertionError, match="they differ"):
        run_case(Case("toy", (Side("ours", "", pytest.fail),), check))


def test_median_and_quartiles() -> None:
    timing = Timing("ours", "", [5.0, 1.0, 4.0, 2.0, 3.0])
    assert timing.median == 3.0
    assert timing.quartiles == (2.0, 4.0)
    assert Timing("ours", "", [2.0]).quartiles == (2.0, 2.0)


def take(mebibytes: int, piece: int) -> None:
    """Touch memory in pieces of so many MiB, and let go of it."""
    pieces = [torch.ones(piece * MEGA // 4) for _ in range(mebibytes // piece)]
    assert len(pieces) == mebibytes // piece


@pytest.fixture
def measured() -> None:
    if peak_mib(lambda: None, CPU) is None:
        pytest.skip("this system does not report its high-water mark")


@pytest.mark.usefixtures("measured")
@pytest.mark.parametrize("piece", [1, 200])
def test_peak_memory_is_what_was_held_at_once(piece: int) -> None:
    for _ in range(2):  # what an earlier side took and freed is no help to a later one
        take(400, piece)
        assert 195 <= peak_mib(lambda: take(200, piece), CPU) <= 215
    assert peak_mib(lambda: [take(50, 1) for _ in range(4)], CPU) <= 65
    assert peak_mib(lambda: None, CPU) <= 5


@pytest.mark.usefixtures("measured")
def test_scratch_memory_that_is_kept_counts_every_time() -> None:
    for _ in range(2):
        assert 95 <= peak_mib(lambda: scratch("canary", (100 * MEGA // 4,), torch.float32).fill_(1), CPU) <= 110


def test_gradients_are_made_anew_in_every_round() -> None:
    x, seen = torch.ones(3, requires_grad=True), []

    def run() -> torch.Tensor:
        seen.append(x.grad)
        return 2 * x

    work = forward_backward(run, x)
    work()
    work()
    assert seen == [None, None]
    assert x.grad is None


@pytest.mark.parametrize("rate", [0.0, 1.0])
def test_silent_and_saturated_neurons_compare_nothing(rate: float) -> None:
    with pytest.raises(AssertionError, match="compares nothing"):
        assert_active(torch.full((10, 2, 3), rate), "layer 1")


def test_closeness_is_relative_to_the_largest_value() -> None:
    want = torch.tensor([0.0, 100.0])
    assert_close(want + 1e-3, want, 1e-4, "y")
    for got in (want + 0.1, want[:1], torch.tensor([float("nan"), 100.0])):
        with pytest.raises(AssertionError):
            assert_close(got, want, 1e-4, "y")
    with pytest.raises(AssertionError, match="zeros"):
        assert_close(0 * want, 0 * want, 1e-4, "y")
