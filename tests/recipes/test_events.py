"""Recipes: every mistake is one sentence that names file, key and remedy."""

import codecs
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from snn_delays.errors import ConfigError
from snn_delays.nn import layers_with_delays
from snn_delays.reading import parse_toml
from snn_delays.recipes.build import build_network
from snn_delays.recipes.events import Recipe
from snn_delays.recipes.files import load_recipe, parse_recipe, recipes_folder, to_toml
from snn_delays.recipes.sigma import sigma_at
from snn_delays.training.optimise import optimise
from snn_delays.training.runlog import open_run
from tests.support import tiny_runs

RECIPES = sorted(recipes_folder().glob("*.toml"))


def table(**changes: Any) -> dict[str, Any]:
    made = {key: dict(value) if isinstance(value, dict) else value for key, value in tiny_runs.TABLE.items()}
    for key, value in changes.items():
        section, _, name = key.partition("__")
        if name:
            made[section][name] = value
        else:
            made[section] = value
    return made


def test_there_are_recipes() -> None:
    assert len(RECIPES) >= 6


@pytest.mark.parametrize("path", RECIPES, ids=lambda path: path.stem)
def test_every_recipe_loads_under_its_own_name_and_survives_the_run_folder(path: Path, tmp_path: Path) -> None:
    recipe = load_recipe(path)
    assert recipe.name == path.stem
    assert recipe.title
    assert load_recipe(path.stem) == recipe  # by name, from anywhere
    written = tmp_path / "recipe.toml"
    written.write_text(to_toml(recipe), encoding="utf-8")
    assert load_recipe(written) == recipe


def test_controls_differ_from_the_main_recipe_in_their_delays_only() -> None:
    main = load_recipe("hammouamri_2024_shd").model_dump()
    for delays in ("fixed", "no"):
        control = load_recipe(f"hammouamri_2024_shd_{delays}_delays").model_dump()
        different = {key for key in main if main[key] != control[key]}
        assert different == {"name", "title", "model"}
        idle = {"delay_init"} if delays == "no" else set()  # which would do nothing
        assert {key for key in main["model"] if main["model"][key] != control["model"][key]} == {"delays"} | idle


def test_the_published_recipe_is_the_published_one() -> None:
    recipe = load_recipe("hammouamri_2024_shd")
    t, m, d = recipe.training, recipe.model, recipe.data
    assert (d.dt_ms, d.channel_group, d.tail_steps, d.padding) == (10.0, 5, 3 * 12, "published")
    assert (m.hidden, recipe.max_delay_steps, m.delay_init, m.dropout) == ((256, 256), 24, "hammouamri_2024", 0.4)
    assert m.tau_mem_ms / d.dt_ms == pytest.approx(1.005)
    assert (m.threshold, m.reset, m.detach_reset, m.taps, m.delay_count) == (1.0, "hard", True, "gaussian", 1)
    assert (m.surrogate.kind, m.surrogate.scale) == ("atan", 5.0)
    assert (t.epochs, t.batch_size, t.schedule_every, t.readout) == (150, 256, "epoch", "softmax_sum")
    assert (t.max_lr_weight, t.weight_decay, t.lr_delay) == (5e-3, 1e-5, 0.1)
    assert (t.sigma_start_steps, t.sigma_end_steps, t.sigma_offset_steps, t.sigma_epochs) == (None, 0.5, 0.27, None)


@pytest.mark.parametrize(
    ("changes", "says"),
    [
        ({"model__hiden": [8]}, ["model.hiden", "did you mean 'hidden'"]),
        ({"modl": {}}, ["'modl'", "did you mean 'model'"]),
        ({"seeed": 1}, ["'seeed'", "did you mean 'seed'"]),
        ({"model__surrogate": {"scal": 2.0}}, ["model.surrogate.scal", "did you mean 'scale'"]),
        ({"training__batchsize": 8}, ["training.batchsize", "did you mean 'batch_size'"]),
        ({"training__zzz": 8}, ["training.zzz", "known here", "epochs"]),
        ({"augment": {"cutmix": 0.5}}, ["augment.cutmix", "cutmix_probability"]),
        ({"data__dataset": "mnist"}, ["data.dataset", "shd-regenerated", "got 'mnist'"]),
        ({"training__epochs": "many"}, ["training.epochs", "integer", "got 'many'"]),
        ({"training__epochs": 1.5}, ["training.epochs", "got 1.5"]),
        ({"training__epochs": 0}, ["training.epochs", "greater than or equal to 1", "got 0"]),
        ({"model__hidden": []}, ["model:", "at least one layer in hidden"]),
        ({"model__maps": [4]}, ["model:", "no maps"]),
        ({"model__kind": "convolutional"}, ["model:", "needs maps"]),
        ({"data__dataset": "shd-regenrated"}, ["did you mean 'shd-regenerated' or 'shd-regenerated-subset'?"]),
        ({"model__hidden": [8, "x"]}, ["model.hidden.1", "got 'x'"]),
        ({"model__hidden": [8, 0]}, ["model.hidden.1", "got 0"]),
        ({"model__hidden": 8}, ["model.hidden", "got 8"]),
        ({"model__max_delay_ms": -1.0}, ["model.max_delay_ms", "got -1.0"]),
        ({"model__tau_mem_ms": float("nan")}, ["model.tau_mem_ms", "finite"]),
        ({"model__dropout": 1.0}, ["model.dropout", "less than 1"]),
        ({"model__kind": "convolutional", "model__maps": [4], "model__recurrent": True}, ["model:", "'classifier'"]),
        ({"model__recurrent": "often"}, ["model.recurrent", "boolean", "got 'often'"]),
        ({"model__min_delay_steps": -1}, ["model.min_delay_steps", "greater than or equal to 0", "got -1"]),
        ({"model__min_delay_steps": 1.5}, ["model.min_delay_steps", "got 1.5"]),
        (
            {"model__min_delay_steps": 9},
            ["model.min_delay_steps (9) must not exceed the longest delay, 8 steps of 10 ms (model.max_delay_ms = 80)"],
        ),
        ({"model__min_delay_steps": 1, "model__delays": "none"}, ["model:", "min_delay_steps = 1 exclude each other"]),
        ({"model": 3}, ["model", "got 3"]),
        ({"data__validation": "speakers"}, ["data", "validation_speakers", "belong together"]),
        ({"data__validation_speakers": [1]}, ["data", "belong together"]),
        ({"data__validation_fraction": 1.0}, ["data.validation_fraction", "less than 1"]),
        ({"training__sigma_end_steps": 0.2}, ["training", "sigma_end_steps (0.2)", "sigma_offset_steps (0.27)"]),
        ({"training__readout": "sum"}, ["training.readout", "softmax_sum", "got 'sum'"]),
        ({"name": "a/b"}, ["name", "got 'a/b'"]),
        ({"seed": -1}, ["seed", "got -1"]),
        ({"seed": 2**64}, ["seed", "less than"]),
        ({"training__epochs": 0, "seed": -1}, ["training.epochs", "; ", "seed"]),
    ],
)
def test_mistakes_are_named(changes: dict[str, Any], says: list[str]) -> None:
    with pytest.raises(ConfigError) as caught:
        parse_recipe(table(**changes), "my.toml")
    message = str(caught.value)
    assert message.startswith("my.toml: ")
    assert "\n" not in message
    for part in says:
        assert part in message


@pytest.mark.parametrize("key", ["name", "data", "model.hidden", "model.tau_mem_ms", "data.dataset", "training.epochs"])
def test_missing_keys_are_named(key: str) -> None:
    made = table()
    section, _, name = key.partition(".")
    del (made[section] if name else made)[name or section]
    with pytest.raises(ConfigError, match=f"key '{key}' is missing"):
        parse_recipe(made, "my.toml")


def test_base_chain_changes_keys_and_keeps_the_others(tmp_path: Path) -> None:
    (tmp_path / "a.toml").write_text(to_toml(tiny_runs.tiny_recipe()))
    (tmp_path / "b.toml").write_text('base = "a.toml"\n[model]\nhidden = [3, 4]\n[model.surrogate]\nscale = 2.0\n')
    (tmp_path / "sub").mkdir()
    (tmp_path / "sub" / "c.toml").write_text('base = "../b.toml"\nname = "c"\n[training]\nepochs = 7\n')
    recipe = load_recipe(tmp_path / "sub" / "c.toml")
    below = tiny_runs.tiny_recipe()
    assert (recipe.name, recipe.model.hidden, recipe.training.epochs) == ("c", (3, 4), 7)
    assert recipe.model.surrogate.scale == 2.0
    assert recipe.model.surrogate.kind == below.model.surrogate.kind
    assert recipe.data == below.data
    assert recipe.training.batch_size == below.training.batch_size


def test_base_mistakes(tmp_path: Path) -> None:
    a, b = tmp_path / "a.toml", tmp_path / "b.toml"
    a.write_text('base = "b.toml"\n')
    b.write_text('base = "a.toml"\n')
    with pytest.raises(ConfigError, match="its own base"):
        load_recipe(a)
    a.write_text('base = "a.toml"\n')
    with pytest.raises(ConfigError, match="its own base"):
        load_recipe(a)
    a.write_text('base = "bb.toml"\n')
    with pytest.raises(ConfigError, match=r"no recipe at .*bb\.toml; did you mean 'b\.toml' or 'a\.toml'\?"):
        load_recipe(a)
    a.write_text("base = 3\n")
    with pytest.raises(ConfigError, match=r"a\.toml: base must be .* got 3"):
        load_recipe(a)


def test_files_that_cannot_be_read(tmp_path: Path) -> None:
    path = tmp_path / "recipe.toml"
    path.write_text("name = \n")
    with pytest.raises(ConfigError, match=r"recipe\.toml is not valid TOML"):
        load_recipe(path)
    path.write_bytes(b"name = '\xff'\n")
    with pytest.raises(ConfigError, match="not valid TOML"):
        load_recipe(path)
    with pytest.raises(
        ConfigError, match=r"no recipe at .*recipes\.toml; did you mean 'recipe\.toml'\? .* has recipe\.toml"
    ):
        load_recipe(tmp_path / "recipes.toml")
    with pytest.raises(ConfigError, match=r"no recipe at .*nothing; there is no folder .*nowhere"):
        load_recipe(tmp_path / "nowhere" / "nothing")
    with pytest.raises(ConfigError, match="cannot read the recipe"):
        load_recipe(tmp_path)


def test_an_unknown_name_lists_the_recipes_of_the_package(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.chdir(tmp_path)
    with pytest.raises(ConfigError, match=r"no recipe at demo_no_delay; did you mean 'demo_no_delays'.* demo_8bit"):
        load_recipe("demo_no_delay")
    (tmp_path / "mine.toml").write_text("")
    with pytest.raises(ConfigError, match=r"no recipe at mime; did you mean 'mine'\? \. has mine; the package has"):
        load_recipe("mime")


def test_a_byte_order_mark(tmp_path: Path) -> None:
    text, path = to_toml(tiny_runs.tiny_recipe()), tmp_path / "windows.toml"
    path.write_bytes(codecs.BOM_UTF8 + text.replace("\n", "\r\n").encode())
    assert load_recipe(path) == tiny_runs.tiny_recipe()
    path.write_bytes(codecs.BOM_UTF16_LE + text.encode("utf-16-le"))
    with pytest.raises(ConfigError, match=r"windows\.toml .*UTF-16, by its byte-order mark; save it as UTF-8"):
        load_recipe(path)


@pytest.mark.parametrize(
    ("change", "read"),
    [
        ("training.epochs=5", lambda r: r.training.epochs == 5),
        (" training.epochs = 5 ", lambda r: r.training.epochs == 5),
        ("model.hidden=[3, 4]", lambda r: r.model.hidden == (3, 4)),
        ("model.delays=none", lambda r: r.model.delays == "none"),
        ('model.delays="none"', lambda r: r.model.delays == "none"),
        ("model.detach_reset=false", lambda r: r.model.detach_reset is False),
        ("model.surrogate.scale=2.5", lambda r: r.model.surrogate.scale == 2.5),
        ("augment.channel_shift=3", lambda r: r.augment.channel_shift == 3),
        ("title=a = b, c", lambda r: r.title == "a = b, c"),
        ("seed=9", lambda r: r.seed == 9),
    ],
)
def test_set(change: str, read: Any, tmp_path: Path) -> None:
    path = tmp_path / "r.toml"
    path.write_text(to_toml(tiny_runs.tiny_recipe()))
    assert read(load_recipe(path, (change,)))
    assert not read(load_recipe(path))


@pytest.mark.parametrize(
    ("change", "says"),
    [
        ("training.epochs", "section.key=value"),
        ("=3", "section.key=value"),
        ("Training.epochs=3", "section.key=value"),
        ("name.x=3", "'name' is a value, not a section"),
        ("training.epoch=3", "did you mean 'epochs'"),
        ("training.epochs=many", "training.epochs"),
    ],
)
def test_set_mistakes(change: str, says: str) -> None:
    with pytest.raises(ConfigError, match=says):
        load_recipe("demo", (change,))


printable = st.text(st.characters(codec="utf-8"), max_size=20)
positive = st.floats(1e-6, 1e6)
recipes = st.fixed_dictionaries(
    {
        "name": st.from_regex(r"[A-Za-z0-9][A-Za-z0-9._-]*", fullmatch=True),
        "title": printable,
        "source": printable,
        "seed": st.integers(0, 2**63 - 1),
        "data": st.fixed_dictionaries(
            {
                "dataset": st.sampled_from(["shd", "shd-regenerated"]),
                "dt_ms": st.floats(1e-3, 1e6),
                "validation": st.just("speakers"),
                "validation_speakers": st.lists(st.integers(0, 20), min_size=1, max_size=3),
            }
        ),
        "model": st.fixed_dictionaries(
            {
                "hidden": st.lists(st.integers(1, 512), min_size=1, max_size=3),
                "tau_mem_ms": positive,
                "detach_reset": st.booleans(),
                "surrogate": st.fixed_dictionaries({"scale": positive}),
            }
        ),
        "training": st.fixed_dictionaries(
            {
                "epochs": st.integers(1, 1000),
                "batch_size": st.integers(1, 1000),
                "max_lr_weight": st.floats(1e-12, 1.0),
                "sigma_start_steps": st.none() | positive,
                "sigma_epochs": st.none() | st.integers(0, 100),
            }
        ),
    }
)


@given(recipes)
def test_a_recipe_written_and_read_is_the_same(made: dict[str, Any]) -> None:
    recipe = parse_recipe(made, "made")
    assert parse_recipe(parse_toml(to_toml(recipe)), "read") == recipe


@pytest.mark.parametrize("text", ['"', "\\", "a\nb", "a\rb\tc", "\x00\x1f\x7f", "ü 𝄞 \u2028", "'''", '"""', "#"])
def test_awkward_text_survives(text: str) -> None:
    recipe = parse_recipe(table(title=text), "made")
    assert parse_recipe(parse_toml(to_toml(recipe)), "read").title == text


def test_a_recipe_cannot_be_changed() -> None:
    recipe: Recipe = tiny_runs.tiny_recipe()
    with pytest.raises(ValueError, match="frozen"):
        recipe.seed = 4  # type: ignore[misc]


def test_recurrence_and_the_shortest_delay_reach_the_network() -> None:
    recipe = parse_recipe(table(model__recurrent=True, model__min_delay_steps=2), "my.toml")
    network = build_network(recipe, (12,), 4)
    back = network.hidden1.neuron.synapse
    assert (back.min_delay_steps, back.max_delay_steps) == (2, 8)
    assert network.hidden1.synapse.min_delay_steps == network.readout.synapse.min_delay_steps == 2
    assert recipe.model.layers == "10r"
    assert network.hidden1.synapse.sigma == back.sigma == pytest.approx(sigma_at(recipe, 0))
    assert sigma_at(recipe, 0) == pytest.approx(3 + 0.27)  # half of the window of 7
    optimisation = optimise(recipe.training, network, 5)
    delays = {id(p) for group in optimisation.optimisers["delay"].param_groups for p in group["params"]}
    assert {id(layer.delay) for layer in layers_with_delays(network).values()} == delays
    decayed = {id(p) for p in optimisation.optimisers["weight"].param_groups[0]["params"]}
    assert id(back.weight) in decayed


def test_a_window_of_one_step_has_nothing_to_spread() -> None:
    recipe = parse_recipe(table(model__min_delay_steps=8), "my.toml")
    assert sigma_at(recipe, 0) is None
    assert "delay" not in optimise(recipe.training, build_network(recipe, (12,), 4), 5).optimisers


def test_maps_have_a_shortest_delay_too() -> None:
    changes = {"model__kind": "convolutional", "model__maps": [3], "model__kernel_size": 3, "model__pool": 1}
    network = build_network(parse_recipe(table(**changes, model__min_delay_steps=2), "my.toml"), (2, 5, 5), 4)
    assert {layer.min_delay_steps for layer in layers_with_delays(network).values()} == {2}


def test_recipes_written_before_recurrence_mean_what_they_meant() -> None:
    recipe = tiny_runs.tiny_recipe()
    written = parse_toml(to_toml(recipe))
    for key in ("recurrent", "min_delay_steps"):
        del written["model"][key]
    assert parse_recipe(written, "old") == recipe
    assert (recipe.model.recurrent, recipe.model.min_delay_steps, recipe.model.layers) == (False, 0, "10")


def test_the_demo_variants_differ_in_what_they_are_named_after() -> None:
    demo = load_recipe("demo").model.model_dump()
    expected = {
        "demo_recurrent": {"hidden": (96, 96), "recurrent": True, "min_delay_steps": 1},
        "demo_soft_reset": {"reset": "soft", "tau_mem_ms": 20.0},
        "demo_recurrent_soft_reset": {
            "hidden": (96, 96),
            "recurrent": True,
            "min_delay_steps": 1,
            "reset": "soft",
            "tau_mem_ms": 20.0,
        },
    }
    for name, changes in expected.items():
        assert load_recipe(name).model.model_dump() == {**demo, **changes}


@pytest.mark.parametrize(
    ("text", "expected_message"),
    [
        ("a = " + "[" * 3000 + "]" * 3000, "nested too deeply"),
        ("seed = " + "9" * 5000, "not valid TOML"),
        ('base = "a\\u0000b"', "NUL"),
        ('base = "/dev/zero"', "no regular file"),
        ("task = ['language']", "task must be"),
        ("seed = 0x" + "f" * 5000, "thousands of digits"),
    ],
)
def test_recipes_that_are_malformed(tmp_path, text, expected_message):
    (tmp_path / "recipe.toml").write_text(f"name = 'a'\n{text}\n")
    with pytest.raises(ConfigError, match=expected_message):
        load_recipe(tmp_path / "recipe.toml")


@pytest.mark.parametrize(
    "change",
    [
        "model.threshold=1e300", "training.max_lr_weight=1e-300", "training.sigma_end_steps=inf", "data.dt_ms=1e-10",
        "data.tail_steps=1000000000000", f"training.epochs={2**70}", "training.batch_size=10000000",
        "model.hidden=[5000000000]", "model.max_delay_ms=1e15", "title=\udcff",
    ],
)  # fmt: skip
def test_numbers_and_texts_that_nothing_can_compute_with(change):
    with pytest.raises(ConfigError, match=change.partition("=")[0]):
        load_recipe("demo", (change,))


def test_the_recipe_of_a_run_takes_no_base(tmp_path):
    (tmp_path / "recipe.toml").write_text('base = "/etc/passwd"\n')
    with pytest.raises(ConfigError, match="written in full"):
        open_run(tmp_path)


@pytest.mark.parametrize("name", [None, "events", "classification"])
def test_the_task_of_events_may_be_written_out(name: str | None) -> None:
    table = {**tiny_runs.TABLE, **({} if name is None else {"task": name})}
    recipe = parse_recipe(table, "mine.toml")
    assert recipe == tiny_runs.tiny_recipe()
    assert recipe.task == "events"
    assert parse_recipe(parse_toml(to_toml(recipe)), "mine.toml") == recipe
