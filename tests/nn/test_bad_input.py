"""Wrong shapes, wrong names, impossible numbers: each is refused with a sentence that names it."""

import pytest
import torch
from jaxtyping import TypeCheckError

from snn_delays.errors import ConfigError, ShapeError
from snn_delays.nn import LIF, BatchNorm, DelayedLinear, Dropout, LeakyIntegrator, Sequential, SpikingModule
from snn_delays.nn.delayed import DelayLineState
from snn_delays.nn.neuron import MembraneState
from snn_delays.nn.norm import DropoutState
from snn_delays.ops import delayed_linear, leaky_integrator, lif
from tests.support.contracts import LIFCase

X = torch.zeros(4, 2, 3)
W, D = torch.zeros(5, 3, 1), torch.zeros(5, 3, 1)


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: LIF(2.0)(X, MembraneState(torch.zeros(1, 3))), r"membrane state has shape \(1, 3\).*\(2, 3\)"),
        (lambda: LeakyIntegrator(2.0)(X, MembraneState(torch.zeros(2, 4))), r"state has shape \(2, 4\).*\(2, 3\)"),
        (lambda: lif(X, decay=torch.zeros(4)), r"decay has shape \(4,\).*one value per neuron \(3\)"),
        (lambda: lif(X, decay=0.5, threshold=torch.ones(2, 3)), r"threshold has shape \(2, 3\)"),
        (lambda: leaky_integrator(X, decay=torch.zeros(2)), r"decay has shape \(2,\)"),
        (lambda: DelayedLinear(4, 5, max_delay_steps=2)(X), r"input has 3 features.*takes 4"),
        (
            lambda: DelayedLinear(3, 5, max_delay_steps=2)(X, DelayLineState(torch.zeros(3, 2, 3))),
            r"delay line's state has shape \(3, 2, 3\), the input needs \(2, 2, 3\)",
        ),
        (
            lambda: DelayedLinear(3, 5, max_delay_steps=2)(X, DelayLineState(torch.zeros(2, 1, 3))),
            r"\(2, 1, 3\), the input needs \(2, 2, 3\)",
        ),
        (lambda: delayed_linear(X, W, D[:2], max_delay_steps=2, taps="linear"), r"delay has shape \(2, 3, 1\)"),
        (lambda: delayed_linear(X, W, D[..., 0], max_delay_steps=2, taps="linear"), r"delay has shape \(5, 3\)"),
        (
            lambda: delayed_linear(X, W, torch.zeros(5, 3, 2), max_delay_steps=2, taps="linear"),
            r"delay has shape \(5, 3, 2\).*\(5 or 1, 3 or 1, 1\)",
        ),
        (lambda: BatchNorm(4)(X), "batch norm of 4 neurons"),
        (lambda: Dropout(0.5)(X, DropoutState(torch.ones(1, 3))), r"dropout mask has shape \(1, 3\)"),
        (lambda: Sequential(LIF(2.0), LIF(2.0))(X, (None,)), "state has 1 parts, this network 2 layers"),
    ],
)
@pytest.mark.usefixtures("own_shape_errors")
def test_wrong_shapes(call, message: str) -> None:
    with pytest.raises(ShapeError, match=message):
        call()


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: lif(X, decay=0.5, reset="gentle"), "reset must be 'hard' or 'soft', got 'gentle'"),
        (lambda: LIF(2.0, reset="gentle"), "'gentle'"),
        (lambda: LIF(2.0, threshold=0.0), r"threshold \(0.0\) must lie above v_reset"),
        (lambda: LIF(2.0, threshold=float("nan")), r"threshold \(nan\)"),
        (lambda: LIF(0.5), "tau must be at least one step, got 0.5"),
        (lambda: LIF(float("nan")), "tau must be at least one step, got nan"),
        (lambda: LeakyIntegrator(0.0), "tau must be at least one step"),
        (lambda: Dropout(1.0), r"must lie in \[0, 1\), got 1.0"),
        (lambda: Dropout(-0.1), "got -0.1"),
        (lambda: Dropout(float("nan")), "got nan"),
        (lambda: DelayedLinear(3, 5, max_delay_steps=2, taps="box"), "taps must be one of gaussian.*got 'box'"),
        (lambda: DelayedLinear(3, 5, max_delay_steps=2, sharing="row"), "sharing must be one of synapse.*got 'row'"),
        (lambda: DelayedLinear(3, 5, max_delay_steps=2, delay_init="zero"), "delay_init must be one of"),
        (lambda: DelayedLinear(0, 5, max_delay_steps=2), "in_features must be at least 1, got 0"),
        (lambda: DelayedLinear(3, 5, max_delay_steps=-1), "max_delay_steps must be at least 0, got -1"),
        (lambda: DelayedLinear(3, 5, max_delay_steps=2, delay_count=0), "delay_count must be at least 1"),
        (lambda: DelayedLinear(3, 5, max_delay_steps=2, sigma_steps=0.0), "of gaussian taps must be a positive number"),
        (lambda: DelayedLinear(3, 5, max_delay_steps=2).set_sigma(float("nan")), "got nan"),
        (
            lambda: DelayedLinear(3, 5, max_delay_steps=2, taps="triangle", sigma_steps=-1.0),
            "triangle taps must be a finite number >= 0",
        ),
        (lambda: delayed_linear(X, W, D, max_delay_steps=2, taps="box"), "taps must be one of"),
        (lambda: delayed_linear(X, W, D, max_delay_steps=2), "taps 'gaussian' need sigma"),
        (lambda: delayed_linear(X, W, D, max_delay_steps=-1, taps="linear"), "max_delay_steps must be >= 0"),
        (lambda: delayed_linear(X, W, D - 1, max_delay_steps=2, taps="linear"), "15 of 15 delays lie outside 0..2"),
        (lambda: delayed_linear(X, W, D + 2.01, max_delay_steps=2, taps="linear"), "lie outside 0..2"),
        (lambda: delayed_linear(X, W, D / 0, max_delay_steps=2, taps="linear"), "15 of 15 delays are NaN"),
    ],
)
def test_wrong_names_and_numbers(call, message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        call()


def test_one_nan_among_good_delays_is_found() -> None:
    delay = torch.rand(5, 3, 1) * 2
    delay[3, 1] = float("nan")
    with pytest.raises(ConfigError, match="1 of 15 delays are NaN"):
        delayed_linear(X, W, delay, max_delay_steps=2, taps="linear")
    delay[0, 0] = 9
    with pytest.raises(ConfigError, match="1 of 15 delays lie outside"):
        delayed_linear(X, W, delay, max_delay_steps=2, taps="linear")


def test_a_layer_that_is_none_is_refused_with_its_name() -> None:
    with pytest.raises(TypeError, match=r"layer 'act' has a torch\.nn\.GRU"):
        Sequential(act=torch.nn.GRU(3, 3))
    with pytest.raises(TypeError, match="SpikingModule has to define forward"):
        SpikingModule()(X)


def test_the_tests_do_check_shapes_at_runtime() -> None:
    """Without the hook in conftest this would run through, and no test would notice a wrong annotation."""
    with pytest.raises(TypeCheckError):
        leaky_integrator(torch.zeros(3, 2), decay=0.5)
    LIFCase().inputs()
