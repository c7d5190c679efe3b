"""Studies: which runs a TOML file asks for, by a grid, by seeds, or by a search with Optuna."""

import itertools
import json
import re
from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Literal

import tomli_w
from pydantic import Field, ValidationError, field_validator

from snn_delays.errors import ConfigError
from snn_delays.messages import did_you_mean
from snn_delays.reading import parse_toml, read_text
from snn_delays.recipes.files import explained, find_recipe, load_recipe
from snn_delays.recipes.keys import acting, flat, refuse_unused
from snn_delays.recipes.strict import MOST, Strict


class Range(Strict):
    """What a key may be in a search: one of ``choices``, or a number from ``low`` to ``high``, integer if both are."""

    low: int | float | None = None
    high: int | float | None = None
    log: bool = False
    choices: tuple[Any, ...] = ()

    def _problems(self) -> Iterator[str]:
        numbers = self.low is not None and self.high is not None
        if numbers == bool(self.choices) or (not numbers and self.log):
            yield "must be { choices = [...] } or { low = ..., high = ... }, the latter also with log = true"
        elif self.low is not None and self.high is not None and (self.low >= self.high or (self.log and self.low <= 0)):
            yield f"low ({self.low}) must be below high ({self.high}), and above 0 on a logarithmic scale"

    @property
    def ends(self) -> tuple[Any, ...]:
        """Every choice, or both ends."""
        return self.choices or (self.low, self.high)


class Search(Strict):
    """A search by Optuna over ``space``: dotted keys of the recipe, each with its :class:`Range`."""

    space: dict[str, Range]
    trials: int = Field(ge=1, le=MOST)
    sampler: Literal["tpe", "random"] = "tpe"
    sampler_seed: int = Field(0, ge=0)
    storage: str = Field(
        "", description="URL of a database, as postgresql://...; default: SQLite in the study's folder"
    )

    @field_validator("space", mode="before")
    @classmethod
    def _dotted(cls, table: Any) -> Any:
        """Sections of TOML as dotted keys."""
        if not isinstance(table, dict):
            return table
        ranges: dict[str, Any] = {}
        for path, value in flat(table).items():
            key, _, field = path.rpartition(".")
            ranges.setdefault(key, {})[field] = value
        return ranges

    def _problems(self) -> Iterator[str]:
        if not self.space:
            yield "space names no key"


class Study(Strict):
    """What a study asks for: ``variants`` times ``grid``, each with every seed; or the trials of a ``search``.

    Keys of the recipe are dotted, or in sections. ``set`` is for all runs. ``measure``: the number that is compared,
    that the best epoch's row or the evaluation has; default: the first of :data:`snn_delays.runs.study.MEASURES`, of a
    search what chooses the best epoch.
    ``control``: a variant, or a label as reports show it, that the others are tested against.
    """

    name: str = Field(pattern=r"^[A-Za-z0-9][A-Za-z0-9._-]*$")
    recipe: str
    seeds: tuple[int, ...] = (0,)
    set: dict[str, Any] = Field(default_factory=dict)
    variants: dict[str, dict[str, Any]] = Field(default_factory=dict)
    grid: dict[str, list[Any]] = Field(default_factory=dict)
    search: Search | None = None
    control: str = ""
    measure: str = ""
    direction: Literal["", "maximize", "minimize"] = ""
    evaluate: bool = Field(False, description="measure finished runs on the test data")
    accelerator: str = "auto"
    logger: str = Field("", description="logs that each run writes, as of train")
    threads: int = Field(1, ge=1, description="of each run")

    @field_validator("set", "grid", mode="before")
    @classmethod
    def _dotted(cls, table: Any) -> Any:
        return flat(table) if isinstance(table, dict) else table

    @field_validator("variants", mode="before")
    @classmethod
    def _each_dotted(cls, table: Any) -> Any:
        if not isinstance(table, dict):
            return table
        return (
            {k: flat(v) if isinstance(v, dict) else v for k, v in table.items()} if isinstance(table, dict) else table
        )

    def _problems(self) -> Iterator[str]:
        if not self.seeds or len(set(self.seeds)) < len(self.seeds):
            yield "seeds must name each seed once"
        if "seed" in {*self.set, *self.grid, *(key for keys in self.variants.values() for key in keys)}:
            yield "seed is set by seeds = [...]"
        if empty := [key for key, values in self.grid.items() if not values]:
            yield f"grid.{empty[0]} has no values"
        if self.search is not None:
            if self.grid or self.variants or len(self.seeds) > 1:
                yield "a search has neither variants, grid nor more than one seed"
            if self.evaluate or self.measure.startswith("test"):
                yield "a search chooses by validation data: leave out evaluate, and take a measure that is none of test"
            if both := self.search.space.keys() & self.set.keys():
                yield f"{min(both)} is in set and in search.space; leave it out of one"
        elif self.control and self.control not in (known := {*self.variants, *self.labels()}):
            hint = did_you_mean(self.control, known)
            yield f"control = {self.control!r} is no variant; {hint}there are {', '.join(map(repr, sorted(known)))}"

    @property
    def larger_is_better(self) -> bool:
        """Whether the measure is to be large: as ``direction`` says, else whether it is an accuracy."""
        return self.direction == "maximize" or (not self.direction and "accuracy" in self.measure)

    def labels(self) -> dict[str, tuple[str, dict[str, Any]]]:
        """By the label of every variant at every place of the grid: the variant's name, and the keys that are set."""
        cells = {}
        places = [dict(zip(self.grid, values)) for values in itertools.product(*self.grid.values())]
        for (name, keys), place in itertools.product((self.variants or {"": {}}).items(), places):
            label = ", ".join([*([name] if name else []), *(f"{key}={shown(value)}" for key, value in place.items())])
            cells[label or self.name] = (name, {**keys, **place})
        return cells

    def control_of(self, label: str) -> str | None:
        """The label that another one is tested against: of the control variant at the same place of the grid."""
        name = self.labels()[label][0]
        if not self.control:
            return None
        other = self.control if self.control in self.labels() else self.control + label.removeprefix(name)
        return None if other == label else other


@dataclass(frozen=True)
class Job:
    """A run of a study: a folder's name, the label of its variant, its seed, and its recipe in full."""

    name: str
    label: str
    seed: int
    recipe: Any = None


def read_study(path: Path) -> Study:
    """Read a study. Raises ConfigError naming file and key; the recipe's own keys are checked by :func:`jobs`."""
    try:
        table = parse_toml(read_text(path))
    except OSError as error:
        raise ConfigError(f"cannot read the study {path}: {error.strerror}") from None
    except ValueError as error:
        raise ConfigError(f"{path} is not valid TOML: {error}") from None
    recipe = table.get("recipe")
    if isinstance(recipe, str) and (beside := path.parent / recipe).is_file():
        table["recipe"] = str(beside.resolve())
    study = parse_study({"name": path.stem, **table}, str(path))
    if study.search is None or study.measure:
        return study
    training = recipe_of(study, {}, study.name).training  # what chooses the best epoch is what is searched for
    return study.model_copy(update={"measure": f"valid_{getattr(training, 'select_by', 'loss')}"})


def parse_study(table: dict[str, Any], where: str) -> Study:
    """A study from a table. Raises ConfigError naming ``where`` and the key."""
    try:
        return Study.model_validate(table)
    except ValidationError as error:
        raise ConfigError(f"{where}: {'; '.join(explained(issue, Study) for issue in error.errors())}") from None


def seeded(study: Study) -> list[Job]:
    """The runs of a study that is no search, without their recipes. Raises ConfigError if two would share a folder."""
    found: dict[str, Job] = {}
    for label, seed in itertools.product(study.labels(), study.seeds):
        job = Job(f"{slug(label)}_seed_{seed}", label, seed)
        if job.name in found:
            raise ConfigError(f"the variants {found[job.name].label!r} and {label!r} would share a folder; rename one")
        found[job.name] = job
    return list(found.values())


def jobs(study: Study) -> list[Job]:
    """The same with their recipes. Raises ConfigError also for a recipe that cannot be, naming variant and key."""
    keys = {label: keys for label, (_, keys) in study.labels().items()}
    return [
        replace(job, recipe=recipe_of(study, {**keys[job.label], "seed": job.seed}, job.label)) for job in seeded(study)
    ]


def recipe_of(study: Study, keys: dict[str, Any], label: str) -> Any:
    """The study's recipe with keys changed. Raises ConfigError naming ``label``.

    What a trial of a search sets and what does nothing beside the rest is left at its default.
    """
    try:
        levels = (tuple(f"{key}={shown(value)}" for key, value in each.items()) for each in (study.set, keys))
        recipe = load_recipe(study.recipe, *levels)
        if study.search is None:
            refuse_unused(recipe)
    except ConfigError as error:
        raise ConfigError(f"study {study.name}, {label}: {error}") from None
    return recipe if study.search is None else acting(recipe)


def check_space(study: Study, search: Search) -> None:
    """Raise ConfigError for a key of a search that the recipe does not know or that cannot have one of its values.

    What a value cannot be beside some values of other keys is left to the trials.
    """
    others = [{}, *({key: each.ends[i] for key, each in search.space.items()} for i in (0, -1))]
    for key, each in search.space.items():
        for value in each.ends:
            for last, beside in zip((False, False, True), others):
                try:
                    recipe_of(study, {**beside, key: value}, f"search.space, {key} = {shown(value)}")
                    break
                except ConfigError:
                    if last:
                        raise


def write_study(study: Study) -> str:
    """A study in full, as TOML; its recipe by its path."""
    table = study.model_dump(mode="json", exclude_none=True)
    recipe = find_recipe(study.recipe)
    return tomli_w.dumps({**table, "recipe": str(recipe.resolve()) if recipe.exists() else study.recipe})


def shown(value: Any) -> str:
    """A value as it is written after ``--set key=``: text bare, anything else in TOML, which JSON's lists are too."""
    return value if isinstance(value, str) else json.dumps(value)


def slug(label: str) -> str:
    """A label as a folder's name."""
    return re.sub(r"[^A-Za-z0-9._-]+", "_", label).strip("_.") or "variant"
