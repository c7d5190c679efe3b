"""The two mixings of SpikeGPT against sums written out in plain Python, and the neuron they are used with."""

import math
from collections.abc import Callable

import pytest
import torch
from torch import Tensor, nn
from torch.func import functional_call

from snn_delays.errors import ConfigError, ShapeError
from snn_delays.nn import SpikingChannelMix, SpikingTimeMix
from snn_delays.nn.rwkv import spikegpt_neuron
from tests.support.gpt_networks import tensors_of, watched

STEPS, BATCH, FEATURES = 14, 2, 5
MIXINGS: dict[str, type[nn.Module]] = {"time": SpikingTimeMix, "channel": SpikingChannelMix}
Rows = list[list[float]]  # of one sample: steps, then channels


@pytest.mark.parametrize(
    ("current", "period"), [(0.99, None), (1.2, 3), (1.5, 2), (2.0, 1)], ids=["never", "third", "second", "every"]
)
def test_neuron_fires_as_specified(current: float, period: int | None) -> None:
    spikes, _ = spikegpt_neuron()(torch.full((30, 1, 1), current, dtype=torch.float64))
    assert spikes.flatten().tolist() == [float(period is not None and t % period == 0) for t in range(1, 31)]


def test_neuron_is_the_lif_node_of_spikingjelly_gradient_included() -> None:
    theirs = pytest.importorskip("spikingjelly.activation_based.neuron", reason="spikingjelly is not installed")
    arctan = pytest.importorskip("spikingjelly.activation_based.surrogate").ATan()  # like the neuron, as it comes
    current = (1.5 * torch.randn(60, 4, 25, dtype=torch.float64)).requires_grad_()
    cotangent = torch.randn(60, 4, 25, dtype=torch.float64)
    want = theirs.LIFNode(step_mode="m", surrogate_function=arctan)(current)
    got, _ = spikegpt_neuron()(current)
    assert 0.02 < got.mean() < 0.6
    assert torch.equal(got, want)
    grad, expected, detached = (
        torch.autograd.grad((y * cotangent).sum(), current)[0]
        for y in (got, want, theirs.LIFNode(step_mode="m", surrogate_function=arctan, detach_reset=True)(current))
    )
    torch.testing.assert_close(grad, expected, rtol=1e-9, atol=1e-10)
    assert not torch.allclose(grad, detached, atol=1e-3), "whether the reset is detached goes unseen"


# The oracle: lists of numbers, one sample at a time, nothing shared with the package.


def mixed(x: Rows, mu: list[float]) -> Rows:
    before = [[0.0] * len(mu), *x]
    return [[m * now + (1 - m) * past for m, now, past in zip(mu, row, old)] for row, old in zip(x, before)]


def times(matrix: Rows, rows: Rows) -> Rows:
    return [[sum(w * value for w, value in zip(weights, row)) for weights in matrix] for row in rows]


def fired(rows: Rows) -> Rows:
    v, spikes = [0.0] * len(rows[0]), []
    for row in rows:
        h = [0.5 * old + 0.5 * value for old, value in zip(v, row)]
        spikes.append([1.0 if value >= 1 else 0.0 for value in h])
        v = [0.0 if value >= 1 else value for value in h]
    return spikes


def normed(rows: Rows, gain: list[float], offset: list[float]) -> Rows:
    y = []
    for row in rows:
        mean = sum(row) / len(row)
        deviation = math.sqrt(sum((value - mean) ** 2 for value in row) / len(row) + 1e-5)
        y.append([(value - mean) / deviation * g + b for value, g, b in zip(row, gain, offset)])
    return y


def sigmoid(rows: Rows) -> Rows:
    return [[1 / (1 + math.exp(-value)) for value in row] for row in rows]


def product(a: Rows, b: Rows) -> Rows:
    return [[p * q for p, q in zip(one, other)] for one, other in zip(a, b)]


def averages(k: Rows, v: Rows, time_decay: list[float], time_first: list[float]) -> Rows:
    """WKV by its definition, two loops over time."""
    y = [[0.0] * len(time_decay) for _ in k]
    for c, (decay, u) in enumerate(zip(time_decay, time_first)):
        w = -math.exp(decay)
        for t in range(len(k)):
            own = math.exp(u + k[t][c])
            above, below = own * v[t][c], own
            for i in range(t):
                weight = math.exp((t - 1 - i) * w + k[i][c])
                above += weight * v[i][c]
                below += weight
            y[t][c] = above / below
    return y


def time_mix(p: dict, x: Rows, inside: bool) -> Rows:
    """``inside``: neurons in front of each matrix, and a norm in front of those that read a product."""
    xk, xv, xr = (fired(rows) if inside else rows for rows in (mixed(x, mu) for mu in p["shift.mix"]))
    k, v = times(p["key.weight"], xk), times(p["value.weight"], xv)
    gated = product(sigmoid(times(p["receptance.weight"], xr)), averages(k, v, p["time_decay"], p["time_first"]))
    if inside:
        gated = fired(normed(gated, p["norms.output.weight"], p["norms.output.bias"]))
    return times(p["output.weight"], gated)


def channel_mix(p: dict, x: Rows, inside: bool) -> Rows:
    xk, xr = (fired(rows) if inside else rows for rows in (mixed(x, mu) for mu in p["shift.mix"]))
    hidden = [[max(value, 0.0) ** 2 for value in row] for row in times(p["key.weight"], xk)]
    if inside:
        hidden = fired(normed(hidden, p["norms.value.weight"], p["norms.value.bias"]))
    return product(sigmoid(times(p["receptance.weight"], xr)), times(p["value.weight"], hidden))


def by_hand(mixing: nn.Module, x: Tensor) -> Tensor:
    numbers = {name: value.tolist() for name, value in mixing.named_parameters()}
    run = time_mix if isinstance(mixing, SpikingTimeMix) else channel_mix
    samples = [run(numbers, x[:, b].tolist(), bool(mixing.neurons)) for b in range(x.shape[1])]
    return torch.tensor(samples, dtype=x.dtype).transpose(0, 1)


def drawn(kind: str, spiking: str, seed: int = 0) -> nn.Module:
    """A mixing with large random weights, a layer in the middle of three, mixtures beyond 0 and 1."""
    torch.manual_seed(seed)
    mixing = MIXINGS[kind](FEATURES, 1, 3, spiking=spiking).double()
    with torch.no_grad():
        for matrix in mixing.modules():
            if isinstance(matrix, nn.Linear):
                matrix.weight.normal_(std=3 / matrix.in_features**0.5)
            elif isinstance(matrix, nn.LayerNorm):
                matrix.weight.uniform_(1.4, 2.6)
                matrix.bias.uniform_(-0.3, 0.3)
        mixing.shift.mix += 0.3 * torch.randn_like(mixing.shift.mix)
        if kind == "time":
            mixing.time_decay.uniform_(-4, 1)
            mixing.time_first += torch.randn_like(mixing.time_first)
    return mixing


def signal(seed: int = 0) -> Tensor:
    draw = torch.Generator().manual_seed(seed)
    return 2 * torch.randn(STEPS, BATCH, FEATURES, generator=draw, dtype=torch.float64)


@pytest.mark.parametrize("seed", [0, 1])
@pytest.mark.parametrize("spiking", ["after", "before", "none"])
@pytest.mark.parametrize("kind", MIXINGS)
def test_mixing_is_what_its_equations_say(kind: str, spiking: str, seed: int) -> None:
    mixing, x = drawn(kind, spiking, seed), signal(seed)
    with watched(mixing) as seen:
        y, _ = mixing(x)
    rates = [float(chunks[0][1].mean()) for chunks in seen.values()]
    assert len(rates) == (len(mixing.MATRICES) if spiking == "before" else 0), "only 'before' has neurons inside"
    assert all(0.02 < rate < 0.6 for rate in rates), rates
    torch.testing.assert_close(y.detach(), by_hand(mixing, x), rtol=1e-10, atol=1e-11)


def _transpose(name: str) -> Callable[[nn.Module], None]:
    def wrong(mixing: nn.Module) -> None:
        matrix = mixing.get_submodule(name)
        matrix.weight.copy_(matrix.weight.T.clone().reshape(matrix.weight.shape))

    return wrong


def _swap(a: int, b: int) -> Callable[[nn.Module], None]:
    def wrong(mixing: nn.Module) -> None:
        mixing.shift.mix[[a, b]] = mixing.shift.mix[[b, a]]

    return wrong


WRONG: dict[str, tuple[str, Callable[[nn.Module], object]]] = {
    "mixtures of key and value swapped": ("time", _swap(0, 1)),
    "mixtures of key and receptance swapped": ("time", _swap(0, 2)),
    "mixtures of the channel swapped": ("channel", _swap(0, 1)),
    "present and past swapped": ("time", lambda m: m.shift.mix.copy_(1 - m.shift.mix)),
    "norm without its gain": ("channel", lambda m: m.norms.value.weight.fill_(1.0)),
    "norm without its offset": ("time", lambda m: m.norms.output.bias.zero_()),
    "no bonus": ("time", lambda m: m.time_first.zero_()),
    "other decay": ("time", lambda m: m.time_decay.add_(0.1)),
    "decay of another channel": ("time", lambda m: m.time_decay.copy_(m.time_decay.roll(1))),
    **{f"time {name} transposed": ("time", _transpose(name)) for name in SpikingTimeMix.MATRICES},
    **{f"channel {name} transposed": ("channel", _transpose(name)) for name in SpikingChannelMix.MATRICES},
}


@pytest.mark.parametrize("name", WRONG)
@torch.no_grad()
def test_comparison_with_the_equations_can_fail(name: str) -> None:
    kind, spoil = WRONG[name]
    mixing, x = drawn(kind, "before" if "norm" in name else "none"), signal()
    want = by_hand(mixing, x)
    torch.testing.assert_close(mixing(x)[0], want, rtol=1e-10, atol=1e-11)
    spoil(mixing)
    assert not torch.allclose(mixing(x)[0], want, atol=1e-3)


@pytest.mark.parametrize("kind", MIXINGS)
def test_gradients_are_those_of_finite_differences(kind: str) -> None:
    torch.manual_seed(0)
    mixing = MIXINGS[kind](2, 1, 3, shift={"kind": "learned", "max_delay_steps": 3, "points": 1}).double()
    with torch.no_grad():
        mixing.shift.weight.normal_()
    names, values = zip(*((name, p.detach().clone().requires_grad_()) for name, p in mixing.named_parameters()))
    x = torch.randn(4, 1, 2, dtype=torch.float64, requires_grad=True)
    assert torch.autograd.gradcheck(
        lambda x, *given: functional_call(mixing, dict(zip(names, given)), (x,))[0], (x, *values), atol=1e-7, rtol=1e-5
    )


@pytest.mark.parametrize("spiking", ["after", "before"])
@pytest.mark.parametrize("kind", MIXINGS)
def test_gradients_reach_every_parameter(kind: str, spiking: str) -> None:
    mixing = drawn(kind, spiking)
    mixing(signal())[0].square().sum().backward()
    for name, parameter in mixing.named_parameters():
        assert parameter.grad is not None, name
        assert parameter.grad.abs().max() > 0, name
        assert parameter.grad.isfinite().all(), name


# Initial values.


def approx(values: list[float]) -> object:
    return pytest.approx(values, rel=1e-5, abs=1e-6)


def test_initial_values_by_numbers() -> None:
    first, last = (SpikingTimeMix(5, layer, 2) for layer in (0, 1))
    ln = math.log(0.3)
    # The last layer's ratio is 1: exponents 2 for the decay, 1/2 for the mixtures (1/4 for the receptance).
    assert last.time_decay.tolist() == approx([-5, -4.5, -3, -0.5, 3])
    assert first.time_decay.tolist() == approx([-5, -1.9685669, -0.0754223, 1.5408301, 3])  # (c/4)^0.7
    for mixing in (first, last):
        assert mixing.time_first.tolist() == approx([ln, ln + 0.5, ln - 0.5, ln, ln + 0.5])
    fifths, roots = [0, 0.2, 0.4, 0.6, 0.8], [0, 0.4472136, 0.6324555, 0.7745967, 0.8944272]
    assert first.shift.mix.tolist() == [approx(fifths), approx(fifths), approx(roots)]
    assert last.shift.mix.tolist() == [
        approx(roots),
        approx([0.3, 0.7472136, 0.9324555, 1.0745967, 1.1944272]),
        approx([0, 0.6687403, 0.7952707, 0.8801117, 0.9457416]),
    ]
    assert SpikingChannelMix(5, 0, 2).shift.mix.tolist() == [approx(fifths)] * 2
    assert SpikingChannelMix(5, 1, 2).shift.mix.tolist() == [approx(roots)] * 2


@pytest.mark.parametrize(("features", "layer", "layers"), [(7, 0, 3), (7, 1, 3), (7, 2, 3), (4, 5, 12)])
def test_initial_values_by_the_formulas(features: int, layer: int, layers: int) -> None:
    a, b = layer / (layers - 1), 1 - layer / layers
    time, channel = SpikingTimeMix(features, layer, layers), SpikingChannelMix(features, layer, layers)
    share = [c / features for c in range(features)]
    assert time.time_decay.tolist() == approx(
        [-5 + 8 * (c / (features - 1)) ** (0.7 + 1.3 * a) for c in range(features)]
    )
    assert time.time_first.tolist() == approx([math.log(0.3) + 0.5 * ((c + 1) % 3 - 1) for c in range(features)])
    k, v, r = time.shift.mix.tolist()
    assert k == approx([s**b for s in share])
    assert v == approx([s**b + 0.3 * a for s in share])
    assert r == approx([s ** (0.5 * b) for s in share])
    assert channel.shift.mix.tolist() == [approx([s**b for s in share])] * 2


def test_a_single_layer_takes_the_ratio_zero() -> None:
    single, first = SpikingTimeMix(5, 0, 1), SpikingTimeMix(5, 0, 2)
    assert torch.equal(single.time_decay, first.time_decay)
    assert torch.equal(single.shift.mix, first.shift.mix)


@pytest.mark.parametrize("kind", MIXINGS)
def test_a_single_channel_of_a_single_layer_has_no_nan(kind: str) -> None:
    mixing = MIXINGS[kind](1)
    assert all(parameter.isfinite().all() for parameter in mixing.parameters())
    y, state = mixing(torch.randn(6, 2, 1))
    assert y.isfinite().all()
    assert all(part.isfinite().all() for part in tensors_of(state))


@pytest.mark.parametrize(("spiking", "norms"), [("after", 0), ("none", 0), ("before", 10)])
def test_parameters_are_13_c_squared_and_7_c(spiking: str, norms: int) -> None:
    mixings = SpikingTimeMix(6, spiking=spiking), SpikingChannelMix(6, spiking=spiking)
    count = sum(p.numel() for mixing in mixings for p in mixing.parameters())
    assert count == 13 * 6**2 + (7 + norms) * 6  # the other 4 C of a layer are two norms


@pytest.mark.parametrize("kind", MIXINGS)
def test_neurons_inside_fire_from_the_first(kind: str) -> None:
    mixing = MIXINGS[kind](64, 1, 3, spiking="before")
    with watched(mixing) as seen:
        mixing(2 * torch.randn(100, 2, 64))  # what a branch's norm gives at first
    rates = [float(chunks[0][1].mean()) for chunks in seen.values()]
    assert len(rates) == len(mixing.MATRICES)
    assert all(0.05 < rate < 0.4 for rate in rates), rates


@pytest.mark.parametrize("kind", MIXINGS)
def test_wrong_names_and_shapes(kind: str) -> None:
    with pytest.raises(ConfigError, match="spiking must be one of after, before, none; got 'between'"):
        MIXINGS[kind](4, spiking="between")
    with pytest.raises(ConfigError, match=r"kind must be one of token.*got 'free'"):
        MIXINGS[kind](4, shift={"kind": "free"})
    with pytest.raises(ShapeError, match=r"a shift of 4 neurons got an input of shape \(3, 2, 5\)"):
        MIXINGS[kind](4)(torch.zeros(3, 2, 5))


@pytest.mark.usefixtures("own_shape_errors")
@pytest.mark.parametrize("part", ["shift", "sums", "neurons"])
def test_state_of_another_batch_is_refused(part: str) -> None:
    mixing = drawn("time", "before")
    _, state = mixing(signal())
    _, other = mixing(signal()[:, :1])
    message = {"shift": "shift's state", "sums": "state's numerator", "neurons": "membrane state"}[part]
    with pytest.raises(ShapeError, match=f"{message} has shape"):
        mixing(signal(), state._replace(**{part: getattr(other, part)}))
