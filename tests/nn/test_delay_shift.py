"""DelayShift: a token shift at first, an explicit sum of delayed copies in the end, gradients all along."""

import copy
from itertools import pairwise

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor
from torch.func import functional_call

from snn_delays.errors import ConfigError, ShapeError
from snn_delays.nn import DelayLineState, DelayShift, NeuronDelays
from tests.support.gpt_networks import cuts, in_chunks

STEPS, BATCH, FEATURES, MIXES, LONGEST = 15, 2, 5, 3, 6
KINDS = ("token", "learned", "fixed", "dense")
MIX = torch.rand(MIXES, FEATURES, generator=torch.Generator().manual_seed(5), dtype=torch.float64) * 1.4 - 0.2


def shift(kind: str, **options) -> DelayShift:
    """As it begins, but with mixtures beyond 0 and 1."""
    return DelayShift(MIX, kind=kind, **{"max_delay_steps": LONGEST, **options}).double()


def drawn(kind: str, **options) -> DelayShift:
    """With weights that are not zero."""
    layer = shift(kind, **options)
    with torch.no_grad():
        for weight in (layer.weight, layer.lags):
            if weight is not None:
                weight.normal_()
    return layer


def signal(steps: int = STEPS, features: int = FEATURES, seed: int = 0) -> Tensor:
    draw = torch.Generator().manual_seed(seed)
    return torch.randn(steps, BATCH, features, generator=draw, dtype=torch.float64)


def token_shift(x: Tensor, mix: Tensor = MIX) -> Tensor:
    before = torch.cat([torch.zeros_like(x[:1]), x[:-1]])
    return torch.stack([mu * x + (1 - mu) * before for mu in mix])


def sum_over_delays(layer: DelayShift, x: Tensor) -> Tensor:
    """By the equation, one number at a time; delays are integers."""
    y = token_shift(x, layer.mix.detach())
    for j, weights in enumerate(layer.weight.tolist()):
        for m, row in enumerate(weights):
            for c, a in enumerate(row):
                d = int(layer.delay[j, m, c])
                for t in range(d, len(x)):
                    y[m, t, :, c] += a * x[t - d, :, c]
    return y


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_begins_as_the_token_shift_to_the_bit(kind: str, dtype: torch.dtype) -> None:
    x = signal(40).to(dtype)
    y, _ = shift(kind).to(dtype)(x)
    assert torch.equal(y, shift("token").to(dtype)(x)[0])
    bound = {"rtol": 1e-6, "atol": 1e-6} if dtype == torch.float32 else {"rtol": 1e-14, "atol": 1e-14}
    torch.testing.assert_close(y.detach(), token_shift(x, MIX.to(dtype)), **bound)
    assert y.shape == (MIXES, 40, BATCH, FEATURES)


@pytest.mark.parametrize("kind", KINDS)
@given(seed=st.integers(0, 10**6), ends=cuts(STEPS))
def test_chunk_law(kind: str, seed: int, ends: list[int]) -> None:
    torch.manual_seed(seed)
    layer, x = drawn(kind), signal(seed=seed)
    whole, state = layer(x)
    pieces, after = [], None
    for a, b in pairwise(ends):
        y, after = layer(x[a:b], after)
        pieces.append(y)
    torch.testing.assert_close(torch.cat(pieces, 1), whole, rtol=1e-13, atol=1e-13)
    assert torch.equal(after.history, state.history)
    assert state.history.shape == (1 if kind == "token" else LONGEST, BATCH, FEATURES)
    forgetful = torch.cat([layer(x[:7])[0], layer(x[7:])[0]], 1)
    assert not torch.allclose(forgetful, whole, rtol=1e-3), "a history that is dropped goes unseen"


@pytest.mark.parametrize("kind", KINDS)
def test_is_causal_and_neurons_are_apart(kind: str) -> None:
    layer = drawn(kind)
    x = signal().requires_grad_()
    (grad,) = torch.autograd.grad(layer(x)[0][:, 9, 0, 2].sum(), x)
    assert not grad[10:].any()
    reached = grad != 0
    assert reached[8:10, 0, 2].all(), "its present and the step before"
    reached[..., 0, 2] = False
    assert not reached.any(), "another neuron or another sample"


@pytest.mark.parametrize("taps", ["gaussian", "triangle"])
def test_gradient_reaches_the_weight_first_and_then_the_delay(taps: str) -> None:
    layer, x = shift("learned", taps=taps), signal()
    cotangent = torch.randn(MIXES, STEPS, BATCH, FEATURES, dtype=torch.float64)

    def gradients() -> tuple[Tensor, ...]:
        return torch.autograd.grad((layer(x)[0] * cotangent).sum(), (layer.weight, layer.delay, layer.mix))

    weight, delay, mix = gradients()
    assert weight.abs().min() > 0
    assert mix.abs().min() > 0
    assert not delay.any()
    with torch.no_grad():
        layer.weight -= 0.1 * weight
    assert gradients()[1].abs().min() > 0


@pytest.mark.parametrize("taps", ["gaussian", "triangle", "linear", "linear_normalized"])
def test_gradients_are_those_of_finite_differences(taps: str) -> None:
    layer, x = drawn("learned", taps=taps, sigma_steps=0.8), signal(6).requires_grad_()
    names = ("mix", "weight", "delay")
    with torch.no_grad():  # away from integer delays, where some taps have corners
        layer.delay.copy_(layer.delay.floor().clamp(max=LONGEST - 1) + 0.2 + 0.2 * torch.rand_like(layer.delay))
    parameters = [getattr(layer, name).detach().clone().requires_grad_() for name in names]

    def run(x: Tensor, *values: Tensor) -> Tensor:
        return functional_call(layer, dict(zip(names, values)), (x,))[0]

    assert torch.autograd.gradcheck(run, (x, *parameters), eps=1e-6, atol=1e-7, rtol=1e-6)


def test_gradients_of_a_dense_shift_are_those_of_finite_differences() -> None:
    layer, x = drawn("dense"), signal(6).requires_grad_()
    lags = layer.lags.detach().clone().requires_grad_()
    assert torch.autograd.gradcheck(lambda x, lags: functional_call(layer, {"lags": lags}, (x,))[0], (x, lags))


@pytest.mark.parametrize("taps", ["gaussian", "triangle", "linear", "linear_normalized"])
def test_rounded_delays_are_a_sum_of_delayed_copies(taps: str) -> None:
    layer, x = drawn("learned", taps=taps, sigma_steps=2.0), signal()
    before = layer.delay.detach().clone()
    soft = layer(x)[0].detach()
    layer.round_delays_()
    assert torch.equal(layer.delay, before.round())
    assert not layer.delay.requires_grad
    torch.testing.assert_close(layer(x)[0].detach(), sum_over_delays(layer, x), rtol=1e-13, atol=1e-13)
    assert not torch.allclose(soft, layer(x)[0].detach(), atol=1e-2), "nothing was rounded"
    again = copy.deepcopy(layer)
    again.round_delays_()
    assert torch.equal(again(x)[0], layer(x)[0])


def test_comparison_with_the_sum_can_fail() -> None:
    layer, x = drawn("learned"), signal()
    layer.round_delays_()
    want = layer(x)[0].detach()
    with torch.no_grad():
        layer.delay[1, 2, 3] += 1 if layer.delay[1, 2, 3] < LONGEST else -1
    assert not torch.allclose(sum_over_delays(layer, x), want, atol=1e-3)


def test_halves_are_rounded_to_even() -> None:
    layer = shift("learned", points=1)
    with torch.no_grad():
        layer.delay.fill_(2.5)
    layer.round_delays_()
    assert layer.delay.unique().tolist() == [2.0]


@pytest.mark.parametrize("kind", ["token", "dense", "fixed"])
def test_rounding_and_clamping_leave_other_kinds_alone(kind: str) -> None:
    layer, x = drawn(kind), signal()
    want = layer(x)[0]
    layer.round_delays_()
    layer.clamp_delays_()
    layer.check_delays()
    assert torch.equal(layer(x)[0], want)


def test_fixed_delays_are_integers_and_never_move() -> None:
    layer, x = drawn("fixed"), signal()
    assert not layer.delay.requires_grad
    assert torch.equal(layer.delay, layer.delay.round())
    torch.testing.assert_close(layer(x)[0].detach(), sum_over_delays(layer, x), rtol=1e-13, atol=1e-13)
    start = {name: parameter.detach().clone() for name, parameter in layer.named_parameters()}
    optimiser = torch.optim.AdamW(layer.parameters(), lr=0.1, weight_decay=0.1)
    for sigma_steps in (2.0, 1.0, 0.5):
        layer.set_sigma(sigma_steps)
        optimiser.zero_grad()
        layer(x)[0].square().mean().backward()
        optimiser.step()
        layer.clamp_delays_()
    assert torch.equal(layer.delay, start["delay"])
    assert (layer.weight - start["weight"]).abs().min() > 0
    assert (layer.mix - start["mix"]).abs().min() > 0
    torch.testing.assert_close(layer(x)[0].detach(), sum_over_delays(layer, x), rtol=1e-13, atol=1e-13)


def test_a_dense_shift_is_a_free_short_convolution() -> None:
    layer, x = drawn("dense"), signal()
    kernel = layer.lags.detach().clone()
    kernel[0] += layer.mix.detach()
    kernel[1] += 1 - layer.mix.detach()
    padded = torch.cat([x.new_zeros(LONGEST, BATCH, FEATURES), x]).permute(1, 2, 0)
    for m in range(MIXES):
        filters = kernel[:, m].flip(0).T.unsqueeze(1)  # convolutions of torch run backwards in time
        want = torch.nn.functional.conv1d(padded, filters, groups=FEATURES).permute(2, 0, 1)
        torch.testing.assert_close(layer(x)[0][m].detach(), want, rtol=1e-12, atol=1e-13)
    assert layer.delay is None
    assert layer.weight is None


@pytest.mark.parametrize("kind", KINDS)
def test_window_of_a_single_step(kind: str) -> None:
    layer, x = drawn(kind, max_delay_steps=1), signal()
    y, state = layer(x)
    assert y.shape == (MIXES, STEPS, BATCH, FEATURES)
    assert torch.equal(state.history, x[-1:])


def test_delays_begin_log_uniform() -> None:
    layer = DelayShift(torch.ones(4, 3000), max_delay_steps=64, points=2)
    delays = layer.delay.detach().flatten()
    assert delays.min() >= 1
    assert delays.max() <= 64
    for quantile in (0.1, 0.5, 0.9):
        assert float(delays.quantile(quantile)) == pytest.approx(64**quantile, rel=0.08)
    assert float(layer.sigma) == 8.0
    assert float(DelayShift(torch.ones(1, 1), max_delay_steps=5).sigma) == 1.0


def test_all_kinds_draw_alike() -> None:
    after, delays = [], {}
    for kind in KINDS:
        torch.manual_seed(3)
        layer = DelayShift(torch.ones(2, 7), kind=kind)
        after.append(float(torch.rand(())))
        delays[kind] = layer.delay
    assert len(set(after)) == 1
    assert torch.equal(delays["fixed"], delays["learned"].detach().round())


def test_mix_is_a_copy() -> None:
    mix = torch.ones(2, 3)
    layer = DelayShift(mix)
    with torch.no_grad():
        layer.mix.zero_()
    assert mix.all()


@pytest.mark.parametrize("kind", ["learned", "fixed", "dense", "token"])
def test_neuron_delays_begin_as_the_signal_itself(kind: str) -> None:
    layer, x = NeuronDelays(FEATURES, kind=kind, max_delay_steps=LONGEST).double(), signal()
    y, _ = layer(x)
    assert torch.equal(y, x)
    with torch.no_grad():
        for weight in (layer.shift.weight, layer.shift.lags):
            if weight is not None:
                weight.fill_(0.5)
    whole, state = layer(x)
    parts, after = in_chunks(layer, x, [0, 4, 4, 5, STEPS])
    torch.testing.assert_close(parts, whole.detach(), rtol=1e-13, atol=1e-13)
    assert torch.equal(after.history, state.history)
    assert torch.equal(whole, x) == (kind == "token")


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: DelayShift(MIX, kind="free"), "kind must be one of token, learned, fixed, dense; got 'free'"),
        (lambda: DelayShift(MIX, taps="box"), "taps must be one of gaussian, .*; got 'box'"),
        (
            lambda: DelayShift(MIX, max_delay_steps=0),
            "max_delay_steps must be at least 1, got 0",
        ),
        (lambda: DelayShift(MIX, points=0), "points must be at least 1, got 0"),
        (lambda: DelayShift(MIX, sigma_steps=0.0), "sigma_steps of gaussian taps must be a positive number, got 0.0"),
        (lambda: DelayShift(MIX).set_sigma(-1.0), "got -1.0"),
        (lambda: DelayShift(MIX).set_sigma(float("nan")), "got nan"),
        (lambda: DelayShift(MIX).set_sigma(float("inf")), "got inf"),
        (lambda: NeuronDelays(3, kind="axonal"), "kind must be one of token.*'axonal'"),
    ],
)
def test_wrong_names_and_numbers(call, message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        call()


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (
            lambda: DelayShift(MIX[0]),
            r"mix must be a floating-point tensor \[mixes, features\], got a Tensor of shape \(5,\)",
        ),
        (lambda: DelayShift(MIX[None]), r"got a Tensor of shape \(1, 3, 5\)"),
        (lambda: shift("learned")(signal(features=4)), r"a shift of 5 neurons got an input of shape \(15, 2, 4\)"),
        (lambda: shift("token")(signal(), shift("learned")(signal())[1]), r"state has shape \(6, 2, 5\).*\(1, 2, 5\)"),
        (
            lambda: shift("dense")(signal(), DelayLineState(signal(6)[:, :1])),
            r"the shift's state has shape \(6, 1, 5\), the input needs \(6, 2, 5\).*pass state=None",
        ),
    ],
)
@pytest.mark.usefixtures("own_shape_errors")
def test_wrong_shapes(call, message: str) -> None:
    with pytest.raises(ShapeError, match=message):
        call()


@pytest.mark.parametrize(
    ("value", "message"),
    [
        (LONGEST + 0.01, r"1 of 30 delays lie outside 0..6 steps .*clamp_delays_"),
        (-0.01, "1 of 30 delays lie outside 0..6"),
        (float("nan"), "1 of 30 delays are NaN; lower the learning rate"),
    ],
)
def test_delays_outside_the_window_are_refused_not_clamped(value: float, message: str) -> None:
    layer = shift("learned")
    with torch.no_grad():
        layer.delay[1, 2, 3] = value
    with pytest.raises(ConfigError, match=message):
        layer(signal())
    with pytest.raises(ConfigError, match=f"^blocks.0.time.mixing.shift: {message}"):
        layer.check_delays("blocks.0.time.mixing.shift")


def test_clamping_brings_delays_back() -> None:
    layer = shift("learned")
    with torch.no_grad():
        layer.delay += torch.linspace(-9, 9, layer.delay.numel()).view(layer.delay.shape)
    layer.clamp_delays_()
    assert layer.delay.min() == 0
    assert layer.delay.max() == LONGEST
    layer(signal())


def echo_learned(kind: str, lag: int, steps: int = 150) -> tuple[DelayShift, float]:
    """Trained on an echo, ``y_t = x_t + x_{t - lag}``; and the share of the echo that is not explained."""
    torch.manual_seed(1)
    x = (torch.rand(100, 16, 12) < 0.2).float()
    target = x + torch.cat([torch.zeros(lag, 16, 12), x[:-lag]])
    layer = DelayShift(torch.ones(1, 12), kind=kind, max_delay_steps=32, points=1, sigma_steps=12.0)
    weights = [p for name, p in layer.named_parameters() if name != "delay"]
    groups = [{"params": weights, "lr": 0.05}]
    if kind == "learned":
        groups.append({"params": [layer.delay], "lr": 0.5})
    optimiser = torch.optim.Adam(groups)
    for step in range(steps):
        layer.set_sigma(max(0.4, 12.0 * 0.97**step))
        loss = (layer(x)[0][0] - target).square().mean()
        optimiser.zero_grad()
        loss.backward()
        optimiser.step()
        layer.clamp_delays_()
    layer.round_delays_()
    with torch.no_grad():
        left = float((layer(x)[0][0] - target).square().mean() / (target - x).square().mean())
    return layer, left


@pytest.mark.parametrize("lag", [3, 9, 24])
def test_a_planted_delay_is_learnt(lag: int) -> None:
    layer, left = echo_learned("learned", lag)
    assert layer.delay.unique().tolist() == [lag], layer.delay
    assert left < 0.02


@pytest.mark.parametrize("kind", ["token", "fixed"])
def test_a_shift_whose_delays_are_not_learnt_does_not_find_it(kind: str) -> None:
    assert echo_learned(kind, 9)[1] > 0.6


def test_a_free_convolution_finds_it_too() -> None:
    layer, left = echo_learned("dense", 9)
    assert left < 0.02
    assert layer.lags[:, 0].abs().argmax(0).unique().tolist() == [9]
