"""Keys of a recipe that do nothing beside its other keys; a new run refuses them instead of ignoring them.

A key counts as set where its value is not its default, so that recipes with every default written out, as run folders
keep them, are no offenders; nor are runs that are there already, which go on as they were. A recipe that changes its
base, or ``--set`` that changes a recipe, takes away what it makes idle there: a control with ``delays = "none"`` need
not unset every key about delays.
"""

from collections.abc import Callable, Iterator, Sequence
from typing import Any

from snn_delays.errors import ConfigError
from snn_delays.nn.sigma import SPREAD
from snn_delays.recipes.strict import BaseRecipe

Keys = tuple[str, ...]
# Keys, and those by which they do nothing in a recipe: none where they act.
Rule = tuple[Keys, Callable[[Any], Keys]]


def refuse_unused(recipe: BaseRecipe) -> None:
    """Raise ConfigError naming every key that is set and does nothing, and the key that makes it so."""
    found = {}
    for key, culprits in _idle(recipe):
        value, default = _value(recipe, key), _default(recipe, key)
        because = " and ".join(_named(recipe, culprit) for culprit in culprits)
        found[key] = f"{key} = {value!r} does nothing with {because}; leave it at its default, {default!r}"
    contradictions = recipe.contradictions()
    if found or contradictions:
        raise ConfigError(f"recipe {recipe.name}: " + "; ".join([*found.values(), *contradictions]))


def acting(recipe: BaseRecipe) -> BaseRecipe:
    """The recipe with every key that does nothing at its default."""
    for key, _ in _idle(recipe):
        section, _, name = key.partition(".")
        part = getattr(recipe, section).model_copy(update={name: _default(recipe, key)})
        recipe = recipe.model_copy(update={section: part})
    return recipe


def without_overruled(table: dict[str, Any], recipe: BaseRecipe, levels: Sequence[dict[str, Any]]) -> dict[str, Any]:
    """The table of a recipe without keys that a level above the one that set them makes idle.

    ``levels``: what the recipe was put together from, the lowest base first.
    """

    def level(key: str) -> int:
        section, _, name = key.partition(".")
        named = (i for i, said in enumerate(levels) if section in said and (not name or name in said[section]))
        return max(named, default=-1)

    kept = {section: dict(part) if isinstance(part, dict) else part for section, part in table.items()}
    for key, culprits in _idle(recipe):
        section, _, name = key.partition(".")
        if level(key) < max(map(level, culprits)):
            kept[section].pop(name, None)
    return kept


def _idle(recipe: BaseRecipe) -> Iterator[tuple[str, Keys]]:
    for keys, culprits_in in _RULES.get(recipe.task, ()):
        if culprits := culprits_in(recipe):
            yield from ((key, culprits) for key in keys if _value(recipe, key) != _default(recipe, key))


def _value(recipe: BaseRecipe, key: str) -> Any:
    section, _, name = key.partition(".")
    part = getattr(recipe, section)
    return getattr(part, name) if name else part


def _default(recipe: BaseRecipe, key: str) -> Any:
    section, _, name = key.partition(".")
    return type(getattr(recipe, section)).model_fields[name].default


def _named(recipe: BaseRecipe, key: str) -> str:
    return f"{key} = {_value(recipe, key)!r}" if "." in key else f"[{key}]"


def _unless(key: str, *acting: Any) -> Callable[[Any], Keys]:
    """That ``key`` is why, unless its value is one of ``acting``; without any, unless it is above its default."""
    return lambda recipe: () if (_value(recipe, key) in acting if acting else _value(recipe, key)) else (key,)


def _without_learning(recipe: Any) -> Keys:
    if recipe.fine_tuning is not None:  # which keeps delays as they are
        return ("fine_tuning",)
    return () if recipe.model.delays == "learned" else ("model.delays",)


def _without_width(recipe: Any) -> Keys:
    return _without_learning(recipe) or _SPREAD(recipe)


def _of_a_new_model(culprits_in: Callable[[Any], Keys]) -> Callable[[Any], Keys]:
    """What is fine-tuned keeps the model of the run that it begins from, whatever of it still acts."""
    return lambda recipe: () if recipe.fine_tuning is not None else culprits_in(recipe)


def _text_without_learning(recipe: Any) -> Keys:
    if recipe.model.has_delays:
        return ()
    return ("model.shift", "model.neuron_delays" if recipe.model.neuron_delays == "none" else "model.neuron_shift")


def _text_without_width(recipe: Any) -> Keys:
    return _text_without_learning(recipe) or _SPREAD(recipe)


def _text_without_window(recipe: Any) -> Keys:
    token = recipe.model.shift == "token" and recipe.model.neuron_delays == "none"
    return ("model.shift", "model.neuron_delays") if token else ()


def _text_without_points(recipe: Any) -> Keys:
    model = recipe.model
    kinds = {model.shift} | ({model.neuron_shift} if model.neuron_delays != "none" else set())
    return () if kinds & {"learned", "fixed"} else ("model.shift",)


_SPREAD = _unless("model.taps", *SPREAD)
_OF_TEXT: tuple[Rule, ...] = (
    (("model.max_delay_steps",), _text_without_window),
    (("model.points",), _text_without_points),
    (("model.neuron_shift",), _unless("model.neuron_delays", "axonal", "dendritic")),
    (("model.taps", "training.lr_delay"), _text_without_learning),
    (("training.sigma_start_steps", "training.sigma_end_steps", "training.sigma_epochs"), _text_without_width),
)
_RULES: dict[str, tuple[Rule, ...]] = {
    "events": (
        (("data.validation_fraction",), _unless("data.validation", "fraction")),
        (("data.rate_free_spikes",), _unless("data.rate_free", "minimum", "equal")),
        (("augment.neuron_mask_max",), _unless("augment.neuron_mask_probability")),
        (("augment.neuron_mask_probability",), _unless("augment.neuron_mask_max")),
        (("augment.time_mask_max_steps",), _unless("augment.time_mask_probability")),
        (("augment.time_mask_probability",), _unless("augment.time_mask_max_steps")),
        (
            ("model.kernel_size", "model.padding", "model.pool", "model.pooling"),
            _unless("model.kind", "convolutional"),
        ),
        (("model.pooling",), lambda recipe: () if recipe.model.pool > 1 else ("model.pool",)),
        (
            ("model.max_delay_ms", "model.sharing", "model.taps", "model.delay_init"),
            _of_a_new_model(_unless("model.delays", "learned", "fixed")),
        ),
        (("model.taps",), _of_a_new_model(_unless("model.delays", "learned"))),
        (("training.lr_delay",), _without_learning),
        (
            tuple(f"training.sigma_{name}" for name in ("start_steps", "end_steps", "offset_steps", "epochs")),
            _without_width,
        ),
    ),
    "language": _OF_TEXT,
    "sentences": (*_OF_TEXT, (("data.min_count",), _unless("data.vocabulary", "words"))),
}
