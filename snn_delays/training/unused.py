"""Keys of a recipe that would do nothing beside its other keys; a new run refuses them instead of ignoring them.

A key counts as set where its value is not its default, so that recipes with every default written out, as run folders
keep them, are no offenders; nor are runs that are there already, which go on as they were.
"""

from collections.abc import Callable
from typing import Any

from snn_delays.errors import ConfigError
from snn_delays.training.config import Recipe
from snn_delays.training.language_config import LanguageRecipe, SentenceRecipe
from snn_delays.training.strict import BaseRecipe

# Keys, and why they do nothing in a recipe; None where they act.
Rule = tuple[tuple[str, ...], Callable[[Any], str | None]]


def refuse_unused(recipe: BaseRecipe) -> None:
    """Raise ConfigError naming every key that is set and does nothing, and the key that makes it so."""
    found = []
    for keys, idle in _rules(recipe):
        because = idle(recipe)
        for key in keys if because else ():
            section, _, name = key.partition(".")
            part = getattr(recipe, section)
            value, default = getattr(part, name), type(part).model_fields[name].default
            if value != default:
                found.append(f"{key} = {value!r} does nothing with {because}; leave it at its default, {default!r}")
    if isinstance(recipe, Recipe):
        found += _contradictions(recipe)
    if found:
        raise ConfigError(f"recipe {recipe.name}: " + "; ".join(dict.fromkeys(found)))


def _rules(recipe: BaseRecipe) -> tuple[Rule, ...]:
    if isinstance(recipe, Recipe):
        return _OF_EVENTS if recipe.fine_tuning is not None else (*_OF_EVENTS, *_OF_DELAYS)
    return (*_OF_TEXT, *_OF_SENTENCES) if isinstance(recipe, SentenceRecipe) else _OF_TEXT


def _unless(key: str, acts: Callable[[Any], bool]) -> Callable[[Any], str | None]:
    """That the value of ``key`` is the reason, unless ``acts`` of it."""

    def idle(recipe: Any) -> str | None:
        section, _, name = key.partition(".")
        value = getattr(getattr(recipe, section), name)
        return None if acts(value) else f"{key} = {value!r}"

    return idle


def _nothing_learned(recipe: Recipe) -> str | None:
    if recipe.fine_tuning is not None:
        return "[fine_tuning], which keeps delays as they are"
    return None if recipe.model.delays == "learned" else f"model.delays = {recipe.model.delays!r}"


def _nothing_spread(recipe: Recipe) -> str | None:
    return _nothing_learned(recipe) or _unless("model.taps", lambda taps: taps in ("gaussian", "triangle"))(recipe)


def _no_delays_in_text(recipe: LanguageRecipe | SentenceRecipe) -> str | None:
    model = recipe.model
    if model.has_delays:
        return None
    around = f" and model.neuron_shift = {model.neuron_shift!r}" if model.neuron_delays != "none" else ""
    return f"model.shift = {model.shift!r}{around}"


def _no_window_in_text(recipe: LanguageRecipe | SentenceRecipe) -> str | None:
    token = recipe.model.shift == "token" and recipe.model.neuron_delays == "none"
    return "model.shift = 'token' and model.neuron_delays = 'none'" if token else None


def _no_points(recipe: LanguageRecipe | SentenceRecipe) -> str | None:
    model = recipe.model
    kinds = {model.shift} | ({model.neuron_shift} if model.neuron_delays != "none" else set())
    return None if kinds & {"learned", "fixed"} else f"model.shift = {model.shift!r}"


def _nothing_spread_in_text(recipe: LanguageRecipe | SentenceRecipe) -> str | None:
    spread = _unless("model.taps", lambda taps: taps in ("gaussian", "triangle"))
    return _no_delays_in_text(recipe) or spread(recipe)


def _contradictions(recipe: Recipe) -> list[str]:
    """Values that would be replaced."""
    model, training, least = recipe.model, recipe.training, int(recipe.model.recurrent)
    found = []
    if model.delays == "learned" and max(recipe.max_delay_steps, least) == max(model.min_delay_steps, least):
        found.append(
            f"model.delays = 'learned' has nothing to learn: delays lie in {model.min_delay_steps}.."
            f"{recipe.max_delay_steps} steps; raise model.max_delay_ms, or set model.delays = 'none'"
        )
    start = training.sigma_start_steps
    if start is not None and start < training.sigma_end_steps:
        found.append(
            f"training.sigma_start_steps = {start:g} is below training.sigma_end_steps = {training.sigma_end_steps:g}, "
            "which would replace it"
        )
    return found


_OF_EVENTS: tuple[Rule, ...] = (
    (("data.validation_fraction",), _unless("data.validation", lambda rule: rule == "fraction")),
    (("data.rate_free_spikes",), _unless("data.rate_free", lambda rule: rule != "off")),
    (("augment.neuron_mask_max",), _unless("augment.neuron_mask_probability", bool)),
    (("augment.neuron_mask_probability",), _unless("augment.neuron_mask_max", bool)),
    (("augment.time_mask_max_steps",), _unless("augment.time_mask_probability", bool)),
    (("augment.time_mask_probability",), _unless("augment.time_mask_max_steps", bool)),
    (
        ("model.kernel_size", "model.padding", "model.pool", "model.pooling"),
        _unless("model.kind", lambda kind: kind == "convolutional"),
    ),
    (("model.pooling",), _unless("model.pool", lambda pool: pool > 1)),
    (("training.lr_delay",), _nothing_learned),
    (
        tuple(f"training.sigma_{name}" for name in ("start_steps", "end_steps", "offset_steps", "epochs")),
        _nothing_spread,
    ),
)
# What is fine-tuned keeps the model of the run that it takes up, whatever of it still acts.
_OF_DELAYS: tuple[Rule, ...] = (
    (
        ("model.max_delay_ms", "model.sharing", "model.taps", "model.delay_init"),
        _unless("model.delays", lambda delays: delays != "none"),
    ),
    (("model.taps",), _unless("model.delays", lambda delays: delays != "fixed")),
)
_OF_TEXT: tuple[Rule, ...] = (
    (("model.max_delay_steps",), _no_window_in_text),
    (("model.points",), _no_points),
    (("model.neuron_shift",), _unless("model.neuron_delays", lambda delays: delays != "none")),
    (("model.taps", "training.lr_delay"), _no_delays_in_text),
    (tuple(f"training.sigma_{name}" for name in ("start_steps", "end_steps", "epochs")), _nothing_spread_in_text),
)
_OF_SENTENCES: tuple[Rule, ...] = ((("data.min_count",), _unless("data.vocabulary", lambda kind: kind == "words")),)
