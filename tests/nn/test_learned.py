"""Learned time constants and thresholds equal SpikingJelly's PLIF, current-based neurons Norse's; both obey laws."""

import copy
import math
from typing import Any

import pytest
import torch
from torch import Tensor

from snn_delays import keep_delays_in_window, parameter_groups, use_backend
from snn_delays.errors import ConfigError
from snn_delays.nn import LIF, PLIF, CubaLIF, DelayedLinear, Recurrent, Sequential
from snn_delays.ops import ATan, FastSigmoid, Sigmoid
from tests.oracles import cells as oracle

STEPS, BATCH, N = 50, 3, 20
Outcome = tuple[Tensor, list[Tensor]]


def drawn(scale: float = 1.5) -> Tensor:
    torch.manual_seed(1)
    return (torch.randn(STEPS, BATCH, N, dtype=torch.float64) + 0.4) * scale


def outcome(run: Any, x: Tensor, *parameters: Tensor) -> Outcome:
    leaf = x.clone().requires_grad_()
    spikes = run(leaf)
    cotangent = torch.linspace(-1, 1, x.numel(), dtype=x.dtype).view_as(x)
    return spikes.detach(), list(torch.autograd.grad((spikes * cotangent).sum(), [leaf, *parameters]))


def assert_equal(got: Outcome, want: Outcome) -> None:
    assert 0.02 < want[0].mean() < 0.7
    assert torch.equal(got[0], want[0].round())
    for g, h in zip(got[1], want[1]):
        assert float(h.abs().max()) > 1e-3
        torch.testing.assert_close(g, h, rtol=1e-6, atol=1e-6 * float(h.abs().max()))


def spikingjelly_plif(x: Tensor, **options: Any) -> tuple[Any, Outcome]:
    package = pytest.importorskip("spikingjelly.activation_based", reason="spikingjelly is not installed")
    from spikingjelly.activation_based import neuron, surrogate

    assert package is not None
    node = neuron.ParametricLIFNode(
        init_tau=3.0, surrogate_function=surrogate.ATan(2.0), step_mode="m", **options
    ).double()  # fmt: skip
    return node, outcome(node, x, node.w)


@pytest.mark.parametrize("decay_input", [True, False])
@pytest.mark.parametrize(("reset", "v_reset"), [("hard", 0.0), ("hard", -0.3), ("soft", None)])
def test_plif_equals_spikingjelly(decay_input: bool, reset: str, v_reset: float | None) -> None:
    x = drawn(3.0 if decay_input else 1.0)
    _, want = spikingjelly_plif(x, decay_input=decay_input, v_reset=v_reset)
    layer = PLIF(
        3.0, decay_input=decay_input, reset=reset, v_reset=v_reset or 0.0, detach_reset=False, surrogate=ATan(2.0),
        dtype=torch.float64,
    )  # fmt: skip
    assert_equal(outcome(lambda x: layer(x)[0], x, *layer.parameters()), want)
    wrong = PLIF(3.1, decay_input=decay_input, reset=reset, v_reset=v_reset or 0.0, dtype=torch.float64)
    assert not torch.equal(wrong(x)[0].detach(), want[0])


def test_of_each_neuron_as_of_a_layer_alone_and_thresholds_learn_too() -> None:
    taus, thresholds = torch.linspace(1.5, 6, N), torch.linspace(0.5, 1.4, N)
    layer = PLIF(taus, threshold=thresholds, learn_threshold=True, dtype=torch.float64)
    spikes, (grad_x, *grads) = outcome(lambda x: layer(x)[0], drawn(), *layer.parameters())
    names = [name for name, _ in layer.named_parameters()]
    assert names == ["tau_steps_w", "threshold"]
    for i in (0, N - 1):
        alone = PLIF(float(taus[i]), threshold=float(thresholds[i]), learn_threshold=True, dtype=torch.float64)
        x = drawn()[..., i : i + 1].clone().requires_grad_()
        y, _ = alone(x)
        cotangent = torch.linspace(-1, 1, spikes.numel(), dtype=x.dtype).view_as(spikes)[..., i : i + 1]
        want = torch.autograd.grad((y * cotangent).sum(), [x, *alone.parameters()])
        assert torch.equal(y.detach(), spikes[..., i : i + 1])
        torch.testing.assert_close(want[0], grad_x[..., i : i + 1])
        for g, h in zip(grads, want[1:]):
            torch.testing.assert_close(g[i], h)


def test_cuba_equals_norse() -> None:
    """Norse's gain is on the membrane alone, and its spikes fire above the threshold."""
    functional = pytest.importorskip("norse.torch.functional.lif", reason="norse is not installed")
    parameters = functional.LIFParameters(
        tau_mem_inv=torch.tensor(1 / 4e-3), tau_syn_inv=torch.tensor(1 / 2.5e-3), v_leak=torch.tensor(0.0),
        v_th=torch.tensor(1.0), v_reset=torch.tensor(0.0), method="super", alpha=torch.tensor(1.0),
    )  # fmt: skip

    def norse(x: Tensor) -> Tensor:
        zero = torch.zeros_like(x[0])
        state, spikes = functional.LIFFeedForwardState(v=zero, i=zero), []
        for now in x:
            s, state = functional.lif_feed_forward_step(now, state, parameters, 1e-3)
            spikes.append(s)
        return torch.stack(spikes)

    layer = CubaLIF(4.0, 2.5, strict=True, detach_reset=False, surrogate=FastSigmoid(1.0))
    x = drawn(2.0)
    with use_backend("reference"):
        got, want = (outcome(run, x) for run in (lambda x: layer(x / 4)[0], norse))
    assert 0.02 < want[0].mean() < 0.7
    # Norse keeps its constants in float32.
    assert torch.equal(got[0], want[0])
    torch.testing.assert_close(got[1][0], want[1][0], rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize("reset", ["hard", "soft"])
@pytest.mark.parametrize("decay_input", [True, False])
def test_cuba_equals_its_equations(reset: str, decay_input: bool) -> None:
    layer = CubaLIF(
        3.0, 2.0, learn_tau=True, reset=reset, decay_input=decay_input, v_reset=-0.25, detach_reset=False,
        surrogate=Sigmoid(4.0), dtype=torch.float64,
    )  # fmt: skip
    x, spike = drawn(4.0 if decay_input else 0.7), oracle.spike_with(Sigmoid(4.0).primitive, strict=False)

    def plain(x: Tensor) -> Tensor:
        return oracle.cuba(
            x, *(1 / torch.sigmoid(w) for w in layer.parameters()), spike, soft=reset == "soft", gain=decay_input,
            th=1.0, rest=-0.25,
        )[0]  # fmt: skip

    assert len(list(layer.parameters())) == 2
    with use_backend("reference"):
        got, want = (outcome(run, x, *layer.parameters()) for run in (lambda x: layer(x)[0], plain))
    assert_equal(got, want)
    with pytest.raises(AssertionError):
        assert_equal(outcome(lambda x: CubaLIF(3.0, 2.1, decay_input=decay_input)(x)[0], x), (want[0], want[1][:1]))


def test_a_filter_of_one_step_is_none_and_an_infinite_tau_integrates() -> None:
    x = drawn()
    for tau in (2.5, math.inf):
        with use_backend("reference"):
            assert torch.equal(CubaLIF(tau, 1.0)(x)[0], LIF(tau)(x)[0])
        assert 0.02 < LIF(tau)(x)[0].mean() < 0.8
    assert not torch.equal(CubaLIF(2.5, 2.0)(x)[0], LIF(2.5)(x)[0])


@pytest.mark.parametrize("make", [lambda: PLIF(3.0, learn_threshold=True), lambda: CubaLIF(3.0, 2.0, learn_tau=True)])
def test_chunks_copies_and_repr(make: Any) -> None:
    layer, x = make().double(), drawn()
    with torch.no_grad():
        whole, last = layer(x)
        first, state = layer(x[:20])
        second, state = layer(x[20:], state)
    assert torch.equal(torch.cat([first, second]), whole)
    assert all(torch.equal(a, b) for a, b in zip(state, last))
    assert torch.equal(copy.deepcopy(layer)(x)[0].detach(), whole)
    other = make().double()
    other.load_state_dict(layer.state_dict())
    assert torch.equal(layer.frozen()(x)[0], whole)
    assert not list(layer.frozen().parameters())
    assert "tau_steps=3" in repr(layer)


def test_they_learn_in_a_network_within_bounds_and_with_weight_decay() -> None:
    torch.manual_seed(0)
    synapse = DelayedLinear(N, N, max_delay_steps=3, min_delay_steps=1)
    plif = PLIF(torch.full((N,), 2.5), learn_threshold=True)
    network = Sequential(DelayedLinear(N, N, max_delay_steps=4), Recurrent(synapse, plif)).double()
    groups = {group["name"]: group for group in parameter_groups(network, lr=0.5, lr_delay=0.1, weight_decay=0.1)}
    decayed = [name for name, p in network.named_parameters() if any(p is q for q in groups["weights"]["params"])]
    assert decayed == ["0.weight", "1.synapse.weight", "1.neuron.tau_steps_w"]
    optimiser = torch.optim.SGD(groups.values())
    keep_delays_in_window(network, optimiser)
    before = {name: p.detach().clone() for name, p in network.named_parameters()}
    y, _ = network(3 * drawn())
    assert 0.02 < y.mean() < 0.8
    (100 * y.sum()).backward()
    optimiser.step()
    for name, p in network.named_parameters():
        assert not torch.equal(p, before[name]), name
    assert float(plif.threshold.detach()) >= 0.01
    plif.threshold.grad = torch.tensor(1e6, dtype=torch.float64)
    optimiser.step()
    assert float(plif.threshold.detach()) == pytest.approx(0.01)


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: PLIF(1.0), "a tau_steps that is learned is finite and above 1 step, got 1"),
        (lambda: CubaLIF(math.inf, 2.0, learn_tau=True), "a tau_steps that is learned is finite"),
        (lambda: CubaLIF(3.0, 0.5), "tau must be at least one step, got 0.5"),
        (lambda: CubaLIF(3.0, 2.0, threshold=-1.0), "must lie above v_reset"),
        (lambda: PLIF(3.0, reset="softly"), "reset must be 'hard' or 'soft'"),
    ],
)
def test_what_cannot_be(make: Any, message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        make()
