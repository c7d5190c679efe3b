"""Classifiers of sentences: they learn, on training sentences alone, and padding and parts change nothing."""

import copy
import json
from collections import Counter
from pathlib import Path
from typing import Any

import pytest
import tiny_texts
import torch
from tiny_runs import Stopper, numbers
from tiny_texts import assert_ended_alike, fitted, made_up_sentences, sentence_recipe, tensors

from snn_delays.data.text import SentenceSet
from snn_delays.errors import CheckpointError, ConfigError, DataError
from snn_delays.training import checkpoint, language_evaluation, loop, sentences
from snn_delays.training.language_config import SentenceRecipe
from snn_delays.training.language_evaluation import evaluate_language, trained_sentence_network
from snn_delays.training.runlog import Run, create_run, open_run
from snn_delays.training.sentences import Sentences, encode, measure_sentences, vocabulary_of

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


def task(run: Run, rank: int = 0, of: int = 1) -> Sentences:
    return Sentences(run, Process(rank, of))  # type: ignore[arg-type]


def steps(run: Run, epoch: int = 1, rank: int = 0, of: int = 1) -> list[list[list[int]]]:
    return list(task(run, rank, of)._steps(epoch, Process(rank, of)))  # type: ignore[arg-type]


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
    monkeypatch.setattr(sentences, "load_sentences", lambda *_: blind)
    assert best_accuracy(tmp_path / "run") < 0.85


def test_same_seed_same_numbers_and_another_seed_others(finished: Run, tmp_path: Path) -> None:
    torch.manual_seed(77)
    assert_ended_alike(fitted(tmp_path / "again", finished.recipe), finished)
    assert numbers(fitted(tmp_path / "other", sentence_recipe(seed=4))) != numbers(finished)


@pytest.mark.parametrize("precision", ["bf16-mixed", "64-true"])
def test_other_precisions_train_resume_and_evaluate(precision: str, finished: Run, tmp_path: Path) -> None:
    recipe = sentence_recipe(training={"epochs": 2, "precision": precision})
    whole, cut = fitted(tmp_path / "whole", recipe), create_run(tmp_path / "cut", recipe)

    def interrupt() -> None:
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        loop.fit(cut, accelerator="cpu", watcher=Stopper(("step", 2, 1), interrupt))
    loop.fit(cut, accelerator="cpu")
    assert_ended_alike(cut, whole)
    kinds = {t.dtype for t in tensors(whole).values() if t.is_floating_point()}
    assert kinds == {torch.float64 if precision == "64-true" else torch.float32}
    assert evaluate_language(whole)["test_loss"] == evaluate_language(cut)["test_loss"]


def test_training_opens_no_test_sentences(
    finished: Run, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:  # the sealed set of ``finished`` would have failed it; canary: evaluation does open them
    monkeypatch.setattr(language_evaluation, "load_sentences", sentences.load_sentences)
    with pytest.raises(AssertionError, match="opened the test data"):
        evaluate_language(finished)


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


@pytest.mark.parametrize("processes", [2, 3])
def test_processes_share_the_sentences_and_make_as_many_steps(processes: int, tmp_path: Path) -> None:
    run = create_run(tmp_path / "run", sentence_recipe(training={"batch_size": 12}))
    shares = [steps(run, 1, rank, processes) for rank in range(processes)]
    flat = [[i for parts in share for chosen in parts for i in chosen] for share in shares]
    assert {len(share) for share in shares} == {task(run, 0, processes).steps}
    assert {len(part) for part in flat} == {38 // processes}
    counted = Counter(i for part in flat for i in part)
    assert set(counted.values()) == {1}
    assert len(counted) == 38 // processes * processes
    sizes = [[[len(chosen) for chosen in parts] for parts in share] for share in shares]
    assert all(size == sizes[0] for size in sizes)  # or gradients would wait for each other in vain


def test_padding_and_batches_change_no_measurement(finished: Run) -> None:
    network, vocabulary = trained_sentence_network(finished)
    held = encode(made_up_sentences().valid, vocabulary, finished.recipe)
    assert len({len(tokens) for tokens in held.tokens}) > 3
    together, alone = (measure_sentences(network, held, "cpu", batch) for batch in (64, 1))
    assert together[0] == pytest.approx(alone[0], rel=1e-5)
    assert together[1] == alone[1]
    assert together[2] == pytest.approx(alone[2], rel=1e-6)
    by_hand, right = 0.0, 0
    with torch.inference_mode():
        for tokens, label in zip(held.tokens, held.labels):
            scores = network(torch.from_numpy(tokens).long()[:, None])[0][0].double()
            by_hand -= float(torch.log_softmax(scores, 0)[label])
            right += int(scores.argmax() == label)
    assert together[:2] == pytest.approx((by_hand / 14, right / 14), rel=1e-5)
    unmasked = 0.0  # canary: a mean over padding too is another
    with torch.inference_mode():
        tokens, valid, _ = held.batch(list(range(14)), "cpu")
        ours, theirs = network(tokens, None, valid)[0], network(tokens)[0]
        unmasked = float((ours - theirs).abs().max())
    assert unmasked > 1e-3


def test_measuring_leaves_training_as_it_was(finished: Run) -> None:
    network, vocabulary = trained_sentence_network(finished)
    held = encode(made_up_sentences().valid, vocabulary, finished.recipe)
    before, chance = copy.deepcopy(network.train().state_dict()), torch.get_rng_state()
    first = measure_sentences(network, held, "cpu")
    assert first == measure_sentences(network, held, "cpu")
    assert torch.equal(torch.get_rng_state(), chance)
    assert network.training
    assert all(torch.equal(tensor, before[name]) for name, tensor in network.state_dict().items())


def test_validation_is_with_whole_delays(finished: Run) -> None:
    progress = finished.progress()
    row = next(row for row in progress["history"] if row["epoch"] == progress["best_epoch"])
    network, vocabulary = trained_sentence_network(finished)
    held = encode(made_up_sentences().valid, vocabulary, finished.recipe)
    assert measure_sentences(network, held, "cpu")[:2] == (row["valid_loss"], row["valid_accuracy"])
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
    assert task(create_run(tmp_path / "run", sentence_recipe(training={"select_by": select_by}))).best(history) == best


def test_the_vocabulary_is_that_of_training_sentences_and_in_the_checkpoint(finished: Run) -> None:
    progress = finished.progress()
    _, vocabulary = trained_sentence_network(finished)
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
    assert evaluate_language(run)["vocabulary"] == "bytes (256)"


def test_evaluation_says_what_it_measured(finished: Run) -> None:
    result = evaluate_language(finished)
    assert json.loads(finished.evaluation.read_text()) == result
    found, (network, vocabulary) = made_up_sentences(), trained_sentence_network(finished)
    loss, accuracy, rates = measure_sentences(network, encode(found.test, vocabulary, finished.recipe), "cpu")
    expected = {
        "run": "tiny-sentences", "data": "made-up sentences", "delays": "learned", "hidden": "2x16 after", "seed": 3,
        "epochs": 3, "epochs_asked": 3, "best_epoch": finished.best_epoch(), "test_samples": 22, "split": "made up",
        "test_loss": loss, "test_accuracy": accuracy, "vocabulary": "words (9)", "class_names": ["poor", "fine"],
    }  # fmt: skip
    assert {key: result[key] for key in expected} == expected
    assert result["firing_rates"] == pytest.approx(rates)
    assert list(rates) == ["embedding", "block0.time", "block0.channel", "block1.time", "block1.channel"]
    assert result["firing_rate"] == pytest.approx(sum(list(rates.values())[1:]) / 4)
    best = finished.progress()["history"][finished.best_epoch() - 1]
    assert result["valid_accuracy"] == best["valid_accuracy"]


def test_sentences_that_changed_are_refused(finished: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    other = made_up_sentences(seed=1)
    monkeypatch.setattr(sentences, "load_sentences", lambda *_: other)
    monkeypatch.setattr(language_evaluation, "load_sentences", lambda *_: other)
    for act in (evaluate_language, lambda run: loop.fit(run, accelerator="cpu")):
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

    def interrupt() -> None:
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        loop.fit(run, accelerator="cpu", watcher=Stopper(("step", 1, 1), interrupt))
    assert checkpoint.epochs_saved(run.checkpoints) == [0]
    with pytest.raises(CheckpointError, match="has not finished an epoch; continue it with"):
        evaluate_language(open_run(run.folder, SentenceRecipe))
