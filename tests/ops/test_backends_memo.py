"""A choice is remembered for calls alike in all that backends and cost models read, and for no other."""

import json
from collections.abc import Callable, Iterator
from contextlib import nullcontext

import pytest
import torch

from snn_delays.ops import ATan, Sigmoid, backends, threads, use_backend
from snn_delays.ops.backends import Backend, Operation
from snn_delays.ops.delay import OPERATION as DELAY
from snn_delays.ops.delay import cost
from snn_delays.ops.delay.calibrate import Shape
from snn_delays.ops.delay.taps import tap_count, what_counts_taps
from snn_delays.ops.lif import OPERATION as LIF
from snn_delays.ops.wkv import OPERATION as WKV

REFERENCE = "snn_delays.ops.delay.reference"


def delay_call(**changes) -> dict:
    draw = torch.Generator().manual_seed(0)
    call = {
        **DELAY.example(), "x": torch.zeros(9, 2, 3), "weight": torch.ones(4, 3, 1),
        "delay": 6 * torch.rand(4, 3, 1, generator=draw), "max_delay_steps": 6,
    }  # fmt: skip
    return {**call, **changes}


BASE = delay_call()
LEARNT = BASE["delay"].clone().requires_grad_()
# What a backend may read of a call, and a call in which it differs.
READ: dict[str, tuple[Callable[[dict], object], dict]] = {
    "steps": (lambda c: len(c["x"]), {"x": torch.zeros(8, 2, 3)}),
    "batch": (lambda c: c["x"].shape[1], {"x": torch.zeros(9, 1, 3)}),
    "outputs": (lambda c: len(c["weight"]), {"weight": torch.ones(5, 3, 1)}),
    "dtype": (lambda c: c["x"].dtype, {"x": torch.zeros(9, 2, 3).double()}),
    "device": (lambda c: c["x"].device, {"x": torch.zeros(9, 2, 3, device="meta")}),
    "history": (lambda c: c["history"] is None, {"history": torch.zeros(6, 2, 3)}),
    "gradient": (lambda c: c["weight"].requires_grad, {"weight": torch.ones(4, 3, 1, requires_grad=True)}),
    "window": (lambda c: c["max_delay_steps"], {"max_delay_steps": 7}),
    "taps": (lambda c: c["taps"], {"taps": "triangle"}),
    "sigma": (lambda c: tap_count(c["delay"], c["sigma"], 6, c["taps"]), {"sigma": torch.tensor(0.1)}),
    "sigma of each": (lambda c: tap_count(c["delay"], c["sigma"], 6, c["taps"]), {"sigma": torch.full((4, 3, 1), 0.1)}),
}


@pytest.fixture
def probe() -> Iterator[Callable[[Callable[[dict], object], dict], Operation]]:
    """An operation whose first backend serves what reads as the base call does, and whose second serves the rest."""

    def make(read: Callable[[dict], object], base: dict) -> Operation:
        want = read(base)
        first, second = Backend("first", REFERENCE), Backend("second", REFERENCE)
        dear = {"first": lambda call: read(call) != want, "second": lambda call: 0.5}
        return Operation(
            "probe", (first, second), DELAY.example, lambda name, call: dear[name](call), reads=what_counts_taps
        )

    yield make
    backends._OPERATIONS.pop("probe", None)


def changed(operation: Operation, base: dict, other: dict) -> None:
    assert operation.choose(base).name == operation.choose(base).name == "first"
    assert operation.choose(other).name == "second"
    assert operation.choose(base).name == "first"


@pytest.mark.parametrize("what", READ)
def test_what_a_backend_reads_of_a_call_is_not_remembered_away(what: str, probe: Callable) -> None:
    read, changes = READ[what]
    changed(probe(read, BASE), BASE, {**BASE, **changes})


@pytest.mark.parametrize("what", READ)
@pytest.mark.parametrize("lost", ["signature", "reads"])
def test_canary_a_stale_choice_is_seen(what: str, lost: str, probe: Callable, monkeypatch: pytest.MonkeyPatch) -> None:
    read, changes = READ[what]
    operation = probe(read, BASE)
    if lost == "signature":
        monkeypatch.setattr(backends, "signature", lambda call: ())
    else:
        object.__setattr__(operation, "reads", lambda call: ())
    stale = what.startswith("sigma") if lost == "reads" else not what.startswith("sigma")
    if what == "sigma of each":
        stale = False  # both its shape and its numbers count
    with pytest.raises(AssertionError) if stale else nullcontext():
        changed(operation, BASE, {**BASE, **changes})


def test_whether_fixed_delays_are_integers_is_read_at_every_call(probe: Callable) -> None:
    read = lambda c: tap_count(c["delay"], c["sigma"], 6, "linear")  # noqa: E731
    base = delay_call(taps="linear", delay=BASE["delay"].round())
    changed(probe(read, base), base, delay_call(taps="linear"))
    changed(probe(read, base), base, {**base, "delay": base["delay"].clone().requires_grad_()})
    operation, moved = probe(read, base), base["delay"].clone()
    assert operation.choose({**base, "delay": moved}).name == "first"
    moved.data += 0.5  # leaves no mark on the tensor
    assert operation.choose({**base, "delay": moved}).name == "second"


def test_gradients_and_threads_are_read_at_every_call(probe: Callable) -> None:
    grad = probe(lambda call: torch.is_grad_enabled(), BASE)
    assert grad.choose(BASE).name == "first"
    with torch.no_grad():
        assert grad.choose(BASE).name == "second"
    threaded = probe(lambda call: torch.get_num_threads(), BASE)
    assert threaded.choose(BASE).name == "first"
    try:
        torch.set_num_threads(2)
        assert threaded.choose(BASE).name == "second"
    finally:
        torch.set_num_threads(1)


def test_surrogates_are_told_apart_and_one_without_a_hash_is_asked_for_every_time() -> None:
    class Own:
        __hash__ = None  # type: ignore[assignment]

        def primitive(self, u):
            return u

        def derivative(self, u):
            return u

    class Steeper(ATan):
        pass

    for surrogate, name in (
        (ATan(), "numba_cpu"),
        (Own(), "reference"),
        (Steeper(), "reference"),
        (Sigmoid(), "numba_cpu"),
    ):
        for _ in range(2):
            assert LIF.choose({**LIF.example(), "surrogate": surrogate}).name == name


def test_a_state_on_another_device_is_told_apart() -> None:
    call = WKV.example()
    assert WKV.key(call) == WKV.key(WKV.example())
    moved = {**call, "state": type(call["state"])(*(part.double() for part in call["state"]))}
    assert WKV.key(moved) != WKV.key(call)


def test_a_requested_backend_is_not_remembered(monkeypatch: pytest.MonkeyPatch) -> None:
    call = Shape(20, 2, 8, 8, 9, 4.0).call()
    free = DELAY.choose(call).name
    with use_backend(delayed_linear="reference"):
        assert DELAY.choose(call).name == "reference"
    monkeypatch.setenv("SNN_DELAYS_BACKEND", "dense")
    assert DELAY.choose(call).name == "dense"
    monkeypatch.delenv("SNN_DELAYS_BACKEND")
    assert DELAY.choose(call).name == free
    assert DELAY.choose(call, "gather").name == "gather"


def test_a_new_calibration_ends_what_was_chosen_by_the_old(tmp_path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SNN_DELAYS_CACHE", str(tmp_path))
    cost.forget()
    call = Shape(100, 256, 256, 256, 24, 12.0).call()
    try:
        assert DELAY.choose(call).name == "spectral"
        slow = {name: [1.0] * len(cost.THINGS) for name in cost.PASSES}
        cost.calibration().write_text(json.dumps({"seconds": {"spectral": slow}}))
        cost.forget()
        assert DELAY.choose(call).name != "spectral"
    finally:
        monkeypatch.undo()
        cost.forget()


def test_kernels_lost_in_a_fork_end_what_was_chosen(monkeypatch: pytest.MonkeyPatch) -> None:
    assert LIF.choose(LIF.example()).name == "numba_cpu"
    try:
        monkeypatch.setattr(threads, "lost", True)
        monkeypatch.setattr(threads, "warned", True)
        backends.forget_choices()  # as every forked process does
        assert LIF.choose(LIF.example()).name == "reference"
    finally:
        monkeypatch.undo()
        backends.forget_choices()


def test_nothing_is_remembered_while_a_graph_is_captured(monkeypatch: pytest.MonkeyPatch) -> None:
    class OnCuda:
        is_cuda, device = True, torch.device("cuda", 0)

    monkeypatch.setattr(backends, "Tensor", OnCuda)
    monkeypatch.setattr(torch.cuda, "is_current_stream_capturing", lambda: True)
    assert backends.signature({"x": OnCuda()}) is None
    assert LIF.key({"x": OnCuda()}) is None


def test_backends_are_asked_once_for_calls_alike(monkeypatch: pytest.MonkeyPatch) -> None:
    call = Shape(21, 2, 8, 8, 9, 4.0).call()
    DELAY.choose(call)
    monkeypatch.setattr(Backend, "refuses", lambda *_: pytest.fail("called again"))
    DELAY.choose({name: part.clone() if isinstance(part, torch.Tensor) else part for name, part in call.items()})


def test_memory_of_choices_is_bounded(probe: Callable, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(backends, "REMEMBERED", 3)
    operation = probe(lambda call: 0, BASE)
    for steps in range(10):
        operation.choose({**BASE, "x": torch.zeros(steps, 2, 3)})
    assert len(operation._choices) <= 3
