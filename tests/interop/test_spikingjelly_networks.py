"""``from_spikingjelly`` and ``to_spikingjelly``: what exists on both sides, and by name what does not."""

import pytest
import torch
from torch import nn

from snn_delays import Triangle
from snn_delays.discrete import discretize
from snn_delays.errors import ConfigError
from snn_delays.nn import (
    LIF,
    BatchNorm2d,
    DelayedConv2d,
    DelayedLinear,
    Dropout,
    LeakyIntegrator,
    MaxPool2d,
    Sequential,
    SumPool2d,
)
from snn_delays.ops import ATan, FastSigmoid, Sigmoid
from tests.support.peers import currents, fires, learned, measured, same

pytest.importorskip("spikingjelly")
from spikingjelly.activation_based import functional, layer, neuron, surrogate

from snn_delays.interop import from_spikingjelly, to_spikingjelly

LIF_NODE = {"v_threshold": 0.3, "decay_input": False}


def theirs() -> nn.Sequential:
    net = nn.Sequential(
        layer.Linear(6, 8), layer.BatchNorm1d(8, eps=1e-3, momentum=0.4),
        neuron.LIFNode(3.0, True, 0.2, -0.1, surrogate.ATan(3.0), True),
        nn.Sequential(layer.Linear(8, 8, bias=False), neuron.LIFNode(
            2.0, v_reset=None, surrogate_function=surrogate.PiecewiseQuadratic(1.5), **LIF_NODE)),
        layer.Linear(8, 5), layer.BatchNorm1d(5, momentum=0.5), neuron.LIFNode(
            2.0, surrogate_function=surrogate.Sigmoid(4.0), **LIF_NODE),
    ).double()  # fmt: skip
    functional.set_step_mode(net, "m")
    for _ in range(12):  # running statistics to evaluate with
        functional.reset_net(net)
        net(currents(20))
    return net


def maps() -> nn.Sequential:
    net = nn.Sequential(
        layer.Conv2d(2, 4, 3, stride=(2, 1), padding=1, bias=False), layer.BatchNorm2d(4),
        neuron.LIFNode(2.0, v_threshold=0.5), layer.MaxPool2d(2), layer.AvgPool2d((1, 2), 1), layer.Flatten(),
        layer.Dropout(0.4), layer.Linear(16, 5), neuron.LIFNode(2.0, False, 0.1),
    ).double()  # fmt: skip
    functional.set_step_mode(net, "m")
    return net


def fresh(net):
    def run(x):
        functional.reset_net(net)
        return net(x)

    return run


@pytest.mark.parametrize("training", [True, False])
def test_a_network_of_theirs_and_back_computes_the_same(training: bool) -> None:
    net, x = theirs().train(training), currents(40)
    network = from_spikingjelly(net)
    assert network.training == training
    want = measured(fresh(net), learned(net), x)
    assert fires(want[0])
    assert same(measured(lambda x: network(x)[0], learned(network), x), want, 1e-11)
    back = to_spikingjelly(network)
    assert [type(a) for a in back.modules()] == [type(a) for a in net.modules()]
    torch.testing.assert_close(back[1].running_var, net[1].running_var)
    assert same(measured(fresh(back), learned(back), x), measured(fresh(net), learned(net), x), 1e-11)
    assert not same(measured(lambda x: network(0.9 * x)[0], learned(network), x), want, 1e-11)


def test_a_convolutional_network() -> None:
    net, x = maps().eval(), torch.rand(20, 3, 2, 8, 7, dtype=torch.float64)
    network = from_spikingjelly(net)
    want = measured(fresh(net), learned(net), x)
    assert fires(want[0])
    got = measured(lambda x: network(x)[0], learned(network), x)
    assert same(got, want, 1e-11)
    back = to_spikingjelly(network)
    assert [type(part) for part in back] == [type(part) for part in net]
    assert same(measured(fresh(back), learned(back), x), want, 1e-11)
    assert back[6].p == 0.4


def test_what_came_over_is_discretised_as_any_network() -> None:
    network = from_spikingjelly(theirs()[0:3]).eval()
    x = currents(40)
    y, _ = discretize(network)(x)
    assert fires(y)
    torch.testing.assert_close(y, network(x)[0])


def test_what_is_frozen_stays_frozen() -> None:
    net = theirs()
    net[0].weight.requires_grad_(False)
    first = next(iter(from_spikingjelly(net)))
    assert not first.weight.requires_grad
    assert first.bias.requires_grad
    with torch.no_grad():
        first.weight.zero_()
    assert net[0].weight.abs().max() > 0, "copied"


def with_hook() -> nn.Module:
    net = layer.Linear(2, 2)
    net.register_forward_hook(lambda *_: None)
    return net


@pytest.mark.parametrize(
    ("part", "message"),
    [
        (lambda: neuron.IFNode(), "0 .IFNode.*no counterpart"),
        (lambda: neuron.ParametricLIFNode(), "ParametricLIFNode.*wrap it: FromSpikingJelly"),
        (lambda: neuron.LIFNode(surrogate_function=surrogate.Erf()), "surrogate_function=Erf"),
        (lambda: neuron.LIFNode(surrogate_function=surrogate.ATan(spiking=False)), "surrogate_function=ATan"),
        (lambda: layer.BatchNorm1d(3), "step_mode='s'.*expected m"),
        (lambda: layer.BatchNorm1d(3, affine=False, step_mode="m"), "affine=False"),
        (lambda: layer.BatchNorm1d(3, momentum=None, step_mode="m"), "momentum=None"),
        (lambda: nn.BatchNorm1d(3), "BatchNorm1d.*no counterpart"),
        (lambda: layer.Conv2d(2, 2, 3, dilation=2), r"dilation=\(2, 2\)"),
        (lambda: layer.Conv2d(2, 2, 3, groups=2), "groups=2"),
        (lambda: layer.Conv2d(2, 2, 3, padding="same"), "padding='same'"),
        (lambda: layer.MaxPool2d(2, padding=1), "padding=1"), (lambda: layer.AvgPool2d(2, ceil_mode=True), "ceil_mode"),
        (lambda: layer.Flatten(2), "start_dim=2"), (lambda: nn.LSTM(2, 2), "LSTM"), (with_hook, "has a forward hook"),
    ],
)  # fmt: skip
def test_what_would_change_a_number_of_theirs_is_refused(part, message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        from_spikingjelly(nn.Sequential(part()))


@pytest.mark.parametrize(
    ("part", "message"),
    [
        (lambda: DelayedLinear(2, 2, max_delay_steps=3), "0 .DelayedLinear.*max_delay_steps=3.*ToSpikingJelly"),
        (lambda: DelayedConv2d(2, 2, 3, max_delay_steps=3), "max_delay_steps=3"),
        (lambda: LIF(2.0, strict=True), "strict=True"), (lambda: LIF(1.0), "tau_steps=1"),
        (lambda: LIF(2.0, reset="soft", v_reset=-0.5), "v_reset=-0.5"),
        (lambda: LIF(torch.tensor([2.0, 3.0])), "tau_steps of each neuron"),
        (lambda: LIF(2.0, surrogate=FastSigmoid()), "surrogate=FastSigmoid"),
        (lambda: LIF(2.0, surrogate=Triangle(1.0, 0.3)), "surrogate=Triangle"),
        (lambda: LeakyIntegrator(2.0), "LeakyIntegrator.*no counterpart"), (lambda: SumPool2d(2), "SumPool2d"),
        (lambda: nn.Conv2d(2, 2, 3), "Conv2d.*no counterpart"),
    ],
)  # fmt: skip
def test_what_would_change_a_number_of_ours_is_refused(part, message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        to_spikingjelly(Sequential(part()))


@pytest.mark.parametrize(
    ("given", "change"),
    [
        (ATan(3.0), {}), (Sigmoid(2.0), {"reset": "soft"}), (Triangle(0.5, 2.0), {"v_reset": -0.2}),
        (ATan(5.0), {"decay_input": True}), (Triangle(1.0, 1.0), {"detach_reset": False}),
    ],
)  # fmt: skip
def test_neurons_of_ours_and_their_gradients(given, change: dict) -> None:
    network, x = Sequential(LIF(2.5, **{"threshold": 0.4, "surrogate": given, **change})), currents()
    want = measured(lambda x: network(x)[0], (), x)
    assert fires(want[0])
    assert same(measured(fresh(to_spikingjelly(network)), (), x), want, 1e-11)
    assert same(measured(lambda x: from_spikingjelly(to_spikingjelly(network))(x)[0], (), x), want, 0)
    other = {"surrogate": ATan(1.0)} if change else {"surrogate": given, "detach_reset": False}
    wrong = Sequential(LIF(2.5, threshold=0.4, **other))
    assert not same(measured(fresh(to_spikingjelly(wrong)), (), x), want, 1e-11), "a wrong setting is seen"


def test_parts_that_train_alike() -> None:
    network = Sequential(BatchNorm2d(2), MaxPool2d(2), Dropout(0.5)).double()
    net = to_spikingjelly(network)
    x = torch.rand(10, 4, 2, 6, 6, dtype=torch.float64)
    assert torch.equal(net[:2](x), Sequential(*list(network)[:2])(x)[0])
    y = net[2](x)
    assert set((y / x).round(decimals=9).unique().tolist()) == {0.0, 2.0}
