"""Recurrence: the definition spike by spike, the chunk law, every gradient, a delay found again."""

import copy
from collections import defaultdict
from itertools import pairwise
from typing import NamedTuple

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor
from torch.nn.utils import parametrize

from snn_delays.errors import ConfigError, ShapeError
from snn_delays.nn import (
    LIF,
    DelayedLinear,
    FixedPoint,
    FixedPointLIF,
    LeakyIntegrator,
    MembraneState,
    Recurrent,
    RecurrentState,
)
from snn_delays.ops.delay.taps import delay_kernel
from snn_delays.ops.surrogate import ATan

STEPS, BATCH, NEURONS = 30, 3, 8
OPTIONS = {
    "one step": {"max_delay_steps": 1, "min_delay_steps": 1},
    "gaussian": {"max_delay_steps": 5, "min_delay_steps": 1, "sigma_steps": 0.8},
    "later": {"max_delay_steps": 6, "min_delay_steps": 3, "sigma_steps": 1.5, "sharing": "dendrite"},
    "fixed": {"max_delay_steps": 4, "min_delay_steps": 4},
    "two synapses": {
        "max_delay_steps": 5,
        "min_delay_steps": 2,
        "delay_count": 2,
        "taps": "triangle",
        "sharing": "axon",
    },
    "longer than the recording": {"max_delay_steps": 45, "min_delay_steps": 1, "sigma_steps": 9.0},
}
NEURON = {
    "hard": {"tau_steps": 2.5},
    "soft": {"tau_steps": 4.0, "reset": "soft", "threshold": 0.25, "v_reset": -0.125, "decay_input": True},
    "strict": {"tau_steps": 1.25, "threshold": 0.5, "strict": True, "detach_reset": False},
}


def population(options: str = "gaussian", neuron: str = "hard", seed: int = 0, **changes) -> Recurrent:
    torch.manual_seed(seed)
    synapse = DelayedLinear(NEURONS, NEURONS, **{**OPTIONS[options], **changes})
    with torch.no_grad():
        synapse.weight.mul_(0.6)
    return Recurrent(synapse, LIF(**NEURON[neuron])).double()


def discrete(seed: int = 0, neuron: str = "hard", **changes) -> Recurrent:
    """Whole delays, weights in 64ths: every sum is exact."""
    layer = population("gaussian", neuron, seed, taps="linear", delay_init="uniform_rounded", **changes)
    with torch.no_grad():
        layer.synapse.weight.copy_((layer.synapse.weight * 64).round() / 64)
    return layer


def currents(seed: int = 0, steps: int = STEPS, batch: int = BATCH, neurons: int = NEURONS) -> Tensor:
    """In 64ths, negative now and then."""
    draw = torch.Generator().manual_seed(seed)
    return torch.randint(-20, 50, (steps, batch, neurons), generator=draw).double() / 64


def assert_active(spikes: Tensor) -> None:
    rate = float(spikes.detach().mean())
    assert 0.02 < rate < 0.6, f"the population fires {100 * rate:.1f} % of the time"


# The definition


def spike_by_spike(layer: Recurrent, x: np.ndarray) -> list[tuple[int, int]]:
    """One sample in plain numbers: each spike is put down once for every synapse, under the step it arrives at."""
    weight, delay = (p.detach().numpy() for p in (layer.synapse.weight, layer.synapse.delay))
    delay = np.broadcast_to(delay, weight.shape)
    n = layer.neuron
    gain = 1 - n.decay if n.decay_input else 1.0
    arriving: dict[tuple[int, int], float] = defaultdict(float)
    v, fired = [n.v_reset] * weight.shape[0], []
    for t, current in enumerate(x):
        for i in range(weight.shape[0]):
            h = n.v_reset + n.decay * (v[i] - n.v_reset) + gain * (float(current[i]) + arriving.pop((t, i), 0.0))
            if h > n.threshold or (h == n.threshold and not n.strict):
                fired.append((t, i))
                for target, c in np.ndindex(weight.shape[0], weight.shape[2]):
                    arriving[t + int(delay[target, i, c]), target] += float(weight[target, i, c])
                v[i] = h - n.threshold if n.reset == "soft" else n.v_reset
            else:
                v[i] = h
    return fired


@pytest.mark.parametrize("neuron", ["hard", "strict", "soft"])
@pytest.mark.parametrize("changes", [{}, {"delay_count": 2}, {"min_delay_steps": 3, "sharing": "axon"}], ids=str)
def test_it_is_the_definition_spike_by_spike(neuron: str, changes: dict) -> None:
    layer, x = discrete(2, neuron, **changes), currents(7, steps=80)
    spikes, _ = layer(x)
    assert_active(spikes)
    for b in range(BATCH):
        assert list(map(tuple, spikes[:, b].nonzero().tolist())) == spike_by_spike(layer, x[:, b].numpy())


@pytest.mark.parametrize("wrong", ["delay", "weight", "transposed"])
def test_the_comparison_can_fail(wrong: str) -> None:
    layer, x = discrete(2), currents(7, steps=80)
    want = spike_by_spike(layer, x[:, 0].numpy())
    strongest = int(layer.synapse.weight.abs().argmax())
    with torch.no_grad():
        if wrong == "delay":
            at = layer.synapse.delay.view(-1)
            at[strongest] += 1 if at[strongest] < 5 else -1
        elif wrong == "weight":
            layer.synapse.weight.view(-1)[strongest] *= 0.5
        else:
            layer.synapse.weight.copy_(layer.synapse.weight.transpose(0, 1).clone())
    assert list(map(tuple, layer(x)[0][:, 0].nonzero().tolist())) != want


@pytest.mark.parametrize("neuron", NEURON)
def test_without_weights_it_is_the_neuron(neuron: str) -> None:
    layer, x = population("later", neuron), currents()
    torch.nn.init.zeros_(layer.synapse.weight)
    spikes, state = layer(x)
    want, membrane = layer.neuron(x)
    assert_active(spikes)
    assert torch.equal(spikes, want)
    assert torch.equal(state.neuron.v, membrane.v)
    assert torch.equal(state.history, spikes[-6:])
    with torch.no_grad():
        layer.synapse.weight[2, 5] = 2.0
    assert not torch.equal(layer(x)[0], want)


def test_whole_numbers_recur_exactly() -> None:
    """Integer neurons, against integers in Python."""
    numbers = FixedPoint(decay_code=2500, threshold=60 << 6, scale=1.0, reset="soft", strict=False)
    bias = torch.arange(NEURONS) * 16.0
    torch.manual_seed(4)
    synapse = DelayedLinear(
        NEURONS, NEURONS, max_delay_steps=6, min_delay_steps=1, taps="linear", delay_init="uniform_rounded",
        learn_delay=False,
    )  # fmt: skip
    with torch.no_grad():
        synapse.weight.copy_((synapse.weight * 40).round())
    layer, x = Recurrent(synapse, FixedPointLIF(numbers, bias)), (currents(3, steps=60) * 64).float()
    with torch.no_grad():
        spikes, _ = layer(x)
    assert spikes.dtype == torch.float32
    assert_active(spikes)
    weight, delay = (p.detach()[..., 0].long().tolist() for p in (synapse.weight, synapse.delay))
    found = spikes[:, 0].long().tolist()
    v = [0] * NEURONS
    for t, given_now in enumerate(x[:, 0].long().tolist()):
        for i in range(NEURONS):
            current = given_now[i] + sum(
                weight[i][j] * found[t - delay[i][j]][j] for j in range(NEURONS) if t >= delay[i][j]
            )
            carried = abs(v[i]) * 2500 // 4096 * (1 if v[i] >= 0 else -1)
            h = carried + (current << 6) + 16 * i
            assert found[t][i] == (h >= 60 << 6), (t, i)
            v[i] = h - (60 << 6) if found[t][i] else h


# The chunk law


def in_chunks(layer: Recurrent, x: Tensor, ends: list[int], forget: bool = False) -> tuple[Tensor, RecurrentState]:
    state, parts = None, []
    for a, b in pairwise([0, *sorted(ends), len(x)]):
        part, state = layer(x[a:b], None if forget else state)
        parts.append(part)
    return torch.cat(parts), state


@pytest.mark.parametrize("options", OPTIONS)
@settings(max_examples=8)
@given(seed=st.integers(0, 50), ends=st.lists(st.integers(0, STEPS), max_size=5))
def test_chunk_law_to_the_bit(options: str, seed: int, ends: list[int]) -> None:
    layer, x = population(options, seed=seed), currents(seed)
    whole, last = layer(x)
    assert_active(whole)
    parts, state = in_chunks(layer, x, ends)
    assert torch.equal(parts, whole)
    assert torch.equal(state.history, last.history)
    assert torch.equal(state.neuron.v, last.neuron.v)
    assert last.history.shape == (OPTIONS[options]["max_delay_steps"], BATCH, NEURONS)


def test_chunk_law_test_sees_a_forgotten_state() -> None:
    layer, x = population(), currents()
    whole, _ = layer(x)
    assert not torch.equal(in_chunks(layer, x, [11], forget=True)[0], whole)
    _, state = layer(x[:11])
    late, _ = layer(x[11:], RecurrentState(state.neuron, state.history.flip(0)))
    assert not torch.equal(late, whole[11:])


def test_nothing_in_nothing_out() -> None:
    layer, x = population(), currents()
    y, state = layer(x[:0])
    assert y.shape == (0, BATCH, NEURONS)
    assert torch.equal(layer(x, state)[0], layer(x)[0])
    assert layer(x[:, :0])[0].shape == (STEPS, 0, NEURONS)


def test_without_gradients_and_under_inference_mode_it_is_the_same() -> None:
    layer, x = population(), currents()
    want, _ = layer(x)
    for mode in (torch.no_grad(), torch.inference_mode()):
        with mode:
            _, state = layer(x[:7])
            assert torch.equal(layer(x)[0], want)
            assert torch.equal(layer(x[7:], state)[0], want[7:])


# Gradients


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
    """Two neurons are driven, three hear them alone; when those fire says what the delays are."""
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


# What cannot be


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (
            lambda: (DelayedLinear(3, 3, max_delay_steps=2), LIF(2.0)),
            "delay of 0 would be a loop within.*min_delay_steps=1",
        ),
        (lambda: (DelayedLinear(3, 4, max_delay_steps=2, min_delay_steps=1), LIF(2.0)), "to itself, got 3 to 4"),
        (lambda: (DelayedLinear(3, 3, max_delay_steps=2, min_delay_steps=1, bias=True), LIF(2.0)), "has no bias"),
        (
            lambda: (DelayedLinear(3, 3, max_delay_steps=2, min_delay_steps=1), LeakyIntegrator(2.0)),
            "neurons that fire, got DelayedLinear and LeakyIntegrator",
        ),
        (lambda: (torch.nn.Linear(3, 3), LIF(2.0)), "takes a DelayedLinear and neurons that fire, got Linear and LIF"),
    ],
)
def test_populations_that_cannot_recur(make, message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        Recurrent(*make())


def test_shapes_and_delays_that_do_not_fit() -> None:
    layer, x = population(), currents()
    with pytest.raises(ShapeError, match=r"recurrence of 8 neurons got a current of shape \(30, 3, 7\)"):
        layer(x[..., :7])
    with pytest.raises(ShapeError, match=r"recurrence of 8 neurons got a current of shape \(30, 3, 2, 4\)"):
        layer(x.view(STEPS, BATCH, 2, 4))
    _, state = layer(x)
    with pytest.raises(ShapeError, match=r"delay line has shape \(5, 3, 8\), the current needs \(5, 2, 8\)"):
        layer(x[:, :2], state)
    with torch.no_grad():
        layer.synapse.delay[0, 0] = 0.5
    with pytest.raises(ConfigError, match="1 of 64 delays are shorter than min_delay_steps = 1"):
        layer(x)
