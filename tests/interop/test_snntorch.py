"""snnTorch: its neurons in our networks, our layers in its loop."""

import io
from inspect import signature

import pytest
import torch
from torch import nn

from snn_delays.errors import ConfigError, ShapeError
from snn_delays.nn import LIF, BatchNorm, DelayedLinear, Sequential, detach_state
from tests.support.peers import assert_chunk_law, currents, fires, measured, same

pytest.importorskip("snntorch")
import snntorch as snn
import snntorch.functional as SF

from snn_delays.interop import FromSnnTorch, ToSnnTorch


def spike_grad(u):
    """Its arctangent, whose spikes are float32 whatever the membrane: recurrence in float64 would stop at them."""
    return snn.surrogate.atan(2.0)(u).to(u.dtype)


NEURONS = {
    "Leaky": lambda: snn.Leaky(0.8, 0.7, spike_grad, learn_beta=True),
    "Leaky, at once": lambda: snn.Leaky(0.8, 0.7, spike_grad, reset_mechanism="zero", reset_delay=False),
    "Leaky, hidden": lambda: snn.Leaky(0.8, 0.7, spike_grad, init_hidden=True),
    "Synaptic": lambda: snn.Synaptic(0.6, 0.7, 1.5, spike_grad, learn_alpha=True),
    "RLeaky": lambda: snn.RLeaky(0.8, linear_features=6, spike_grad=spike_grad),
    "RLeaky, one to one": lambda: snn.RLeaky(0.8, V=0.5, all_to_all=False, spike_grad=spike_grad),
    "RSynaptic": lambda: snn.RSynaptic(0.6, 0.7, linear_features=6, spike_grad=spike_grad),
    "Alpha": lambda: snn.Alpha(0.8, 0.5, 0.3, spike_grad),
    "Lapicque": lambda: snn.Lapicque(0.8, threshold=0.1, spike_grad=spike_grad),
}


def by_itself(neuron):
    """The loop that its users write."""

    def run(x):
        neuron.reset_mem()
        state, outputs = (), []
        for step in x:
            result = neuron(step, *state)
            # RLeaky's spikes are both its output and the first part of its state.
            state = result[1 - len(signature(neuron.forward).parameters) :] if isinstance(result, tuple) else ()
            outputs.append(result[0] if isinstance(result, tuple) else result)
        return torch.stack(outputs)

    return run


@pytest.mark.parametrize("kind", NEURONS)
def test_theirs_in_ours_is_theirs_alone(kind: str) -> None:
    neuron, x = NEURONS[kind]().double(), currents()
    want = measured(by_itself(neuron), neuron.parameters(), x)
    assert fires(want[0])
    wrapped = FromSnnTorch(neuron)
    assert same(measured(lambda x: wrapped(x)[0], wrapped.parameters(), x), want)
    assert_chunk_law(wrapped, x)
    assert torch.equal(wrapped(x)[0], want[0]), "nothing is left in the neuron"
    assert not same(measured(by_itself(neuron), neuron.parameters(), 1.3 * x), want)


def test_spikes_have_the_dtype_of_the_input_and_states_are_saved() -> None:
    network = Sequential(DelayedLinear(6, 6, max_delay_steps=4).double(), FromSnnTorch(snn.Synaptic(0.7, 0.8)))
    x = currents()
    y, state = network(x)
    assert fires(y)
    assert y.dtype == torch.float64
    assert list(network)[1].state_names == ("syn", "mem")
    file = io.BytesIO()
    torch.save(detach_state(state), file)
    file.seek(0)
    loaded = torch.load(file, weights_only=True)
    assert torch.equal(network(x, loaded)[0], network(x, state)[0])
    assert not torch.equal(network(x, loaded)[0], y)


@pytest.mark.parametrize("hidden", [False, True])
def test_ours_in_their_loop_is_ours_alone_and_goes_with_their_losses(hidden: bool) -> None:
    network = Sequential(DelayedLinear(6, 8, max_delay_steps=5), BatchNorm(8), LIF(3.0, threshold=0.6)).double().eval()
    readout = snn.Leaky(0.8, 0.7, spike_grad)
    layer, x, target = ToSnnTorch(network, init_hidden=hidden), currents(), torch.tensor([0, 3, 7])

    def loop(x):
        state, mem, outputs = layer.reset_mem(), readout.reset_mem(), []
        for step in x:
            if hidden:
                y = layer(step)
            else:
                y, state = layer(step, state)
            spikes, mem = readout(y, mem)
            outputs.append(spikes)
        return torch.stack(outputs)

    chain = Sequential(network, FromSnnTorch(readout))
    want = measured(lambda x: chain(x)[0], network.parameters(), x)
    assert fires(want[0])
    assert same(measured(loop, network.parameters(), x), want, 1e-12)
    losses = [loss(run(x), target) for loss in (SF.ce_rate_loss(), SF.ce_count_loss(), SF.mse_count_loss()) for run in (
        loop, lambda x: chain(x)[0])]  # fmt: skip
    assert all(torch.equal(a, b) for a, b in zip(losses[::2], losses[1::2]))
    assert len({float(loss.detach()) for loss in losses}) == 3
    losses[0].backward()
    assert float(next(iter(network)).delay.grad.abs().max()) > 0


def test_a_hidden_state_stays_until_it_is_reset_or_cut() -> None:
    layer, x = ToSnnTorch(LIF(3.0, surrogate=None), init_hidden=True, output=True), currents().requires_grad_()
    first, _ = layer(x[0])
    second, state = layer(x[0])
    assert not torch.equal(first, second)
    assert state.v.requires_grad
    layer.detach_hidden()
    assert not layer.state.v.requires_grad
    assert layer.reset_mem() is None
    assert torch.equal(layer(x[0])[0], first)
    with pytest.raises(TypeError, match="keeps its state"):
        layer(x[0], state)


@pytest.mark.parametrize("module", [nn.Linear(2, 2), snn.LeakyParallel(2, 2), snn.StateLeaky(0.5, channels=2)])
def test_what_is_no_neuron_of_one_step_is_refused(module) -> None:
    with pytest.raises(ConfigError, match=f"{type(module).__name__} is no neuron of snnTorch"):
        FromSnnTorch(module)


def test_a_state_that_does_not_fit_is_refused() -> None:
    wrapped, x = FromSnnTorch(snn.Synaptic(0.7, 0.8)), currents()
    _, state = wrapped(x)
    for bad in (x[:, :2], x[:, :, :5]):  # snnTorch would begin at rest
        with pytest.raises(ShapeError, match="an input of another shape"):
            wrapped(bad, state)
    with pytest.raises(ShapeError, match="2 parts, this network 1 tensors"):
        FromSnnTorch(snn.Leaky(0.7))(x, state)
    with pytest.raises(ConfigError, match="expected a layer or network of snn_delays"):
        ToSnnTorch(snn.Leaky(0.7))
