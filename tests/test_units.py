"""Milliseconds, steps and decays: the only place where time is rounded."""

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from snn_delays.errors import ConfigError
from snn_delays.units import decay_from_tau, round_delays, steps_from_ms, tau_from_decay, tau_steps_from_ms


@given(steps=st.integers(0, 10_000), dt_ms=st.sampled_from([0.1, 0.3, 0.5, 0.98, 1.0, 5.6, 10.0]))
def test_exact_multiples_stay_whole(steps: int, dt_ms: float) -> None:
    assert steps_from_ms(steps * dt_ms, dt_ms) == steps
    assert steps_from_ms((steps + 0.5) * dt_ms, dt_ms) == steps


@given(tau=st.floats(1.0, 1e4))
def test_decay_and_tau_are_inverse(tau: float) -> None:
    decay = decay_from_tau(tau)
    assert 0 <= decay < 1
    assert tau_from_decay(decay) == pytest.approx(tau, rel=1e-9)


def test_by_hand() -> None:
    assert steps_from_ms(240, 10) == 24
    assert tau_steps_from_ms(10.05, 10) == pytest.approx(1.005)
    assert decay_from_tau(2.0) == 0.5
    assert round_delays(torch.tensor([0.5, 1.5, 2.4])).tolist() == [0, 2, 2]


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: steps_from_ms(10, 0), "dt_ms must be a positive"),
        (lambda: steps_from_ms(10, float("nan")), "got nan"),
        (lambda: steps_from_ms(-1, 1), "a duration must be"),
        (lambda: steps_from_ms(float("inf"), 1), "got inf"),
        (lambda: tau_steps_from_ms(5, 10), "tau of 5 ms is 0.5 steps of 10 ms"),
        (lambda: tau_steps_from_ms(float("nan"), 10), "tau of nan ms"),
        (lambda: tau_steps_from_ms(5, -1), "dt_ms must be"),
        (lambda: decay_from_tau(0.99), "at least one step, got 0.99"),
        (lambda: tau_from_decay(1.0), r"decay must lie in \[0, 1\)"),
        (lambda: tau_from_decay(-0.1), "got -0.1"),
    ],
)
def test_refusals(call, message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        call()
