"""Language models train: they learn, repeatably, on training text alone, and the best epoch is kept."""

import csv
import math
import os
import subprocess
import sys
from collections import Counter
from contextlib import nullcontext
from pathlib import Path
from typing import Any

import pytest
import torch
import torch.nn.functional as F
from torch import nn

from snn_delays.data.text import RandomCrops
from snn_delays.errors import DataError, TrainingError
from snn_delays.models.spikegpt import delay_shifts
from snn_delays.nn import DelayShift
from snn_delays.recipes.files import to_toml
from snn_delays.runs.evaluate import evaluate
from snn_delays.training import checkpoint
from snn_delays.training import engine as loop
from snn_delays.training.callbacks import Callback
from snn_delays.training.language_measure import measure_text
from snn_delays.training.runlog import Run, create_run, open_run
from snn_delays.training.task import Task, seed_of
from snn_delays.training.tasks import text as text_tasks
from tests.support import ROOT, tiny_texts
from tests.support.tiny_runs import TIED, numbers, same
from tests.support.tiny_texts import (
    assert_ended_alike,
    fitted,
    language_recipe,
    tensors,
    text_file,
    trained_language_network,
)

LEARNING = {"epochs": 2, "steps_per_epoch": 15, "batch_size": 8, "accumulate": 1}


class Seen(Exception):
    """Carries what was seen."""


def bits_beside_unigram(folder: Path, content: str) -> tuple[float, float]:
    """Bits per byte that a network trained on a text reaches on its validation part, and the entropy of its bytes."""
    path = text_file(folder, content)
    recipe = language_recipe(path, model={"shift": "token", "dropout": 0.0}, training=LEARNING)
    run = fitted(folder / "run", recipe)
    history = run.progress()["history"]
    assert history[1]["train_loss"] < history[0]["train_loss"]
    assert all(0.01 < row["firing_rate"] < 0.9 for row in history)
    valid = text_tasks.corpus_of(recipe).valid
    shares = [count / len(valid) for count in Counter(valid.tolist()).values()]
    return history[-1]["valid_bits_per_byte"], -sum(share * math.log2(share) for share in shares)


def test_training_learns_what_bytes_follow_each_other(tmp_path: Path) -> None:
    reached, unigram = bits_beside_unigram(tmp_path, tiny_texts.text(count=300))
    assert reached < unigram - 1.5


def test_canary_bytes_in_any_order_cannot_be_learned(tmp_path: Path) -> None:
    letters = tiny_texts.text(tuple("derkubislft, "), 1700)
    reached, unigram = bits_beside_unigram(tmp_path, letters)
    assert reached > unigram - 0.1


def test_same_seed_same_numbers_and_another_seed_others(finished: Run, corpus: Path, tmp_path: Path) -> None:
    torch.manual_seed(77)  # what the generator did before does not matter
    again = fitted(tmp_path / "again", finished.recipe)
    assert_ended_alike(again, finished)
    other = fitted(tmp_path / "other", language_recipe(corpus, seed=4, training={"epochs": 1, "warmup_steps": 0}))
    assert numbers(other)[0]["train_loss"] != numbers(finished)[0]["train_loss"]
    assert not same(tensors(other, 0), tensors(finished, 0))


def test_every_epoch_and_every_process_draws_crops_of_its_own(finished: Run) -> None:
    def crops(rank: int, epoch: int) -> torch.Tensor:
        class OneOfTwo:
            global_rank, world_size = rank, 2

            def no_backward_sync(self, *_: Any, **__: Any) -> Any:
                return nullcontext()

            def to_device(self, x: torch.Tensor) -> None:
                raise Seen(x)

        fabric: Any = OneOfTwo()
        task = text_tasks.LanguageTraining(finished.recipe)
        task.setup(finished, fabric, Callback())
        with pytest.raises(Seen) as caught:
            task.training_step(nn.Identity(), next(iter(task.batches(epoch)))[0])
        return caught.value.args[0]

    drawn = [crops(0, 1), crops(1, 1), crops(0, 2)]
    assert {x.shape for x in drawn} == {(16, 1)}  # 4 sequences: 2 processes, 2 parts each
    assert torch.equal(crops(0, 1), drawn[0])
    assert not torch.equal(drawn[0], drawn[1])
    assert not torch.equal(drawn[0], drawn[2])


@pytest.mark.parametrize("shift", ["learned", "fixed", "token", "dense"])
def test_delays_move_only_when_learned(shift: str, corpus: Path, tmp_path: Path) -> None:
    run = fitted(tmp_path / "run", language_recipe(corpus, model={"shift": shift}))
    before, after = tensors(run, 0), tensors(run)
    delays = [name for name in after if name.endswith(".delay")]
    assert len(delays) == (4 if shift in ("learned", "fixed") else 0)  # two blocks of two shifts
    for name in delays:
        if shift == "learned":
            assert float((after[name] - before[name]).abs().median()) > 0.01
            assert 0 <= float(after[name].min()) <= float(after[name].max()) <= 6
        else:
            assert torch.equal(after[name], before[name])
            assert torch.equal(after[name], after[name].round())
            assert float(after[name].max()) > 1
    for name in after:
        if name.endswith((".mix", ".weight", ".lags", ".time_decay")) and "embedding" not in name:
            assert not torch.equal(after[name], before[name]), name
    assert (run.progress()["history"][0]["lr_delay"] is None) == (shift != "learned")


def test_delays_are_clamped_after_every_step(corpus: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    calls, outside, clamp = [], [], DelayShift.clamp_delays_

    def watched(shift: DelayShift) -> None:
        assert shift.delay is not None
        outside.append(bool((shift.delay < 0).any() or (shift.delay > 6).any()))
        clamp(shift)
        assert bool(((shift.delay >= 0) & (shift.delay <= 6)).all())
        calls.append(shift)

    monkeypatch.setattr(DelayShift, "clamp_delays_", watched)
    fitted(tmp_path / "run", language_recipe(corpus, training={"epochs": 1, "lr_delay": 2.0}))
    assert len(calls) == 4 * 3  # shifts, steps
    assert any(outside), "no delay left the window, so that this test would pass without clamping"


def test_the_run_folder(finished: Run) -> None:
    progress = finished.progress()
    history = progress["history"]
    with (finished.folder / "metrics.csv").open() as f:
        rows = list(csv.DictReader(f))
    assert [{k: None if v is None else str(v) for k, v in row.items()} for row in history] == rows
    assert [row["epoch"] for row in history] == [1, 2, 3]
    assert [row["sigma"] for row in history] == pytest.approx([1.0, 0.4 ** (2 / 3), 0.4])  # as each begins
    best = min(history, key=lambda row: row["valid_loss"])["epoch"]
    assert progress["best_epoch"] == finished.best_epoch() == best
    assert checkpoint.epochs_saved(finished.checkpoints) == sorted({0, best, 3})
    assert progress["source"] == "file words.txt"
    assert progress["vocabulary"] == {"kind": "bytes"}
    assert open_run(finished.folder, "language").recipe == finished.recipe
    assert not [path for path in finished.folder.rglob("*") if path.name.startswith(".")]


@pytest.mark.parametrize(("select_by", "best"), [("accuracy", 2), ("loss", 3)])
def test_the_best_epoch_is_the_earliest_of_the_best(select_by: str, best: int) -> None:
    task = Task(tiny_texts.sentence_recipe(training={"select_by": select_by}))
    assert task.best_epoch(TIED) == best
    assert task.best_epoch(TIED[:1]) == 1


def test_the_best_epoch_is_kept_loaded_and_evaluated(
    finished: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    tiny_texts.validated_as(monkeypatch, text_tasks.LanguageTraining, valid_loss=[3.0, 1.0, 2.0])
    run = fitted(tmp_path / "run", finished.recipe)
    assert run.best_epoch() == 2
    assert checkpoint.epochs_saved(run.checkpoints) == [0, 2, 3]
    best, last = tensors(run, 2), tensors(run, 3)
    loaded = trained_language_network(run, whole=False)[0].state_dict()
    assert same(loaded, best)
    assert not same(loaded, last)
    assert same(trained_language_network(run, 3, whole=False)[0].state_dict(), last)
    corpus, result = text_tasks.corpus_of(run.recipe), evaluate(run)

    def loss(epoch: int) -> float:
        network, _ = trained_language_network(run, epoch)
        return measure_text(network, corpus.test, corpus.bytes_of["test"], 16).loss

    assert (result["best_epoch"], result["test_loss"]) == (2, loss(2))
    assert result["test_loss"] != loss(3)  # canary: the last would be seen
    history = run.progress()["history"]
    assert result["valid_bits_per_byte"] == history[1]["valid_bits_per_byte"] != history[2]["valid_bits_per_byte"]


def test_the_width_of_the_taps_follows_every_step(corpus: Path, tmp_path: Path) -> None:
    recipe = language_recipe(corpus, model={"max_delay_steps": 24}, training={"epochs": 2, "sigma_epochs": 2})
    saved = tensors(fitted(tmp_path / "run", recipe))
    widths = [float(tensor) for name, tensor in saved.items() if name.endswith(".sigma")]
    expected = recipe.sigma_at(1 + 2 / 3)  # the last of three steps
    assert expected == pytest.approx(3.0 * (0.4 / 3.0) ** (5 / 6))
    assert widths == pytest.approx([expected] * 4)
    assert expected < 0.8 * recipe.sigma_at(1)  # canary: that of the epoch's beginning is far


def test_the_pull_on_the_largest_logit_is_in_training(
    corpus: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    training = {
        "epochs": 1, "steps_per_epoch": 1, "warmup_steps": 0, "clip": 1e9, "precision": "64-true", "l2_wrap": 1.0,
    }  # fmt: skip
    recipe = language_recipe(corpus, model={"shift": "token", "dropout": 0.0}, training=training)
    held: dict[str, torch.Tensor] = {}
    real = text_tasks.LanguageTraining.validate

    def validate(self: Any, network: Any, device: Any) -> dict[str, Any]:
        held.update({name: p.grad.clone() for name, p in network.named_parameters() if p.grad is not None})
        return real(self, network, device)

    monkeypatch.setattr(text_tasks.LanguageTraining, "validate", validate)
    run = fitted(tmp_path / "run", recipe)
    found = []
    for pull in (1.0, 0.0):
        network, losses = text_tasks.language_network(recipe, 256), []
        checkpoint.load_network(run.checkpoints, 0, network)
        crops, generator = RandomCrops(text_tasks.corpus_of(recipe).train, 16), torch.Generator()
        generator.manual_seed(seed_of(3, 1, 0))
        for _ in range(2):  # parts of two sequences
            x, y = crops.batch(2, generator)
            logits = network(x)[0]
            losses.append(F.cross_entropy(logits.flatten(0, 1), y.flatten()))
            losses.append(0.5 * pull * logits.max(-1).values.square().mean())
        (sum(losses) / 2).backward()  # type: ignore[union-attr]
        found.append({name: p.grad for name, p in network.named_parameters() if p.grad is not None})
    assert held.keys() == found[0].keys()
    for name, gradient in held.items():
        torch.testing.assert_close(gradient, found[0][name], rtol=1e-4, atol=1e-6, msg=name)  # losses are of float32
    far = held["head.weight"] - found[1]["head.weight"]  # canary: without it the gradient is another
    assert float(far.norm()) > 1e-3 * float(held["head.weight"].norm())


def test_the_mean_firing_rate_in_the_record_is_of_neurons(finished: Run, tmp_path: Path) -> None:
    model = {"spiking": "before", "shift": "token"}
    run = fitted(
        tmp_path / "run", language_recipe(Path(finished.recipe.data.corpus), model=model, training={"epochs": 1})
    )
    network, _ = trained_language_network(run)
    corpus = text_tasks.corpus_of(run.recipe)
    rates = measure_text(network, corpus.valid, corpus.bytes_of["valid"], 16).rates
    weighted, unweighted = tiny_texts.mean_rates(rates, 16)
    assert run.progress()["history"][0]["firing_rate"] == pytest.approx(weighted, rel=1e-9)
    assert unweighted != pytest.approx(weighted, rel=0.02)  # canary: every population the same is another


def test_validation_is_with_integer_delays_on_the_validation_text(finished: Run) -> None:
    corpus, row = text_tasks.corpus_of(finished.recipe), finished.progress()["history"][-1]
    whole, _ = trained_language_network(finished, 3)
    real, _ = trained_language_network(finished, 3, whole=False)
    for name, shift in delay_shifts(whole).items():
        assert shift.delay is not None
        assert torch.equal(shift.delay, shift.delay.round())
        assert not torch.equal(shift.delay, delay_shifts(real)[name].delay)

    def loss(network: Any, part: str) -> float:
        return measure_text(network, getattr(corpus, part), corpus.bytes_of[part], 16).loss

    assert loss(whole, "valid") == row["valid_loss"]
    assert loss(real, "valid") != row["valid_loss"]
    assert loss(whole, "test") != row["valid_loss"]


@pytest.mark.slow
def test_two_processes_train_one_network(corpus: Path, tmp_path: Path) -> None:
    training = {"epochs": 2, "steps_per_epoch": 1, "warmup_steps": 0, "clip": 0.05, "precision": "64-true"}
    recipe = language_recipe(corpus, model={"dropout": 0.0}, training=training)
    path, folder = tmp_path / "tiny.toml", tmp_path / "run"
    path.write_text(to_toml(recipe))
    arguments = ["cli", "train", path, "--out", folder, "--accelerator", "cpu", "--devices", "2"]
    environment = {**os.environ, "TINY_KEEP": str(tmp_path)}
    done = subprocess.run(
        [sys.executable, "-m", tiny_texts.__name__, *arguments],
        cwd=ROOT,
        env=environment,
        capture_output=True,
        text=True,
        timeout=900,
    )
    assert done.returncode == 0, done.stderr[-2000:]
    assert done.stdout.count("trained: ") == 1  # one of them reports
    run = open_run(folder, "language")
    history = run.progress()["history"]
    assert [row["epoch"] for row in history] == [1, 2]
    for epoch in (1, 2):
        first, second = (
            torch.load(tmp_path / f"process-{rank}-epoch-{epoch}.pt", weights_only=True) for rank in (0, 1)
        )
        assert first.keys() == second.keys()
        for name in first:
            assert torch.equal(first[name][0], second[name][0]), name
            assert torch.equal(first[name][1], second[name][1]), name
    one = fitted(tmp_path / "one", recipe)  # canary: crops of another seed
    assert [row["train_loss"] for row in numbers(one)] == pytest.approx(
        [row["train_loss"] for row in history], rel=1e-6
    )
    other = fitted(tmp_path / "other", language_recipe(corpus, model={"dropout": 0.0}, training=training, seed=4))
    assert numbers(other)[0]["train_loss"] != pytest.approx(history[0]["train_loss"], rel=1e-4)


def test_training_opens_no_test_text(finished: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    corpus = text_tasks.corpus_of(finished.recipe)
    monkeypatch.setattr(text_tasks, "load_corpus", lambda *_, **__: tiny_texts.Sealed(corpus))
    run = fitted(tmp_path / "run", finished.recipe)
    assert_ended_alike(run, finished)
    with pytest.raises(AssertionError, match="opened the test data"):  # canary: it would have been seen
        evaluate(run)


def test_a_text_that_changed_is_refused(tmp_path: Path) -> None:
    path = text_file(tmp_path)
    run = fitted(tmp_path / "run", language_recipe(path, training={"epochs": 1}))
    text_file(tmp_path, tiny_texts.text(seed=1))
    with pytest.raises(DataError, match=r"was trained on file words.txt \(sha256 .*put the first back"):
        loop.fit(run, accelerator="cpu")
    with pytest.raises(DataError, match=r"was trained on file words.txt \(sha256 .*put the first back"):
        evaluate(run)
    assert not run.evaluation.exists()


def test_a_text_that_is_gone_is_named(tmp_path: Path) -> None:
    run = create_run(tmp_path / "run", language_recipe(tmp_path / "nowhere.txt"))
    with pytest.raises(DataError, match=r"there is no file .*nowhere\.txt"):
        loop.fit(run, accelerator="cpu")
    assert checkpoint.latest_epoch(run.checkpoints) is None


def test_a_loss_that_is_no_number_names_the_parameter(
    finished: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    real = text_tasks.language_network

    def broken(*args: Any) -> Any:
        network = real(*args)
        with torch.no_grad():
            network.get_parameter("blocks.1.time.mixing.key.weight")[2, 3] = math.nan
        return network

    monkeypatch.setattr(text_tasks, "language_network", broken)
    run = create_run(tmp_path / "run", finished.recipe)
    message = r"in epoch 1: blocks\.1\.time\.mixing\.key\.weight holds values that are not finite; go on from"
    with pytest.raises(TrainingError, match=message):
        loop.fit(run, accelerator="cpu")
    assert checkpoint.epochs_saved(run.checkpoints) == [0]
