"""Recipes: TOML files, read into models that refuse what they do not know."""

import json
import re
from functools import reduce
from pathlib import Path
from types import NoneType
from typing import Annotated, Any, Literal, get_args

from pydantic import Field, ValidationError, field_validator, model_validator

from snn_delays.data.catalogue.lookup import lasting_name
from snn_delays.errors import ConfigError
from snn_delays.messages import did_you_mean
from snn_delays.reading import parse_toml, read_text
from snn_delays.recipes.strict import MOST, BaseRecipe, Strict
from snn_delays.recipes.text import LanguageRecipe, SentenceRecipe
from snn_delays.recipes.unused import without_overruled
from snn_delays.units import MAX_DELAY_STEPS, steps_from_ms


class DataConfig(Strict):
    """Which samples, how binned, how split for model selection, how padded."""

    dataset: str
    binning: Literal["fixed", "event_anchored_v2023", "log_mel"] = "fixed"
    dt_ms: float = Field(10.0, ge=0.001)
    channel_group: int = Field(5, ge=1, description="neighbouring channels summed, 700 -> 140 with 5")
    validation: Literal["speakers", "fraction", "official"] = "fraction"
    validation_speakers: tuple[int, ...] = ()
    validation_fraction: float = Field(0.1, gt=0, lt=1)
    tail_steps: int = Field(0, ge=0, le=MOST, description="silent steps after each sample, for spikes still under way")
    padding: Literal["masked", "published"] = "masked"
    bucketing: bool = Field(False, description="batches of samples of like length")
    memory: Literal["auto", "ram", "mapped"] = "auto"
    on_bad: Literal["raise", "skip"] = Field("raise", description="recordings that cannot be read")

    rate_free: Literal["off", "minimum", "equal"] = Field("off", description="equal spike counts, timing kept")
    rate_free_spikes: int = Field(2, ge=1, description="spikes that a channel needs to count")

    @field_validator("dataset")
    @classmethod
    def _known_or_a_path(cls, name: str) -> str:
        return lasting_name(name)

    @model_validator(mode="after")
    def _speakers_named(self) -> "DataConfig":
        if (self.validation == "speakers") != bool(self.validation_speakers):
            raise ValueError("validation = 'speakers' and validation_speakers = [...] belong together")
        return self


class AugmentConfig(Strict):
    """Augmentations of the training samples; all off by default (see ``snn_delays.data.augment``)."""

    channel_shift: int = Field(0, ge=0, description="largest shift, in channels after grouping")
    time_shift_steps: int = Field(0, ge=0)
    neuron_mask_probability: float = Field(0.0, ge=0, le=1)
    neuron_mask_max: int = Field(0, ge=0, description="channels masked at most")
    time_mask_probability: float = Field(0.0, ge=0, le=1)
    time_mask_max_steps: int = Field(0, ge=0)
    cutmix_probability: float = Field(0.0, ge=0, le=1)


class SurrogateConfig(Strict):
    """Surrogate gradient by name; ``scale`` is alpha (atan, sigmoid), slope (fast_sigmoid) or width (triangle)."""

    kind: Literal["atan", "fast_sigmoid", "triangle", "sigmoid"] = "atan"
    scale: float = Field(5.0, gt=0)


class ModelConfig(Strict):
    """The network: see :class:`snn_delays.models.DelayClassifier`, or for event cameras ``ConvolutionalClassifier``."""

    kind: Literal["classifier", "convolutional"] = "classifier"
    maps: tuple[Annotated[int, Field(ge=1)], ...] = Field((), description="maps of each convolutional layer")
    kernel_size: int = Field(5, ge=1, description="pixels on a side of every kernel")
    padding: int = Field(0, ge=0, description="silent pixels around the maps of every convolution")
    pool: int = Field(2, ge=1, description="pixels on a side that become one behind every convolution")
    pooling: Literal["max", "avg", "sum"] = "max"
    hidden: tuple[Annotated[int, Field(ge=1)], ...]
    recurrent: bool = Field(False, description="hidden neurons hear their own population, at least a step later")
    delays: Literal["learned", "fixed", "none"] = "learned"
    max_delay_ms: float = Field(240.0, ge=0)
    min_delay_steps: int = Field(0, ge=0, description="shortest delay, in steps; recurrent ones are never below 1")
    delay_count: int = Field(1, ge=1)
    sharing: Literal["synapse", "channel", "axon", "dendrite"] = "synapse"
    taps: Literal["gaussian", "triangle", "linear", "linear_normalized"] = "gaussian"
    delay_init: Literal["uniform", "uniform_rounded", "hammouamri_2024"] = "uniform"
    tau_mem_ms: float = Field(gt=0)
    threshold: float = Field(1.0, gt=0)
    reset: Literal["hard", "soft"] = "hard"
    detach_reset: bool = True
    surrogate: SurrogateConfig = SurrogateConfig()
    dropout: float = Field(0.0, ge=0, lt=1)

    @property
    def layers(self) -> str:
        """The hidden layers in short: ``256x256``, ``96rx96r`` recurrent, ``16c3x128`` with 3 x 3 kernels first."""
        linear = (f"{neurons}{'r' if self.recurrent else ''}" for neurons in self.hidden)
        return "x".join([*(f"{maps}c{self.kernel_size}" for maps in self.maps), *linear])

    @model_validator(mode="after")
    def _layers_of_the_kind(self) -> "ModelConfig":
        if self.kind == "classifier" and (self.maps or not self.hidden):
            raise ValueError("kind = 'classifier' has at least one layer in hidden, and no maps")
        if self.kind == "convolutional" and not self.maps:
            raise ValueError("kind = 'convolutional' needs maps = [...], the number of maps of each layer")
        if self.kind == "classifier" and self.sharing == "channel":
            raise ValueError("sharing = 'channel', a delay for each pair of maps, needs kind = 'convolutional'")
        if self.kind == "convolutional" and self.delay_count != 1:
            raise ValueError("kind = 'convolutional' has one synapse for each weight: delay_count = 1")
        if self.kind == "convolutional" and self.recurrent:
            raise ValueError("recurrent = true needs kind = 'classifier'; maps have no recurrence")
        if self.delays == "none" and self.min_delay_steps:
            raise ValueError(f"delays = 'none' and min_delay_steps = {self.min_delay_steps} exclude each other")
        return self


class TrainingConfig(Strict):
    """Two Adam optimisers, their schedules, the narrowing of the taps, and the loss."""

    epochs: int = Field(ge=1, le=MOST)
    batch_size: int = Field(ge=1, le=MOST)
    max_lr_weight: float = Field(5e-3, gt=0, description="peak of the one-cycle schedule of weights and norms")
    weight_decay: float = Field(
        1e-5, ge=0, description="L2 added to the gradient of the weights, not of norms or delays"
    )
    lr_delay: float = Field(0.1, gt=0, description="steps; cosine schedule to 0")
    schedule_every: Literal["epoch", "step"] = "epoch"
    sigma_start_steps: float | None = Field(None, gt=0, description="default: half the window + sigma_offset_steps")
    sigma_end_steps: float = Field(0.5, gt=0)
    sigma_offset_steps: float = Field(0.27, ge=0, description="sigma - offset shrinks by the same factor every epoch")
    sigma_epochs: int | None = Field(None, ge=0, description="epochs of narrowing; default: a quarter of all")
    readout: Literal["softmax_sum", "membrane_mean", "membrane_max"] = "softmax_sum"
    select_by: Literal["accuracy", "loss"] = "accuracy"
    precision: Literal["32-true", "64-true", "bf16-mixed"] = "32-true"

    @model_validator(mode="after")
    def _sigma_shrinks(self) -> "TrainingConfig":
        if self.sigma_end_steps <= self.sigma_offset_steps:
            raise ValueError(
                f"sigma_end_steps ({self.sigma_end_steps}) must be above sigma_offset_steps ({self.sigma_offset_steps})"
            )
        return self


class FineTuningConfig(Strict):
    """Where training takes up a finished run: its discrete network, delays as they are, weights on a grid."""

    run: str = Field(min_length=1, description="a run's folder, or the name of one beside this run's folder")
    weight_bits: int | Literal["ternary"]
    scale: Literal["power_of_two", "free"] = "power_of_two"
    max_delay_steps: int | None = Field(None, ge=0, description="longer delays become this one")

    @field_validator("weight_bits", mode="before")
    @classmethod
    def _known_bits(cls, bits: Any) -> Any:
        if bits != "ternary" and not (type(bits) is int and 2 <= bits <= 16):
            raise ValueError("must lie in 2..16 or be 'ternary'")
        return bits


class Recipe(BaseRecipe):
    """Everything that shapes the training of a classifier of events."""

    data: DataConfig
    augment: AugmentConfig = AugmentConfig()
    model: ModelConfig
    training: TrainingConfig
    fine_tuning: FineTuningConfig | None = None

    @property
    def max_delay_steps(self) -> int:
        """Longest delay in steps; 0 for the network without delays."""
        return 0 if self.model.delays == "none" else steps_from_ms(self.model.max_delay_ms, self.data.dt_ms)

    @model_validator(mode="after")
    def _window_of_delays(self) -> "Recipe":
        if self.max_delay_steps > MAX_DELAY_STEPS:
            raise ValueError(
                f"model.max_delay_ms = {self.model.max_delay_ms:g} is {self.max_delay_steps:.6g} steps of "
                f"{self.data.dt_ms:g} ms, of which there are at most {MAX_DELAY_STEPS:,}; is it in milliseconds?"
            )
        if self.model.min_delay_steps > self.max_delay_steps:
            raise ValueError(
                f"model.min_delay_steps ({self.model.min_delay_steps}) must not exceed the longest delay, "
                f"{self.max_delay_steps} steps of {self.data.dt_ms:g} ms (model.max_delay_ms = "
                f"{self.model.max_delay_ms:g})"
            )
        return self

    @model_validator(mode="after")
    def _window_of_fine_tuning(self) -> "Recipe":
        longest = None if self.fine_tuning is None else self.fine_tuning.max_delay_steps
        if longest is not None and longest < self.model.min_delay_steps:
            raise ValueError(
                f"fine_tuning.max_delay_steps ({longest}) must not be below model.min_delay_steps "
                f"({self.model.min_delay_steps})"
            )
        return self


RECIPES: dict[str, type[BaseRecipe]] = {
    "classification": Recipe,
    "language": LanguageRecipe,
    "sentences": SentenceRecipe,
}


def load_recipe(path: Path | str, changes: tuple[str, ...] = (), *, alone: bool = False) -> Any:
    """Read a recipe of any task. ``base = "other.toml"`` in it names a recipe beside it that it changes.

    ``alone``: refuse a base, as in the folder of a run, whose recipe is written in full.

    ``task = "language"`` or ``"sentences"`` at its head makes it a :class:`LanguageRecipe` or :class:`SentenceRecipe`,
    else it is a :class:`Recipe`.

    ``changes`` are ``"section.key=value"`` with values in TOML; a bare word is taken as text. What a recipe or a change
    makes idle of what it changes is taken away: see :mod:`snn_delays.recipes.unused`.

    Raises ConfigError naming file and key, with the nearest known key for one that does not exist.
    """
    try:
        levels = _read(find_recipe(path), alone=alone)
        table: dict[str, Any] = reduce(_merge, levels)
        said: dict[str, Any] = {}
        for change in changes:
            _apply(table, change)
            _apply(said, change)
        recipe = parse_recipe(table, str(path))
        kept = without_overruled(table, recipe, [*levels, said])
        return recipe if kept == table else parse_recipe(kept, str(path))
    except RecursionError:
        raise ConfigError(f"{path}: its tables are nested too deeply, or its bases are too many") from None


def find_recipe(path: Path | str) -> Path:
    """Path of a recipe given as a file, or by the name of one that comes with the package."""
    path = Path(path)
    bundled = recipes_folder() / f"{path.name}.toml"
    return bundled if not path.exists() and path.suffix != ".toml" and bundled.exists() else path


def recipes_folder() -> Path:
    """The folder of the recipes: inside an installed package, else at the root of the repository."""
    package = Path(__file__).resolve().parents[1]
    installed = package / "_bundled" / "experiments"
    return installed if installed.is_dir() else package.parent / "experiments"


def parse_recipe(table: dict[str, Any], where: str) -> Any:
    """Validate a recipe given as a table; ``where`` is named in errors."""
    task = table.get("task", "classification")
    if not isinstance(task, str) or task not in RECIPES or task == table.get("task") == "classification":
        raise ConfigError(
            f"{where}: task must be 'language' or 'sentences', or be left out for a classifier of events; got {task!r}"
        )
    kind = RECIPES[task]
    try:
        return kind.model_validate(table)
    except ValidationError as error:
        raise ConfigError(f"{where}: " + "; ".join(_explain(issue, kind) for issue in error.errors())) from None


def recipe_from_toml(text: str, where: str) -> Any:
    """Validate a recipe given as TOML with nothing left out, as :func:`to_toml` writes it."""
    try:
        table = parse_toml(text)
    except ValueError as error:
        raise ConfigError(f"{where}: its recipe is not valid TOML: {error}") from None
    return parse_recipe(table, where)


def _read(path: Path, seen: tuple[Path, ...] = (), *, alone: bool = False) -> list[dict[str, Any]]:
    """The tables of a recipe and its bases, the lowest first."""
    try:
        table = parse_toml(read_text(path))
    except FileNotFoundError:
        raise ConfigError(f"no recipe at {path}; {_recipes_there_are(path)}") from None
    except ValueError as error:
        raise ConfigError(f"{path} is not valid TOML: {error}") from None
    except OSError as error:
        raise ConfigError(f"cannot read the recipe {path}: {error.strerror}") from None
    if path.resolve() in seen:
        raise ConfigError(f"{path}: the recipe is its own base")
    base = table.pop("base", None)
    if not isinstance(base, str | None):
        raise ConfigError(f"{path}: base must be the name of a recipe file in quotes, got {base!r}")
    if base is not None and alone:
        raise ConfigError(f"{path}: base = {base!r}; a run's recipe is written in full: put the run's own back")
    return [*([] if base is None else _read(path.parent / base, (*seen, path.resolve()))), table]


def _recipes_there_are(path: Path) -> str:
    """The recipes that may have been meant: those in the folder of a path, and of the package for a mere name."""
    if not path.parent.is_dir():
        return f"there is no folder {path.parent}"
    beside = sorted(p.name if path.suffix else p.stem for p in path.parent.glob("*.toml"))
    bundled = sorted(p.stem for p in recipes_folder().glob("*.toml")) if path.parent == Path() else []
    there = [f"{path.parent} has {', '.join(beside)}"] if beside else []
    there += [f"the package has {', '.join(bundled)}"] if bundled else []
    return did_you_mean(path.name, [*beside, *bundled]) + ("; ".join(there) or f"{path.parent} has none")


def _merge(below: dict[str, Any], above: dict[str, Any]) -> dict[str, Any]:
    merged = dict(below)
    for key, value in above.items():
        nested = isinstance(value, dict) and isinstance(below.get(key), dict)
        merged[key] = _merge(below[key], value) if nested else value
    return merged


def _apply(table: dict[str, Any], change: str) -> None:
    key, equals, text = change.partition("=")
    if not equals or not re.fullmatch(r"[a-z_]+(\.[a-z_]+)*", key.strip()):
        raise ConfigError(f"--set takes section.key=value, got {change!r}")
    try:
        value = parse_toml(f"value = {text}")["value"]
    except ValueError:
        value = text.strip()
    *sections, last = key.strip().split(".")
    for section in sections:
        table = table.setdefault(section, {})
        if not isinstance(table, dict):
            raise ConfigError(f"--set {change}: {section!r} is a value, not a section")
    table[last] = value


def _explain(issue: Any, kind: type[BaseRecipe]) -> str:
    location = issue["loc"]
    key = ".".join(str(part) for part in location)
    if issue["type"] == "extra_forbidden":
        known = _known_keys(location[:-1], kind)
        return f"unknown key {key!r}; {did_you_mean(location[-1], known)}known here: {', '.join(known)}"
    if issue["type"] == "missing":
        return f"key {key!r} is missing"
    message = issue["msg"].removeprefix("Value error, ")
    where = f"{key}: " if key else ""
    return f"{where}{message}" + (f", got {_shown(issue['input'])}" if not isinstance(issue["input"], dict) else "")


def _shown(value: Any) -> str:
    """A value as it was given, unless it is too long to be read."""
    try:
        text = repr(value)
    except ValueError:  # a whole number of thousands of digits
        return "a number of thousands of digits"
    return text if len(text) <= 100 else f"{text[:97]}..."


def _known_keys(location: tuple[Any, ...], kind: type[BaseRecipe]) -> list[str]:
    model: Any = kind
    for part in location:
        annotation = model.model_fields[part].annotation
        model = next((kind for kind in get_args(annotation) if kind is not NoneType), annotation)
    return list(model.model_fields)


def to_toml(recipe: BaseRecipe) -> str:
    """The recipe in full, every default written out, as TOML."""
    return _table(recipe.model_dump(mode="json"), ())


def _table(table: dict[str, Any], path: tuple[str, ...]) -> str:
    lines = [f"\n[{'.'.join(path)}]"] if path else []
    lines += [f"{key} = {_value(v)}" for key, v in table.items() if v is not None and not isinstance(v, dict)]
    text = "\n".join(lines) + "\n"
    return text + "".join(_table(v, (*path, key)) for key, v in table.items() if isinstance(v, dict))


def _value(value: Any) -> str:
    if isinstance(value, bool):
        return str(value).lower()
    if isinstance(value, list):
        return "[" + ", ".join(_value(v) for v in value) + "]"
    if isinstance(value, str):
        # JSON's escapes are TOML's, but that TOML wants the character 127 escaped as well.
        return json.dumps(value, ensure_ascii=False).replace("\x7f", "\\u007f")
    return repr(value)
