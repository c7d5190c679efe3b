"""Recurrence: the definition spike by spike, the chunk law, a delay found again."""

from collections import defaultdict

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from snn_delays.errors import ConfigError, ShapeError
from snn_delays.nn import (
    LIF,
    DelayedLinear,
    FixedPoint,
    FixedPointLIF,
    LeakyIntegrator,
    Recurrent,
    RecurrentState,
)
from snn_delays.ops import use_backend
from tests.support.recurrent_populations import (
    BATCH,
    NEURON,
    NEURONS,
    OPTIONS,
    STEPS,
    assert_active,
    currents,
    discrete,
    in_chunks,
    population,
)

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


def test_integers_recur_exactly() -> None:
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


@pytest.mark.parametrize("backend", ["reference", "numba_cpu"])
def test_dropout_is_of_what_is_fed_back_for_a_whole_sample(backend: str) -> None:
    made, x = population(), currents()
    layer = Recurrent(made.synapse, made.neuron, dropout=0.5)
    torch.manual_seed(1)
    with use_backend(recurrent_lif=backend):
        whole, last = layer(x)
        mask = last.dropout.mask
        assert set(mask.unique().tolist()) == {0.0, 2.0}
        torch.manual_seed(1)
        first, state = layer(x[:9])
        assert torch.equal(torch.cat([first, layer(x[9:], state)[0]]), whole)
        plain = made(x)[0]
        assert not torch.equal(whole, plain)
        # What a neuron is not fed does not change it, whatever its population does.
        alone = layer.neuron(x)[0]
        sample, neuron = (mask == 0).nonzero()[0].tolist()
        assert torch.equal(whole[:, sample, neuron], alone[:, sample, neuron])
        assert layer.eval()(x)[1].dropout is None
        assert torch.equal(layer(x)[0], plain)


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
    with pytest.raises(
        ShapeError, match=r"takes a tensor \[time, batch, feature\], got an input of shape \(30, 3, 2, 4\)"
    ):
        layer(x.view(STEPS, BATCH, 2, 4))
    _, state = layer(x)
    with pytest.raises(ShapeError, match=r"delay line's state has shape \(5, 3, 8\), the input needs \(5, 2, 8\)"):
        layer(x[:, :2], state)
    with torch.no_grad():
        layer.synapse.delay[0, 0] = 0.5
    with pytest.raises(ConfigError, match="1 of 64 delays are shorter than min_delay_steps = 1"):
        layer(x)
