"""How well a text is predicted: against computations by hand, every token once, and nothing disturbed by measuring."""

import copy
import json
import math
import shutil
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from torch import Tensor

from snn_delays.errors import CheckpointError, ConfigError, DataError
from snn_delays.models import SpikeGPT
from snn_delays.runs.evaluate import evaluate, read_evaluation
from snn_delays.runs.results import append_result, markdown, read_results
from snn_delays.training import language_measure
from snn_delays.training.callbacks import Callback
from snn_delays.training.language_measure import PROTOCOLS, TextMeasurement, measure_text
from snn_delays.training.runlog import Run, open_run
from snn_delays.training.tasks.text import corpus_of, language_network
from tests.support import tiny_texts
from tests.support.tiny_texts import fitted, language_recipe, text_file, trained_language_network


@pytest.fixture(scope="module")
def network() -> SpikeGPT:
    """A network that fires, of 11 tokens, and whose state matters."""
    torch.manual_seed(2)
    made = SpikeGPT(11, 12, 2, shift={"kind": "learned", "max_delay_steps": 5}, init="torch", dropout=0.2)
    with torch.no_grad():
        for name, p in made.named_parameters():
            if name.endswith((".output.weight", ".value.weight")):
                p.copy_(torch.randn_like(p))
        made.head.weight.mul_(4)
    return made.eval()


def tokens(count: int, size: int = 11) -> np.ndarray:
    return np.random.default_rng(count).integers(0, size, count).astype(np.int32)


def nats_of(network: SpikeGPT, text: np.ndarray) -> Tensor:
    """What each token of a text but its first costs, read at once from rest."""
    x = torch.from_numpy(text).long()
    with torch.inference_mode():
        chances = torch.log_softmax(network(x[:-1, None])[0][:, 0].double(), -1)
    return -chances.gather(1, x[1:, None])[:, 0]


@pytest.mark.parametrize("protocol", PROTOCOLS)
@pytest.mark.parametrize(("vocabulary", "size"), [("bytes", 256), ("characters", 15)])
def test_a_network_that_knows_nothing_needs_log2_of_the_vocabulary(
    protocol: str, vocabulary: str, size: int, tmp_path: Path
) -> None:
    recipe = language_recipe(text_file(tmp_path), data={"vocabulary": vocabulary})
    corpus = corpus_of(recipe)
    assert corpus.vocabulary.size == size
    blank = language_network(recipe, size)
    torch.nn.init.zeros_(blank.head.weight)
    found = measure_text(blank, corpus.test, corpus.bytes_of["test"], 16, protocol=protocol)
    assert found.loss == pytest.approx(math.log(size), rel=1e-6)
    assert found.perplexity == pytest.approx(size, rel=1e-5)
    assert found.tokens == len(corpus.test) - 1
    if vocabulary == "bytes":
        assert found.bits_per_byte == pytest.approx(8, rel=1e-6)
        return
    # "ü" and "ä" are two bytes and one token
    text = corpus.vocabulary.decode(corpus.test)
    assert corpus.bytes_of["test"] == len(text.encode()) > len(text) == len(corpus.test)
    share = len(text.encode()) / len(text)
    assert found.bits_per_byte == pytest.approx(math.log2(size) / share, rel=1e-6)


def test_windows_by_hand(network: SpikeGPT) -> None:
    text = tokens(60)  # 59 predictions: seven windows of 8 and one of 3
    found = measure_text(network, text, 77, 8)
    losses = [nats_of(network, text[begin : begin + 9]) for begin in range(0, 59, 8)]
    every = torch.cat(losses)
    assert len(every) == found.tokens == 59
    assert found.nats == pytest.approx(float(every.sum()), rel=1e-5)
    assert found.bits_per_byte == pytest.approx(float(every.sum()) / math.log(2) / (77 * 59 / 60), rel=1e-5)
    by_position = [np.mean([float(loss[i]) for loss in losses if len(loss) > i]) for i in range(8)]
    np.testing.assert_allclose(found.by_position, by_position, rtol=1e-4)
    assert found.by_position.max() > 1.05 * found.by_position.min()


def test_carried_by_hand(network: SpikeGPT) -> None:
    text = tokens(59)
    found = measure_text(network, text, 59, 8, protocol="carried")
    bounds = [i * 58 // 16 for i in range(17)]  # 16 streams
    losses = torch.cat([nats_of(network, text[a : b + 1]) for a, b in pairwise(bounds)])
    assert len(losses) == found.tokens == 58
    assert found.nats == pytest.approx(float(losses.sum()), rel=1e-5)


@pytest.mark.parametrize("protocol", PROTOCOLS)
def test_padding_does_not_count_in_rates_and_operations(protocol: str, network: SpikeGPT) -> None:
    text = tokens(60)  # 59 predictions: seven windows of 8 and one of 3; or 16 streams of 3 or 4
    bounds = list(range(0, 59, 8)) + [59] if protocol == "windows" else [i * 59 // 16 for i in range(17)]
    read = [torch.from_numpy(text[a:b]).long()[:, None] for a, b in pairwise(bounds)]
    assert sum(map(len, read)) == 59
    spikes, places = tiny_texts.counted_by_hand(network, read)
    found = measure_text(network, text, 60, 8, protocol=protocol)
    assert set(places) == {59 * 12}
    assert list(found.rates.values())[1:] == pytest.approx([s / n for s, n in zip(spikes, places)], rel=1e-9)
    assert found.mean_rate == pytest.approx(sum(spikes) / sum(places), rel=1e-9)
    assert found.rates["embedding"] == pytest.approx(
        float(network.embedding(torch.cat(read))[0].detach().mean()), rel=1e-6
    )
    assert found.operations["accumulates_if_spike_driven"] == pytest.approx(found.mean_rate * 2 * 13 * 12**2)
    longest = max(map(len, read))  # canary: with the padding, rates are others
    padded = torch.cat([F.pad(part, (0, 0, 0, longest - len(part))) for part in read], 1)
    spikes, places = tiny_texts.counted_by_hand(network, [padded])
    assert sum(spikes) / sum(places) != pytest.approx(found.mean_rate, rel=1e-3)


@pytest.mark.parametrize("protocol", PROTOCOLS)
def test_measuring_tells_how_far_it_is(protocol: str, network: SpikeGPT, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(language_measure, "AT_ONCE", 32)
    calls: list[tuple[int, int]] = []
    measure_text(network, tokens(101), 101, 8, protocol=protocol, progress=lambda *at: calls.append(at))
    assert len(calls) > 2
    assert {total for _, total in calls} == {100}
    assert calls == sorted(set(calls))
    assert calls[-1] == (100, 100)


def test_one_stream_reads_the_whole_text(network: SpikeGPT, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(language_measure, "STREAMS", 1)
    monkeypatch.setattr(language_measure, "AT_ONCE", 7)  # in nine chunks
    text = tokens(60)
    carried = measure_text(network, text, 60, 8, protocol="carried")
    assert carried.nats == pytest.approx(float(nats_of(network, text).sum()), rel=1e-5)
    forgotten = sum(float(nats_of(network, text[a : a + 8]).sum()) for a in range(0, 59, 7))
    assert abs(carried.nats - forgotten) > 0.1  # canary: a state that is not carried on is seen


@pytest.mark.parametrize("protocol", PROTOCOLS)
def test_how_much_is_computed_at_once_changes_nothing(
    protocol: str, network: SpikeGPT, monkeypatch: pytest.MonkeyPatch
) -> None:
    text = tokens(101)
    whole = measure_text(network, text, 101, 8, protocol=protocol)
    monkeypatch.setattr(language_measure, "AT_ONCE", 32)
    parts = measure_text(network, text, 101, 8, protocol=protocol)
    assert parts.tokens == whole.tokens == 100
    assert parts.nats == pytest.approx(whole.nats, rel=1e-6)
    assert parts.rates == pytest.approx(whole.rates, rel=1e-6)
    if protocol == "windows":
        np.testing.assert_allclose(parts.by_position, whole.by_position, rtol=1e-5)


class Marked(torch.nn.Module):
    """Predicts token ``t + 1`` after token ``t``, surely, except at the places given."""

    def __init__(self, size: int, wrong: int) -> None:
        super().__init__()
        self.size, self.wrong = size, wrong

    def forward(self, x: Tensor, state: Any = None, valid: Any = None) -> tuple[Tensor, Any]:
        sure = torch.nn.functional.one_hot((x + 1) % self.size, self.size).float() * 100
        return torch.where((x + 1 == self.wrong)[..., None], torch.zeros_like(sure), sure), ()


@pytest.mark.parametrize("protocol", PROTOCOLS)
@pytest.mark.parametrize("length", [17, 24, 50, 64, 65])
def test_every_token_but_the_first_is_predicted_exactly_once(
    protocol: str, length: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(language_measure, "operations", lambda _: {})
    text = np.arange(length, dtype=np.int32)
    for wrong in (0, 1, 7, 8, 9, length // 2, length - 1):
        found: TextMeasurement = measure_text(Marked(length, wrong), text, length, 8, protocol=protocol)  # type: ignore[arg-type]
        assert found.tokens == length - 1
        times = found.nats / math.log(length)
        assert times == pytest.approx(0 if wrong == 0 else 1, abs=1e-4), wrong


@pytest.mark.parametrize("protocol", PROTOCOLS)
@pytest.mark.parametrize("count", [2, 3, 9])
def test_texts_shorter_than_a_window_or_than_streams(protocol: str, count: int, network: SpikeGPT) -> None:
    text = tokens(count)
    found = measure_text(network, text, count, 8, protocol=protocol)
    assert found.tokens == count - 1
    if protocol == "windows":
        assert found.nats == pytest.approx(float(nats_of(network, text).sum()), rel=1e-5)


@pytest.mark.parametrize("protocol", PROTOCOLS)
def test_a_text_of_one_token(protocol: str, network: SpikeGPT) -> None:
    with pytest.raises((DataError, ConfigError)):
        measure_text(network, tokens(1), 1, 8, protocol=protocol)


@pytest.mark.parametrize("training", [True, False])
def test_measuring_leaves_training_as_it_was(training: bool, network: SpikeGPT) -> None:
    made, text = copy.deepcopy(network).train(training), tokens(60)
    made(torch.from_numpy(text).long()[:, None])[0].sum().backward()
    before = {name: (p.detach().clone(), p.grad.clone()) for name, p in made.named_parameters()}
    buffers, chance = copy.deepcopy(dict(made.named_buffers())), torch.get_rng_state()
    for protocol in PROTOCOLS:
        first = measure_text(made, text, 60, 8, protocol=protocol)
        assert first.nats == measure_text(made, text, 60, 8, protocol=protocol).nats  # no dropout
        assert first.nats == measure_text(network, text, 60, 8, protocol=protocol).nats
    assert torch.equal(torch.get_rng_state(), chance)
    assert {module.training for module in made.modules()} == {training}
    for name, p in made.named_parameters():
        assert torch.equal(p, before[name][0])
        assert torch.equal(p.grad, before[name][1])
        assert p.requires_grad
    assert all(torch.equal(buffer, buffers[name]) for name, buffer in made.named_buffers())
    assert not any(m._forward_hooks for m in made.modules())


def test_canary_dropout_would_be_seen(network: SpikeGPT) -> None:
    made, text = copy.deepcopy(network).train(), torch.from_numpy(tokens(60)).long()[:, None]
    with torch.inference_mode():
        assert not torch.equal(made(text)[0], made(text)[0])


def test_evaluation_says_what_it_measured(finished: Run, tmp_path: Path) -> None:
    calls: list[tuple[int, int]] = []

    class Listener(Callback):
        def on_evaluate(self, done: int, total: int) -> None:
            calls.append((done, total))

    result = evaluate(finished, callback=Listener())
    assert json.loads(finished.evaluation.read_text()) == result == read_evaluation(finished)
    assert sum(done == total == result["test_samples"] for done, total in calls) == 3  # two protocols, real delays
    corpus, (network, _) = corpus_of(finished.recipe), trained_language_network(finished)
    real, _ = trained_language_network(finished, whole=False)
    windows, carried, of_real = (
        measure_text(made, corpus.test, corpus.bytes_of["test"], 16, protocol=protocol)
        for made, protocol in ((network, "windows"), (network, "carried"), (real, "windows"))
    )
    history, best = finished.progress()["history"], finished.best_epoch()
    expected = {
        "run": "tiny-text", "data": "file words.txt", "delays": "learned", "hidden": "2x16 after", "seed": 3,
        "epochs": 3, "epochs_asked": 3, "best_epoch": best, "init": "published", "vocabulary": "bytes (256)",
        "valid_bits_per_byte": history[best - 1]["valid_bits_per_byte"], "test_samples": len(corpus.test) - 1,
        "test_loss": windows.loss, "test_perplexity": windows.perplexity,
        "test_bits_per_byte": windows.bits_per_byte, "test_bits_per_byte_carried": carried.bits_per_byte,
        "test_bits_per_byte_real_delays": of_real.bits_per_byte, "firing_rates": windows.rates,
        "operations_per_token": windows.operations,
    }  # fmt: skip
    assert {key: result[key] for key in expected} == expected
    assert len({result[key] for key in result if key.startswith("test_bits")}) == 3
    assert result["training_minutes"] == pytest.approx(sum(row["seconds"] for row in history) / 60)
    assert result["parameters"] == sum(p.numel() for p in real.parameters())
    assert result["protocol"] == "windows of 16 tokens, each from rest"
    assert result["protocol_carried"] == f"16 streams of {len(corpus.test) // 16} tokens, each from rest"
    assert len(result["bits_by_position"]) == 16
    assert result["bits_by_position"][0] == pytest.approx(windows.by_position[0] / math.log(2), abs=1e-4)
    assert result["firing_rate"] == pytest.approx(sum(list(windows.rates.values())[1:]) / 4)
    assert 0 < result["embedding_ones"] < 1
    row = {**result, "bits_by_position": None}
    append_result(tmp_path / "results.csv", row)
    append_result(tmp_path / "results.csv", {**row, "seed": 4, "test_bits_per_byte": 2.0, "firing_rate": None})
    (first, second), text = read_results(tmp_path / "results.csv"), markdown(read_results(tmp_path / "results.csv"))
    assert first["test_bits_per_byte"] == f"{windows.bits_per_byte:.4f}"
    assert (first["test_accuracy"], second["firing_rate"]) == ("", "")
    mean = (float(first["test_bits_per_byte"]) + 2) / 2
    assert text.count("\n") == 3  # the two seeds share a line
    assert "| network | delays |" in text
    assert f"| 2x16 after | learned | {result['parameters']:,} | 2 | {mean:.3f} ± " in text
    assert text.splitlines()[2].endswith(" | - | file words.txt |")


def test_a_text_in_another_vocabulary_is_not_what_it_was_trained_on(finished: Run, tmp_path: Path) -> None:
    folder = tmp_path / "run"
    shutil.copytree(finished.folder, folder)
    (folder / "evaluation.json").unlink(missing_ok=True)
    path = folder / "recipe.toml"
    path.write_text(path.read_text().replace('vocabulary = "bytes"', 'vocabulary = "characters"'))
    run = open_run(folder, "language")
    assert run.recipe.data.vocabulary == "characters"
    with pytest.raises(CheckpointError, match=r"data\.vocabulary = 'bytes', recipe\.toml says 'characters'"):
        evaluate(run)
    assert not run.evaluation.exists()


@pytest.mark.parametrize("spiking", ["none", "before"])
def test_other_places_of_neurons_train_and_are_evaluated(spiking: str, corpus: Path, tmp_path: Path) -> None:
    model = {"spiking": spiking, "shift": "token"}
    training = {"epochs": 1, "steps_per_epoch": 4, "batch_size": 4}
    run = fitted(tmp_path / "run", language_recipe(corpus, model=model, training=training))
    row, result = run.progress()["history"][0], evaluate(run)
    assert (row["firing_rate"] is None) == (row["embedding_ones"] is None) == (spiking == "none")
    assert (result["firing_rate"] is None) == (result["embedding_ones"] is None) == (spiking == "none")
    assert len(result["firing_rates"]) == (0 if spiking == "none" else 1 + 14)
    if spiking == "before":
        weighted, unweighted = tiny_texts.mean_rates(result["firing_rates"], 16)
        assert result["firing_rate"] == pytest.approx(weighted, rel=1e-9)
        assert unweighted != pytest.approx(weighted, rel=0.02)
    assert (result["operations_per_token"]["macs_if_spike_driven"] is None) == (spiking == "none")
    assert (result["operations_per_token"]["accumulates_if_spike_driven"] is None) == (spiking == "none")
    assert result["test_bits_per_byte_real_delays"] == result["test_bits_per_byte"]
    share = result["operations_per_token"]["spike_fed_share"]
    assert share == (0 if spiking == "none" else pytest.approx(2 * 13 * 256 / (2 * 13 * 256 + 256 * 16)))
