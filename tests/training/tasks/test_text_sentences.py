"""Classifiers of sentences: they learn, on training sentences alone, and padding and parts change nothing."""

import copy
import json
from collections import Counter
from pathlib import Path
from typing import Any

import pytest
import torch
import torch.nn.functional as F

from snn_delays.data.text import SentenceSet
from snn_delays.errors import CheckpointError, ConfigError, DataError
from snn_delays.runs import language as language_evaluation
from snn_delays.runs.evaluate import evaluate
from snn_delays.training import checkpoint
from snn_delays.training import engine as loop
from snn_delays.training.callbacks import Callback
from snn_delays.training.checkpoint import NetworkCard
from snn_delays.training.language_measure import measure_sentences
from snn_delays.training.runlog import Run, create_run, open_run
from snn_delays.training.tasks import text as text_tasks
from snn_delays.training.tasks.text import SentencesTraining, encode, vocabulary_of
from tests.support import tiny_texts
from tests.support.tiny_runs import Stopper, interrupt, numbers, same
from tests.support.tiny_texts import (
    assert_ended_alike,
    fitted,
    made_up_sentences,
    resumed,
    sentence_recipe,
    tensors,
    trained_language_network,
)

LEARNING = {"epochs": 8, "batch_size": 8, "accumulate": 1}


@pytest.fixture(autouse=True)
def made_up(monkeypatch: pytest.MonkeyPatch) -> None:
    tiny_texts.use_made_up_sentences(monkeypatch)


@pytest.fixture(scope="module")
def finished(tmp_path_factory: pytest.TempPathFactory) -> Run:
    with pytest.MonkeyPatch.context() as patch:
        tiny_texts.use_made_up_sentences(patch)
        return fitted(tmp_path_factory.mktemp("finished") / "run", sentence_recipe())


class Process:
    """Stands in for Fabric: one of several processes."""

    def __init__(self, rank: int = 0, of: int = 1) -> None:
        self.global_rank, self.world_size = rank, of


def task(run: Run, rank: int = 0, of: int = 1) -> SentencesTraining:
    made = SentencesTraining(run.recipe)
    made.setup(run, Process(rank, of), Callback())  # type: ignore[arg-type]
    return made


def steps(run: Run, epoch: int = 1, rank: int = 0, of: int = 1) -> list[list[list[int]]]:
    return [[part.tolist() for part in parts] for parts, _ in task(run, rank, of).parts(epoch)]


def best_accuracy(folder: Path) -> float:
    run = fitted(folder, sentence_recipe(model={"shift": "token", "dropout": 0.0}, training=LEARNING))
    history = run.progress()["history"]
    assert history[-1]["train_loss"] < history[0]["train_loss"]
    assert all(0.005 < row["firing_rate"] < 0.9 for row in history[1:])
    return max(row["valid_accuracy"] for row in history)


def test_training_learns_the_word_that_decides(tmp_path: Path) -> None:
    assert best_accuracy(tmp_path / "run") > 0.9


def test_canary_classes_that_nothing_tells_cannot_be_learned(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def same(sentence: tuple[str, int]) -> tuple[str, int]:
        return sentence[0].replace("poor", "fine"), sentence[1]

    found = made_up_sentences()
    blind = SentenceSet(**{**vars(found), "train": [*map(same, found.train)], "valid": [*map(same, found.valid)]})
    monkeypatch.setattr(text_tasks, "load_sentences", lambda *_: blind)
    assert best_accuracy(tmp_path / "run") < 0.85


def test_same_seed_same_numbers_and_another_seed_others(finished: Run, tmp_path: Path) -> None:
    torch.manual_seed(77)
    assert_ended_alike(fitted(tmp_path / "again", finished.recipe), finished)
    assert numbers(fitted(tmp_path / "other", sentence_recipe(seed=4))) != numbers(finished)


@pytest.mark.parametrize("precision", ["bf16-mixed", "64-true"])
def test_other_precisions_train_resume_and_evaluate(precision: str, finished: Run, tmp_path: Path) -> None:
    recipe = sentence_recipe(training={"epochs": 2, "precision": precision})
    whole, cut = fitted(tmp_path / "whole", recipe), resumed(tmp_path / "cut", recipe)
    assert_ended_alike(cut, whole)
    kinds = {t.dtype for t in tensors(whole).values() if t.is_floating_point()}
    assert kinds == {torch.float64 if precision == "64-true" else torch.float32}
    assert evaluate(whole)["test_loss"] == evaluate(cut)["test_loss"]


def test_training_opens_no_test_sentences(
    finished: Run, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:  # the sealed set of ``finished`` would have failed it; canary: evaluation does open them
    monkeypatch.setattr(language_evaluation, "load_sentences", text_tasks.load_sentences)
    with pytest.raises(AssertionError, match="opened the test data"):
        evaluate(finished)


def test_every_sentence_once_an_epoch_in_an_order_of_its_own(finished: Run) -> None:
    first, second = steps(finished, 1), steps(finished, 2)
    assert steps(finished, 1) == first
    assert first != second
    for epoch in (first, second):
        flat = [i for parts in epoch for chosen in parts for i in chosen]
        assert sorted(flat) == list(range(38))
        assert len(epoch) == task(finished).steps == 3  # 16, 16, 6
        assert sorted(sum(map(len, parts)) for parts in epoch) == [6, 16, 16]
        assert all(len(chosen) <= 8 for parts in epoch for chosen in parts)


def test_lengths_in_a_batch_are_alike(finished: Run) -> None:
    encoded = task(finished).train.tokens

    def spread(epoch: list[list[list[int]]]) -> int:
        lengths = [[len(encoded[i]) for chosen in parts for i in chosen] for parts in epoch]
        return sum(max(batch) - min(batch) for batch in lengths)

    generator = torch.Generator().manual_seed(0)
    order = torch.randperm(38, generator=generator).tolist()
    assert spread(steps(finished)) < spread([[order[:16]], [order[16:32]], [order[32:]]])


@pytest.mark.parametrize(("processes", "left_out"), [(2, 0), (3, 2)])
def test_processes_share_the_sentences_and_make_as_many_steps(processes: int, left_out: int, tmp_path: Path) -> None:
    run = create_run(tmp_path / "run", sentence_recipe(training={"batch_size": 12}))  # 38 sentences: the last 2
    tasks = [task(run, rank, processes) for rank in range(processes)]
    shares = [list(each.parts(1)) for each in tasks]
    assert {len(share) for share in shares} == {tasks[0].steps}
    counted = Counter(i for share in shares for parts, _ in share for chosen in parts for i in chosen)
    assert set(counted.values()) == {1}
    assert len(counted) == 38 - left_out
    for together in zip(*shares):
        sizes = [sum(map(len, parts)) for parts, _ in together]
        assert max(sizes) - min(sizes) <= 1
        assert len({len(parts) for parts, _ in together}) == 1
        assert [weight * sum(sizes) / processes for _, weight in together] == pytest.approx(sizes)
    alone = list(task(run).parts(1))  # a batch of all processes is that of one
    for step, (parts, _) in enumerate(alone[: tasks[0].steps]):
        shared = {i for share in shares for part in share[step][0] for i in part}
        if left_out == 0:
            assert shared == {i for part in parts for i in part}


def test_padding_and_batches_change_no_measurement(finished: Run) -> None:
    network, vocabulary = trained_language_network(finished)
    held = encode(made_up_sentences().valid, vocabulary, finished.recipe)
    assert len({len(tokens) for tokens in held.tokens}) > 3
    together, alone = (measure_sentences(network, held, "cpu", batch) for batch in (64, 1))
    assert together.loss == pytest.approx(alone.loss, rel=1e-5)
    assert together.accuracy == alone.accuracy
    assert together.rates == pytest.approx(alone.rates, rel=1e-6)
    assert together.mean_rate == pytest.approx(alone.mean_rate, rel=1e-6)
    assert together.operations == pytest.approx(alone.operations, rel=1e-6)
    by_hand, right = 0.0, 0
    with torch.inference_mode():
        for tokens, label in zip(held.tokens, held.labels):
            scores = network(torch.from_numpy(tokens).long()[:, None])[0][0].double()
            by_hand -= float(torch.log_softmax(scores, 0)[label])
            right += int(scores.argmax() == label)
    assert (together.loss, together.accuracy) == pytest.approx((by_hand / 14, right / 14), rel=1e-5)
    unmasked = 0.0  # canary: a mean over padding too is another
    with torch.inference_mode():
        tokens, valid, _ = held.batch(list(range(14)), "cpu")
        ours, theirs = network(tokens, None, valid)[0], network(tokens)[0]
        unmasked = float((ours - theirs).abs().max())
    assert unmasked > 1e-3


def test_measuring_leaves_training_as_it_was(finished: Run) -> None:
    network, vocabulary = trained_language_network(finished)
    held = encode(made_up_sentences().valid, vocabulary, finished.recipe)
    before, chance = copy.deepcopy(network.train().state_dict()), torch.get_rng_state()
    first = measure_sentences(network, held, "cpu")
    assert first == measure_sentences(network, held, "cpu")
    assert torch.equal(torch.get_rng_state(), chance)
    assert network.training
    assert all(torch.equal(tensor, before[name]) for name, tensor in network.state_dict().items())


def test_validation_is_with_integer_delays(finished: Run) -> None:
    progress = finished.progress()
    row = next(row for row in progress["history"] if row["epoch"] == progress["best_epoch"])
    network, vocabulary = trained_language_network(finished)
    held = encode(made_up_sentences().valid, vocabulary, finished.recipe)
    found = measure_sentences(network, held, "cpu")
    assert (found.loss, found.accuracy) == (row["valid_loss"], row["valid_accuracy"])
    assert found.mean_rate == row["firing_rate"]
    delays = [p for name, p in network.named_parameters() if name.endswith(".delay")]
    assert len(delays) == 4
    assert all(torch.equal(delay, delay.round()) for delay in delays)


@pytest.mark.parametrize(("select_by", "best"), [("accuracy", 2), ("loss", 3)])
def test_the_best_epoch_is_the_earliest_of_the_best(select_by: str, best: int, tmp_path: Path) -> None:
    history = [
        {"epoch": 1, "valid_accuracy": 0.5, "valid_loss": 0.5},
        {"epoch": 2, "valid_accuracy": 0.8, "valid_loss": 0.4},
        {"epoch": 3, "valid_accuracy": 0.8, "valid_loss": 0.3},
        {"epoch": 4, "valid_accuracy": 0.7, "valid_loss": 0.3},
    ]
    assert (
        task(create_run(tmp_path / "run", sentence_recipe(training={"select_by": select_by}))).best_epoch(history)
        == best
    )


def test_the_vocabulary_is_that_of_training_sentences_and_in_the_checkpoint(finished: Run) -> None:
    progress = finished.progress()
    _, vocabulary = trained_language_network(finished)
    assert vocabulary.to_json() == progress["vocabulary"]
    assert set(vocabulary.words) == {"<unk>", "the", "film", "was", "so", "we", "say", "poor", "fine"}
    assert vocabulary.encode("the unheard film").tolist()[1] == 0
    assert progress["class_names"] == ["poor", "fine"]


@pytest.mark.parametrize(
    ("data", "size", "tokens"),
    [
        ({"min_count": 1}, 9, 4),
        ({"min_count": 1000}, 1, 4),
        ({"vocabulary": "bytes"}, 256, 17),
        ({"min_count": 1, "max_tokens": 2}, 9, 2),
    ],
)
def test_sentences_become_tokens_as_the_recipe_says(data: dict[str, Any], size: int, tokens: int) -> None:
    recipe = sentence_recipe(data=data)
    vocabulary = vocabulary_of(recipe, made_up_sentences())
    encoded = encode([("the film was poor", 0)], vocabulary, recipe)
    assert (vocabulary.size, len(encoded.tokens[0])) == (size, tokens)
    assert encoded.tokens[0].tolist() == vocabulary.encode("the film was poor")[:tokens].tolist()


def test_a_sentence_set_of_bytes_trains_and_is_evaluated(tmp_path: Path) -> None:
    training = {"epochs": 1, "batch_size": 19, "accumulate": 1}
    run = fitted(tmp_path / "run", sentence_recipe(data={"vocabulary": "bytes", "max_tokens": 9}, training=training))
    assert evaluate(run)["vocabulary"] == "bytes (256)"


def test_evaluation_says_what_it_measured(finished: Run) -> None:
    result = evaluate(finished)
    assert json.loads(finished.evaluation.read_text()) == result
    found, (network, vocabulary) = made_up_sentences(), trained_language_network(finished)
    measured = measure_sentences(network, encode(found.test, vocabulary, finished.recipe), "cpu")
    real, _ = trained_language_network(finished, whole=False)
    expected = {
        "run": "tiny-sentences", "data": "made-up sentences", "delays": "learned", "hidden": "2x16 after", "seed": 3,
        "epochs": 3, "epochs_asked": 3, "best_epoch": finished.best_epoch(), "test_samples": 22, "split": "made up",
        "test_loss": measured.loss, "test_accuracy": measured.accuracy, "vocabulary": "words (9)",
        "class_names": ["poor", "fine"], "firing_rates": measured.rates, "operations_per_token": measured.operations,
        "parameters": sum(p.numel() for p in real.parameters()),
    }  # fmt: skip
    assert {key: result[key] for key in expected} == expected
    assert list(measured.rates) == ["embedding", "block0.time", "block0.channel", "block1.time", "block1.channel"]
    assert result["firing_rate"] == pytest.approx(sum(list(measured.rates.values())[1:]) / 4)
    assert measured.operations["macs_dense"] == measured.operations["macs_as_built"] == 2 * 13 * 16**2 + 16 * 2
    assert 0 < measured.operations["accumulates_if_spike_driven"] < 2 * 13 * 16**2
    assert measured.operations["shift_macs"] > 0
    best = finished.progress()["history"][finished.best_epoch() - 1]
    assert result["valid_accuracy"] == best["valid_accuracy"]


@pytest.mark.parametrize("shift", ["fixed", "learned"])
def test_parameters_are_those_that_are_trained(shift: str, tmp_path: Path) -> None:
    run = fitted(tmp_path / "run", sentence_recipe(model={"shift": shift}, training={"epochs": 1}))
    saved = tensors(run)
    weights = [t.numel() for name, t in saved.items() if not name.endswith((".delay", ".sigma"))]
    delays = [t.numel() for name, t in saved.items() if name.endswith(".delay")]
    network, _ = trained_language_network(run, whole=False)
    assert sum(weights) + sum(delays) >= sum(p.numel() for p in network.parameters()) > sum(delays) > 0
    expected = sum(p.numel() for name, p in network.named_parameters() if shift == "learned" or ".delay" not in name)
    assert evaluate(run)["parameters"] == expected


def test_the_best_epoch_is_kept_loaded_and_evaluated(
    finished: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    tiny_texts.validated_as(monkeypatch, SentencesTraining, valid_accuracy=[0.1, 0.9, 0.2])
    run = fitted(tmp_path / "run", finished.recipe)
    assert run.best_epoch() == 2
    assert checkpoint.epochs_saved(run.checkpoints) == [0, 2, 3]
    loaded = trained_language_network(run, whole=False)[0].state_dict()
    assert same(loaded, tensors(run, 2))
    assert not same(loaded, tensors(run, 3))
    assert evaluate(run)["best_epoch"] == 2


def test_the_width_of_the_taps_follows_every_step(tmp_path: Path) -> None:
    recipe = sentence_recipe(model={"max_delay_steps": 24}, training={"epochs": 2, "sigma_epochs": 2})
    saved = tensors(fitted(tmp_path / "run", recipe))
    widths = [float(tensor) for name, tensor in saved.items() if name.endswith(".sigma")]
    expected = recipe.sigma_at(1 + 2 / 3)  # the last of three steps
    assert widths == pytest.approx([expected] * 4)
    assert expected < 0.8 * recipe.sigma_at(1)


def test_an_epoch_of_unequal_parts_is_one_of_whole_batches(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    training = {"epochs": 1, "precision": "64-true", "eps": 1e-3, "lr": 1e-2, "clip": 1e9}
    recipe, drawn = sentence_recipe(model={"dropout": 0.0}, training=training), SentencesTraining.network

    def lively(task: SentencesTraining, card: NetworkCard) -> Any:
        network = drawn(task, card)
        for name, p in network.named_parameters():
            if name.endswith((".output.weight", ".value.weight")):
                torch.nn.init.normal_(p)
        return network

    monkeypatch.setattr(SentencesTraining, "network", lively)

    def epoch(name: str, parts: list[list[int]]) -> tuple[dict[str, Any], dict[str, torch.Tensor]]:
        first, order = [], iter(range(38))
        for step in parts:
            first.append([[next(order) for _ in range(size)] for size in step])
        monkeypatch.setattr(SentencesTraining, "parts", lambda *_: ((parts, 1.0) for parts in first))
        run = fitted(tmp_path / name, recipe)
        row = run.progress()["history"][0]
        return {key: row[key] for key in ("train_loss", "train_accuracy")}, tensors(run)

    whole, parts = epoch("whole", [[16], [10]]), epoch("parts", [[8, 8], [8, 2]])
    assert parts[0] == pytest.approx(whole[0], rel=1e-6)
    for name, p in whole[1].items():
        torch.testing.assert_close(parts[1][name], p, rtol=1e-4, atol=1e-6, msg=name)  # losses are of single precision
    mean, sizes = F.cross_entropy, iter([1.0, 1.0, 8 / 5, 2 / 5])

    def same_weights(scores: Any, labels: Any, **options: Any) -> Any:
        return mean(scores, labels, **options) / (1.0 if options else next(sizes))

    monkeypatch.setattr(F, "cross_entropy", same_weights)
    same_weight, moved = epoch("same", [[8, 8], [8, 2]])  # canary: parts of 8 and of 2 that weigh the same
    assert same_weight["train_loss"] != pytest.approx(whole[0]["train_loss"], rel=1e-3)
    assert float((moved["classes.weight"] - whole[1]["classes.weight"]).abs().max()) > 1e-4


def test_padding_does_not_count_in_rates(finished: Run) -> None:
    network, vocabulary = trained_language_network(finished)
    with torch.no_grad():
        for name, p in network.named_parameters():
            if name.endswith((".output.weight", ".value.weight")):
                p.copy_(2 * torch.randn(p.shape, generator=torch.Generator().manual_seed(5)))
    held = encode(made_up_sentences().valid, vocabulary, finished.recipe)
    spikes, places = tiny_texts.counted_by_hand(
        network, [torch.from_numpy(tokens).long()[:, None] for tokens in held.tokens]
    )
    found = measure_sentences(network, held, "cpu")
    assert list(found.rates.values())[1:] == pytest.approx([s / n for s, n in zip(spikes, places)], rel=1e-9)
    assert found.mean_rate == pytest.approx(sum(spikes) / sum(places), rel=1e-9)
    assert found.mean_rate > 0.02
    padded, _, _ = held.batch(list(range(14)), "cpu")  # canary: padding fires at another rate
    spikes, places = tiny_texts.counted_by_hand(network, [padded])
    assert sum(spikes) / sum(places) != pytest.approx(found.mean_rate, rel=0.01)


@pytest.mark.parametrize("warmup", [8, 9])
def test_a_warm_up_that_is_all_there_is_is_refused(warmup: int, tmp_path: Path) -> None:
    run = create_run(tmp_path / "run", sentence_recipe(training={"warmup_steps": warmup}))
    if warmup < 9:  # three steps in each of three epochs
        assert run.recipe.training.epochs * task(run).steps == 9
        return
    with pytest.raises(ConfigError, match=r"training\.warmup_steps \(9\) must be below all steps \(9\)"):
        loop.fit(run, accelerator="cpu")
    assert not run.checkpoints.exists()


def test_sentences_that_changed_are_refused(finished: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    other = made_up_sentences(seed=1)
    monkeypatch.setattr(text_tasks, "load_sentences", lambda *_: other)
    monkeypatch.setattr(language_evaluation, "load_sentences", lambda *_: other)
    for act in (evaluate, lambda run: loop.fit(run, accelerator="cpu")):
        with pytest.raises(DataError, match=r"was trained on made-up sentences \(sha256 none-0\).*put the first back"):
            act(finished)


def test_an_unknown_set_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.undo()
    run = create_run(tmp_path / "run", sentence_recipe(data={"set": "sst3"}))
    with pytest.raises(ConfigError, match="sst3"):
        loop.fit(run, accelerator="cpu")
    assert not run.checkpoints.exists()


def test_a_run_without_a_finished_epoch(tmp_path: Path) -> None:
    run = create_run(tmp_path / "run", sentence_recipe())

    with pytest.raises(KeyboardInterrupt):
        loop.fit(run, accelerator="cpu", callbacks=[Stopper(("step", 1, 1), interrupt)])
    assert checkpoint.epochs_saved(run.checkpoints) == [0]
    with pytest.raises(CheckpointError, match="has not finished an epoch; continue it: snn-delays train"):
        evaluate(open_run(run.folder))
