"""Recurrence: every gradient is that of the definition, and what is kept for it stays small."""

import copy
from contextlib import nullcontext
from typing import NamedTuple

import pytest
import torch
from torch import Tensor
from torch.nn.utils import parametrize, prune

from snn_delays.errors import ConfigError
from snn_delays.nn import (
    LIF,
    DelayedLinear,
    MembraneState,
    Recurrent,
    RecurrentState,
)
from snn_delays.ops import use_backend
from snn_delays.ops.delay.taps import delay_kernel
from snn_delays.ops.surrogate import ATan
from tests.support.recurrent_populations import (
    BATCH,
    NEURON,
    NEURONS,
    OPTIONS,
    assert_active,
    currents,
    in_chunks,
    population,
)

POPULATION = next(iter(OPTIONS)), next(iter(NEURON))


class Outcome(NamedTuple):
    outputs: tuple[Tensor, Tensor, Tensor]
    gradients: tuple[Tensor | None, ...]


def defined(layer: Recurrent, x: Tensor, state: RecurrentState | None) -> tuple[Tensor, RecurrentState]:
    """The equation, every step in plain autograd."""
    s = layer.synapse
    least, longest = s.min_delay_steps, s.max_delay_steps
    kernel = delay_kernel(s.weight, s.delay - least, s.sigma, longest - least, s.taps)
    past = [x.new_zeros(x.shape[1:])] * longest if state is None else list(state.history)
    membrane = None if state is None else state.neuron
    for current in x:
        back = sum(past[len(past) - least - k] @ kernel[k].T for k in range(len(kernel)))
        spikes, membrane = layer.neuron((current + back)[None], membrane)
        past.append(spikes[0])
    return torch.stack(past[longest:]), RecurrentState(membrane, torch.stack(past[-longest:]))


def outcome(run, layer: Recurrent, x: Tensor, start: tuple[Tensor, Tensor] | None) -> Outcome:
    state = None if start is None else RecurrentState(MembraneState(start[0]), start[1])
    y, after = run(x, state)
    outputs = (y, after.neuron.v, after.history)
    leaves = [p for p in (x, *(start or ()), *layer.parameters()) if p.requires_grad]
    draw = torch.Generator().manual_seed(5)
    cotangents = [torch.randn(out.shape, generator=draw, dtype=out.dtype) for out in outputs]
    return Outcome(outputs, torch.autograd.grad(outputs, leaves, cotangents, allow_unused=True))


@pytest.mark.parametrize("neuron", NEURON)
@pytest.mark.parametrize("options", OPTIONS)
def test_gradients_are_those_of_the_definition(options: str, neuron: str) -> None:
    layer, x = population(options, neuron, seed=3), currents(1).requires_grad_()
    longest = layer.synapse.max_delay_steps
    draw = torch.Generator().manual_seed(6)
    v = torch.rand(BATCH, NEURONS, generator=draw, dtype=torch.float64).requires_grad_()
    past = (torch.rand(longest, BATCH, NEURONS, generator=draw) < 0.2).double().requires_grad_()
    for start in (None, (v, past)):
        want = outcome(lambda x, s: defined(layer, x, s), layer, x, start)
        got = outcome(layer, layer, x, start)
        assert_active(want.outputs[0])
        assert torch.equal(got.outputs[0], want.outputs[0])
        learned = OPTIONS[options]["max_delay_steps"] > OPTIONS[options]["min_delay_steps"]
        assert len(got.gradients) == 2 + learned + (2 if start else 0)
        for a, b in zip((*got.outputs, *got.gradients), (*want.outputs, *want.gradients)):
            torch.testing.assert_close(a, b, rtol=1e-9, atol=1e-9)
            assert b.abs().max() > 0


def test_the_gradients_go_round() -> None:
    """Cut the way back through the spikes: the comparison above would see it."""
    layer, x = population(seed=3), currents(1).requires_grad_()

    def cut(x: Tensor, state: RecurrentState | None) -> tuple[Tensor, RecurrentState]:
        spikes = layer(x.detach(), state)[0].detach()
        back, _ = layer.synapse(spikes)
        y, membrane = layer.neuron(x + back)
        return y, RecurrentState(membrane, y[-5:])

    short, whole = outcome(cut, layer, x, None), outcome(layer, layer, x, None)
    assert torch.equal(short.outputs[0], whole.outputs[0])
    for a, b in zip(short.gradients, whole.gradients):
        assert not torch.allclose(a, b)


def test_gradients_through_chunks_are_those_of_the_whole() -> None:
    layer, x = population("later", seed=3), currents(1).requires_grad_()
    leaves = [x, *layer.parameters()]
    whole = torch.autograd.grad(layer(x)[0].square().cumsum(0).sum(), leaves)
    parts = torch.autograd.grad(in_chunks(layer, x, [4, 5, 17])[0].square().cumsum(0).sum(), leaves)
    for a, b in zip(parts, whole):
        torch.testing.assert_close(a, b, rtol=1e-10, atol=1e-10)


def test_frozen_parameters_get_no_gradient() -> None:
    layer, x = population(), currents()
    layer.synapse.delay.requires_grad_(False)
    layer(x)[0].sum().backward()
    assert layer.synapse.delay.grad is None
    assert layer.synapse.weight.grad.abs().max() > 0
    layer.requires_grad_(False)
    assert not layer(x)[0].requires_grad
    x.requires_grad_()
    layer(x)[0].sum().backward()
    assert x.grad.abs().max() > 0


def test_weights_that_are_computed_get_their_gradients_too() -> None:
    class Halved(torch.nn.Module):
        def forward(self, weight: Tensor) -> Tensor:
            return weight / 2

    layer, halved, x = population(), population(), currents()
    with torch.no_grad():
        halved.synapse.weight.mul_(2)
    parametrize.register_parametrization(halved.synapse, "weight", Halved())
    for one in (layer, halved):
        one(x)[0].square().cumsum(0).sum().backward()
    assert torch.equal(halved(x)[0], layer(x)[0])
    original = halved.synapse.parametrizations.weight.original
    torch.testing.assert_close(2 * original.grad, layer.synapse.weight.grad, rtol=1e-12, atol=1e-12)
    torch.testing.assert_close(halved.synapse.delay.grad, layer.synapse.delay.grad, rtol=1e-12, atol=1e-12)


def test_weights_changed_before_the_backward_pass_are_noticed() -> None:
    layer = population()
    y, _ = layer(currents())
    with torch.no_grad():
        layer.synapse.weight.mul_(2)
    with pytest.raises(RuntimeError, match="modified by an inplace operation"):
        y.sum().backward()


def kept_bytes(longest: int) -> int:
    """Memory that a forward pass leaves to the backward pass."""
    layer, x = population(max_delay_steps=longest), currents(steps=60)
    storages: dict[int, int] = {}

    def pack(tensor: Tensor) -> Tensor:
        storage = tensor.untyped_storage()
        storages[storage.data_ptr()] = storage.nbytes()
        return tensor

    with torch.autograd.graph.saved_tensors_hooks(pack, lambda tensor: tensor):
        layer(x)
    return sum(storages.values()) - 2 * longest * NEURONS**2 * 8


def test_what_is_kept_for_the_backward_pass_does_not_grow_with_the_window() -> None:
    assert kept_bytes(40) < 1.5 * kept_bytes(4)


def test_mixed_precision_does_not_touch_it() -> None:
    layer, x = population().float(), currents().float()
    want, state = layer(x)
    with torch.autocast("cpu", torch.bfloat16):
        got, half = layer(x)
        narrow, _ = layer(x.bfloat16())  # 64ths below one are exact in bfloat16
    assert torch.equal(got, want)
    assert torch.equal(half.history, state.history)
    assert narrow.dtype == torch.bfloat16
    assert torch.equal(narrow.float(), want)
    narrow.sum().backward()
    assert layer.synapse.weight.grad.dtype == torch.float32


# Meaning

LONGEST = 8


def test_planted_recurrent_delays_are_learnt() -> None:
    """Two neurons are driven, three receive from them alone; when those fire says what the delays are."""
    planted = torch.tensor([[3.0, 7.0], [6.0, 1.0], [2.0, 5.0]])
    torch.manual_seed(1)
    synapse = DelayedLinear(5, 5, max_delay_steps=LONGEST, min_delay_steps=1)
    with torch.no_grad():
        synapse.weight.zero_()
        synapse.weight[2:, :2] = 1.2
    student = Recurrent(synapse, LIF(1.0, surrogate=ATan(1.0)))
    teacher = copy.deepcopy(student)
    with torch.no_grad():
        teacher.synapse.delay[2:, :2, 0] = planted
        teacher.synapse.taps = "linear"
    x = torch.zeros(24, 16, 5)
    x[:, :, :2] = 2 * (torch.rand(24, 16, 2, generator=torch.Generator().manual_seed(0)) < 0.06)
    with torch.no_grad():
        target, _ = teacher(x)
    assert_active(target)
    wrong = (synapse.delay[2:, :2, 0].detach() - planted).abs()
    assert (wrong > 1).sum() >= 4, "the student begins with the answer"
    optimiser = torch.optim.Adam([synapse.delay], lr=0.2)
    for epoch in range(50):
        synapse.set_sigma(max(0.4, 4.0 * 0.93**epoch))
        loss = (student(x)[0] - target).square().mean()
        optimiser.zero_grad()
        loss.backward()
        optimiser.step()
        synapse.clamp_delays_()
    assert torch.equal(synapse.delay[2:, :2, 0].detach().round(), planted), synapse.delay[2:, :2, 0]


def _halved_output(y: Tensor, state: RecurrentState) -> None:
    y.mul_(0.5)


def _cleared_state(y: Tensor, state: RecurrentState) -> None:
    with torch.no_grad():
        state.history.zero_()


@pytest.mark.parametrize("change", [_halved_output, _cleared_state])
def test_a_change_in_place_is_an_error_of_the_backward_pass(change) -> None:
    """Autograd says so of any other layer; here the gradients would silently be those of other spikes."""
    layer, x = population(*POPULATION, seed=3), currents(1)
    longest = layer.synapse.max_delay_steps
    state = RecurrentState(
        MembraneState(torch.zeros(BATCH, NEURONS).double()), torch.ones(longest, BATCH, NEURONS).double()
    )
    for backend in ("reference", None):
        with use_backend(backend) if backend else nullcontext():
            y, _ = layer(x, state)
        assert_active(y)
        change(y, state)
        if change is _cleared_state or backend:
            with pytest.raises(RuntimeError, match="modified by an inplace operation"):
                (y * torch.rand_like(y)).sum().backward()
            state.history.fill_(1)
            layer.zero_grad()
        else:  # a kernel keeps no spikes, so that they may be changed
            y.sum().backward()
            (want,) = torch.autograd.grad(layer(x, state)[0].sum() / 2, layer.synapse.weight)
            assert torch.equal(layer.synapse.weight.grad, want)


@pytest.mark.parametrize("register", ["register_forward_hook", "register_full_backward_hook"])
def test_hooks_that_would_never_run_are_refused(register: str) -> None:
    layer = population(*POPULATION, seed=3)
    getattr(layer.synapse, register)(lambda *_: None)
    with pytest.raises(ConfigError, match="never run"):
        layer(currents(1))


def test_pruning_of_the_recurrent_synapse_follows_its_weights() -> None:
    layer, x = population(*POPULATION, seed=3), currents(1)
    plain = layer(x)[0]
    prune.custom_from_mask(layer.synapse, "weight", torch.zeros_like(layer.synapse.weight))
    layer.synapse.weight_orig.data.mul_(2)  # as an optimiser would, after pruning
    y, _ = layer(x)
    assert torch.equal(y, layer.neuron(x)[0])
    assert not torch.equal(y, plain)
