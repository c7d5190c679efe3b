"""Scores, loss and measurement: only a sample's own steps count, whoever its neighbours are."""

import math

import numpy as np
import pytest
import torch
from torch import Tensor

from snn_delays.discrete.discretize import discretize
from snn_delays.errors import ConfigError, ShapeError
from snn_delays.recipes.build import network_for
from snn_delays.training import measure as measure_module
from snn_delays.training.measure import Measurement, measure
from snn_delays.training.objective import class_scores, loss, valid_steps
from tests.support import tiny_runs


def by_hand() -> tuple[Tensor, Tensor]:
    """Membranes of two classes whose softmaxes are known: 1/2 1/2, 3/4 1/4, 1/4 3/4; the last step is padding."""
    v = torch.tensor([[[0.0, 0.0]], [[math.log(3), 0.0]], [[0.0, math.log(3)]]], dtype=torch.float64)
    return v, torch.tensor([2])


def test_the_published_scores_and_loss_by_hand() -> None:
    v, lengths = by_hand()
    scores = class_scores(v, valid_steps(lengths, 3))
    torch.testing.assert_close(scores, torch.tensor([[1.25, 0.75]], dtype=torch.float64))
    # a softmax again, over the sums
    expected = -1.25 + math.log(math.exp(1.25) + math.exp(0.75))
    assert float(loss(scores, torch.tensor([0]))) == pytest.approx(expected)
    soft = float(loss(scores, torch.tensor([[0.25, 0.75]], dtype=torch.float64)))
    assert soft == pytest.approx(0.25 * expected + 0.75 * (expected + 0.5))


def test_canary_counting_the_padding_is_seen() -> None:
    v, _ = by_hand()
    unmasked = class_scores(v, torch.ones(3, 1, dtype=torch.bool))
    torch.testing.assert_close(unmasked, torch.tensor([[1.5, 1.5]], dtype=torch.float64))


@pytest.mark.parametrize(
    ("readout", "expected"),
    [("membrane_mean", [math.log(3) / 2, 0.0]), ("membrane_max", [math.log(3), 0.0])],
)
def test_other_readouts_by_hand(readout: str, expected: list[float]) -> None:
    v, lengths = by_hand()
    scores = class_scores(v, valid_steps(lengths, 3), readout)
    torch.testing.assert_close(scores, torch.tensor([expected], dtype=torch.float64))


@pytest.mark.parametrize("readout", ["softmax_sum", "membrane_mean", "membrane_max"])
def test_nothing_after_the_end_reaches_scores_or_gradients(readout: str) -> None:
    v = torch.randn(6, 3, 4, dtype=torch.float64)
    valid = valid_steps(torch.tensor([2, 6, 1]), 6)
    other = torch.where(valid.unsqueeze(-1), v, 1e3 * torch.randn_like(v)).requires_grad_()
    scores = class_scores(other, valid, readout)
    torch.testing.assert_close(scores, class_scores(v, valid, readout), rtol=0, atol=0)
    (gradient,) = torch.autograd.grad(loss(scores, torch.tensor([0, 1, 2])), other)
    assert bool(gradient.isfinite().all())
    assert float(gradient[~valid].abs().max()) == 0
    assert float(gradient[valid].abs().max()) > 0


def test_unknown_readout() -> None:
    with pytest.raises(ConfigError, match="unknown readout 'sum'; choose softmax_sum"):
        class_scores(torch.zeros(1, 1, 2), torch.ones(1, 1, dtype=torch.bool), "sum")


@pytest.mark.parametrize("lengths", [[0, 3], [4, 3], [-1, 3]])
def test_lengths_out_of_range(lengths: list[int]) -> None:
    with pytest.raises(ShapeError, match=r"lengths must lie in 1\.\.3 steps"):
        valid_steps(torch.tensor(lengths), 3)


def measured(batch_size: int, real: bool, order: np.ndarray | None = None, padding: str = "masked") -> Measurement:
    recipe = tiny_runs.tiny_recipe(training={"batch_size": batch_size}, data={"padding": padding})
    dataset = tiny_runs.tiny_data()
    torch.manual_seed(0)
    network = network_for(recipe, dataset).double()
    with torch.no_grad():
        network.hidden1.norm.bias.fill_(0.6)  # type: ignore[union-attr, operator]
    indices = np.arange(len(dataset)) if order is None else order
    return measure(network if real else discretize(network), dataset, indices, recipe)


@pytest.mark.parametrize("real", [True, False], ids=["real delays", "integer delays"])
def test_a_sample_is_scored_alike_in_any_company(real: bool) -> None:
    alone = measured(1, real)
    rate = alone.firing_rates["hidden1.neuron"]
    assert 0.02 < rate < 0.6
    assert len(set(tiny_runs.tiny_data().lengths().tolist())) > 3
    for other in (measured(7, real), measured(64, real)):
        torch.testing.assert_close(other.scores, alone.scores, rtol=0, atol=1e-6)  # scores are kept in float32
        assert other.firing_rates["hidden1.neuron"] == pytest.approx(rate, rel=1e-12)
        assert other.accuracy == alone.accuracy
    order = np.random.default_rng(0).permutation(64)
    torch.testing.assert_close(measured(16, real, order).scores, alone.scores[order], rtol=0, atol=1e-6)


@pytest.mark.parametrize("readout", ["softmax_sum", "membrane_mean", "membrane_max"])
def test_a_network_is_measured_with_the_readout_it_was_trained_with(readout: str) -> None:
    dataset = tiny_runs.tiny_data()
    recipe = tiny_runs.tiny_recipe(data={"padding": "published"}, training={"readout": readout, "batch_size": 64})
    torch.manual_seed(0)
    network = network_for(recipe, dataset).eval()
    with torch.no_grad():
        network.hidden1.norm.bias.fill_(0.6)  # type: ignore[union-attr, operator]
    batch = dataset.batch(np.arange(64), recipe.data.tail_steps, recipe.data.padding)  # as an epoch of one batch
    v = network(batch.counts.float())[0].detach()
    found = measure(network, dataset, np.arange(64), recipe)
    torch.testing.assert_close(found.scores, class_scores(v, valid_steps(batch.lengths, len(v)), readout))
    own = torch.from_numpy(dataset.lengths() + recipe.data.tail_steps)
    torch.testing.assert_close(found.masked.scores, class_scores(v, valid_steps(own, len(v)), readout))
    assert float((found.scores - found.masked.scores).abs().max()) > 0.01
    masked = tiny_runs.tiny_recipe(training={"readout": readout})
    torch.testing.assert_close(measure(network, dataset, np.arange(64), masked).scores, found.masked.scores)


def test_as_trained_does_not_depend_on_batches_or_their_order() -> None:
    alone, order = measured(1, False, padding="published"), np.random.default_rng(0).permutation(64)
    assert 0.02 < alone.firing_rates["hidden1.neuron"] < 0.6
    for found in (measured(7, False, padding="published"), measured(64, False, padding="published")):
        torch.testing.assert_close(found.scores, alone.scores, rtol=0, atol=1e-5)
        assert found.firing_rates == pytest.approx(measured(7, False).firing_rates, rel=1e-12)  # of own steps
    shuffled = measured(16, False, order, padding="published")
    torch.testing.assert_close(shuffled.scores, alone.scores[order], rtol=0, atol=1e-5)
    longest = int(tiny_runs.tiny_data().lengths().max()) + 4
    torch.testing.assert_close(alone.scores.sum(1), torch.full((64,), float(longest)))  # a softmax sums to one a step


def test_masked_is_all_there_is_where_a_network_was_trained_masked() -> None:
    found = measured(16, False)
    assert found.masked_scores is None
    assert found.masked is found


def test_canary_scores_over_padding_depend_on_the_company(monkeypatch: pytest.MonkeyPatch) -> None:
    alone = measured(1, True)

    def all_steps(lengths: Tensor, steps: int) -> Tensor:
        return torch.ones(steps, len(lengths), dtype=torch.bool)

    monkeypatch.setattr(measure_module, "valid_steps", all_steps)
    assert float((measured(64, True).scores - alone.scores).abs().max()) > 0.1


def test_firing_rates_are_spikes_per_neuron_and_own_step() -> None:
    dataset = tiny_runs.tiny_data()
    recipe = tiny_runs.tiny_recipe()
    torch.manual_seed(0)
    network = network_for(recipe, dataset).eval()
    with torch.no_grad():
        network.hidden1.norm.bias.fill_(0.6)  # type: ignore[union-attr, operator]
    spikes, places = 0.0, 0
    for i in range(len(dataset)):
        batch = dataset.batch([i], recipe.data.tail_steps)
        out, _ = network.hidden1(batch.counts.float())
        spikes, places = spikes + float(out.detach().sum()), places + out.numel()
    measured_rate = measure(network, dataset, np.arange(len(dataset)), recipe).firing_rates
    assert list(measured_rate) == ["hidden1.neuron"]
    assert measured_rate["hidden1.neuron"] == pytest.approx(spikes / places, rel=1e-3)


def test_measurement_counts() -> None:
    result = Measurement(torch.tensor([[2.0, 1, 0], [0, 3, 0], [5, 0, 1]]), torch.tensor([0, 1, 2]), {})
    assert result.predictions.tolist() == [0, 1, 0]
    assert result.correct.tolist() == [True, True, False]
    assert result.accuracy == pytest.approx(2 / 3)
    assert result.confusion().tolist() == [[1, 0, 0], [0, 1, 0], [1, 0, 0]]
    logs = torch.log_softmax(result.scores.double(), 1)
    assert result.loss == pytest.approx(float(-(logs[0, 0] + logs[1, 1] + logs[2, 2]) / 3))


def test_measuring_leaves_the_network_in_training() -> None:
    dataset, recipe = tiny_runs.tiny_data(), tiny_runs.tiny_recipe()
    network = network_for(recipe, dataset).train()
    before = {name: tensor.clone() for name, tensor in network.state_dict().items()}
    measure(network, dataset, np.arange(8), recipe)
    assert network.training
    for name, tensor in network.state_dict().items():
        assert torch.equal(tensor, before[name]), name
