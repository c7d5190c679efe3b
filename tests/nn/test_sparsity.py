"""Delay sparsity: what a mask leaves active, what learns, and what is discretised, streamed and pruned."""

import copy
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from snn_delays.discrete import discretize
from snn_delays.discrete.streaming.engine import StreamingEngine
from snn_delays.errors import ConfigError
from snn_delays.models import ConvolutionalClassifier, DelayClassifier
from snn_delays.nn import LIF, DelayedConv2d, DelayedLinear, Recurrent, keep_delays_in_window, parameter_groups
from snn_delays.nn.pruning import delay_sensitivity, prune_delays
from snn_delays.nn.sparsity import cubic_sparsity
from snn_delays.units import round_delays


def spikes(width: int = 6, steps: int = 40) -> Tensor:
    generator = torch.Generator().manual_seed(1)
    return (torch.rand(steps, 3, width, dtype=torch.float64, generator=generator) < 0.4).double()


def layer(least: int = 0, **options: Any) -> DelayedLinear:
    torch.manual_seed(3)
    options = {"delay_sparsity": 0.75, "delay_mask": "learned", "sigma_steps": 0.8, **options}
    return DelayedLinear(6, 8, max_delay_steps=9, min_delay_steps=least, **options).double()


@pytest.mark.parametrize("mask", ["fixed", "learned"])
@pytest.mark.parametrize("sharing", ["synapse", "axon", "dendrite"])
@pytest.mark.parametrize("least", [0, 2])
def test_inactive_delays_act_as_the_shortest(mask: str, sharing: str, least: int) -> None:
    made = layer(least, sharing=sharing, delay_mask=mask)
    active = made.mask.active
    assert int(active.sum()) == round(0.25 * active.numel())
    assert isinstance(made.mask.scores, nn.Parameter) == (mask == "learned")
    found, _ = made(spikes())
    set_by_hand = layer(least, sharing=sharing, delay_sparsity=0.0, delay_mask="fixed")
    set_by_hand.weight = made.weight
    for shortest, same in ((least, True), (9, False)):  # canary: as the longest, as published code has it
        with torch.no_grad():
            set_by_hand.delay.copy_(torch.where(active, made.delay, float(shortest)))
        assert torch.equal(found, set_by_hand(spikes())[0]) == same


def test_gradients_reach_active_delays_and_all_scores() -> None:
    made = layer()
    weight = torch.linspace(-1, 1, 40 * 3 * 8, dtype=torch.float64).view(40, 3, 8)
    (made(spikes())[0] * weight).sum().backward()
    active, scores = made.mask.active, made.mask.scores
    assert made.delay.grad is not None
    assert scores.grad is not None
    assert bool((made.delay.grad[active] != 0).all())
    assert bool((made.delay.grad[~active] == 0).all())
    plain = layer(delay_sparsity=0.0, delay_mask="fixed")
    plain.weight = made.weight
    with torch.no_grad():
        plain.delay.copy_(made.effective_delay())
    (plain(spikes())[0] * weight).sum().backward()
    p = scores.detach().sigmoid()
    torch.testing.assert_close(scores.grad, plain.delay.grad * made.delay.detach() * p * (1 - p))
    torch.testing.assert_close(made.delay.grad, plain.delay.grad * active)


def test_scores_are_trained_and_the_mask_follows_them() -> None:
    made = layer()
    groups = {group["name"]: group for group in parameter_groups(made, lr=0.2, lr_delay=0.1, weight_decay=0.5)}
    assert any(each is made.mask.scores for each in groups["others"]["params"])
    assert groups["others"]["weight_decay"] == 0
    optimiser = torch.optim.Adam(groups.values())
    keep_delays_in_window(made, optimiser)
    scores, active = made.mask.scores.detach().clone(), made.mask.active.clone()
    wanted = layer(delay_sparsity=0.0, delay_mask="fixed")(spikes())[0].detach()
    for _ in range(15):
        optimiser.zero_grad()
        (made(spikes())[0] - wanted).square().mean().backward()
        optimiser.step()
    now = made.mask
    assert float((now.scores.detach() - scores).abs().min()) > 1e-3
    assert not torch.equal(now.active, active)
    assert int(now.active.sum()) == int(active.sum())
    assert float(now.scores.detach()[now.active].min()) >= float(now.scores.detach()[~now.active].max())


def test_a_fixed_mask_stays_and_survives_saving() -> None:
    made, other = layer(delay_mask="fixed"), layer(delay_mask="fixed")
    other.reset_parameters()
    assert not torch.equal(made.mask.active, other.mask.active)
    before = made.mask.active.clone()
    made.clamp_delays_()
    assert torch.equal(made.mask.active, before)
    other.load_state_dict(made.state_dict())
    assert torch.equal(other.mask.active, before)
    assert torch.equal(other(spikes())[0], made(spikes())[0])


def test_a_learned_mask_of_a_schedule_survives_saving() -> None:
    made, other = layer(), layer()
    made.mask.set_sparsity(0.25)
    assert int(made.mask.active.sum()) == 36
    other.load_state_dict(made.state_dict())
    other.clamp_delays_()  # the number of active delays is saved, too
    assert torch.equal(other.mask.active, made.mask.active)


def test_the_schedule_is_cubic() -> None:
    assert [cubic_sparsity(0.8, t / 4) for t in range(6)] == pytest.approx(
        [0, 0.8 * (1 - 0.75**3), 0.7, 0.8 * (1 - 0.25**3), 0.8, 0.8]
    )
    assert cubic_sparsity(0.8, 0.5, start=0.4) == pytest.approx(0.75)


def test_without_sparsity_nothing_is_drawn_or_saved() -> None:
    made = layer(delay_sparsity=0.0, delay_mask="fixed")
    assert set(made.state_dict()) == {"weight", "delay", "sigma"}
    assert made.effective_delay() is made.delay is made.acting_delay()


@pytest.mark.parametrize("mask", ["fixed", "learned"])
@pytest.mark.parametrize("sharing", ["synapse", "axon", "dendrite"])
def test_the_mask_is_discretised_and_streamed(mask: str, sharing: str) -> None:
    torch.manual_seed(5)
    options = {"delay_sparsity": 0.8, "delay_mask": mask, "sharing": sharing, "taps": "linear"}
    network = DelayClassifier(6, (12, 10), 3, max_delay_steps=9, tau_steps=3.0, recurrent=True, **options).double()
    for each in network.modules():
        if isinstance(each, DelayedLinear):
            with torch.no_grad():
                each.delay.copy_(round_delays(each.delay))
                each.weight.mul_(2)
    network.eval()
    x = spikes()
    with torch.no_grad():
        expected, rates = network(x)[0], network.hidden1(x)[0].mean()
    assert 0.02 < rates < 0.9
    found = discretize(network)
    torch.testing.assert_close(found(x)[0], expected, rtol=1e-9, atol=1e-9)
    delays = found.hidden1.synapse.delay
    assert int((delays == 0).sum()) >= 0.8 * delays.numel() - 1
    assert int((delays > 0).sum()) > 0
    unmasked = copy.deepcopy(network)
    for each in unmasked.modules():
        if isinstance(each, DelayedLinear):
            each.mask = None
    assert not torch.allclose(discretize(unmasked)(x)[0], expected)  # canary
    streamed = torch.from_numpy(StreamingEngine(found).run(x[:, 0].numpy()))
    torch.testing.assert_close(streamed.double().view(40, -1), expected[:, 0], rtol=1e-5, atol=1e-5)


def test_convolutions_and_recurrence_have_masks() -> None:
    torch.manual_seed(0)
    network = ConvolutionalClassifier(
        (2, 6, 6), (3,), (5,), 2, max_delay_steps=6, kernel_size=3, sharing="channel", delay_sparsity=0.5
    )
    assert isinstance(network.conv1.synapse, DelayedConv2d)
    assert network.conv1.synapse.mask.active.sum() == 3
    assert int((discretize(network).conv1.synapse.delay == 0).sum()) >= 3
    synapse = DelayedLinear(5, 5, max_delay_steps=4, min_delay_steps=1, delay_sparsity=0.6, delay_mask="learned")
    population = Recurrent(synapse, LIF(3.0)).double()
    out, _ = population(0.8 * spikes(5))
    assert 0.05 < float(out.detach().mean()) < 0.9
    out.square().sum().backward()
    assert float(synapse.mask.scores.grad.abs().sum()) > 0
    assert float(synapse.acting_delay().detach().min()) == 1


@pytest.mark.parametrize("options", [{}, {"delay_rounding": "straight_through", "learn_width": "axon"}])
def test_hybrid_delays_are_an_axons_and_a_fixed_synapses(options: dict[str, str]) -> None:
    torch.manual_seed(0)
    made = DelayedLinear(6, 8, max_delay_steps=9, min_delay_steps=1, sharing="hybrid", sigma_steps=0.4, **options)
    made = made.double()
    assert made.delay.shape == (1, 6, 1)
    assert made.fixed_delay.shape == made.weight.shape
    assert set(made.fixed_delay.unique().tolist()) == {0.0, 1.0, 2.0, 3.0, 4.0}
    plain = DelayedLinear(6, 8, max_delay_steps=9, min_delay_steps=1, sigma_steps=0.4).double()
    plain.weight = made.weight
    total = made.delay + made.fixed_delay
    with torch.no_grad():
        plain.delay.copy_(total.round() if options else total)
    if options:
        made.width.data.fill_(0)  # 2 sigmoid(0) = 1
    found = made(spikes())[0]
    assert torch.equal(found, plain(spikes())[0])
    found.square().sum().backward()
    plain(spikes())[0].square().sum().backward()
    torch.testing.assert_close(made.delay.grad, plain.delay.grad.sum(0, keepdim=True))
    assert torch.equal(_discrete(made), round_delays(total))
    with torch.no_grad():
        made.delay.fill_(100.0)
    made.clamp_delays_()
    assert float(made.effective_delay().max()) == 9
    assert float(made.delay.max()) == 5
    assert "fixed_delay" in made.state_dict()


def _discrete(made: DelayedLinear) -> Tensor:
    from snn_delays.nn import Sequential

    return discretize(Sequential(synapse=made, neuron=LIF(2.0))).synapse.delay


def test_pruning_keeps_the_delays_that_matter() -> None:
    """Only input 2 ever spikes, so only its delays matter."""
    torch.manual_seed(0)
    made = DelayedLinear(6, 4, max_delay_steps=9, sigma_steps=1.0).double()
    x = spikes() * torch.eye(6, dtype=torch.float64)[2]
    found = delay_sensitivity(made, (made(x)[0].square().mean() for _ in range(2)))
    assert list(found) == [""]
    assert bool((found[""][:, 2] > 0).all())
    assert float(found[""].sum()) == pytest.approx(float(found[""][:, 2].sum()))
    pruned = prune_delays(made, found, 1 - 4 / 24)
    assert torch.equal(pruned.delay[:, 2], made.delay[:, 2])
    assert int((pruned.delay != 0).sum()) == 4
    assert torch.equal(pruned(x)[0], made(x)[0])
    worse = prune_delays(made, {"": -found[""]}, 1 - 4 / 24)  # canary
    assert not torch.allclose(worse(x)[0], made(x)[0])
    delay = made.delay.detach()
    gradient = torch.autograd.grad(made(x)[0].square().mean(), made.delay)[0]
    torch.testing.assert_close(found[""], 2 * (gradient * delay).abs())


def test_what_cannot_be_is_refused() -> None:
    for options, words in (
        ({"delay_sparsity": 1.0}, "below 1"),
        ({"delay_sparsity": 0.5, "sharing": "layer", "delay_mask": "fixed"}, "not sharing = 'layer'"),
        ({"delay_sparsity": 0.0}, "delay_sparsity above 0"),
        ({"learn_delay": False}, "delays that are learned"),
        ({"delay_mask": "random"}, "delay_mask"),
    ):
        with pytest.raises(ConfigError, match=words):
            layer(**options)
    with pytest.raises(ConfigError, match="learns no delays"):
        delay_sensitivity(DelayedLinear(3, 2, max_delay_steps=4, learn_delay=False), ())
    with pytest.raises(ConfigError, match="a share, 0 to 1"):
        prune_delays(layer(), {}, 2.0)
    with pytest.raises(ConfigError, match="sharing"):
        DelayedConv2d(1, 2, 3, max_delay_steps=4, sharing="hybrid")
