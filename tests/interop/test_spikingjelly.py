"""SpikingJelly: its modules in ours, ours among its modules."""

import copy
import io

import pytest
import torch
from torch import nn

from snn_delays.errors import ConfigError, ShapeError
from snn_delays.nn import LIF, BatchNorm, DelayedLinear, Recurrent, Sequential, detach_state, move_state
from tests.support.peers import assert_chunk_law, currents, fires, measured, same

pytest.importorskip("spikingjelly")
from spikingjelly.activation_based import base, functional, layer, neuron, surrogate

from snn_delays.interop import FromSpikingJelly, ToSpikingJelly

NEURONS = {
    "LIF": lambda: neuron.LIFNode(3.0, False, 0.9, detach_reset=True),
    "LIF soft": lambda: neuron.LIFNode(2.0, True, 0.4, v_reset=None),
    "PLIF": lambda: neuron.ParametricLIFNode(2.0, v_threshold=0.4),
    "CUBA": lambda: neuron.CUBALIFNode(0.5, 0.75, 0.9),
    "Izhikevich": lambda: neuron.IzhikevichNode(v_threshold=0.4, a=0.1, b=0.2),
    "QIF": lambda: neuron.QIFNode(v_threshold=0.4),
    "CLIF": lambda: neuron.ComplementaryLIFNode(2.0, 0.4),
    "recurrent": lambda: layer.LinearRecurrentContainer(neuron.LIFNode(2.0, False, 0.2), 6, 6),
    "chain": lambda: nn.Sequential(
        layer.Linear(6, 8), layer.BatchNorm1d(8), neuron.LIFNode(2.0, False, 0.3), layer.Dropout(0.3),
        layer.Linear(8, 6), layer.SynapseFilter(5.0), neuron.LIFNode(2.0, False, 0.1),
    ).eval(),
}  # fmt: skip


def delayed() -> Sequential:
    return Sequential(
        DelayedLinear(6, 8, max_delay_steps=5), BatchNorm(8), LIF(3.0, threshold=0.6),
        Recurrent(DelayedLinear(8, 8, max_delay_steps=4, min_delay_steps=1), LIF(2.0, threshold=0.8)),
    ).double()  # fmt: skip


@pytest.mark.parametrize("kind", NEURONS)
def test_theirs_in_ours_is_theirs_alone(kind: str) -> None:
    theirs = NEURONS[kind]().double()
    wrapped, x = FromSpikingJelly(copy.deepcopy(theirs)), currents()
    functional.set_step_mode(theirs, "m")
    want = measured(theirs, theirs.parameters(), x)
    assert fires(want[0])
    assert same(measured(lambda x: wrapped(x)[0], wrapped.parameters(), x), want)
    assert_chunk_law(wrapped, x)
    functional.reset_net(theirs)
    assert not same(measured(lambda x: theirs(1.1 * x), theirs.parameters(), x), want)


def test_a_chain_of_both_and_states_that_are_cut_moved_and_saved() -> None:
    network = Sequential(
        DelayedLinear(6, 6, max_delay_steps=4).double(), FromSpikingJelly(NEURONS["CUBA"]()), FromSpikingJelly(
            layer.Dropout(0.4)),
    )  # fmt: skip
    x = currents()
    y, state = network(x)
    assert float(y.detach().mean()) > 0.05
    assert list(network)[1].state_names == ("v", "c")
    assert state[1].parts[0].requires_grad
    assert not detach_state(state)[1].parts[0].requires_grad
    file = io.BytesIO()
    torch.save(move_state(detach_state(state), dtype=torch.float32), file)
    file.seek(0)
    loaded = torch.load(file, weights_only=True)
    torch.testing.assert_close(network(x, loaded)[0], network(x, state)[0], rtol=1e-5, atol=1e-5)
    assert not torch.equal(network(x, state)[0], y)


def test_the_mask_of_dropout_is_a_state() -> None:
    wrapped = FromSpikingJelly(layer.Dropout(0.5)).train()
    y, state = wrapped(torch.ones(5, 2, 40))
    assert torch.equal(wrapped(torch.ones(3, 2, 40), state)[0], y[:3])
    assert not torch.equal(wrapped(torch.ones(3, 2, 40))[0], y[:3])


def test_ours_in_theirs_is_ours_alone_step_by_step_and_at_once() -> None:
    network, x = delayed().eval(), currents()
    want = measured(lambda x: network(x)[0], network.parameters(), x)
    assert fires(want[0])
    net = nn.Sequential(ToSpikingJelly(network), layer.Flatten())

    def steps(x):
        functional.reset_net(net)
        return torch.stack([net(step) for step in x])

    assert same(measured(steps, network.parameters(), x), want, 1e-12)
    functional.set_step_mode(net, "m")
    functional.reset_net(net)
    assert same(measured(net, network.parameters(), x), want)
    assert not torch.equal(net(x), want[0]), "without reset_net the memory goes on"


def test_their_functions_see_the_memory() -> None:
    net = nn.Sequential(ToSpikingJelly(delayed().eval(), "m"))
    x = currents()
    first = net(x)
    assert base.extract_memories(net)[0] is not None
    (second := net(x)).sum().backward()
    functional.reset_net(net)
    assert torch.equal(net(x), first)
    assert not torch.equal(first, second)
    functional.detach_net(net)
    net(x).sum().backward()  # would go into the graph that is gone
    with pytest.raises(ShapeError, match="pass what its earlier call returned"):
        net(x[:, :2])
    functional.reset_net(net)
    stateless = base.to_functional_forward(net)
    (y,), states = stateless((x,), (None,))
    assert torch.equal(y, first)
    assert states[0] is not None
    assert net[0].state is None
    assert "state" not in " ".join(net.state_dict()), "what is learned alone"
    net.double().to("cpu")
    assert torch.equal(copy.deepcopy(net)(x), first)


def test_a_step_mode_set_around_a_wrapped_module_does_not_reach_it() -> None:
    wrapped = FromSpikingJelly(neuron.LIFNode(2.0, False))
    net, x = ToSpikingJelly(wrapped), currents()
    want, _ = wrapped(x)
    functional.set_step_mode(net, "s")
    functional.reset_net(net)
    assert fires(want)
    assert torch.equal(torch.stack([net(step) for step in x]), want)


@pytest.mark.parametrize(
    ("module", "message"),
    [
        (lambda: neuron.PSN(8), "PSN.* relates all steps"), (lambda: neuron.GatedLIFNode(8), "relates all steps"),
        (lambda: nn.Sequential(neuron.NonSpikingLIFNode()), "0 .NonSpikingLIFNode. relates all steps"),
        (lambda: 3, "wraps a layer of that package"), (lambda: neuron.LIFNode, "wraps a layer"),
    ],
)  # fmt: skip
def test_what_the_chunk_law_excludes_is_refused(module, message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        FromSpikingJelly(module())


def test_a_state_that_does_not_fit_is_refused() -> None:
    wrapped, x = FromSpikingJelly(neuron.LIFNode(2.0, False)), currents()
    _, state = wrapped(x)
    for bad in (x[:, :2], x[:, :, :5]):  # SpikingJelly would begin at rest
        with pytest.raises(ShapeError, match="another layer or to an input of another shape"):
            wrapped(bad, state)
    with pytest.raises(ShapeError, match="expected ForeignState"):
        wrapped(x, tuple(state))
    with pytest.raises(ShapeError, match="computes in float32"):
        wrapped(x.float(), state)
    with pytest.raises(ShapeError, match="1 parts, this network 2 memories"):
        FromSpikingJelly(neuron.CUBALIFNode())(x, state)
    with pytest.raises(ConfigError, match="expected a layer or network of snn_delays"):
        ToSpikingJelly(nn.Linear(2, 2))


def test_surrogates_of_theirs_reach_the_gradient() -> None:
    x = currents()
    grads = [
        measured(lambda x, w=w: w(x)[0], w.parameters(), x)[1]
        for w in (
            FromSpikingJelly(neuron.LIFNode(2.0, surrogate_function=s)) for s in (surrogate.ATan(), surrogate.Erf())
        )
    ]
    assert not torch.equal(*grads)
