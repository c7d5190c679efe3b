"""Delayed convolutions, norms of maps, pooling: the laws, in time and in space."""

from itertools import pairwise, product

import pytest
import torch
import torch.nn.functional as F
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor

from snn_delays.errors import ConfigError, ShapeError
from snn_delays.nn import (
    LIF,
    AvgPool2d,
    BatchNorm,
    BatchNorm2d,
    DelayedConv2d,
    DelayedLinear,
    DelayLineState,
    Dropout,
    Flatten,
    MaxPool2d,
    Pool2d,
    Sequential,
    SpikingModule,
    SumPool2d,
)
from snn_delays.ops import delayed_conv2d

SEEDS = st.integers(0, 10**6)
SHARING = ("synapse", "channel", "axon", "dendrite")
STEPS, BATCH, SIZE = 20, 3, (8, 7)


def events(seed: int = 0, steps: int = STEPS, batch: int = BATCH, rate: float = 0.3, size=SIZE, channels=2) -> Tensor:
    draw = torch.Generator().manual_seed(seed)
    x: Tensor = torch.poisson(torch.full((steps, batch, channels, *size), rate, dtype=torch.float64), generator=draw)
    return x


def conv(seed: int = 0, **changes) -> DelayedConv2d:
    torch.manual_seed(seed)
    return DelayedConv2d(2, 4, 3, **{"max_delay_steps": 5, "sigma_steps": 0.8, **changes}).double()


def chain(seed: int = 0, **changes) -> Sequential:
    """Convolution, neurons, pooling, twice; silent input leaves it at rest, its own events keep it active."""
    layers: list[SpikingModule] = []
    x = events(seed)
    for made, reset, behind in (
        (conv(seed, **{"padding": 1, **changes}), "hard", SumPool2d(2)),
        (DelayedConv2d(4, 3, 2, **{"max_delay_steps": 4, "sigma_steps": 0.8, **changes}).double(), "soft", Flatten()),
    ):
        with torch.no_grad():
            made.weight += 0.15
            current, _ = made(x)
            neuron = LIF(2.0, reset=reset, threshold=1.5 * float(current.quantile(0.9)))
            x, _ = behind(neuron(current)[0])
        layers += [made, neuron, behind]
    return Sequential(*layers).eval()


def assert_active(network: Sequential, x: Tensor) -> None:
    for layer in network:
        x, _ = layer(x)
        if isinstance(layer, LIF):
            assert 0.02 < x.mean() < 0.6, f"{100 * x.mean():.1f} %"


def in_chunks(network, x: Tensor, ends: list[int], forget: bool = False) -> Tensor:
    state, outputs = None, []
    for a, b in pairwise([0, *sorted(ends), len(x)]):
        y, state = network(x[a:b], None if forget else state)
        outputs.append(y)
    return torch.cat(outputs)


LAYERS = {
    "synapse": lambda seed: conv(seed, bias=True, stride=(2, 1)),
    **{name: lambda seed, name=name: conv(seed, sharing=name) for name in SHARING[1:]},
    "without delays": lambda seed: conv(seed, max_delay_steps=0),
    "integer delays": lambda seed: conv(seed, taps="linear", learn_delay=False, delay_init="uniform_rounded"),
    "norm": lambda _: BatchNorm2d(2).double().eval(),
    "sum": lambda _: SumPool2d(2),
    "mean": lambda _: AvgPool2d((2, 3), 1),
    "max": lambda _: MaxPool2d(3, 2),
    "flatten": lambda _: Flatten(),
    "network": chain,
}


@pytest.mark.parametrize("kind", LAYERS)
@given(seed=SEEDS, ends=st.lists(st.integers(0, STEPS), max_size=6))
def test_chunk_law(kind: str, seed: int, ends: list[int]) -> None:
    layer, x = LAYERS[kind](seed), events(seed)
    if kind == "network":
        assert_active(layer, x)
    with torch.no_grad():
        whole = layer(x)[0]
        assert len(whole) == STEPS
        torch.testing.assert_close(in_chunks(layer, x, ends), whole, rtol=1e-12, atol=1e-13)


@pytest.mark.parametrize("kind", [*SHARING, "network"])
def test_chunk_law_test_sees_a_forgotten_state(kind: str) -> None:
    layer, x = LAYERS[kind](0), events()
    assert not torch.allclose(in_chunks(layer, x, [8], forget=True), layer(x)[0])


@given(seed=SEEDS, sharing=st.sampled_from(SHARING), at=st.integers(1, STEPS - 1))
def test_causality(seed: int, sharing: str, at: int) -> None:
    network, x = chain(seed, sharing=sharing), events(seed)
    changed = torch.cat([x[:at], events(seed + 1, rate=0.8)[at:]])
    assert_active(network, x)
    before, after = network(x)[0], network(changed)[0]
    torch.testing.assert_close(before[:at], after[:at], rtol=1e-12, atol=1e-13)
    first = next(iter(network))
    assert not torch.allclose(first(x)[0][at:], first(changed)[0][at:]), "the change has no effect at all"


@given(seed=SEEDS, sharing=st.sampled_from(SHARING), shift=st.integers(1, 9))
def test_time_shift(seed: int, sharing: str, shift: int) -> None:
    network, x = chain(seed, sharing=sharing), events(seed)
    assert_active(network, x)
    later, _ = network(torch.cat([torch.zeros_like(x[:shift]), x]))
    assert not later[:shift].any()
    torch.testing.assert_close(later[shift:], network(x)[0], rtol=1e-12, atol=1e-13)


@given(seed=SEEDS)
def test_samples_do_not_see_each_other(seed: int) -> None:
    network, x = chain(seed), events(seed)
    assert_active(network, x)
    y, _ = network(x)
    torch.testing.assert_close(network(x[:, [2, 0, 1]])[0], y[:, [2, 0, 1]], rtol=1e-12, atol=1e-13)
    torch.testing.assert_close(network(x[:, 1:2])[0], y[:, 1:2], rtol=1e-12, atol=1e-13)


@given(seed=SEEDS, sharing=st.sampled_from(SHARING), down=st.integers(0, 3), right=st.integers(0, 3))
def test_what_moves_in_the_input_moves_in_the_output(seed: int, sharing: str, down: int, right: int) -> None:
    """Translation in space, with delays that differ from place to place in the kernel."""
    layer = conv(seed, sharing=sharing, padding=2)
    x = F.pad(events(seed), (0, 3, 0, 3))
    moved = x.roll((down, right), (3, 4))
    y, there = layer(x)[0], layer(moved)[0]
    rows, columns = y.shape[3] - down, y.shape[4] - right
    torch.testing.assert_close(there[..., down:, right:], y[..., :rows, :columns], rtol=1e-12, atol=1e-13)
    assert not there[..., :down, :].any()
    assert not there[..., :right].any()


@pytest.mark.parametrize("bias", [False, True])
def test_without_delays_it_is_a_convolution(bias: bool) -> None:
    layer = conv(max_delay_steps=0, bias=bias, stride=(2, 1), padding=(1, 0), sigma_steps=None)
    if bias:
        torch.nn.init.normal_(layer.bias)
    x = events()
    y, state = layer(x)
    want = F.conv2d(x.flatten(0, 1), layer.weight, None, (2, 1), (1, 0))
    want = want if layer.bias is None else want + layer.bias.view(-1, 1, 1)
    assert torch.equal(y.flatten(0, 1), want)
    assert state.history.shape == (0, BATCH, 2, *SIZE)
    assert not layer.delay.requires_grad


@pytest.mark.parametrize("taps", ["linear", "linear_normalized", "triangle", "gaussian"])
@pytest.mark.parametrize("sharing", SHARING)
def test_delays_of_zero_are_a_convolution(sharing: str, taps: str) -> None:
    layer = conv(sharing=sharing, taps=taps, sigma_steps=0.05 if taps == "gaussian" else 0.0)
    with torch.no_grad():
        layer.delay.zero_()
    x = events()
    want = F.conv2d(x.flatten(0, 1), layer.weight).unflatten(0, x.shape[:2])
    # The normalised taps of DCLS are divided by their sum plus 1e-7.
    torch.testing.assert_close(layer(x)[0], want, rtol=1e-6, atol=1e-6)
    with torch.no_grad():
        layer.delay.fill_(1.0)
    assert not torch.allclose(layer(x)[0], want, rtol=1e-2, atol=1e-2)


@pytest.mark.parametrize("sharing", SHARING)
@given(seed=SEEDS)
def test_on_maps_of_one_place_it_is_the_linear_layer(sharing: str, seed: int) -> None:
    torch.manual_seed(seed)
    options = {"max_delay_steps": 6, "sigma_steps": 0.9, "bias": True}
    layer = DelayedConv2d(5, 4, 1, sharing=sharing, **options).double()
    linear = DelayedLinear(5, 4, sharing="synapse" if sharing == "channel" else sharing, **options).double()
    with torch.no_grad():
        linear.weight.copy_(layer.weight.flatten(2))
        linear.delay.copy_(layer.delay.flatten(2))
        for bias in (layer.bias, linear.bias):
            bias.copy_(torch.arange(4.0))
    x = events(seed, size=(1, 1), channels=5)
    y, state = layer(x, DelayLineState(events(seed + 1, steps=6, size=(1, 1), channels=5)))
    want, other = linear(x.flatten(2), DelayLineState(events(seed + 1, steps=6, size=(1, 1), channels=5).flatten(2)))
    torch.testing.assert_close(y.flatten(2), want, rtol=1e-11, atol=1e-12)
    assert torch.equal(state.history.flatten(2), other.history)


@pytest.mark.parametrize("sharing", ["channel", "axon", "dendrite"])
def test_shared_delays_are_expanded_ones(sharing: str) -> None:
    shared, full = conv(1, sharing=sharing), conv(1)
    shape = {"channel": (4, 2, 1, 1), "axon": (1, 2, 1, 1), "dendrite": (4, 1, 1, 1)}[sharing]
    assert shared.delay.shape == shape
    assert full.delay.shape == full.weight.shape == (4, 2, 3, 3)
    with torch.no_grad():
        full.weight.copy_(shared.weight)
        full.delay.copy_(shared.delay.expand_as(full.delay))
    torch.testing.assert_close(shared(events())[0], full(events())[0], rtol=1e-12, atol=1e-13)


def test_parameters_as_those_of_the_linear_layer() -> None:
    layer = DelayedConv2d(8, 40, (5, 3), max_delay_steps=24)
    bound = (6 / 120) ** 0.5
    assert 0.99 * bound < layer.weight.abs().max() <= bound
    assert 0 <= layer.delay.min() < 0.1
    assert 23.9 < layer.delay.max() <= 24
    assert layer.sigma.item() == 12
    layer.set_sigma(2.0)
    assert layer.sigma.item() == 2
    with torch.no_grad():
        layer.delay[0, 0, 0] = 25.0
    with pytest.raises(ConfigError, match=r"3 of 4800 delays lie outside 0\.\.24"):
        layer.check_delays()
    layer.clamp_delays_()
    layer.check_delays("conv1.delay")
    assert set(layer.state_dict()) == set(DelayedLinear(2, 3, max_delay_steps=1).state_dict())
    assert "sharing='synapse', taps='gaussian', sigma_steps=2" in repr(layer)


def recover(planted: Tensor, weight: Tensor, learn_delay: bool, longest: int = 8) -> tuple[DelayedConv2d, float]:
    x = (events(4, steps=50, batch=3, rate=0.1, size=(6, 6)) > 0).float()
    target, _ = delayed_conv2d(x, weight, planted, max_delay_steps=longest, taps="linear")
    torch.manual_seed(2)
    layer = DelayedConv2d(2, 3, 2, max_delay_steps=longest, sharing="channel", learn_delay=learn_delay)
    with torch.no_grad():
        layer.weight.abs_()  # the teacher's signs are given, its delays are not
    optimiser = torch.optim.Adam([{"params": [layer.weight], "lr": 0.03}, {"params": [layer.delay], "lr": 0.2}])
    for epoch in range(120):
        layer.set_sigma(max(0.5, 4.0 * 0.97**epoch))
        loss = (layer(x)[0] - target).square().mean()
        optimiser.zero_grad()
        loss.backward()
        optimiser.step()
        layer.clamp_delays_()
    return layer, loss.item() / float(target.var())


def test_a_planted_delay_per_pair_of_channels_is_learnt() -> None:
    draw = torch.Generator().manual_seed(0)
    planted = torch.randint(0, 9, (3, 2, 1, 1), generator=draw).float()
    weight = torch.rand(3, 2, 2, 2, generator=draw) + 0.5
    layer, unexplained = recover(planted, weight, learn_delay=True)
    assert torch.equal(layer.delay.detach().round(), planted), (layer.delay - planted).flatten()
    assert unexplained < 0.3
    _, without = recover(planted, weight, learn_delay=False)
    assert without > 2 * unexplained, "delays that are not learnt do as well: nothing was shown"


def test_pooling_by_hand() -> None:
    x = events(3, rate=1.0)
    windows = x[..., :8, :6].unflatten(4, (3, 2)).unflatten(3, (4, 2)).transpose(4, 5).flatten(5)
    assert torch.equal(SumPool2d(2)(x)[0], windows.sum(-1))
    torch.testing.assert_close(AvgPool2d(2)(x)[0], windows.mean(-1))
    assert torch.equal(MaxPool2d(2)(x)[0], windows.amax(-1))
    spikes = (x > 1).double()
    assert torch.equal(MaxPool2d(2)(spikes)[0] > 0, SumPool2d(2)(spikes)[0] > 0)
    assert MaxPool2d((3, 2), (1, 2))(x)[0].shape == (STEPS, BATCH, 2, 6, 3)
    assert torch.equal(Flatten()(x)[0], x.reshape(STEPS, BATCH, -1))


def test_norm_of_maps_is_torchs_with_gradients() -> None:
    x = torch.randn(9, 3, 4, 5, 6, dtype=torch.float64, requires_grad=True)
    norm, theirs = BatchNorm2d(4).double(), torch.nn.BatchNorm2d(4).double()
    with torch.no_grad():
        for parameter, their in ((norm.weight, theirs.weight), (norm.bias, theirs.bias)):
            their.copy_(parameter.uniform_(0.5, 1.5))
    for training in (True, False):
        got = norm.train(training)(x)[0]
        want = theirs.train(training)(x.flatten(0, 1)).view_as(x)
        torch.testing.assert_close(got, want)
        cotangent = torch.randn_like(x)
        ours = torch.autograd.grad(got, (x, norm.weight, norm.bias), cotangent)
        others = torch.autograd.grad(want, (x, theirs.weight, theirs.bias), cotangent)
        for a, b in zip(ours, others):
            torch.testing.assert_close(a, b)
    torch.testing.assert_close(norm.running_var, theirs.running_var)


def test_padding_does_not_matter_to_the_norm_of_maps() -> None:
    valid = torch.arange(12)[:, None] < torch.tensor([12, 5, 9])
    signal = torch.randn(12, 3, 2, 4, 3, dtype=torch.float64)
    outcomes = []
    for padding in (0.0, 100.0):
        norm = BatchNorm2d(2).double().train()
        x = torch.where(valid[..., None, None, None], signal, torch.tensor(padding).double())
        y, _ = norm(x, None, valid)
        assert not y[~valid].any()
        alone = BatchNorm2d(2).double().train()(signal[valid].unsqueeze(1))[0][:, 0]
        torch.testing.assert_close(y[valid], alone)
        outcomes.append((y, norm.running_mean, norm.running_var))
    for got, want in zip(*outcomes):
        torch.testing.assert_close(got, want)
    unmasked = BatchNorm2d(2).double().train()(x)[0]
    assert not torch.allclose(unmasked[valid], outcomes[0][0][valid]), "the mask has no effect"


def test_norm_neurons_and_dropout_of_maps_run_one_by_one_in_training(monkeypatch: pytest.MonkeyPatch) -> None:
    """The operation that runs them as one is for neurons in a row: it must not be taken for maps."""
    monkeypatch.setattr("snn_delays.nn.norm.norm_lif", None)
    network = Sequential(conv(), BatchNorm2d(4), LIF(2.0), Dropout(0.4)).double().train()
    x = events(rate=0.6)
    y, state = network(x)
    mask = state[3].mask
    assert mask.shape == (BATCH, 4, 6, 5)
    assert 0.02 < (y > 0).double().mean() < 0.6
    assert not y[:, mask == 0].any()
    assert torch.equal(y.amax(0) > 0, y.sum(0) > 0)
    y.sum().backward()
    assert all(p.grad is not None and p.grad.abs().max() > 0 for p in network.parameters())


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: DelayedConv2d(0, 4, 3, max_delay_steps=2), "in_channels must be at least 1, got 0"),
        (lambda: DelayedConv2d(2, 4, (3, 0), max_delay_steps=2), "kernel_size must be at least 1, got 0"),
        (lambda: DelayedConv2d(2, 4, 3, stride=0, max_delay_steps=2), "stride must be at least 1"),
        (lambda: DelayedConv2d(2, 4, 3, padding=-1, max_delay_steps=2), "padding must be at least 0"),
        (lambda: DelayedConv2d(2, 4, 3, max_delay_steps=-1), "max_delay_steps must be at least 0"),
        (lambda: conv(sharing="row"), "one of synapse, channel, axon, dendrite, layer, hybrid; got 'row'"),
        (
            lambda: DelayedLinear(2, 4, max_delay_steps=2, sharing="channel"),
            "sharing must be one of synapse, axon, den",
        ),
        (lambda: conv(taps="box"), "taps must be one of"),
        (lambda: conv(delay_init="zero"), "delay_init must be one of"),
        (lambda: MaxPool2d(0), "kernel_size must be at least 1, got 0"),
        (lambda: MaxPool2d(2, (1, 0)), "stride must be at least 1, got 0"),
    ],
)
def test_wrong_names_and_numbers(call, message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        call()


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (
            lambda x: conv()(x[:, :, 0]),
            r"takes a tensor \[time, batch, channel, y, x\], got an input of shape \(20, 3, 8, 7\)",
        ),
        (lambda x: conv()(x, DelayLineState(x[:4])), r"delay line's state has shape \(4, 3, 2, 8, 7\)"),
        (lambda x: BatchNorm2d(3).double()(x), r"batch norm of 3 maps got a current of shape \(20, 3, 2, 8, 7\)"),
        (lambda x: BatchNorm2d(2)(x[..., 0]), r"BatchNorm2d takes a tensor \[time, batch, channel, y, x\]"),
        (lambda x: BatchNorm(2).double()(x), r"takes a tensor \[time, batch, feature\], got .*\(20, 3, 2, 8, 7\)"),
        (lambda x: MaxPool2d(9)(x), r"map of 8 x 7 .* smaller than the window of 9 x 9"),
        (
            lambda x: SumPool2d(2)(x.flatten(2)),
            r"SumPool2d takes a tensor \[time, batch, channel, y, x\], got an input of shape \(20, 3, 112\)",
        ),
    ],
)
@pytest.mark.usefixtures("own_shape_errors")
def test_wrong_shapes(call, message: str) -> None:
    with pytest.raises(ShapeError, match=message):
        call(events())


def test_a_pool_of_no_kind_says_so() -> None:
    with pytest.raises(TypeError, match="Pool2d has to define _pool"):
        Pool2d(2)(events())


@pytest.mark.parametrize("stride", [1, 2])
def test_it_is_the_linear_layer_of_all_places(stride: int) -> None:
    """Every weight written out as the synapses that it stands for, one for each place it is used at."""
    layer = DelayedConv2d(2, 3, 2, stride=stride, padding=1, max_delay_steps=5, taps="linear").double()
    x = events(3, size=(4, 3))
    y, _ = layer(x)
    (rows, columns), shape = y.shape[3:], (4, 3)
    linear = DelayedLinear(2 * 4 * 3, y[0, 0].numel(), max_delay_steps=5, taps="linear").double()
    weight, delay = torch.zeros(3, rows, columns, 2, *shape).double(), torch.zeros(3, rows, columns, 2, *shape).double()
    for v, u, a, c in product(range(rows), range(columns), range(2), range(2)):
        row, column = stride * v + a - 1, stride * u + c - 1
        if 0 <= row < shape[0] and 0 <= column < shape[1]:
            weight[:, v, u, :, row, column] = layer.weight[:, :, a, c].detach()
            delay[:, v, u, :, row, column] = layer.delay[:, :, a, c].detach()
    with torch.no_grad():
        linear.weight.copy_(weight.view_as(linear.weight))
        linear.delay.copy_(delay.view_as(linear.delay))
    torch.testing.assert_close(y.flatten(2), linear(x.flatten(2))[0], rtol=1e-11, atol=1e-12)
