"""Recurrent delays against DelRec's equations: spikes, membranes, and the gradients of weights, delays and widths."""

import pytest
import torch
from torch import Tensor

from snn_delays.errors import ConfigError
from snn_delays.nn import LIF, BatchNorm, DelayedConv2d, DelayedLinear, LeakyIntegrator, Recurrent, Sequential
from snn_delays.ops.surrogate import Triangle
from tests.oracles.delrec import spikes_and_membrane

NEURONS, STEPS, LONGEST = 12, 40, 45  # lags of all taps: nothing lies beyond the window
SIGMAS = (0.0, 0.3, 1.0, 10.0)


def population(sharing: str, learn_width: str, sigma: float, taps: str = "delrec") -> Recurrent:
    torch.manual_seed(1)
    synapse = DelayedLinear(
        NEURONS, NEURONS, max_delay_steps=LONGEST, min_delay_steps=1, sharing=sharing, taps=taps, sigma_steps=sigma,
        delay_init="uniform", delay_range_steps=(1, 16), learn_width=learn_width, dtype=torch.float64,
    )  # fmt: skip
    torch.nn.init.orthogonal_(synapse.weight[..., 0])
    if synapse.width is not None:
        torch.nn.init.normal_(synapse.width)
    return Recurrent(synapse, LIF(2.0, reset="soft", detach_reset=False, surrogate=Triangle(1.0)))


def currents() -> Tensor:
    draw = torch.Generator().manual_seed(3)
    return torch.rand(STEPS, 2, NEURONS, generator=draw, dtype=torch.float64) * 1.6 - 0.2


def outcome(run, layer: Recurrent, x: Tensor) -> list[Tensor]:
    spikes, v = run(x)
    assert 0.05 < float(spikes.detach().mean()) < 0.6
    draw = torch.Generator().manual_seed(4)
    loss = sum((out * torch.randn(out.shape, generator=draw, dtype=out.dtype)).sum() for out in (spikes, v))
    s = layer.synapse
    leaves = [x, s.weight, s.delay, *([] if s.width is None else [s.width])]
    return [spikes, v, *torch.autograd.grad(loss, leaves)]


def theirs(layer: Recurrent, later: float = 1.0):
    s = layer.synapse
    width = None if s.width is None else s.width[..., 0].squeeze(0)
    sigma = float(s.sigma)
    return lambda x: spikes_and_membrane(x, s.weight[..., 0], s.delay[..., 0] - later, width, sigma, layer.neuron.decay)


def ours(layer: Recurrent):
    def run(x: Tensor) -> tuple[Tensor, Tensor]:
        spikes, state = layer(x)
        return spikes, state.neuron.v

    return run


def assert_equal(got: list[Tensor], want: list[Tensor]) -> None:
    for name, a, b, tolerance in zip(("spikes", "membrane", "x", "W", "d", "p"), got, want, (1e-6, 1e-6, *[1e-5] * 4)):
        torch.testing.assert_close(a, b, rtol=tolerance, atol=tolerance, msg=lambda m, name=name: f"{name}: {m}")


@pytest.mark.parametrize("sigma", SIGMAS)
@pytest.mark.parametrize(
    ("sharing", "learn_width"), [("axon", "axon"), ("axon", "none"), ("synapse", "axon"), ("layer", "none")]
)
def test_equal_to_delrec(sharing: str, learn_width: str, sigma: float) -> None:
    layer, x = population(sharing, learn_width, sigma), currents().requires_grad_()
    want = outcome(theirs(layer), layer, x)
    assert_equal(outcome(ours(layer), layer, x), want)
    assert all(float(g.detach().abs().max()) > 1e-3 for g in want[: 5 if sigma == 0 else 6])


@pytest.mark.parametrize("wrong", ["normalised", "a step late", "width that does not learn"])
def test_the_comparison_with_delrec_can_fail(wrong: str) -> None:
    right, x = population("axon", "axon", 1.0), currents().requires_grad_()
    layer = population("axon", "axon", 1.0, taps="triangle" if wrong == "normalised" else "delrec")
    with torch.no_grad():
        if wrong == "a step late":
            layer.synapse.delay.add_(1)
        elif wrong == "width that does not learn":
            layer.synapse.width.zero_()
    with pytest.raises(AssertionError):
        assert_equal(outcome(ours(layer), layer, x), outcome(theirs(right), right, x))


def test_numbers_of_parameters() -> None:
    """Of the published networks: SHD, whose first layer has no recurrence, and SSC, without norms, with widths."""

    def plain(inputs: int, outputs: int) -> DelayedLinear:
        return DelayedLinear(inputs, outputs, max_delay_steps=0, bias=True)

    def recurrent(**changes: str) -> Recurrent:
        options = {"max_delay_steps": 60, "min_delay_steps": 1, "sharing": "axon", "taps": "delrec", **changes}
        return Recurrent(DelayedLinear(256, 256, **options), LIF(2.0))

    ssc = [layer for n in (140, 256, 256) for layer in (plain(n, 256), recurrent(learn_width="axon"))]
    shd = [plain(140, 256), BatchNorm(256), LIF(2.0), plain(256, 256), BatchNorm(256), recurrent(), plain(256, 20)]
    for layers, want in ((shd, 173_844), ([*ssc, plain(256, 35)], 374_819)):
        network = Sequential(*layers, LeakyIntegrator(2.0))
        assert sum(p.numel() for p in network.parameters() if p.requires_grad) == want


def test_delays_are_drawn_as_asked() -> None:
    torch.manual_seed(0)
    half = DelayedLinear(
        400, 400, max_delay_steps=70, min_delay_steps=1, sharing="axon", delay_init="half_normal", delay_std_steps=12
    )
    delay = half.delay.detach()
    assert delay.shape == (1, 400, 1)
    assert float(delay.min()) >= 1
    assert float((delay - 1).square().mean().sqrt()) == pytest.approx(12, rel=0.15)
    some = DelayedLinear(40, 40, max_delay_steps=70, delay_range_steps=(11, 31), delay_init="uniform_rounded")
    assert (int(some.delay.min()), int(some.delay.max())) == (11, 31)
    assert torch.equal(some.delay, some.delay.round())


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"delay_init": "half_normal"}, "'half_normal' and delay_std_steps, a positive number, belong together"),
        ({"delay_std_steps": 3.0}, "belong together; got 3"),
        ({"delay_range_steps": (0, 9)}, r"within the window, 0..5 steps; got \(0, 9\)"),
        ({"delay_range_steps": (0, 3), "delay_init": "hammouamri_2024"}, "is of delay_init = 'uniform'"),
        ({"learn_width": "axon", "taps": "linear"}, "needs taps with a width, not 'linear'"),
        ({"learn_width": "neuron"}, "learn_width"),
    ],
)
def test_what_cannot_be_drawn_or_learned(options: dict, message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        DelayedLinear(3, 3, max_delay_steps=5, **options)


def test_widths_of_convolutions_do_not_learn() -> None:
    with pytest.raises(ConfigError, match="a convolution have one width"):
        DelayedConv2d(2, 3, 3, max_delay_steps=5, learn_width="synapse")
