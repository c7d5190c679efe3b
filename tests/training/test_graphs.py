"""Recorded work: what shares a recording, what is copied into its buffers, when it is recorded again."""

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor

from snn_delays.ops.backends import without_reading
from snn_delays.training.graphs import Replays

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

    replays = Replays(recorder, run)
    one = torch.ones(1)
    for number, steps in enumerate([3, 3, 5, 3, 5, 3]):
        assert replays("a", torch.full((steps,), float(number)), one) == steps * number + 1
    assert recorder.log == ["warm up", "record", "replay", "warm up", "replay", "record", "replay", "replay"]
    assert addresses[1] == addresses[3] == addresses[5]  # the buffers of a recording are its own
    recorder.log.clear()
    for key, x in (("b", torch.ones(3)), ("a", torch.ones(3, dtype=torch.int64)), ("a", torch.ones(3))):
        replays(key, x, one)
    assert recorder.log == ["warm up", "warm up", "replay"]
    assert not without_reading(CPU)


def test_the_recordings_used_last_are_kept() -> None:
    recorder = Log()
    replays = Replays(recorder, lambda x: len(x), most=2)
    for steps in (1, 1, 2, 2, 1, 3, 3, 1, 2):
        assert replays(None, torch.ones(steps)) == steps
    assert recorder.log.count("record") == 4  # 1, 2, 3 in the place of 2, and 2 again
    assert recorder.log.count("warm up") == 3
