"""Perturbed input and delays: none of it changes nothing, and each does what its equation says."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from snn_delays import DelayedLinear, Sequential
from snn_delays.errors import ConfigError
from snn_delays.nn import layers_with_delays
from snn_delays.runs.evaluate import evaluate
from snn_delays.runs.load import trained as open_trained
from snn_delays.runs.perturb import KINDS, Perturbation, jittered, perturb, perturbed_delays
from snn_delays.training.runlog import Run
from tests.support import tiny_runs


@pytest.fixture(scope="module")
def counts() -> np.ndarray:
    return np.random.default_rng(0).poisson(0.3, (400, 2, 15)).astype(np.uint8)


def test_nothing_changes_by_nothing(trained: Run) -> None:
    found = perturb(trained, {"jitter": [0], "delete": [0], "delay_noise": [0], "permute_delays": [0]}, seeds=2)
    assert 0.3 < found.baseline == trained.progress()["history"][trained.best_epoch() - 1]["valid_accuracy"]
    assert [each.accuracy for each in found.measured] == [found.baseline] * 8
    assert {(each.spikes_kept, each.delays_clamped) for each in found.measured} == {(1.0, 0.0)}


def test_perturbing_costs_accuracy_and_seeds_differ(trained: Run) -> None:
    found = perturb(trained, {"jitter": [100.0], "delete": [0.9], "permute_delays": [1]}, seeds=3)
    for kind in ("jitter", "delete", "permute_delays"):
        values = found.accuracies()[KINDS[kind]]
        assert values[0.0] == [found.baseline]
        assert np.mean(values[max(values)]) < found.baseline
    assert perturb(trained, {"jitter": [100.0]}, seeds=3).measured == found.measured[:3]
    assert len({each.spikes_kept for each in found.measured[:6]}) == 6
    assert [each.spikes_kept for each in found.measured[3:6]] == pytest.approx([0.1] * 3, abs=0.05)


def test_test_samples_only_on_request(trained: Run) -> None:
    found = perturb(trained, {"delete": [0]}, seeds=1, split="test")
    assert (found.samples, found.baseline) == (64, evaluate(trained)["test_accuracy"])


def jitter_law(jitter: Any) -> None:
    """Spikes in the middle of their sample move by ``floor(u + e)``: one of e's two neighbours, at random."""
    one = np.zeros((2001, 1), dtype=np.uint8)
    one[1000] = 200
    for sigma in (0.3, 4.0):
        moved = sum(jitter(one, sigma, np.random.default_rng(i))[:2001, 0] for i in range(100))
        steps = np.repeat(np.arange(2001), moved) - 1000
        part = np.random.default_rng(0).normal(0, sigma, 100_000) % 1
        assert len(steps) == 20_000
        assert steps.mean() == pytest.approx(0, abs=0.1)
        assert steps.var() == pytest.approx(sigma**2 + (part * (1 - part)).mean(), rel=0.05)


def test_jitter_moves_every_spike_by_its_deviation(counts: np.ndarray) -> None:
    jitter_law(jittered)
    assert np.array_equal(jittered(counts, 0.0, np.random.default_rng(1)), counts)
    late = jittered(counts, 50.0, np.random.default_rng(2))
    assert len(late) > len(counts)
    assert late.shape[1:] == counts.shape[1:]
    assert 0.9 * counts.sum() < late.sum() < counts.sum()  # what moved to before the begin is lost


def test_canary_whole_steps_and_a_common_shift_are_no_jitter(counts: np.ndarray) -> None:
    def rounded(x: np.ndarray, sigma: float, generator: np.random.Generator) -> np.ndarray:
        moved = 1000 + np.rint(generator.normal(0, sigma, int(x.sum()))).astype(int)
        return np.bincount(moved, minlength=len(x))[:, None]

    def together(x: np.ndarray, sigma: float, generator: np.random.Generator) -> np.ndarray:
        return np.roll(x, round(generator.normal(0, sigma)), 0)

    for wrong in (rounded, together):
        with pytest.raises(AssertionError):
            jitter_law(wrong)


def test_permuting_identical_delays_changes_nothing() -> None:
    layer = DelayedLinear(5, 4, max_delay_steps=9, taps="linear")
    with torch.no_grad():
        layer.delay.fill_(3.5)
    other, _ = perturbed_delays(Sequential(layer), "permute_delays", 1.0, torch.Generator().manual_seed(0))
    (same,) = layers_with_delays(other).values()
    assert torch.equal(same.delay, layer.delay)  # type: ignore[arg-type]


def test_permuted_delays_are_the_same_ones_elsewhere(trained: Run) -> None:
    network = open_trained(trained).network
    other, _ = perturbed_delays(network, "permute_delays", 1.0, torch.Generator().manual_seed(0))
    for name, layer in layers_with_delays(network).items():
        changed: Any = layers_with_delays(other)[name]
        assert torch.equal(changed.delay.flatten().sort()[0], layer.delay.flatten().sort()[0])  # type: ignore[union-attr]
        assert not torch.equal(changed.delay, layer.delay)  # type: ignore[arg-type]
        assert torch.equal(changed.weight, layer.weight)  # type: ignore[arg-type]


def test_noise_on_delays_stays_in_the_window_and_is_counted(trained: Run) -> None:
    network = open_trained(trained).network
    other, clamped = perturbed_delays(network, "delay_noise", 3.0, torch.Generator().manual_seed(0))
    outside = total = 0
    for name, layer in layers_with_delays(other).items():
        before: Any = layers_with_delays(network)[name].delay
        assert 0 <= layer.delay.min().item() < layer.delay.max().item() <= layer.max_delay_steps  # type: ignore[union-attr]
        assert 1.0 < (layer.delay - before).std().item() < 3.0  # type: ignore[operator]
        edge = (layer.delay == 0) | (layer.delay == layer.max_delay_steps)
        outside, total = outside + int(edge.sum()), total + before.numel()  # type: ignore[union-attr]
    assert 0 < clamped == pytest.approx(outside / total, abs=0.05)


@pytest.mark.parametrize(
    ("amounts", "message"),
    [
        ({"jiter": [1]}, "nothing is perturbed by 'jiter'"), ({"delete": [1.5]}, "delete must lie in 0 to 1, got 1.5"),
        ({"jitter": [-1]}, "jitter must be a finite"), ({"delay_noise": [float("nan")]}, "delay_noise must"),
    ],
)  # fmt: skip
def test_amounts_that_cannot_be(trained: Run, amounts: Any, message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        perturb(trained, amounts)


def test_a_network_without_delays(folder: Path) -> None:
    run = tiny_runs.fitted(folder, tiny_runs.tiny_recipe(model={"delays": "none"}, training={"epochs": 1}))
    with pytest.raises(ConfigError, match="has no delays that could be perturbed"):
        perturb(run, {"permute_delays": [1]})
    assert perturb(run, {"delete": [0.0]}, seeds=1).measured[0].spikes_kept == 1


def test_what_is_written(trained: Run, tmp_path: Path) -> None:
    found: Perturbation = perturb(trained, {"delete": [0.5], "permute_delays": [1]}, seeds=2)
    csv, markdown, picture = found.write(tmp_path / "out")
    lines = csv.read_text().splitlines()
    assert lines[0] == ("run,data,split,samples,baseline,kind,amount,seed,accuracy,spikes_kept,delays_clamped")
    assert len(lines) == 1 + 4
    assert markdown.read_text().count("\n") == 2 + 3
    assert picture.read_bytes().startswith(b"\x89PNG")
