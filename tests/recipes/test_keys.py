"""Every key of a recipe changes something, or is refused where it does not."""

from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from snn_delays.errors import ConfigError
from snn_delays.nn import layers_with_delays
from snn_delays.recipes.build import build_network
from snn_delays.recipes.files import load_recipe, parse_recipe, recipes_folder
from snn_delays.recipes.keys import acting, refuse_unused
from snn_delays.recipes.sigma import sigma_at
from snn_delays.recipes.strict import BaseRecipe, Strict
from snn_delays.training.optimise import optimise
from snn_delays.training.runlog import create_run
from snn_delays.training.sources import augmented, loading, selection
from snn_delays.training.tasks.text import language_network
from tests.support import tiny_runs, tiny_texts

# A value of each key that is not its default, for keys that are no switch, number or fraction.
OTHER: dict[str, Any] = {
    "data.dataset": "shd-regenerated", "data.binning": "event_anchored_v2023", "data.validation": "official",
    "data.padding": "published", "data.memory": "ram", "data.on_bad": "skip", "data.rate_free": "equal",
    "data.validation_speakers": None,  # belongs to validation = "speakers", which the recipe itself demands
    "model.kind": None, "model.maps": None,  # the same: kind and maps belong together
    "model.hidden": [7], "model.delays": "fixed", "model.sharing": "axon", "model.taps": "triangle",
    "model.delay_init": "hammouamri_2024", "model.reset": "soft", "model.surrogate": {"kind": "sigmoid"},
    "model.pooling": "avg", "training.schedule_every": "epoch", "training.readout": "membrane_mean",
    "training.select_by": "loss", "training.precision": "64-true", "training.optimiser": "adamw",
    "model.neuron": {"kind": "plif"},
    "training.schedule": "wsd", "training.betas": [0.8, 0.9], "training.sigma_start_steps": 3.5,
    "training.sigma_epochs": 1, "model.spiking": "none", "model.shift": "fixed", "model.neuron_delays": "axonal",
    "model.neuron_shift": "fixed", "model.init": "torch", "data.corpus": None, "data.split": [0.5, 0.25, 0.25],
    "data.vocabulary": "characters", "data.set": None, "data.max_tokens": 3, "model.max_delay_ms": 50.0,
    "model.delay_mask": "learned", "training.sparsity_epochs": 1, "training.rate_bounds": [0.1, 0.2],
    "model.delay_rounding": "epoch", "model.readout": "average", "model.tau_readout_ms": 55.0, "data.series": None,
}  # fmt: skip
BACK = {
    "model.taps": "gaussian",
    "model.readout": "integrator",
    "model.delay_rounding": "anneal",
    "model.delay_mask": "fixed",
    "model.delays": "none",
    "data.validation": "fraction",
    "model.shift": "dense",
}  # where it is that already
EVENTS: dict[str, dict[str, Any]] = {
    "learned": {},
    "fixed": {"model": {"delays": "fixed"}, "training": {"sigma_epochs": None}},
    "none": {"model": {"delays": "none", "max_delay_ms": 240.0}, "training": {"sigma_epochs": None}},
    "linear taps": {"model": {"taps": "linear"}, "training": {"sigma_epochs": None}},
    "by the official split": {"data": {"validation": "official", "validation_fraction": 0.1}},
    "masks": {"augment": {"neuron_mask_probability": 0.9, "neuron_mask_max": 4}},
    "masks of time": {"augment": {"time_mask_probability": 0.9, "time_mask_max_steps": 4}},
    "without rates": {"data": {"rate_free": "minimum"}},
    "SiLIF": {"model": {"neuron": {"kind": "silif"}}},
    "BRF": {"model": {"neuron": {"kind": "brf", "omega": [4.0, 6.0]}}},
    "not annealed": {"model": {"delay_rounding": "none"}, "training": {"sigma_epochs": None}},
    "linear readout": {"model": {"readout": "linear"}},
    "sparse": {"model": {"delay_sparsity": 0.5, "delay_mask": "learned"}, "training": {"spike_penalty": 0.5}},
}
MAPS = {"kind": "convolutional", "maps": [3], "kernel_size": 3, "hidden": [], "max_delay_ms": 80.0, "tau_mem_ms": 20.0}


def keys(recipe: BaseRecipe, section: str) -> list[str]:
    part = getattr(recipe, section)
    return [] if part is None else [f"{section}.{name}" for name in type(part).model_fields]


def changed(recipe: BaseRecipe, key: str) -> BaseRecipe | None:
    """The recipe with another value of a key; None where there is none that it allows by itself."""
    section, _, name = key.partition(".")
    table = recipe.model_dump(mode="json", exclude_none=True)
    value = getattr(getattr(recipe, section), name)
    other: Any = OTHER.get(key)
    if key not in OTHER:
        assert isinstance(value, bool | int | float), f"give the new key {key} another value in OTHER"
        other = not value if isinstance(value, bool) else (value or 0.1) * (2 if isinstance(value, int) else 0.5)
        other = int(value) + 1 if isinstance(value, int) and not isinstance(value, bool) else other
    if other == value:
        other = BACK[key]
    if other is None:
        return None
    table.setdefault(section, {})[name] = other
    try:
        return parse_recipe(table, "changed")
    except ConfigError:  # which names what it does not go with
        return None


def seen(module: nn.Module) -> list[Any]:
    """What a module is: its own attributes and parameters, and those of its children."""
    own = {k: repr(v) for k, v in vars(module).items() if not k.startswith("_") or k == "_buffers"}
    tensors = {name: p.detach().flatten().tolist() for name, p in module.named_parameters(recurse=False)}
    return [type(module).__name__, own, tensors, *map(seen, module.children())]


def of_events(recipe: Any) -> list[Any]:
    """All that is made of a recipe before the first batch, and what is done to one."""
    data, generator = tiny_runs.tiny_data(), torch.Generator().manual_seed(0)
    torch.manual_seed(0)
    network = build_network(recipe, (2, 6, 6) if recipe.model.kind == "convolutional" else data.sensor, 4)
    optimisation = optimise(recipe.training, network, 3)
    groups = [group for o in optimisation.optimisers.values() for group in o.state_dict()["param_groups"]]
    plans = [{k: repr(v) for k, v in s.state_dict().items()} for s in optimisation.schedules.values()]
    batch = augmented(data.batch(range(40), recipe.data.tail_steps, recipe.data.padding), recipe.augment, 4, generator)
    chosen = selection(recipe).valid.tolist() if recipe.data.validation == "fraction" else recipe.data.validation
    rules = loading(recipe, None)
    t, d = recipe.training, recipe.data
    taken = [d.dataset, d.bucketing, repr(rules["binning"]), repr(rules["rate_free"]), rules["memory"], rules["on_bad"]]
    direct = [t.epochs, t.batch_size, t.schedule_every, t.readout, t.select_by, t.precision, t.cuda_graphs]
    direct += [t.delay_penalty, t.spike_penalty, t.rate_bounds]
    sigmas = [(sigma_at(recipe, epoch), recipe.sparsity_at(epoch)) for epoch in range(5)]
    return [seen(network), groups, plans, sigmas, [x.tolist() for x in batch], chosen, taken, direct]


def of_text(recipe: Any) -> list[Any]:
    torch.manual_seed(0)
    network = language_network(recipe, 20)
    optimisation = optimise(recipe.training, network, 10)
    groups = [group for o in optimisation.optimisers.values() for group in o.state_dict()["param_groups"]]
    rates = []
    for _ in range(10):
        rates += [o.param_groups[0]["lr"] for o in optimisation.optimisers.values()]
        for name, schedule in optimisation.schedules.items():
            optimisation.optimisers[name].step()
            schedule.step()
    widths = [recipe.sigma_at(epoch) for epoch in range(4)]
    direct = {key: getattr(recipe.training, key) for key in LOOP if hasattr(recipe.training, key)}
    return [seen(network), groups, rates, widths, direct, recipe.data.model_dump()]


# What the loop itself takes from a recipe of text.
LOOP = (
    "epochs", "batch_size", "accumulate", "steps_per_epoch", "context", "l2_wrap", "clip", "precision", "select_by",
    "cuda_graphs",
)  # fmt: skip


def act_or_are_refused(recipe: BaseRecipe, effect: Any) -> tuple[set[str], set[str]]:
    refuse_unused(recipe)
    plain, act, refused = effect(recipe), set(), set()
    sections = [name for name, part in recipe if isinstance(part, Strict)]
    for key in [key for section in sections for key in keys(recipe, section)]:
        other = changed(recipe, key)
        if other is None:
            continue
        (refused if refusal(other) else act).add(key)
    ignored = [key for key in sorted(act) if effect(changed(recipe, key)) == plain]
    assert not ignored, "ignored without a word"
    return act, refused


def refusal(recipe: BaseRecipe) -> str:
    try:
        refuse_unused(recipe)
    except ConfigError as error:
        return str(error)
    return ""


@pytest.mark.parametrize("context", EVENTS)
def test_every_key_of_events_acts_or_is_refused(context: str) -> None:
    act, refused = act_or_are_refused(tiny_runs.tiny_recipe(**EVENTS[context]), of_events)
    assert len(act) > 20
    assert ("training.lr_delay" in refused) == (context in ("fixed", "none"))
    assert ("model.delay_init" in act) == (context != "none")
    assert {"model.kernel_size", "model.padding", "model.pool"} <= refused


def test_every_key_of_maps_acts_or_is_refused() -> None:
    recipe = tiny_runs.tiny_recipe()
    table = recipe.model_dump(mode="json", exclude_none=True, exclude={"model"}) | {"model": MAPS}
    act, _ = act_or_are_refused(parse_recipe(table, "maps"), of_events)
    assert {"model.kernel_size", "model.padding", "model.pool", "model.pooling"} <= act


def of_regression(recipe: Any) -> list[Any]:
    torch.manual_seed(0)
    network = build_network(recipe, (1,), 1)
    optimisation = optimise(recipe.training, network, 3)
    groups = [group for o in optimisation.optimisers.values() for group in o.state_dict()["param_groups"]]
    rates = []
    for _ in range(10):
        rates += [o.param_groups[0]["lr"] for o in optimisation.optimisers.values()]
        for name, schedule in optimisation.schedules.items():
            optimisation.optimisers[name].step()
            schedule.step()
    sigmas = [sigma_at(recipe, epoch) for epoch in range(5)]
    own = (*LOOP, "readout", "delay_penalty", "spike_penalty")
    direct = {key: getattr(recipe.training, key) for key in own if hasattr(recipe.training, key)}
    return [seen(network), groups, rates, sigmas, direct, recipe.data.model_dump()]


@pytest.mark.parametrize("name", ["mackey_glass", "mackey_glass_fixed_delays", "not annealed"])
def test_every_key_of_regression_acts_or_is_refused(name: str) -> None:
    narrow = ("model.delay_rounding='none'",)
    recipe = acting(load_recipe("mackey_glass", narrow)) if name == "not annealed" else load_recipe(name)
    act, refused = act_or_are_refused(recipe, of_regression)
    assert {"data.tau", "data.horizon", "data.window", "training.lr", "training.readout", "model.tau_readout_ms"} <= act
    assert ("model.delay_rounding" in act) == (name != "mackey_glass_fixed_delays")
    assert ("training.sigma_epochs" in refused) == (name != "mackey_glass")
    with pytest.raises(ConfigError, match="augment"):  # what is done to recordings is not done to a series
        load_recipe("mackey_glass", ("augment.channel_shift=3",))


@pytest.mark.parametrize("shift", ["learned", "fixed", "token"])
def test_every_key_of_text_acts_or_is_refused(shift: str, tmp_path: Path) -> None:
    model: dict[str, Any] = {"shift": shift}
    recipe = acting(tiny_texts.language_recipe(tiny_texts.text_file(tmp_path), model=model))
    act, refused = act_or_are_refused(recipe, of_text)
    assert len(act) > 15
    assert ("training.lr_delay" in refused) == (shift != "learned")
    assert ("model.points" in refused) == (shift == "token")


@pytest.mark.parametrize("path", sorted(recipes_folder().glob("*.toml")), ids=lambda path: path.stem)
def test_no_recipe_of_the_package_has_a_key_that_does_nothing(path: Path) -> None:
    refuse_unused(load_recipe(path))


def test_a_new_run_is_refused_and_leaves_nothing(tmp_path: Path) -> None:
    recipe = tiny_runs.tiny_recipe(model={"delays": "none", "delay_init": "uniform_rounded"})
    with pytest.raises(ConfigError, match=r"model\.delay_init = .* does nothing with model\.delays = 'none'"):
        create_run(tmp_path / "new" / "run", recipe)
    assert not list(tmp_path.iterdir())


def test_a_change_takes_away_what_it_makes_idle_and_nothing_that_is_said_beside_it(tmp_path: Path) -> None:
    base, above = tmp_path / "base.toml", tmp_path / "above.toml"
    base.write_text(
        'name = "b"\n[data]\ndataset = "shd"\n[model]\nhidden = [3]\ntau_mem_ms = 10.0\nsharing = "axon"\n'
        "[training]\nepochs = 1\nbatch_size = 2\nlr_delay = 0.3\n"
    )
    above.write_text('base = "base.toml"\nname = "a"\n[model]\ndelays = "none"\n')
    plain = load_recipe(above)
    assert (plain.model.sharing, plain.training.lr_delay) == ("synapse", 0.1)
    refuse_unused(plain)
    refuse_unused(load_recipe(base, ("model.delays=none",)))
    with pytest.raises(ConfigError, match=r"training\.lr_delay = 0\.2 does nothing with model\.delays = 'none'"):
        refuse_unused(load_recipe(above, ("training.lr_delay=0.2",)))
    assert load_recipe(above, ("model.delays=learned",)).model.sharing == "axon"


@pytest.mark.parametrize(
    ("model", "training", "says"),
    [
        ({"max_delay_ms": 5.0}, {}, "nothing to learn: delays lie in 0..0 steps"),
        ({"min_delay_steps": 8}, {}, "nothing to learn: delays lie in 8..8 steps"),
        ({}, {"sigma_start_steps": 0.4}, "below training.sigma_end_steps = 0.5, which would replace it"),
    ],
)
def test_values_that_would_be_replaced(model: dict[str, Any], training: dict[str, Any], says: str) -> None:
    with pytest.raises(ConfigError, match=says):
        refuse_unused(tiny_runs.tiny_recipe(model=model, training=training))


@pytest.mark.parametrize(("init", "longest"), [("hammouamri_2024", 1.5 / 25), ("uniform", 0.5 / 24)])
def test_fixed_delays_are_drawn_as_the_recipe_says_and_rounded(init: str, longest: float) -> None:
    recipe = load_recipe("hammouamri_2024_shd_fixed_delays", (f"model.delay_init={init}",))
    torch.manual_seed(0)
    delays: Tensor = torch.cat(
        [layer.delay.detach().flatten() for layer in layers_with_delays(build_network(recipe, (140,), 20)).values()]
    )
    assert torch.equal(delays, delays.round())
    assert float((delays == 24).double().mean()) == pytest.approx(longest, rel=0.06)
    assert float((delays == 0).double().mean()) == pytest.approx(0.5 / (25 if init != "uniform" else 24), rel=0.1)
    assert (float(delays.min()), float(delays.max())) == (0, 24)
