"""Memory that a kernel forgets to write: all fresh memory is filled with NaN, and the contract has to stay content."""

import importlib
from collections.abc import Callable
from types import SimpleNamespace

import numpy as np
import pytest
import torch

from snn_delays.ops import delayed_linear, leaky_integrator, lif, workspace
from snn_delays.ops.delay import OPERATION as DELAY
from snn_delays.ops.leaky_integrator import OPERATION as INTEGRATOR
from snn_delays.ops.lif import OPERATION as LIF
from tests.support.contracts import (
    DelayCase,
    IntegratorCase,
    LIFCase,
    delay_contract,
    fast_backends,
    implementation,
    integrator_contract,
    lif_contract,
)

LIF_CASES = [
    LIFCase(batch=1, neurons=n, reset=reset, decay_input=reset == "hard", steps=steps, exact=False)
    for n in (1, 513) for reset in ("hard", "soft") for steps in (0, 1, 7)
]  # fmt: skip
INTEGRATOR_CASES = [
    IntegratorCase(batch=1, neurons=n, steps=steps, decay_input=True) for n in (1, 513) for steps in (0, 1, 7)
]
WIDTHS = [("gaussian", 0.0), ("gaussian", 20.0), ("linear", 0.0)]
DELAY_CASES = [
    DelayCase(steps=steps, max_delay_steps=longest, taps=taps, learns=("x", "weight", "delay", "history"), wide=wide)
    for steps in (0, 1, 7) for longest in (0, 3, 40) for taps, wide in WIDTHS
]  # fmt: skip
OPERATIONS = {
    "lif": (LIF, lif, LIF.example, lif_contract, LIF_CASES),
    "leaky_integrator": (INTEGRATOR, leaky_integrator, INTEGRATOR.example, integrator_contract, INTEGRATOR_CASES),
    "delay": (DELAY, delayed_linear, DELAY.example, delay_contract, DELAY_CASES),
}


def _poisoned(make: Callable) -> Callable:
    def made(*args, **kwargs):
        result = make(*args, **kwargs)
        fill = result.fill_ if isinstance(result, torch.Tensor) else result.fill
        fill(float("nan") if "float" in str(result.dtype) else 1)
        return result

    return made


@pytest.fixture
def poison(monkeypatch: pytest.MonkeyPatch) -> Callable[[str], None]:
    def apply(module_name: str) -> None:
        module = importlib.import_module(module_name)
        if hasattr(module, "np"):
            own = SimpleNamespace(**{name: getattr(np, name) for name in dir(np) if not name.startswith("_")})
            own.empty, own.empty_like = _poisoned(np.empty), _poisoned(np.empty_like)
            monkeypatch.setattr(module, "np", own)
        for name in ("empty", "empty_like"):
            monkeypatch.setattr(torch, name, _poisoned(getattr(torch, name)))

    return apply


@pytest.mark.parametrize(
    ("operation", "backend"), [(name, b) for name, (op, *_) in OPERATIONS.items() for b in fast_backends(op)]
)
def test_every_byte_is_written(operation: str, backend: str, poison: Callable[[str], None]) -> None:
    op, public, example, contract, cases = OPERATIONS[operation]
    run = implementation(public, example(), backend)
    for case in cases:  # compiled before numpy is exchanged under the kernels
        contract(run, case)
    poison(next(b.module for b in op.backends if b.name == backend))
    for case in cases:
        spoil_scratch()
        contract(run, case)


def spoil_scratch() -> None:
    """What an earlier call left in the scratch memory must not matter."""
    for pool in workspace._scratch.values():
        for kept in pool.values():
            kept.fill_(float("nan"))


def test_scratch_is_there_to_be_spoilt() -> None:
    spectral = implementation(delayed_linear, DELAY.example(), "spectral")
    delay_contract(spectral, DELAY_CASES[-1])
    spoil_scratch()
    assert any(kept.isnan().any() for pool in workspace._scratch.values() for kept in pool.values())


def test_a_kernel_that_forgets_a_lane_is_seen(poison, monkeypatch: pytest.MonkeyPatch) -> None:
    from snn_delays.ops.lif import numba_cpu

    right = numba_cpu.forward

    def forgetful(x, v0, decay, threshold, gain, v_reset, soft_reset, strict, h, spikes, v):
        lanes = [np.ascontiguousarray(part[..., :-1]) for part in (x, v0, decay, threshold, gain, h, spikes, v)]
        right(*lanes[:5], v_reset, soft_reset, strict, *lanes[5:])
        for part, written in zip((h, spikes, v), lanes[5:]):
            part[..., :-1] = written

    run = implementation(leaky_integrator, INTEGRATOR.example(), "numba_cpu")
    case = IntegratorCase(batch=1, neurons=9)
    integrator_contract(run, case)
    monkeypatch.setattr(numba_cpu, "forward", forgetful)
    poison("snn_delays.ops.lif.numba_cpu")
    with pytest.raises(AssertionError):
        integrator_contract(run, case)
