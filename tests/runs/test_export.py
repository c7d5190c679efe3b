"""From a run to an export: what changed is counted rightly, and the test data stay closed."""

import pytest
import torch

from snn_delays.discrete import discretize
from snn_delays.errors import ConfigError, ExportError
from snn_delays.ir.canonical import read_network
from snn_delays.nn import LIF, layers_of, record
from snn_delays.runs import samples
from snn_delays.runs.export import ExportOptions, check_fit, export
from snn_delays.runs.fidelity import fidelity
from snn_delays.runs.load import trained_network
from snn_delays.training.measure import measure
from snn_delays.training.runlog import Run
from snn_delays.training.sources import selection


def test_fidelity_counts_spikes_and_predictions(trained: Run) -> None:
    data = selection(trained.recipe)
    before = trained_network(trained)
    after = discretize(before, weight_bits=3)
    result = fidelity(before, after, data.validation, data.valid, trained.recipe)
    assert result.samples == len(data.valid)
    one = measure(before, data.validation, data.valid, trained.recipe)
    other = measure(after, data.validation, data.valid, trained.recipe)
    assert result.accuracy_before == pytest.approx(one.accuracy)
    assert result.accuracy_after == pytest.approx(other.accuracy)
    assert result.predictions_changed == int((one.predictions != other.predictions).sum())
    batch = data.validation.batch(data.valid, trained.recipe.data.tail_steps)
    with torch.no_grad():
        rasters = [record(network, batch.counts.float())["hidden1.neuron"] for network in (before, after)]
    layer = result.layers[0]
    assert (layer.name, layer.before, layer.after) == ("hidden1.neuron", *(int(raster.sum()) for raster in rasters))
    assert layer.changed == int((rasters[0] != rasters[1]).sum())
    assert layer.changed > 0
    assert f"{layer.changed:,} changed" in "\n".join(result.lines())


def test_nothing_changes_where_nothing_is_lost(trained: Run) -> None:
    data = selection(trained.recipe)
    discrete = discretize(trained_network(trained))
    result = fidelity(discrete, discrete, data.validation, data.valid, trained.recipe)
    assert result.predictions_changed == 0
    assert all(layer.changed == 0 and layer.before == layer.after > 0 for layer in result.layers)


def test_an_export_never_opens_test_data(trained: Run, tmp_path_factory: pytest.TempPathFactory) -> None:
    out = tmp_path_factory.mktemp("export") / "npz"
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(samples, "load_test_data", lambda *_: 1 / 0)
        made = export(trained, "npz", out=out, samples=3)
    assert made.trace.notes["split"] == "validation"
    network = read_network(out / "network.npz")
    assert network.notes["run"] == trained.recipe.name
    assert len(network.notes["recipe_sha256"]) == 64


def test_check_reports_and_options_are_applied(trained: Run) -> None:
    longest = trained.recipe.max_delay_steps
    assert check_fit(trained, ExportOptions("loihi2")).fits
    fitting = check_fit(trained, ExportOptions("xylo"))
    assert not fitting.fits
    network = trained_network(trained)
    with pytest.raises(ExportError, match="--clamp"):
        ExportOptions(max_delay_steps=longest - 2).discretize(network, real=True, target=None)
    short = ExportOptions(max_delay_steps=longest - 2, clamp=True).discretize(network, real=True, target=None)
    delays = short.get_submodule("hidden1.synapse").delay
    assert float(delays.max()) == longest - 2
    with pytest.raises(ConfigError, match="no profile"):
        check_fit(trained, ExportOptions("nothing"))


def test_a_check_finds_what_only_discretising_shows(trained: Run) -> None:
    network = trained_network(trained)
    for _, layer in layers_of(network):
        if isinstance(layer, LIF):
            layer.threshold = 1e9
    fitting = check_fit(network, ExportOptions("loihi2"))
    assert not fitting.fits
    assert "the weights are too small beside it" in str(fitting)


def test_a_trace_may_be_of_test_samples(trained: Run, tmp_path_factory: pytest.TempPathFactory) -> None:
    out = tmp_path_factory.mktemp("export")
    test = export(trained, "npz", out=out / "test", samples=3, split="test").trace
    valid = export(trained, "npz", out=out / "valid", samples=3).trace
    assert test.notes["split"] == "test"
    assert test.counts.shape != valid.counts.shape or not (test.counts == valid.counts).all()
