"""Studies as files: which runs they ask for, which control each is tested against, and how they refuse."""

from pathlib import Path
from typing import Any

import pytest

from snn_delays.errors import ConfigError
from snn_delays.recipes.study import Study, check_space, jobs, read_study, shown, write_study
from tests.support import ROOT
from tests.support.pages import blocks

TEXT = """
recipe = "demo"
seeds = [0, 7]
set = { training.epochs = 3, training.sigma_epochs = 2 }
control = "none"

[variants.learned]
[variants.none]
"model.delays" = "none"

[grid]
model.hidden = [[16], [32, 32]]
data.tail_steps = [0, 4]
"""


def written(tmp_path: Path, text: str) -> Path:
    path = tmp_path / "mine.toml"
    path.write_text(text)
    return path


def test_variants_times_grid_times_seeds(tmp_path: Path) -> None:
    study = read_study(written(tmp_path, TEXT))
    runs = jobs(study)
    assert study.name == "mine"
    assert len({run.name for run in runs}) == len(runs) == 2 * 2 * 2 * 2
    last = runs[-1]
    assert last.label == "none, model.hidden=[32, 32], data.tail_steps=4"
    assert last.name == "none_model.hidden_32_32_data.tail_steps_4_seed_7"
    recipe = last.recipe
    assert (recipe.seed, recipe.model.hidden, recipe.data.tail_steps, recipe.model.delays) == (7, (32, 32), 4, "none")
    assert recipe.training.sigma_epochs is None  # set for all, and idle without delays
    assert runs[0].recipe.training.sigma_epochs == 2
    assert study.control_of("learned, model.hidden=[16], data.tail_steps=4") == (
        "none, model.hidden=[16], data.tail_steps=4"
    )
    assert study.control_of(last.label) is None


def test_a_study_is_read_again_as_it_was_written(tmp_path: Path) -> None:
    study = read_study(written(tmp_path, TEXT))
    again = read_study(written(tmp_path, write_study(study)))
    assert [(job.name, job.recipe) for job in jobs(again)] == [(job.name, job.recipe) for job in jobs(study)]


def test_a_recipe_beside_the_study(tmp_path: Path) -> None:
    (tmp_path / "own.toml").write_text('base = "demo.toml"\n')
    (tmp_path / "demo.toml").write_text((ROOT / "experiments" / "demo.toml").read_text())
    study = read_study(written(tmp_path, 'recipe = "own.toml"\n'))
    (job,) = jobs(study)
    assert (job.name, job.label, job.recipe.name) == ("mine_seed_0", "mine", "demo")


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("seeds = [1]", "key 'recipe' is missing"),
        ("recipe = 'demo'\nseedz = [1]", "unknown key 'seedz'; did you mean 'seeds'"),
        ("recipe = 'demo'\nseeds = [1, 1]", "seeds must name each seed once"),
        ("recipe = 'demo'\nset.seed = 1", "seed is set by seeds"),
        ("recipe = 'demo'\ngrid.training.epochs = []", "grid.training.epochs has no values"),
        ("recipe = 'demo'\ngrid.training.epochs = 3", "grid.training.epochs: Input should be a valid list, got 3"),
        ("recipe = 'demo'\ngrid.training.epoch = [3]", "unknown key 'training.epoch'; did you mean 'epochs'"),
        ("recipe = 'demo'\nvariants.a.model.delays = 'leraned'", "mine, a: demo: model.delays: Input should be"),
        (
            "recipe = 'demo'\nvariants.a.model.delays = 'none'\nvariants.a.training.sigma_epochs = 2",
            "does nothing with",
        ),
        ("recipe = 'demo'\nvariants.a = {}\ncontrol = 'b'", "control = 'b' is no variant; there are 'a'"),
        ("recipe = 'demo'\nvariants.'a b' = {}\nvariants.'a/b' = {}", "'a b' and 'a/b' would share a folder"),
        ("recipe = 'nowhere'", "no recipe at nowhere"),
        ("recipe = [", "is not valid TOML"),
        ("recipe = 'demo'\nsearch = { trials = 2, space = {} }", "space names no key"),
        ("recipe = 'demo'\n[search]\ntrials = 2\nspace.training.lr_delay = { low = 1 }", "must be { choices"),
        ("recipe = 'demo'\n[search]\ntrials = 2\nspace.training.lr_delay = { lo = 1 }", "unknown key 'search.space"),
        ("recipe = 'demo'\n[search]\ntrials = 2\nspace.a = { low = 2, high = 1 }", r"low \(2\) must be below high"),
        ("recipe = 'demo'\nevaluate = true\n[search]\ntrials = 2\nspace.seed = { low = 0, high = 1 }", "none of test"),
    ],
)
def test_what_cannot_be_is_one_line_with_its_key(tmp_path: Path, text: str, message: str) -> None:
    with pytest.raises(ConfigError, match=message) as caught:
        jobs(read_study(written(tmp_path, text)))
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("recipe", "changes", "measure", "larger"),
    [
        ("demo", "", "valid_accuracy", True), ("demo", 'set.training.select_by = "loss"', "valid_loss", False),
        ("demo_gpt", "", "valid_loss", False), ("demo", 'measure = "rate_hidden1"', "rate_hidden1", False),
    ],
)  # fmt: skip
def test_a_search_is_for_what_chooses_the_epoch(
    tmp_path: Path, recipe: str, changes: str, measure: str, larger: bool
) -> None:
    space = "[search]\ntrials = 2\nspace.seed = { low = 0, high = 9 }\n"
    study = read_study(written(tmp_path, f'recipe = "{recipe}"\n{changes}\n{space}'))
    assert (study.measure, study.larger_is_better) == (measure, larger)


def test_the_studies_of_the_documents(tmp_path: Path) -> None:
    toml = [block.code for block in blocks((ROOT / "docs" / "studies.md").read_text()) if block.language == "toml"]
    grid, searched = (read_study(written(tmp_path, text)) for text in toml)
    assert len(jobs(grid)) == 9
    assert grid.control_of("learned") == "none"
    assert searched.search is not None
    check_space(searched, searched.search)


def test_a_study_that_is_not_there(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"cannot read the study .*none\.toml: No such file"):
        read_study(tmp_path / "none.toml")


@pytest.mark.parametrize(
    ("value", "text"), [("none", "none"), (0.5, "0.5"), ([[1], [2]], "[[1], [2]]"), (True, "true")]
)
def test_values_as_they_are_set(value: Any, text: str) -> None:
    assert shown(value) == text


@pytest.mark.parametrize(
    ("measure", "direction", "larger"),
    [
        ("valid_accuracy", "", True),
        ("valid_loss", "", False),
        ("valid_loss", "maximize", True),
        ("valid_accuracy", "minimize", False),
    ],
)
def test_which_way_is_better(measure: str, direction: Any, larger: bool) -> None:
    study = Study(name="s", recipe="demo", measure=measure, direction=direction)
    assert study.larger_is_better == larger
