"""Which backend serves: named, forced by a block, by the environment, or the fastest; and what a refusal says."""

from collections.abc import Iterator

import pytest
import torch

from snn_delays import ops
from snn_delays.errors import BackendUnavailableError, ConfigError
from snn_delays.ops import ATan, backends, lif, use_backend
from snn_delays.ops.backends import Backend, Operation, operations
from snn_delays.ops.delay import OPERATION as DELAY
from snn_delays.ops.delay_conv import OPERATION as CONV
from snn_delays.ops.lif import OPERATION as LIF

CURRENT = torch.ones(3, 1, 2)


def chosen(call: dict | None = None, backend: str | None = None) -> str:
    return LIF.choose(call or LIF.example(), backend).name


def test_the_fastest_serves_unless_told_otherwise() -> None:
    assert chosen() == "numba_cpu"
    assert LIF.backends[-1].name == DELAY.backends[-1].name == "reference"


def test_argument_before_block_before_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SNN_DELAYS_BACKEND", "reference")
    assert chosen() == "reference"
    with use_backend("numba_cpu"):
        assert chosen() == "numba_cpu"
        assert chosen(backend="reference") == "reference"
    assert chosen() == "reference"


def test_blocks_nest_and_end_even_after_an_error() -> None:
    with use_backend("reference"):
        with use_backend(lif="numba_cpu"):
            assert chosen() == "numba_cpu"
            assert DELAY.choose(DELAY.example()).name == "reference"
        assert chosen() == "reference"
        with pytest.raises(ZeroDivisionError), use_backend("numba_cpu"):
            raise ZeroDivisionError
        assert chosen() == "reference"
    assert chosen() == "numba_cpu"


def test_environment_speaks_for_one_operation(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SNN_DELAYS_BACKEND", "lif = reference, delayed_linear=reference")
    assert chosen() == DELAY.choose(DELAY.example()).name == "reference"
    monkeypatch.setenv("SNN_DELAYS_BACKEND", "delayed_linear=reference")
    assert chosen() == "numba_cpu"


def test_unknown_operation_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(
        ConfigError,
        match=r"use_backend: no operation 'lief'; did you mean 'lif'\? there are cells, delayed_conv2d, delayed_linear",
    ):
        use_backend(lief="reference").__enter__()
    monkeypatch.setenv("SNN_DELAYS_BACKEND", "lief=reference")
    with pytest.raises(ConfigError, match="SNN_DELAYS_BACKEND: no operation 'lief'"):
        chosen()


@pytest.mark.parametrize("how", ["argument", "block", "environment"])
def test_unknown_backend_is_named_with_those_there_are(how: str, monkeypatch: pytest.MonkeyPatch) -> None:
    if how == "environment":
        monkeypatch.setenv("SNN_DELAYS_BACKEND", "warp")
    block = use_backend("warp") if how == "block" else use_backend()
    with block, pytest.raises(BackendUnavailableError, match=r"lif has no backend 'warp'; it has .*reference"):
        lif(CURRENT, decay=0.5, backend="warp" if how == "argument" else None)


def test_a_named_backend_never_falls_back() -> None:
    elsewhere = CURRENT.to("meta")
    sentence = "backend 'numba_cpu' cannot run lif: it runs on the CPU and the current is on meta"
    with pytest.raises(BackendUnavailableError, match=sentence):
        lif(elsewhere, decay=0.5, backend="numba_cpu")
    spikes, _ = lif(elsewhere, decay=0.5)  # unnamed, the reference steps in
    assert spikes.device.type == "meta"


def test_a_surrogate_without_a_kernel_is_refused_or_served_by_the_reference() -> None:
    class Own:
        def primitive(self, u):
            return u

        def derivative(self, u):
            return torch.ones_like(u)

    with pytest.raises(BackendUnavailableError, match="no kernel for the surrogate Own"):
        lif(CURRENT, decay=0.5, surrogate=Own(), backend="numba_cpu")
    current = CURRENT.clone().requires_grad_()
    spikes, _ = lif(current, decay=0.5, surrogate=Own())
    assert torch.autograd.grad(spikes.sum(), current)[0].any()


def test_a_subclass_with_another_derivative_gets_its_own_derivative() -> None:
    class Steeper(ATan):
        def derivative(self, u):
            return 7 * super().derivative(u)

    current = (torch.randn(6, 2, 3, dtype=torch.float64) + 0.5).requires_grad_()
    grads = [
        torch.autograd.grad(lif(current, decay=0.5, surrogate=Steeper(2.0), backend=name)[0].sum(), current)[0]
        for name in (None, "reference")
    ]
    torch.testing.assert_close(*grads)


def test_a_missing_package_is_named(own_operation: Operation) -> None:
    with pytest.raises(
        BackendUnavailableError, match="the package no_such_package is not installed \\(pip install no_such_package\\)"
    ):
        own_operation.choose(LIF.example(), "needy")
    assert own_operation.choose(LIF.example()).name == "reference"


@pytest.fixture
def own_operation() -> Iterator[Operation]:
    reference = "snn_delays.ops.lif.reference"
    yield Operation(
        "own",
        (Backend("needy", reference, requires=("no_such_package",)), Backend("reference", reference)),
        LIF.example,
    )
    del backends._OPERATIONS["own"]


def test_every_operation_has_a_reference_that_serves_everything() -> None:
    assert [operation.name for operation in operations()] == [
        "cells", "delayed_conv2d", "delayed_linear", "depthwise", "leaky_integrator", "lif", "norm_lif",
        "recurrent_lif", "wkv",
    ]  # fmt: skip
    for operation in operations():
        assert operation.backends[-1].name == "reference"
        assert operation.choose(operation.example(), "reference").name == "reference"


@pytest.mark.parametrize("operation", [one.name for one in operations()])
def test_every_operation_is_named_as_its_function(operation: str) -> None:
    assert callable(getattr(ops, operation))


@pytest.mark.parametrize(("old", "operation"), [("delay", DELAY), ("delay_conv", CONV)])
def test_keys_of_old_serve_with_a_warning(old: str, operation: Operation, monkeypatch: pytest.MonkeyPatch) -> None:
    block = use_backend(**{old: "reference"})
    with pytest.warns(DeprecationWarning, match=f"use_backend: the operation '{old}' is now"):
        block.__enter__()
    assert operation.choose(operation.example()).name == "reference"
    assert chosen() == "numba_cpu"
    block.__exit__(None, None, None)
    monkeypatch.setenv("SNN_DELAYS_BACKEND", f"{old}=reference")
    backends._from_environment.cache_clear()
    with pytest.warns(DeprecationWarning, match=f"SNN_DELAYS_BACKEND: the operation '{old}' is now"):
        assert operation.choose(operation.example()).name == "reference"


def test_a_name_for_all_ends_those_for_one_around_it() -> None:
    with use_backend(lif="reference"), use_backend("numba_cpu"):
        assert chosen() == "numba_cpu"


SMALL_CALLS = {
    "lif": ("lif", "current"), "wkv": ("wkv", "key"), "depthwise": ("depthwise", "x"),
}  # fmt: skip


def call_of(name: str, steps: int = 1, neurons: int = 8, device: str = "cpu") -> dict:
    import importlib

    call = importlib.import_module(f"snn_delays.ops.{name}").OPERATION.example()
    _, key = SMALL_CALLS[name]
    call[key] = torch.zeros(steps, 2, neurons, device=device)
    if name == "depthwise":
        call["kernel"] = torch.zeros(2, 1, neurons, device=device)
    return call


@pytest.mark.parametrize("name", SMALL_CALLS)
def test_single_short_steps_without_gradients_and_nothing_else_go_without_a_kernel(name: str) -> None:
    step = "one_step" if name == "lif" else "reference"
    operation = next(one for one in operations() if one.name == name)
    chosen = lambda **of: operation.choose(call_of(name, **of)).name  # noqa: E731
    with torch.no_grad():
        assert chosen() == step
        assert operation.explain(call_of(name))[0].backend.name == step
        assert chosen(steps=2) == "numba_cpu"
        assert chosen(neurons=100_000) == "numba_cpu"
        assert operation.explain(call_of(name, steps=2))[0].backend.name == "numba_cpu"
        assert operation.choose(call_of(name), "numba_cpu").name == "numba_cpu"
        with use_backend(**{name: "numba_cpu"}):
            assert operation.choose(call_of(name)).name == "numba_cpu"
    assert chosen() == "numba_cpu"
