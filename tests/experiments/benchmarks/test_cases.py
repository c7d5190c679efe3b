"""Every case runs at a tiny size: its sides compute the same, and each does its work."""

from types import SimpleNamespace

import pytest
import torch

from experiments.benchmarks import CASES, run_case, select
from experiments.benchmarks.delay_cases import delay_call
from experiments.benchmarks.sides import PEERS, missing
from experiments.benchmarks.sizes import TINY
from experiments.benchmarks.step import TrainingStep
from snn_delays.errors import ConfigError
from snn_delays.nn import DelayedLinear
from snn_delays.ops.delay import OPERATION, delayed_linear

CPU = torch.device("cpu")


def make(name: str):
    return next(entry for entry in CASES if entry.name == name).make(TINY, CPU)


@pytest.mark.parametrize("name", [entry.name for entry in CASES])
def test_sides_compute_the_same_and_run(name: str) -> None:
    case = make(name)
    timings = run_case(case, repeats=1)
    assert case.sides[0].name.startswith("snn_delays")
    assert all(timing.seconds[0] > 0 and timing.configuration for timing in timings)
    assert len({side.name for side in case.sides}) == len(case.sides)


@pytest.mark.parametrize("name", ["delay-sigma-0.5", "delay-integer-training", "delay-integer-inference"])
def test_every_backend_that_serves_is_a_side_and_every_other_is_named(name: str) -> None:
    case = make(name)
    text = "\n".join([*(side.name for side in case.sides), *case.notes])
    assert all(backend.name in text for backend in OPERATION.backends)
    assert {"snn_delays (planner)", "snn_delays dense", "snn_delays reference"} <= {side.name for side in case.sides}
    assert case.sides[-1].name == "torch Linear (floor)"


def test_the_call_that_backends_are_asked_about_is_the_layers_own(monkeypatch: pytest.MonkeyPatch) -> None:
    layer, x = DelayedLinear(4, 3, max_delay_steps=5), torch.rand(7, 2, 4)
    seen = []

    def run(call, backend=None):
        seen.append(call)
        return call["x"].new_zeros(7, 2, 3)

    chosen = SimpleNamespace(name="", run=run)
    monkeypatch.setattr(type(OPERATION), "choose", lambda self, call, backend=None: chosen)
    delayed_linear(x, layer.weight, layer.delay, layer.sigma, max_delay_steps=5, taps=layer.taps)
    (theirs,), ours = seen, delay_call(layer, x)
    assert theirs.keys() == ours.keys()
    for key, value in theirs.items():
        assert torch.equal(value, ours[key]) if isinstance(value, torch.Tensor) else value == ours[key]


@pytest.mark.parametrize(("name", "peers"), [
    ("lif", {"spikingjelly LIFNode 'm'", "snntorch Leaky loop", "norse LIFBoxCell loop"}),
    ("delay-sigma-3", {"dcls Dcls1d"}),
    ("shd-training-sigma-0.5", {"dcls + spikingjelly, as published", "dcls + spikingjelly"}),
    ("shd-inference", {"dcls + spikingjelly, as published", "dcls + spikingjelly"}),
    ("long-training-k512", {"dcls + spikingjelly"}),
])  # fmt: skip
def test_peers_that_are_missing_are_named_with_the_way_to_get_them(
    name: str, peers: set[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    if any(missing(peer) for peer in PEERS):
        pytest.skip("a peer is not installed")
    assert peers <= {side.name for side in make(name).sides}
    gone = {peer: (f"absent_{peer}", command) for peer, (_, command) in PEERS.items()}
    monkeypatch.setattr("experiments.benchmarks.sides.PEERS", gone)
    case = make(name)
    assert not peers & {side.name for side in case.sides}
    assert any("not installed (pip install" in note for note in case.notes)
    case.check()  # ours are checked all the same


def test_a_peer_that_breaks_on_import_is_left_out(monkeypatch: pytest.MonkeyPatch, tmp_path) -> None:
    (tmp_path / "broken_peer.py").write_text("raise RuntimeError('operator torchvision::nms does not exist')")
    monkeypatch.syspath_prepend(tmp_path)
    monkeypatch.setitem(PEERS, "norse", ("broken_peer", ""))
    assert missing("norse") == (
        "left out: norse, which is installed but fails on import: operator torchvision::nms does not exist"
    )


def test_a_training_step_trains_and_keeps_delays_in_the_window() -> None:
    steps = [side.work for side in make("shd-training-sigma-0.5").sides]
    for step in steps:
        assert isinstance(step, TrainingStep)
        before = [p.detach().clone() for p in (*step.network.weights, *step.network.delays)]
        step()
        after = (*step.network.weights, *step.network.delays)
        assert all(not torch.equal(a, b) for a, b in zip(after, before))
        assert all(p.grad is None for p in after)
    ours = torch.cat([delay.flatten() for delay in steps[0].network.delays])
    assert 0 <= float(ours.detach().min()) <= float(ours.detach().max()) <= TINY.window - 1


def test_cases_are_chosen_by_name() -> None:
    names = [entry.name for entry in CASES]
    assert len(set(names)) == len(names)
    assert [entry.name for entry in select(["delay-integer-*", "lif"])] == [
        "lif", "delay-integer-training", "delay-integer-inference",
    ]  # fmt: skip
    assert not any(entry.long for entry in select())
    assert select(long=True) == CASES
    assert [entry.name for entry in select(["long-training-k64"])] == ["long-training-k64"]
    with pytest.raises(ConfigError, match=r"no case 'gather'; there are lif, .*long-training-k512"):
        select(["gather"])
