"""Adaptive and resonating neurons equal their publications' equations, gradients included, and obey layers' laws."""

from typing import Any

import pytest
import torch
from torch import Tensor

from snn_delays import keep_delays_in_window, parameter_groups, use_backend
from snn_delays.errors import ConfigError, ShapeError
from snn_delays.nn import BRF, CAdLIF, CellNeuron, CSiLIF, DelayedLinear, EFAdLIF, Recurrent, SEAdLIF, Sequential, SiLIF
from tests.oracles import cells as oracle

STEPS, BATCH, N = 60, 4, 30
MAKE: dict[str, type[CellNeuron]] = {
    "se_adlif": SEAdLIF, "ef_adlif": EFAdLIF, "c_adlif": CAdLIF, "silif": SiLIF, "c_silif": CSiLIF, "brf": BRF,
}  # fmt: skip
DRIVE = {"se_adlif": 60.0, "ef_adlif": 60.0, "brf": 150.0, "c_silif": 2.0}


def made(kind: str, seed: int = 0, **options: Any) -> CellNeuron:
    torch.manual_seed(seed)
    layer: CellNeuron = MAKE[kind](N, **options).double()
    return layer


def current(kind: str) -> Tensor:
    torch.manual_seed(3)
    return (torch.randn(STEPS, BATCH, N, dtype=torch.float64) + 0.3) * DRIVE.get(kind, 6.0)


def published(kind: str, layer: Any, x: Tensor) -> Tensor:
    """Spikes by the oracle, from the layer's parameters."""
    spike = oracle.spike_with(layer.surrogate.primitive)
    if kind in ("se_adlif", "ef_adlif"):
        tau_u, tau_w = (m * high + (1 - m) * low for m, (low, high) in ((layer.m_u, (5, 25)), (layer.m_w, (60, 300))))
        return oracle.adlif(x, tau_u, tau_w, layer.a, layer.b, 120.0, spike, symplectic=kind == "se_adlif")[0]
    if kind in ("c_adlif", "silif"):
        if kind == "silif":
            alpha, beta = oracle.silif_decays(layer.log_a, layer.log_b, layer.log_dt)
        else:
            alpha, beta = layer.alpha, layer.beta
        return oracle.c_adlif(x, alpha, beta, layer.a, layer.b, spike, [torch.zeros_like(x[0])] * 3)[0]
    if kind == "c_silif":
        return oracle.c_silif(x, layer.log_a, layer.omega, layer.log_dt, layer.b, spike)[0]
    return oracle.brf(x, layer.omega, layer.b_offset, 0.01, spike)[0]


def compared(kind: str, layer: CellNeuron, x: Tensor, of: str = "") -> None:
    """Spikes are equal, and gradients of current and of every parameter to 1e-6 of the largest."""
    results = []
    for run in (lambda x: layer(x)[0], lambda x: published(of or kind, layer, x)):
        leaf = x.clone().requires_grad_()
        spikes = run(leaf)
        cotangent = torch.linspace(-1, 1, spikes.numel(), dtype=x.dtype).view_as(spikes)
        results.append((spikes, torch.autograd.grad((spikes * cotangent).sum(), [leaf, *layer.parameters()])))
    (got, got_grads), (want, want_grads) = results
    assert 0.01 < want.mean() < 0.7
    assert torch.equal(got.detach(), want.detach().round())
    for g, h in zip(got_grads, want_grads):
        assert float(h.abs().max()) > 0
        torch.testing.assert_close(g, h, rtol=1e-6, atol=1e-6 * float(h.abs().max()))


@pytest.mark.parametrize("kind", MAKE)
def test_equals_the_published_cell(kind: str) -> None:
    compared(kind, made(kind), current(kind))


@pytest.mark.parametrize(("kind", "of"), [("se_adlif", "ef_adlif"), ("ef_adlif", "se_adlif")])
def test_canary_another_cell_is_not_it(kind: str, of: str) -> None:
    with pytest.raises(AssertionError):
        compared(kind, made(kind), current(kind), of)


@pytest.mark.parametrize("kind", ["c_adlif", "silif", "c_silif"])
def test_canary_a_detached_reset_is_seen_in_the_gradient(kind: str) -> None:
    with use_backend("reference"), pytest.raises(AssertionError):
        compared(kind, made(kind, detach_reset=True), current(kind))


@pytest.mark.parametrize("kind", MAKE)
def test_chunks_causality_and_shapes(kind: str) -> None:
    layer, x = made(kind), current(kind)
    with torch.no_grad():
        whole, last = layer(x)
        state, parts = None, []
        for a, b in ((0, 1), (1, 18), (18, 18), (18, STEPS)):
            y, state = layer(x[a:b], state)
            parts.append(y)
        maps, _ = layer(x.view(STEPS, BATCH, 2, 3, 5))
    assert torch.equal(torch.cat(parts), whole)
    assert all(torch.equal(a, b) for a, b in zip(state, last))
    assert type(last) is layer.STATE
    assert torch.equal(maps.flatten(2), whole)
    with pytest.raises(ShapeError, match=rf"{type(layer).__name__} of 30 neurons got a current of shape"):
        layer(x[..., :-1])
    with pytest.raises(ShapeError, match="as its state, expected"):
        layer(x, (last[0],))


@pytest.mark.parametrize("kind", ["c_adlif", "silif", "c_silif"])
def test_random_states_reproduce_the_published_code_and_are_not_the_default(kind: str) -> None:
    rest, random, x = made(kind), made(kind, random_state=True), current(kind)
    assert torch.equal(rest(x)[0], rest(x)[0])
    assert not torch.equal(random(x)[0], random(x)[0])
    with torch.no_grad():
        begun = rest.STATE(*(torch.rand(BATCH, N, dtype=torch.float64) for _ in rest.STATE._fields))
        assert not torch.equal(rest(x, begun)[0], rest(x)[0])
    if kind == "c_adlif":
        torch.manual_seed(8)
        start = [torch.rand(BATCH, N, dtype=torch.float64) for _ in range(3)]
        torch.manual_seed(8)
        spike = oracle.spike_with(random.surrogate.primitive)
        layer: Any = random
        want, _ = oracle.c_adlif(x, layer.alpha, layer.beta, layer.a, layer.b, spike, start)
        assert torch.equal(random(x)[0].detach(), want.detach().round())


def test_parameters_are_clamped_after_each_step_and_do_not_decay() -> None:
    network = Sequential(DelayedLinear(5, N, max_delay_steps=3), SEAdLIF(N))
    groups = {group["name"]: group for group in parameter_groups(network, lr=0.9, lr_delay=0.1, weight_decay=0.1)}
    assert len(groups["others"]["params"]) == 4
    assert groups["others"]["weight_decay"] == 0
    optimiser = torch.optim.SGD(groups.values())
    handle = keep_delays_in_window(network, optimiser)
    for parameter in network.parameters():
        parameter.grad = 10 * torch.ones_like(parameter)
    optimiser.step()
    neuron: Any = list(network)[1]
    assert all(float(p.detach().abs().max()) == 0 for p in (neuron.m_u, neuron.m_w, neuron.a, neuron.b))
    handle.remove()
    optimiser.step()
    assert float(neuron.a.detach().max()) < 0


def test_in_a_recurrent_layer() -> None:
    synapse = DelayedLinear(N, N, max_delay_steps=3, min_delay_steps=1).double()
    with torch.no_grad():
        synapse.weight.mul_(20)
    layer, x = Recurrent(synapse, made("se_adlif")), current("se_adlif")
    y, _ = layer(x)
    y.sum().backward()
    assert not torch.equal(y.detach(), made("se_adlif")(x)[0].detach())
    for name, parameter in layer.named_parameters():
        assert float(parameter.grad.abs().max()) > 0, name
    whole = y.detach()
    with torch.no_grad():
        first, state = layer(x[:25])
        assert torch.equal(torch.cat([first, layer(x[25:], state)[0]]), whole)


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: SEAdLIF(4, tau_u_steps=(25.0, 5.0)), r"tau_u_steps is \(from, to\)"),
        (lambda: SEAdLIF(0), "size must be at least 1"),
        (lambda: BRF(4, omega=(5.0, 200.0)), r"dt \* omega must not pass 1"),
        (lambda: BRF(4, detach_reset=True), "have no reset"),
        (lambda: CSiLIF(4, dt_max=0.001), r"is \(from, to\)"),
    ],
)
def test_what_cannot_be(make: Any, message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        make()
