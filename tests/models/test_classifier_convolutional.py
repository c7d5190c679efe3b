"""The classifier for maps: its parts by name, activity, learning, and the discrete network made of it."""

import pytest
import torch
from torch import Tensor

from snn_delays.discrete import discretize
from snn_delays.errors import ConfigError, ExportError, ShapeError
from snn_delays.models import ConvolutionalClassifier
from snn_delays.nn import (
    LIF,
    BatchNorm,
    BatchNorm2d,
    DelayedConv2d,
    DelayedLinear,
    Flatten,
    MaxPool2d,
    Sequential,
    layers_of,
    layers_with_delays,
    record,
)
from snn_delays.training.objective import class_scores, loss, valid_steps
from tests.support.networks import assert_active, firing_rates

SHARING = ("synapse", "channel", "axon", "dendrite")
SENSOR = (2, 9, 8)


def events(seed: int = 0, steps: int = 25, batch: int = 3, rate: float = 0.2) -> Tensor:
    draw = torch.Generator().manual_seed(seed)
    x: Tensor = torch.poisson(torch.full((steps, batch, *SENSOR), rate, dtype=torch.float64), generator=draw)
    return x


def classifier(**changes) -> ConvolutionalClassifier:
    return ConvolutionalClassifier(
        SENSOR, **{"maps": (4, 5), "hidden": (10,), "classes": 3, "kernel_size": 3, "padding": 1,
                   "max_delay_steps": 4, "sigma_steps": 0.8, **changes},
    )  # fmt: skip


def warmed(seed: int = 0, **changes) -> ConvolutionalClassifier:
    """In float64 and evaluation mode, its norms' statistics taken from its own activity."""
    torch.manual_seed(seed)
    network = classifier(**changes).double()
    norms = [module for module in network.modules() if isinstance(module, BatchNorm)]
    with torch.no_grad():
        for norm in norms:
            norm.momentum = 1.0
        network.train()(events(seed))
        for norm in norms:
            norm.momentum = 0.1
            norm.weight.uniform_(0.8, 1.2)
            norm.bias.uniform_(-0.2, 0.2)
    return network.eval()


def test_children_have_names() -> None:
    network = classifier()
    assert [name for name, _ in layers_of(network)] == [
        "conv1.synapse", "conv1.norm", "conv1.neuron", "conv1.dropout", "conv1.pool",
        "conv2.synapse", "conv2.norm", "conv2.neuron", "conv2.dropout", "conv2.pool",
        "flatten", "hidden1.synapse", "hidden1.norm", "hidden1.neuron", "hidden1.dropout",
        "readout.synapse", "readout.integrator",
    ]  # fmt: skip
    layers = layers_with_delays(network)
    assert list(layers) == ["conv1.synapse", "conv2.synapse", "hidden1.synapse", "readout.synapse"]
    assert [type(layer) for layer in layers.values()] == [DelayedConv2d, DelayedConv2d, DelayedLinear, DelayedLinear]
    assert layers["hidden1.synapse"].in_features == 5 * 2 * 2
    assert network(events().float())[0].shape == (25, 3, 3)


@pytest.mark.parametrize("sharing", SHARING)
def test_arguments_reach_every_layer(sharing: str) -> None:
    network = classifier(
        sharing=sharing, hidden=(), pool=1, tau_steps=3.0, dropout=0.3, learn_delay=False, max_delay_steps=6
    )
    layers = layers_with_delays(network)
    assert layers["conv1.synapse"].sharing == sharing
    assert layers["readout.synapse"].sharing == ("synapse" if sharing == "channel" else sharing)
    assert layers["readout.synapse"].in_features == 5 * 9 * 8
    assert not any(name.endswith("pool") for name, _ in layers_of(network))
    for layer in layers.values():
        assert torch.equal(layer.delay, layer.delay.round())
        assert layer.taps == "linear"
        assert not layer.delay.requires_grad
        assert layer.max_delay_steps == 6
    assert network.conv2.neuron.tau_steps == network.readout.integrator.tau_steps == 3.0
    assert network.conv2.dropout.p == 0.3


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"maps": ()}, "maps must name at least one convolution"),
        ({"pooling": "min"}, "pooling must be one of max, avg, sum; got 'min'"),
        ({"sharing": "row"}, "sharing must be one of"),
        ({"kernel_size": 5, "padding": 0}, r"conv2 on a sensor of 9 x 8: a map of 2 x 2 .* smaller .* 5 x 5"),
        ({"maps": (2, 2, 2, 2)}, r"conv4 on a sensor of 9 x 8: a map of 1 x 1"),
    ],
)
def test_refusals(changes: dict, message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        classifier(**changes)


@pytest.mark.parametrize("pooling", ["max", "avg", "sum"])
@pytest.mark.parametrize("sharing", SHARING)
def test_discrete_network_equals_the_one_with_integer_delays(sharing: str, pooling: str) -> None:
    network = warmed(sharing=sharing, pooling=pooling, learn_delay=False, dropout=0.3)
    discrete = discretize(network)
    x = events(7)
    assert_active(network, x)
    assert discrete.report.lossless
    assert [layer.norm_folded for layer in discrete.report.layers] == [True, True, True, False]
    before, after = record(network, x), record(discrete, x)
    for name in ("conv1.neuron", "conv2.neuron", "conv2.pool", "hidden1.neuron"):
        assert torch.equal(before[name], after[name]), name
    torch.testing.assert_close(after["readout.integrator"], before["readout.integrator"], rtol=1e-10, atol=1e-11)
    assert not any(isinstance(layer, BatchNorm) for _, layer in layers_of(discrete))


@pytest.mark.parametrize("sharing", SHARING)
def test_spread_and_fractional_delays_do_change_it(sharing: str) -> None:
    network = warmed(sharing=sharing)
    discrete = discretize(network)
    x = events(7)
    assert_active(network, x)
    assert not torch.allclose(discrete(x)[0], network(x)[0])
    report = discrete.report.layers[0]
    delay = network.conv1.synapse.delay
    assert not report.lossless
    assert report.delays_rounded == delay.numel() == {"synapse": 72, "channel": 8, "axon": 2, "dendrite": 4}[sharing]
    assert report.synapses == 72
    assert torch.equal(discrete.conv1.synapse.delay, delay.round())
    assert discrete.conv1.synapse.sharing == sharing


@pytest.mark.parametrize("weight_bits", [None, 6])
@pytest.mark.parametrize("sharing", SHARING)
def test_discretize_is_idempotent(sharing: str, weight_bits: int | None) -> None:
    network = warmed(3, sharing=sharing)
    once = discretize(network, weight_bits=weight_bits)
    twice = discretize(once, weight_bits=weight_bits)
    ours, theirs = once.state_dict(), twice.state_dict()
    assert list(ours) == list(theirs)
    for name in ours:
        assert torch.equal(ours[name], theirs[name]), name
    assert not once.report.lossless
    assert twice.report.lossless
    x = events(3)
    assert_active(once, x)
    assert torch.equal(once(x)[0], twice(x)[0])
    if weight_bits:
        for layer, report in zip(layers_with_delays(once).values(), once.report.layers):
            whole = layer.weight / report.weight_step
            assert torch.equal(whole, whole.round())
            assert whole.abs().max() <= 31
            assert report.max_weight_error > 0


@pytest.mark.parametrize("sharing", SHARING)
def test_discrete_network_on_a_grid_is_the_same_in_chunks_to_the_bit(sharing: str) -> None:
    """With weights on a grid every sum is exact, whatever its order; so is a step a call."""
    network = discretize(warmed(sharing=sharing, tau_steps=2.0, hidden=()), weight_bits=6)
    with torch.no_grad():
        for layer in layers_with_delays(network).values():
            if layer.bias is not None:
                layer.bias.copy_((layer.bias * 64).round() / 64)
    x = events(5)
    assert_active(network, x)
    whole, _ = network(x)
    for size in (1, 7):
        state, parts = None, []
        for begin in range(0, len(x), size):
            y, state = network(x[begin : begin + size], state)
            parts.append(y)
        assert torch.equal(torch.cat(parts), whole)


def test_padding_and_neighbours_do_not_change_a_sample() -> None:
    network = warmed(2)
    lengths = torch.tensor([25, 12, 18])
    valid = valid_steps(lengths, 25)
    x = torch.where(valid[..., None, None, None], events(2), torch.tensor(2.0).double())
    assert_active(network, x)
    together = class_scores(network(x, None, valid)[0], valid)
    for b, length in enumerate(lengths):
        mask = torch.ones(int(length), 1, dtype=torch.bool)
        scores = class_scores(network(x[:length, b : b + 1], None, mask)[0], mask)
        torch.testing.assert_close(together[b], scores[0], rtol=1e-10, atol=1e-11)


def test_in_training_padding_changes_neither_scores_nor_gradients() -> None:
    valid = valid_steps(torch.tensor([25, 12, 18]), 25)
    outcomes = []
    for value, masked in ((0.0, True), (3.0, True), (3.0, False)):
        network = warmed(4).train()
        x = torch.where(valid[..., None, None, None], events(4), torch.tensor(value).double())
        scores = class_scores(network(x, None, valid if masked else None)[0], valid)
        loss(scores, torch.tensor([0, 1, 2])).backward()
        outcomes.append([scores.detach(), *(p.grad for p in network.parameters()), *network.buffers()])
    for got, want in zip(outcomes[1], outcomes[0]):
        torch.testing.assert_close(got, want, rtol=1e-9, atol=1e-11)
    assert not torch.allclose(outcomes[2][0], outcomes[0][0]), "the mask has no effect"


@pytest.mark.parametrize("sharing", SHARING)
def test_a_few_steps_of_training_lower_the_loss(sharing: str) -> None:
    torch.manual_seed(1)
    network = classifier(sharing=sharing, taps="gaussian", pooling="max")
    x = events(1, steps=15, batch=12, rate=0.1).float()
    labels = torch.arange(3).repeat_interleave(4)
    for k in range(3):  # a row of the sensor for each class
        x[:, labels == k, 0, 3 * k] += 1
    valid = torch.ones(15, 12, dtype=torch.bool)
    optimiser = torch.optim.Adam(network.parameters(), lr=0.02)
    losses = []
    for _ in range(20):
        value = loss(class_scores(network(x, None, valid)[0], valid), labels)
        optimiser.zero_grad()
        value.backward()
        assert all(p.grad is not None and p.grad.isfinite().all() for p in network.parameters())
        optimiser.step()
        for layer in layers_with_delays(network).values():
            layer.clamp_delays_()
        losses.append(value.item())
    assert losses[-1] < 0.5 * losses[0]
    assert all(0.02 < rate < 0.6 for rate in firing_rates(network.eval(), x).values())


def test_integer_arithmetic_refuses_convolutions() -> None:
    with pytest.raises(ExportError, match=r"'conv1.synapse' is a convolution, which has no form in integer"):
        discretize(warmed(), target="loihi2")


@pytest.mark.parametrize(
    ("layers", "message"),
    [
        ((DelayedConv2d(2, 3, 2, max_delay_steps=1), BatchNorm(3)), r"layer '1' \(BatchNorm\) follows no synapse"),
        ((DelayedLinear(2, 3, max_delay_steps=1), BatchNorm2d(3)), r"layer '1' \(BatchNorm2d\) follows no synapse"),
        (
            (DelayedConv2d(2, 3, 2, max_delay_steps=1), MaxPool2d(2), BatchNorm2d(3)),
            r"layer '2' \(BatchNorm2d\) follows no synapse",
        ),
        ((Flatten(), BatchNorm2d(3)), "follows no synapse"),
    ],
)
def test_norms_that_cannot_be_folded(layers: tuple, message: str) -> None:
    with pytest.raises(ExportError, match=message):
        discretize(Sequential(*layers))


def test_a_diverged_convolution_is_not_made_discrete() -> None:
    network = warmed()
    with torch.no_grad():
        network.conv2.synapse.weight[0, 0, 1, 1] = float("nan")
    with pytest.raises(ExportError, match=r"conv2.synapse.weight: 1 of 180 values are not finite"):
        discretize(network)


def test_maps_of_another_size_are_refused():
    network = ConvolutionalClassifier((2, 12, 6), (4,), (), 3, max_delay_steps=2, kernel_size=3)
    with pytest.raises(ShapeError, match=r"takes maps of \(2, 12, 6\), got an input of shape \(3, 2, 2, 6, 12\)"):
        network(torch.rand(3, 2, 2, 6, 12))
    with pytest.raises(ConfigError, match=r"sensor has channels, rows and columns"):
        ConvolutionalClassifier((2, 8), (4,), (), 3, max_delay_steps=2)


@pytest.mark.parametrize("size", [(3,), (3, 3, 7), "3", 3.0, (3.0, 3.0), True])
def test_sizes_that_are_none_are_refused(size):
    with pytest.raises(ConfigError, match=r"kernel_size (must be|is) an integer"):
        ConvolutionalClassifier((2, 8, 8), (4,), (), 3, max_delay_steps=2, kernel_size=size)


def test_a_norm_of_another_width_is_not_folded():
    for chain in (
        Sequential(DelayedConv2d(1, 4, 3, max_delay_steps=0), BatchNorm2d(5), LIF(2.0)),
        Sequential(DelayedLinear(1, 4, max_delay_steps=0), BatchNorm(1), LIF(2.0)),
    ):
        with pytest.raises(ExportError, match="follows no synapse it could be folded into"):
            discretize(chain)
