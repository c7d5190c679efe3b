"""Pruning the delays of a run: by gradients on its training samples, which are all that is read."""

from pathlib import Path

import pytest
import torch

from snn_delays.discrete import discretize
from snn_delays.errors import ConfigError
from snn_delays.nn import layers_with_delays
from snn_delays.runs.load import trained_network
from snn_delays.runs.prune import prune
from snn_delays.training.objective import class_scores, loss, valid_steps
from snn_delays.training.runlog import Run
from snn_delays.training.sources import selection
from tests.support import tiny_runs

pytestmark = pytest.mark.usefixtures("made_up_data")


def test_the_delays_of_least_sensitivity_become_the_shortest(trained: Run) -> None:
    before, pruned = trained_network(trained), prune(trained, 0.75)
    data = selection(trained.recipe)
    batches = torch.as_tensor(data.train).split(trained.recipe.training.batch_size)
    total = torch.zeros_like(before.hidden1.synapse.delay)
    for indices in batches:
        counts, lengths, labels = data.training.batch(indices.numpy(), trained.recipe.data.tail_steps)
        v, _ = before(counts.float())
        value = loss(class_scores(v, valid_steps(lengths, len(v))), labels)
        total += (torch.autograd.grad(value, before.hidden1.synapse.delay)[0] * before.hidden1.synapse.delay).abs()
    delay = pruned.hidden1.synapse.delay
    kept = delay != 0
    assert int(kept.sum()) == round(0.25 * delay.numel())
    assert torch.equal(delay[kept], before.hidden1.synapse.delay[kept])
    assert float(total[kept].min().detach()) >= float(total[~kept].max().detach()) > 0
    assert list(layers_with_delays(discretize(pruned))) == ["hidden1.synapse", "readout.synapse"]
    assert pruned.card == before.card


def test_a_network_that_learns_no_delays_is_refused(tmp_path: Path) -> None:
    run = tiny_runs.fitted(tmp_path / "run", tiny_runs.tiny_recipe(model={"delays": "fixed"}, training={"epochs": 1}))
    with pytest.raises(ConfigError, match="learns no delays"):
        prune(run, 0.5)
