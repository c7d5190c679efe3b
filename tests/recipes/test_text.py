"""Recipes of language models and of classifiers of sentences: what is refused, and how clearly."""

import re
from pathlib import Path
from typing import Any

import pytest
import torch

from snn_delays.errors import CheckpointError, ConfigError, DataError
from snn_delays.models import SpikeGPT
from snn_delays.recipes.files import load_recipe, parse_recipe, to_toml
from snn_delays.recipes.registry import task_of
from snn_delays.recipes.strict import BaseRecipe
from snn_delays.recipes.text import LanguageRecipe, SentenceRecipe, SpikeGPTConfig
from snn_delays.runs.evaluate import evaluate, read_evaluation
from snn_delays.training import engine as loop
from snn_delays.training.callbacks import Callback
from snn_delays.training.runlog import create_run, open_run, resume_run
from snn_delays.training.tasks.text import corpus_of
from tests.support import tiny_texts
from tests.support.tiny_texts import LANGUAGE, SENTENCES, language_recipe, sentence_recipe, text_file, updated


def refused(table: dict[str, Any], **sections: Any) -> str:
    """The error of a recipe that is refused."""
    sections = {**sections, "data": {"corpus": "text", **sections.get("data", {})}} if table is LANGUAGE else sections
    with pytest.raises(ConfigError) as caught:
        parse_recipe(updated(table, sections), "mine.toml")
    assert str(caught.value).startswith("mine.toml: ")
    return str(caught.value).removeprefix("mine.toml: ")


@pytest.mark.parametrize("kind", ["language", "sentences"])
def test_what_is_written_is_read(kind: str, tmp_path: Path) -> None:
    recipe: BaseRecipe = (
        language_recipe(Path("a text.txt"), training={"schedule": "wsd", "sigma_epochs": 2, "betas": [0.8, 0.9]})
        if kind == "language"
        else sentence_recipe(data={"max_tokens": 9}, training={"select_by": "loss"})
    )
    path = tmp_path / "recipe.toml"
    path.write_text(to_toml(recipe))
    assert load_recipe(path) == recipe
    assert type(load_recipe(path)) is (LanguageRecipe if kind == "language" else SentenceRecipe)


def test_changes_and_bases_work_as_for_other_recipes(tmp_path: Path) -> None:
    (tmp_path / "base.toml").write_text(to_toml(language_recipe(Path("text"))))
    (tmp_path / "above.toml").write_text('base = "base.toml"\nname = "above"\n[model]\nshift = "dense"\n')
    recipe = load_recipe(tmp_path / "above.toml", ("model.spiking=before", "training.lr=0.5"))
    assert (recipe.name, recipe.model.shift, recipe.model.spiking, recipe.training.lr) == (
        "above", "dense", "before", 0.5,
    )  # fmt: skip
    assert recipe.model.layers == 2


@pytest.mark.parametrize("task", ["translation", "", 3])
def test_an_unknown_task(task: Any) -> None:
    message = refused(LANGUAGE, task=task)
    assert message.startswith(f"task must be 'events' or 'language' or 'regression' or 'sentences', got {task!r}; ")


def test_a_recipe_without_a_task_is_of_events() -> None:
    table = {key: value for key, value in SENTENCES.items() if key != "task"}
    with pytest.raises(ConfigError, match=r"key 'data\.dataset' is missing"):
        parse_recipe(table, "mine.toml")


@pytest.mark.parametrize(
    ("table", "sections", "message"),
    [
        (LANGUAGE, {"training": {"warmup": 3}}, "unknown key 'training.warmup'; did you mean 'warmup_steps'?"),
        (LANGUAGE, {"model": {"hidden": [3]}}, "unknown key 'model.hidden'"),
        (LANGUAGE, {"data": {"set": "mr"}}, "unknown key 'data.set'"),
        (SENTENCES, {"data": {"corpus": "x"}}, "unknown key 'data.corpus'"),
        (SENTENCES, {"training": {"context": 8}}, "unknown key 'training.context'"),
        (LANGUAGE, {"training": {"warmup_steps": 9}}, "training.warmup_steps (9) must be below all steps (9)"),
        (LANGUAGE, {"training": {"final_lr": 0.5}}, "final_lr (0.5) must not exceed lr (0.06)"),
        (SENTENCES, {"training": {"final_lr": 0.5}}, "final_lr (0.5) must not exceed lr (0.03)"),
        (
            LANGUAGE,
            {"training": {"sigma_start_steps": 0.3}},
            "sigma_start_steps (0.3) must not be below sigma_end_steps (0.4)",
        ),
        (SENTENCES, {"training": {"sigma_start_steps": 1, "sigma_end_steps": 2}}, "sigma_start_steps (1) must not be"),
        (LANGUAGE, {"training": {"accumulate": 3}}, "batch_size (4) must be a multiple of accumulate (3)"),
        (LANGUAGE, {"training": {"precision": "16-true"}}, "training.precision: Input should be '32-true', '64-true'"),
        (LANGUAGE, {"training": {"lr": float("nan")}}, "training.lr: Input should be a finite number"),
        (LANGUAGE, {"training": {"clip": 0}}, "training.clip: Input should be greater than 0, got 0"),
        (LANGUAGE, {"training": {"betas": [0.9]}}, "training.betas"),
        (LANGUAGE, {"training": {"context": 0}}, "training.context: Input should be greater than or equal to 1"),
        (LANGUAGE, {"model": {"shift": "conv"}}, "model.shift: Input should be 'token', 'learned', 'fixed' or 'dense'"),
        (LANGUAGE, {"model": {"spiking": "around"}}, "model.spiking: Input should be 'after', 'before' or 'none'"),
        (LANGUAGE, {"model": {"dropout": 1.0}}, "model.dropout: Input should be less than 1"),
        (LANGUAGE, {"model": {"layers": 0}}, "model.layers: Input should be greater than or equal to 1"),
        (LANGUAGE, {"data": {"vocabulary": "words"}}, "data.vocabulary: Input should be 'bytes' or 'characters'"),
        (SENTENCES, {"data": {"vocabulary": "characters"}}, "data.vocabulary: Input should be 'words' or 'bytes'"),
        (LANGUAGE, {"data": {"split": [0.5, 0.5]}}, "data.split"),
        (LANGUAGE, {"seed": -1}, "seed: Input should be greater than or equal to 0"),
    ],
)
def test_what_cannot_be_is_named(table: dict[str, Any], sections: dict[str, Any], message: str) -> None:
    assert message in refused(table, **sections)


def test_a_key_that_is_missing() -> None:
    table = {**LANGUAGE, "data": {"corpus": "text"}, "model": {"layers": 2}}
    with pytest.raises(ConfigError, match=r"mine.toml: key 'model\.features' is missing"):
        parse_recipe(table, "mine.toml")


@pytest.mark.parametrize(
    ("model", "has", "short"),
    [
        ({}, True, "learned"),
        ({"shift": "token"}, False, "token"),
        ({"shift": "fixed"}, False, "fixed"),
        ({"shift": "dense"}, False, "dense-7"),
        ({"shift": "token", "neuron_delays": "axonal"}, True, "token+learned axonal"),
        ({"shift": "fixed", "neuron_delays": "dendritic"}, True, "fixed+learned dendritic"),
        ({"shift": "token", "neuron_delays": "axonal", "neuron_shift": "fixed"}, False, "token+fixed axonal"),
    ],
)
def test_a_recipe_knows_whether_its_network_learns_delays(model: dict[str, Any], has: bool, short: str) -> None:
    config = language_recipe(Path("text"), model=model).model
    network = SpikeGPT(7, config.features, config.layers, **config.options())
    learned = [name for name, p in network.named_parameters() if name.endswith(".delay") and p.requires_grad]
    assert config.has_delays == has == bool(learned)
    assert (config.delays, config.shape) == (short, "2x16 after")


def test_every_option_reaches_the_network() -> None:
    config = SpikeGPTConfig(
        features=8, layers=1, shift="learned", max_delay_steps=9, points=3, taps="triangle", dropout=0.25, init="torch"
    )
    network = SpikeGPT(7, 8, 1, **config.options())
    shift = network.branches()[0].mixing.shift
    assert (shift.kind, shift.max_delay_steps, shift.points, shift.taps) == ("learned", 9, 3, "triangle")
    assert (network.dropout, network.init, network.spiking) == (0.25, "torch", "after")


def test_neuron_delays_without_neurons_behind() -> None:
    config = language_recipe(Path("text"), model={"spiking": "before", "neuron_delays": "axonal"}).model
    with pytest.raises(ConfigError, match="neuron_delays = 'axonal' act around neurons after a mixing"):
        SpikeGPT(7, 8, 1, **config.options())


def test_fractions_that_are_no_split(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="three fractions above 0 that sum to 1"):
        corpus_of(language_recipe(text_file(tmp_path), data={"split": [0.9, 0.2, 0.1]}))


def test_a_text_shorter_than_the_context_leaves_no_checkpoint(tmp_path: Path) -> None:
    run = create_run(tmp_path / "run", language_recipe(text_file(tmp_path, "short, is it? " * 10)))
    message = r"valid of .*words\.txt has 14 tokens, too few for a context of 16, which needs 17; take a longer text"
    with pytest.raises(DataError, match=message):
        loop.fit(run, accelerator="cpu")
    assert not run.checkpoints.exists()


def test_characters_of_a_file_that_is_not_utf8(tmp_path: Path) -> None:
    path = text_file(tmp_path, b"caf\xe9 " * 400)
    with pytest.raises(DataError, match=r"words\.txt is not UTF-8: byte 0xe9 at position 3 .* take the vocabulary 'by"):
        corpus_of(language_recipe(path, data={"vocabulary": "characters"}))
    assert corpus_of(language_recipe(path)).vocabulary.size == 256  # bytes can be anything


@pytest.mark.parametrize("kind", ["language", "sentences"])
def test_a_batch_that_two_processes_cannot_share(kind: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:

    class Two:
        world_size, global_rank = 2, 0

    tiny_texts.use_made_up_sentences(monkeypatch)
    sections = {"training": {"batch_size": 6, "accumulate": 2}}
    recipe = language_recipe(text_file(tmp_path), **sections) if kind == "language" else sentence_recipe(**sections)
    with pytest.raises(ConfigError, match=r"batch_size \(6\) cannot be shared by 2 processes of 2 parts each"):
        task_of(recipe).setup(create_run(tmp_path / "run", recipe), Two(), Callback())


@pytest.mark.skipif(torch.cuda.is_available(), reason="there is a GPU")
def test_a_device_that_is_not_there(tmp_path: Path) -> None:
    recipe = language_recipe(text_file(tmp_path), training={"epochs": 1, "steps_per_epoch": 1, "warmup_steps": 0})
    run = create_run(tmp_path / "run", recipe)
    with pytest.raises(ConfigError, match="cannot train with accelerator 'cuda' and devices 1"):
        loop.fit(run, accelerator="cuda")
    loop.fit(run, accelerator="cpu")
    for device in ("cuda", "abacus"):
        with pytest.raises(ConfigError, match=f"cannot run on device '{device}'"):
            evaluate(run, device=device)
    assert not run.evaluation.exists()


def test_a_run_is_opened_by_those_that_can_use_it(tmp_path: Path) -> None:
    folder = tmp_path / "run"
    run = create_run(folder, language_recipe(Path("text")))
    assert open_run(folder).recipe == open_run(folder, "language").recipe == run.recipe
    for tasks, names in (
        (("events",), "events"),
        (("sentences",), "sentences"),
        (("sentences", "events"), "sentences or events"),
    ):
        message = re.escape(f"{folder} holds a run of task 'language'; this is for runs of {names}")
        with pytest.raises(ConfigError, match=f"^{message}$"):
            open_run(folder, *tasks)


def test_a_first_start_that_failed_may_be_repeated(tmp_path: Path) -> None:
    folder, missing = tmp_path / "run", tmp_path / "words.txt"
    run = create_run(folder, language_recipe(missing))
    with pytest.raises(DataError, match="there is no file"):
        loop.fit(run, accelerator="cpu")
    assert (folder / "recipe.toml").exists()
    text_file(tmp_path)
    training = {"epochs": 1, "steps_per_epoch": 1, "warmup_steps": 0}
    again = create_run(folder, language_recipe(missing, training=training))  # another recipe, as nothing was trained
    assert open_run(folder, "language").recipe == again.recipe != run.recipe
    loop.fit(again, accelerator="cpu")
    with pytest.raises(CheckpointError, match="holds a run already; continue it with --resume"):
        create_run(folder, again.recipe)
    assert open_run(folder, "language").recipe == again.recipe


def test_a_width_that_stays_is_no_mistake() -> None:
    made = language_recipe(Path("text"), training={"sigma_start_steps": 0.4})
    assert made.training.sigma_start_steps == made.training.sigma_end_steps == 0.4


def test_resuming_with_another_recipe_names_the_key(tmp_path: Path) -> None:
    folder = tmp_path / "run"
    create_run(folder, language_recipe(Path("text")))
    assert resume_run(folder, language_recipe(Path("text"))).folder == folder
    with pytest.raises(ConfigError, match=r"was started with model\.shift = 'learned', the recipe now says 'token'"):
        resume_run(folder, language_recipe(Path("text"), model={"shift": "token"}))
    with pytest.raises(ConfigError, match=r"was started with task = 'language', the recipe now says 'sentences'"):
        resume_run(folder, sentence_recipe(name="tiny-text"))


def test_a_run_that_was_not_trained_has_nothing_to_evaluate(tmp_path: Path) -> None:
    run = create_run(tmp_path / "run", language_recipe(text_file(tmp_path)))
    with pytest.raises(CheckpointError, match=r"has no checkpoint yet; start it again: snn-delays train .*--resume"):
        evaluate(run)
    with pytest.raises(CheckpointError, match="was not evaluated yet"):
        read_evaluation(run)
