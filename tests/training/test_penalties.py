"""Penalties of delays and of firing rates: their numbers by hand, their gradients, and nothing where they weigh 0."""

from types import SimpleNamespace
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from snn_delays.models import DelayClassifier
from snn_delays.training.objective import class_scores, loss, valid_steps
from snn_delays.training.penalties import mean_delay, out_of_bounds, penalised

LENGTHS = torch.tensor([20, 26, 30, 12])


def training(**changes: Any) -> Any:
    return SimpleNamespace(**{"delay_penalty": 0.0, "spike_penalty": 0.0, "rate_bounds": (0.001, 0.01), **changes})


def network(**options: Any) -> DelayClassifier:
    torch.manual_seed(2)
    return DelayClassifier(8, (12, 9), 4, max_delay_steps=7, tau_steps=3.0, sigma_steps=1.5, **options).double()


def objective(made: nn.Module, config: Any, seen: list[Tensor] | None = None) -> tuple[Tensor, Tensor]:
    generator = torch.Generator().manual_seed(1)
    x = (torch.rand(30, 4, 8, dtype=torch.float64, generator=generator) < 0.4).double()
    valid = valid_steps(LENGTHS, 30)
    with penalised(config, made, valid) as total:
        v, _ = made(x, None, valid)
    plain = loss(class_scores(v, valid), torch.arange(4))
    return plain, total(plain)


def test_a_weight_of_0_changes_nothing() -> None:
    made, other = network(), network()
    plain, total = objective(made, training())
    assert total is plain
    total.backward()
    x = (torch.rand(30, 4, 8, dtype=torch.float64, generator=torch.Generator().manual_seed(1)) < 0.4).double()
    valid = valid_steps(LENGTHS, 30)
    loss(class_scores(other(x, None, valid)[0], valid), torch.arange(4)).backward()
    for p, q in zip(made.parameters(), other.parameters()):
        assert torch.equal(p.grad, q.grad)
    assert not any(module._forward_hooks for module in made.modules())


@pytest.mark.parametrize("recurrent", [False, True])
def test_rates_count_a_samples_own_steps_alone(recurrent: bool) -> None:
    made, rates = network(recurrent=recurrent), []
    valid = valid_steps(LENGTHS, 30)

    def keep(_: object, __: object, output: Any) -> None:
        rates.append((output[0] * valid.unsqueeze(-1)).sum((0, 1)) / LENGTHS.sum())

    for hidden in (made.hidden1, made.hidden2):
        hidden.neuron.register_forward_hook(keep)
    least, most = 0.15, 0.2
    plain, total = objective(made, training(spike_penalty=0.3, rate_bounds=(least, most)))
    every = torch.cat(rates)
    assert len(rates) == 2
    assert bool((every < least).any())
    assert bool((every > most).any())
    outside = torch.where(every < least, least - every, torch.where(every > most, every - most, 0.0))
    torch.testing.assert_close(total - plain, 0.3 * outside.sum() / 2)


def test_the_gradient_pulls_rates_into_their_bounds() -> None:
    spikes = torch.tensor([[[1.0, 0.0, 1.0]], [[1.0, 0.0, 0.0]]], dtype=torch.float64, requires_grad=True)
    out_of_bounds(spikes, None, 0.1, 0.6).backward()
    assert spikes.grad is not None
    assert spikes.grad[:, 0].tolist() == [[0.25, -0.25, 0.0]] * 2  # half of 1 / 2 steps; rates 1, 0 and 0.5
    made = network()
    plain, total = objective(made, training(spike_penalty=1.0))
    gradients = torch.autograd.grad(total - plain, [made.hidden1.synapse.weight, made.hidden2.synapse.delay])
    assert all(float(gradient.abs().sum()) > 0 for gradient in gradients)


def test_the_gradient_of_the_mean_delay() -> None:
    made = network()
    plain, total = objective(made, training(delay_penalty=0.02))
    layers = [made.hidden1.synapse, made.hidden2.synapse, made.readout.synapse]
    every = torch.cat([layer.delay.detach().flatten() for layer in layers])
    torch.testing.assert_close((total - plain).detach(), 0.02 * every.mean())
    for gradient in torch.autograd.grad(total - plain, [layer.delay for layer in layers], retain_graph=True):
        torch.testing.assert_close(gradient, torch.full_like(gradient, 0.02 / len(every)))


def test_inactive_delays_count_as_the_shortest_and_pull_their_scores() -> None:
    made = network(delay_sparsity=0.5, delay_mask="learned")
    mean = mean_delay(made)
    dense = network()
    assert 0.3 < float(mean.detach() / mean_delay(dense).detach()) < 0.7
    scores = made.hidden1.synapse.mask.scores
    (gradient,) = torch.autograd.grad(mean, [scores])
    assert bool((gradient > 0).all())
