"""LIF equals SpikingJelly's LIFNode and Norse's boxed LIF spike for spike in float64, gradients included."""

from functools import partial

import pytest
import torch

from snn_delays.ops import ATan, FastSigmoid, Sigmoid, lif


def draw() -> tuple[torch.Tensor, torch.Tensor]:
    current = (torch.randn(60, 4, 25, dtype=torch.float64) * 0.8 + 0.4).requires_grad_()
    return current, torch.randn(60, 4, 25, dtype=torch.float64)


def assert_same_neuron(ours, theirs, current: torch.Tensor, cotangent: torch.Tensor, gradients: bool = True) -> None:
    """Spikes and final membranes of two ``current -> (spikes, v)``, and the gradient of the current."""
    (s, v), (their_s, their_v) = ours(current), theirs(current)
    assert 0.02 < s.mean() < 0.6
    assert torch.equal(s.detach(), their_s.detach()), f"{int((s != their_s).sum())} spikes differ"
    torch.testing.assert_close(v.detach(), their_v.detach(), rtol=1e-11, atol=1e-12)
    if gradients:
        got, want = (torch.autograd.grad((y * cotangent).sum(), current)[0] for y in (s, their_s))
        assert want.abs().max() > 0.01
        torch.testing.assert_close(got, want, rtol=1e-9, atol=1e-10)


def spikingjelly_lif(current: torch.Tensor, *, tau: float, v_reset: float | None, **options):
    neuron = pytest.importorskip("spikingjelly.activation_based.neuron", reason="spikingjelly is not installed")
    node = neuron.LIFNode(tau=tau, v_reset=v_reset, step_mode="m", **options)
    return node(current), node.v


SPIKINGJELLY = [
    (reset, v_reset, detach, decay_input, kind)
    for reset, v_reset in (("hard", 0.0), ("hard", -0.2), ("soft", None))
    for detach in (False, True)
    for decay_input in (False, True)
    for kind in ("ATan", "Sigmoid")
]


@pytest.mark.parametrize(("reset", "v_reset", "detach", "decay_input", "kind"), SPIKINGJELLY)
def test_equals_spikingjelly(reset: str, v_reset: float | None, detach: bool, decay_input: bool, kind: str) -> None:
    theirs = pytest.importorskip("spikingjelly.activation_based.surrogate", reason="spikingjelly is not installed")
    tau = 1.7
    current, cotangent = draw()
    surrogate, their_surrogate = {
        "ATan": (ATan(2.0), theirs.ATan(2.0)), "Sigmoid": (Sigmoid(4.0), theirs.Sigmoid(4.0))
    }[kind]  # fmt: skip
    if decay_input:
        current = (current.detach() * 1.5).requires_grad_()
    ours = partial(
        lif, decay=1 - 1 / tau, v_reset=v_reset or 0.0, reset=reset, detach_reset=detach, decay_input=decay_input,
        surrogate=surrogate,
    )  # fmt: skip
    peer = partial(
        spikingjelly_lif, tau=tau, v_reset=v_reset, detach_reset=detach, decay_input=decay_input,
        surrogate_function=their_surrogate,
    )  # fmt: skip
    assert_same_neuron(ours, peer, current, cotangent)


@pytest.mark.parametrize("wrong", [{"reset": "soft"}, {"decay": 0.7}, {"detach_reset": True}, {"strict": True}])
def test_the_comparison_with_spikingjelly_can_fail(wrong: dict) -> None:
    current, cotangent = draw()
    if "strict" in wrong:  # inputs on a grid, so that membranes meet the threshold
        current = (torch.randint(-2, 4, current.shape).double() / 2).requires_grad_()
    right = {"decay": 0.5, "detach_reset": False, "surrogate": Sigmoid(4.0)}
    peer = partial(spikingjelly_lif, tau=2.0, v_reset=0.0, decay_input=False)
    assert_same_neuron(partial(lif, **right), peer, current, cotangent)
    with pytest.raises(AssertionError):
        assert_same_neuron(partial(lif, **{**right, **wrong}), peer, current, cotangent)


def norse_lif(current: torch.Tensor, *, decay: float, soft: bool, v0: torch.Tensor, v_leak: float = 0.0):
    """Norse's boxed LIF, the one of its neurons without a synaptic current.

    Its step is ``v + dt / tau_mem (x + v_leak - v)``, ours with ``1 - decay = dt / tau_mem``, ``decay_input`` and
    ``v_reset = v_leak``; it fires strictly above the threshold. Its "super" surrogate is ``1 / (1 + |u|)^2`` whatever
    alpha says (version 1.1), our FastSigmoid(1), and the spike in its reset is not detached.
    """
    box = pytest.importorskip("norse.torch.functional.lif_box", reason="norse is not installed")
    reset = pytest.importorskip("norse.torch.functional.reset", reason="norse is not installed")
    dt = 1e-3

    def number(value: float) -> torch.Tensor:
        return torch.tensor(value, dtype=torch.float64)

    parameters = box.LIFBoxParameters(
        tau_mem_inv=number((1 - decay) / dt), v_leak=number(v_leak), v_th=number(1.0), v_reset=number(v_leak),
        method="super", reset_method=reset.reset_subtract if soft else reset.reset_value,
    )  # fmt: skip
    state, spikes = box.LIFBoxFeedForwardState(v=v0), []
    for x in current.unbind(0):
        s, state = box.lif_box_feed_forward_step(x, state, parameters, dt)
        spikes.append(s)
    return torch.stack(spikes), state.v


@pytest.mark.parametrize("v_leak", [0.0, -0.3])
@pytest.mark.parametrize("soft", [False, True])
def test_equals_norse(soft: bool, v_leak: float) -> None:
    current, cotangent = draw()
    current = (current.detach() * 2).requires_grad_()
    v0 = torch.rand(4, 25, dtype=torch.float64)
    ours = partial(
        lif, v0=v0, decay=0.6, v_reset=v_leak, reset="soft" if soft else "hard", detach_reset=False,
        decay_input=True, strict=True, surrogate=FastSigmoid(1.0),
    )  # fmt: skip
    # Norse's soft reset is ``(1 - s) v + s (v - threshold)``: the same numbers and, but for rounding, gradients.
    assert_same_neuron(ours, partial(norse_lif, decay=0.6, soft=soft, v0=v0, v_leak=v_leak), current, cotangent)


def test_the_comparison_with_norse_can_fail() -> None:
    current, cotangent = draw()
    current = (current.detach() * 2).requires_grad_()
    v0 = torch.zeros(4, 25, dtype=torch.float64)
    peer = partial(norse_lif, decay=0.6, soft=False, v0=v0)
    right = {"decay": 0.6, "decay_input": True, "strict": True, "surrogate": FastSigmoid(1.0), "detach_reset": False}
    assert_same_neuron(partial(lif, **right), peer, current, cotangent)
    for wrong in ({"decay_input": False}, {"surrogate": FastSigmoid(2.0)}, {"detach_reset": True}):
        with pytest.raises(AssertionError):
            assert_same_neuron(partial(lif, **{**right, **wrong}), peer, current, cotangent)
