"""Recorded work: what shares a recording, what is copied into its buffers, when it is recorded again."""

import sys
from collections.abc import Callable
from contextlib import nullcontext
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor
from torch.utils._python_dispatch import TorchDispatchMode

from snn_delays.errors import ConfigError
from snn_delays.ops.backends import use_backend, without_reading
from snn_delays.training import graphs
from snn_delays.training.graphs import Replays
from snn_delays.training.runlog import Run
from tests.support import tiny_texts
from tests.support.tiny_runs import fitted, numbers, same, tensors, tiny_recipe

CPU = torch.device("cpu")


class Log:
    """A recorder that runs what it recorded again, and keeps a log."""

    def __init__(self) -> None:
        self.log: list[str] = []

    def warm_up(self, run: Callable[[], Any]) -> Any:
        self.log.append("warm up")
        return run()

    def record(self, run: Callable[[], Any]) -> Callable[[], Any]:
        self.log.append("record")

        def replay() -> Any:
            self.log.append("replay")
            return run()

        return replay


def test_warmed_up_then_recorded_then_replayed_by_shape_and_key() -> None:
    recorder, addresses = Log(), []

    def run(x: Tensor, y: Tensor) -> float:
        assert without_reading(CPU)
        addresses.append(x.data_ptr())
        return float(x.sum() + y.sum())

    replays = Replays(recorder)
    one = torch.ones(1)
    for number, steps in enumerate([3, 3, 5, 3, 5, 3]):
        assert replays("a", run, torch.full((steps,), float(number)), one) == steps * number + 1
    assert recorder.log == ["warm up", "record", "replay", "warm up", "replay", "record", "replay", "replay"]
    assert addresses[1] == addresses[3] == addresses[5]  # the buffers of a recording are its own
    recorder.log.clear()
    for key, x in (("b", torch.ones(3)), ("a", torch.ones(3, dtype=torch.int64)), ("a", torch.ones(3))):
        replays(key, run, x, one)
    assert recorder.log == ["warm up", "warm up", "replay"]
    assert not without_reading(CPU)


def test_the_recordings_used_last_are_kept() -> None:
    recorder = Log()
    replays = Replays(recorder, most=2)
    for steps in (1, 1, 2, 2, 1, 3, 3, 1, 2):
        assert replays(None, len, torch.ones(steps)) == steps
    assert recorder.log.count("record") == 4  # 1, 2, 3 in the place of 2, and 2 again
    assert recorder.log.count("warm up") == 3


class StandIn(Log):
    """Replays as a CUDA graph does: with the Python numbers of the moment it was recorded, and reading nothing back."""

    def record(self, run: Callable[[], Any]) -> Callable[[], Any]:
        self.log.append(f"record {run.func.__name__}")
        owner = run.func.__self__
        optimisation = getattr(owner, "optimisation", owner)
        groups = [group for each in optimisation.optimisers.values() for group in each.param_groups]
        recorded = [numbers_of(group) for group in groups]

        def replay() -> Any:
            now = [numbers_of(group) for group in groups]
            for group, then in zip(groups, recorded):
                group.update(then)
            with nullcontext() if owner is optimisation else NothingRead():
                result = run()
            for group, present in zip(groups, now):
                group.update(present)
            return result

        return replay


def numbers_of(group: dict[str, Any]) -> dict[str, Any]:
    return {key: value for key, value in group.items() if key != "params" and not isinstance(value, Tensor)}


# What looks at numbers there alone, and the check that it calls.
ON_THE_CPU = ("ops/delay/__init__.py", "nn/delay_shift.py", "nn/rwkv.py", "models/spikegpt.py")
CHECKS = ("check_delays", "<genexpr>")


class NothingRead(TorchDispatchMode):
    """No number is read back from the device, which a capture forbids."""

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        if func.overloadpacket.__name__ in ("_local_scalar_dense", "nonzero", "equal", "is_nonzero"):
            frame = sys._getframe(1)
            while "/snn_delays/" not in frame.f_code.co_filename or frame.f_code.co_name in CHECKS:
                frame = frame.f_back
            assert frame.f_code.co_filename.endswith(ON_THE_CPU), f"{frame} reads {func} back"
        return func(*args, **(kwargs or {}))


class Plain:
    """A recorder that only ever runs."""

    def warm_up(self, run: Callable[[], Any]) -> Any:
        return run()

    def record(self, run: Callable[[], Any]) -> Callable[[], Any]:
        return run


def trained_by(recorder: Any, folder: Path, monkeypatch: pytest.MonkeyPatch, padding="masked", **training: Any) -> Run:
    monkeypatch.setattr(graphs, "recorder", lambda fabric: recorder)
    options = {"epochs": 2, "sigma_epochs": 2, "cuda_graphs": recorder is not None, **training}
    with use_backend("reference"):
        return fitted(folder, tiny_recipe(training=options, data={"padding": padding}))


@pytest.mark.parametrize(("every", "padding", "uncaptured"), [
    ("epoch", "published", None),  # the loop without the option
    ("epoch", "masked", Plain()),  # lengths are rounded up in both
    ("step", "masked", Plain()),
])  # fmt: skip
def test_a_captured_run_has_the_bits_of_one_that_is_not(
    every: str, padding: str, uncaptured: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    recorder = StandIn()
    captured = trained_by(recorder, tmp_path / "captured", monkeypatch, padding, schedule_every=every)
    other = trained_by(uncaptured, tmp_path / "other", monkeypatch, padding, schedule_every=every)
    assert numbers(captured) == numbers(other)
    assert same(tensors(captured), tensors(other))
    history = captured.progress()["history"]
    assert len({row["sigma"] for row in history}) == 2
    assert min(row["rate_hidden1"] for row in history) > 0
    assert "record _differentiated" in recorder.log
    # beta1 is cycled with the schedule: an update is recorded once an epoch, or hardly ever.
    assert recorder.log.count("record _update") in ((2,) if every == "epoch" else (0, 1))


def test_a_language_model_anneals_sigma_from_step_to_step_in_a_replay(tmp_path: Path, monkeypatch) -> None:
    runs = []
    for name, recorder in (("off", None), ("on", StandIn())):
        monkeypatch.setattr(graphs, "recorder", lambda fabric, recorder=recorder: recorder)
        training = {"epochs": 2, "sigma_epochs": 2, "cuda_graphs": recorder is not None}
        recipe = tiny_texts.language_recipe(tiny_texts.text_file(tmp_path), training=training)
        with use_backend("reference"):
            runs.append(tiny_texts.fitted(tmp_path / name, recipe))
    assert same(*(tiny_texts.tensors(run) for run in runs))
    assert numbers(runs[0]) == numbers(runs[1])
    assert recorder.log.count("record _differentiated") == 2  # the first part of a step, and the second
    assert recorder.log.count("record _update") == 1  # only rates change, which are tensors


def test_canary_a_number_that_is_baked_in_is_seen(tmp_path: Path, monkeypatch) -> None:
    """A key without the optimisers' numbers replays a beta1 that is no longer the schedule's."""
    plain = trained_by(Plain(), tmp_path / "plain", monkeypatch)
    whole = Replays.__call__
    monkeypatch.setattr(Replays, "__call__", lambda self, key, run, *x: whole(self, None, run, *x))
    baked = trained_by(StandIn(), tmp_path / "baked", monkeypatch)
    assert not same(tensors(baked), tensors(plain))


def test_where_it_cannot_be_captured_one_line_says_why(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"training\.cuda_graphs = true: it needs a CUDA GPU.*cpu; set it to false"):
        fitted(tmp_path / "run", tiny_recipe(training={"cuda_graphs": True}))
