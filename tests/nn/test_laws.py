"""The laws of layers and networks: chunks, causality, shifts, permutations."""

from itertools import pairwise

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from snn_delays import use_backend
from snn_delays.discrete import discretize
from snn_delays.nn import (
    LIF,
    BatchNorm,
    CSiLIF,
    CubaLIF,
    DelayedLinear,
    Dropout,
    LeakyIntegrator,
    Neuron,
    SEAdLIF,
    Sequential,
    SpikingModule,
)
from snn_delays.nn.module import record
from tests.support.networks import assert_active, plain_chain, poisson, warmed_classifier

SEEDS = st.integers(0, 10**6)
STEPS, BATCH, FEATURES = 30, 3, 6


@st.composite
def cuts(draw) -> list[int]:
    """Where a chunk ends: none, some or all steps, chunks of no step among them."""
    inner = draw(st.one_of(st.just(list(range(STEPS + 1))), st.lists(st.integers(0, STEPS), max_size=6)))
    return [0, *sorted(inner), STEPS]


def tensors_of(state) -> list[Tensor]:
    """Every tensor of a state, whatever its nesting."""
    if state is None:
        return []
    return [state] if isinstance(state, Tensor) else [t for part in state for t in tensors_of(part)]


def in_chunks(network: SpikingModule, x: Tensor, ends: list[int], forget: bool = False):
    state, outputs = None, []
    with torch.no_grad():
        for a, b in pairwise(ends):
            y, state = network(x[a:b], None if forget else state)
            outputs.append(y)
    return torch.cat(outputs), state


def on_grid(network: Sequential) -> Sequential:
    """Its weights and biases as multiples of 1/32: every sum of spikes is then exact, whatever the order."""
    with torch.no_grad():
        for module in network.modules():
            if isinstance(module, DelayedLinear):
                module.weight.copy_((module.weight * 32).round() / 32)
                if module.bias is not None:
                    module.bias.copy_((module.bias * 32).round() / 32)
    return network


LAYERS = {
    "synapse": lambda: DelayedLinear(FEATURES, 5, max_delay_steps=7, bias=True),
    "synapse without delays": lambda: DelayedLinear(FEATURES, 5, max_delay_steps=0),
    "two synapses": lambda: DelayedLinear(FEATURES, 5, max_delay_steps=3, delay_count=2, sharing="axon"),
    "LIF": lambda: LIF(2.0),
    "LIF soft": lambda: LIF(3.0, reset="soft", v_reset=-0.1, decay_input=True, threshold=0.4),
    "CubaLIF": lambda: CubaLIF(3.0, 2.0),
    "SE-adLIF": lambda: SEAdLIF(FEATURES, threshold=0.03),
    "C-SiLIF": lambda: CSiLIF(FEATURES, threshold=0.7),
    "integrator": lambda: LeakyIntegrator(4.0),
    "norm": lambda: BatchNorm(FEATURES),
    "dropout": lambda: Dropout(0.5),
}


@pytest.mark.parametrize("kind", LAYERS)
@given(seed=SEEDS, ends=cuts())
def test_chunk_law_of_every_layer(kind: str, seed: int, ends: list[int]) -> None:
    torch.manual_seed(seed)
    layer = LAYERS[kind]().double().eval()
    x = 0.4 * poisson(STEPS, BATCH, FEATURES, rate=1.0, seed=seed)
    whole, state = layer(x)
    parts, last = in_chunks(layer, x, ends)
    assert len(whole) == STEPS
    if isinstance(layer, Neuron) and layer.fires:
        assert 0.02 < whole.mean() < 0.6
    # Products of chunks of other sizes may be summed in another order; networks on a grid, below, are equal to the bit.
    exact = not isinstance(layer, DelayedLinear)
    for got, want in zip([parts, *tensors_of(last)], [whole, *tensors_of(state)]):
        torch.testing.assert_close(got, want, rtol=0 if exact else 1e-12, atol=0 if exact else 1e-14)
    assert len(tensors_of(last)) == len(tensors_of(state))


@pytest.mark.parametrize("kind", ["synapse", "LIF", "LIF soft", "CubaLIF", "SE-adLIF", "C-SiLIF", "integrator"])
def test_chunk_law_test_sees_a_forgotten_state(kind: str) -> None:
    layer = LAYERS[kind]().double().eval()
    x = 0.4 * poisson(STEPS, BATCH, FEATURES, rate=1.0)
    assert not torch.allclose(in_chunks(layer, x, [0, 11, STEPS], forget=True)[0], layer(x)[0])


@pytest.mark.parametrize("sharing", ["synapse", "dendrite"])
@settings(max_examples=5)
@given(seed=st.integers(0, 50), ends=cuts())
def test_chunk_law_of_a_discrete_network_to_the_bit(sharing: str, seed: int, ends: list[int]) -> None:
    network = on_grid(discretize(warmed_classifier(seed, sharing=sharing, delay_count=2, tau_steps=2.0)))
    x = poisson(STEPS, BATCH, FEATURES, seed=seed)
    assert_active(network, x)
    whole, state = network(x)
    parts, last = in_chunks(network, x, ends)
    assert torch.equal(parts, whole)
    for got, want in zip(tensors_of(last), tensors_of(state)):
        assert torch.equal(got, want)


@pytest.mark.parametrize("backend", [None, "reference"])
@settings(max_examples=6)
@given(seed=st.integers(0, 50), ends=cuts())
def test_chunk_law_of_a_classifier(backend: str | None, seed: int, ends: list[int]) -> None:
    network = warmed_classifier(seed)
    x = poisson(STEPS, BATCH, FEATURES, seed=seed)
    assert_active(network, x)
    with use_backend(backend):
        whole, state = network(x)
        parts, last = in_chunks(network, x, ends)
    torch.testing.assert_close(parts, whole, rtol=1e-11, atol=1e-12)
    for got, want in zip(tensors_of(last), tensors_of(state)):
        torch.testing.assert_close(got, want, rtol=1e-11, atol=1e-12)


@given(seed=SEEDS, ends=cuts())
def test_dropout_in_training_keeps_its_mask_in_the_state(seed: int, ends: list[int]) -> None:
    torch.manual_seed(seed)
    x = torch.ones(STEPS, 20, 30)
    layer = Dropout(0.4).train()
    y, _ = in_chunks(layer, x, ends)
    assert torch.equal(y, y[:1].expand_as(y))
    torch.testing.assert_close(y.unique(), torch.tensor([0.0, 1 / 0.6]))
    assert 0.5 < float((y > 0).float().mean()) < 0.7


@given(seed=st.integers(0, 50), at=st.integers(1, STEPS - 1))
def test_causality(seed: int, at: int) -> None:
    network = warmed_classifier(seed)
    x = poisson(STEPS, BATCH, FEATURES, seed=seed)
    changed = x.clone()
    changed[at:] = poisson(STEPS - at, BATCH, FEATURES, rate=0.8, seed=seed + 1)
    assert_active(network, x)
    before, after = (network(signal)[0] for signal in (x, changed))
    torch.testing.assert_close(before[:at], after[:at], rtol=1e-12, atol=1e-13)
    assert not torch.allclose(before, after), "the change has no effect at all"


@pytest.mark.parametrize("bad", [float("nan"), float("inf")])
@pytest.mark.parametrize("longest", [4, 40])
def test_causality_holds_for_an_input_that_is_no_number_and_nothing_swallows_it(longest: int, bad: float) -> None:
    network = warmed_classifier(max_delay_steps=longest).float()
    x = poisson(100, 64, FEATURES).float()
    changed = x.clone()
    changed[50, 3, 1] = bad
    before, after = (network(signal)[0] for signal in (x, changed))
    others = torch.arange(64) != 3
    torch.testing.assert_close(after[:50], before[:50])
    torch.testing.assert_close(after[:, others], before[:, others])
    assert not torch.equal(after[50:, 3], before[50:, 3])
    assert after[-1, 3].isnan().all() or bad == torch.inf  # an infinite current makes a neuron fire, or never again


@pytest.mark.parametrize("training", [False, True])
def test_a_weight_that_is_no_number_shows_in_the_loss(training: bool) -> None:
    network = warmed_classifier().train(training)
    with torch.no_grad():
        network.hidden1.synapse.weight[0, 0] = torch.nan
    assert network(poisson(STEPS, BATCH, FEATURES))[0].square().mean().isnan()


def test_gradients_are_causal_too() -> None:
    network = warmed_classifier(3)
    x = poisson(STEPS, 1, FEATURES).requires_grad_()
    y, _ = network(x)
    (grad,) = torch.autograd.grad(y[12].sum(), x)
    assert grad[13:].abs().max() == 0
    assert grad[:13].abs().amax((1, 2)).min() > 0


@given(seed=st.integers(0, 50), shift=st.integers(1, 9))
def test_time_shift(seed: int, shift: int) -> None:
    network = plain_chain(seed)
    x = poisson(STEPS, BATCH, FEATURES, seed=seed)
    assert_active(network, x)
    y, _ = network(x)
    later, _ = network(torch.cat([x.new_zeros(shift, BATCH, FEATURES), x]))
    assert not later[:shift].any()
    torch.testing.assert_close(later[shift:], y, rtol=1e-12, atol=1e-13)


@given(seed=st.integers(0, 50))
def test_samples_do_not_see_each_other(seed: int) -> None:
    network = warmed_classifier(seed)
    x = poisson(STEPS, 5, FEATURES, seed=seed)
    assert_active(network, x)
    order = torch.randperm(5, generator=torch.Generator().manual_seed(seed))
    y, _ = network(x)
    torch.testing.assert_close(network(x[:, order])[0], y[:, order], rtol=1e-12, atol=1e-13)
    torch.testing.assert_close(network(x[:, 2:3])[0], y[:, 2:3], rtol=1e-12, atol=1e-13)


def test_network_without_delays_is_linear_norm_lif() -> None:
    network = warmed_classifier(1, max_delay_steps=0, sigma_steps=None)
    x = poisson(STEPS, BATCH, FEATURES)
    assert_active(network, x)
    layer = network.hidden1
    current = torch.nn.functional.linear(x, layer.synapse.weight[..., 0])
    scale, shift = layer.norm.scale_and_shift()
    want, _ = layer.neuron(current * scale + shift)
    assert torch.equal(record(network, x)["hidden1.neuron"], want)


def test_neurons_take_any_shape_behind_time_and_batch() -> None:
    x = poisson(STEPS, BATCH, 12, rate=0.5)
    for layer in (LIF(2.0), LeakyIntegrator(2.0)):
        flat, flat_state = layer(x)
        shaped, state = layer(x.view(STEPS, BATCH, 3, 4))
        assert torch.equal(shaped, flat.view(STEPS, BATCH, 3, 4))
        assert torch.equal(state.v, flat_state.v.view(BATCH, 3, 4))
        assert torch.equal(layer(x.view(STEPS, BATCH, 3, 4), state)[0].flatten(2), layer(x, flat_state)[0])
