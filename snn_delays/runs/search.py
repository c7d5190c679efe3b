"""A search over a recipe's keys by Optuna: trials are runs of a study, validation numbers alone are optimised."""

from collections.abc import Sequence
from dataclasses import replace
from typing import Any

from snn_delays.errors import ConfigError, MissingPackageError
from snn_delays.recipes.study import Job, Range, Search, check_space, recipe_of, shown
from snn_delays.runs.study import Folder, measure_of, numbers
from snn_delays.training.runlog import open_run


class Trials:
    """The trials of a search, from its storage: those under way when it was stopped come first, then new ones.

    Raises MissingPackageError without Optuna, ConfigError for a storage that cannot be opened, or an unknown key.
    """

    def __init__(self, folder: Folder, search: Search) -> None:
        check_space(folder.study, search)
        self.folder, self.search, self.study = folder, search, open_search(folder, search)
        self.failed: dict[str, str] = {}
        self._here = str(folder.path.resolve())
        self.finished = len(self.study.get_trials(deepcopy=False, states=[_state("COMPLETE")]))
        under_way = self.study.get_trials(states=[_state("RUNNING")])
        self._left = [trial for trial in under_way if trial.user_attrs.get("folder") == self._here]
        self._spread = {key: _distribution(each) for key, each in search.space.items()}

    def next(self) -> Job | None:
        """As :meth:`snn_delays.runs.study.Source.next`; a trial whose recipe cannot be has failed."""
        study = self.folder.study
        while self._left or len(self.study.get_trials(deepcopy=False)) < self.search.trials:
            if self._left:
                trial: Any = self._left.pop(0)
            else:
                trial = self.study.ask(self._spread)
                trial.set_user_attr("folder", self._here)
            (job,) = trial_jobs(self.folder, [trial])
            try:
                recipe = recipe_of(study, {**trial.params, "seed": study.seeds[0]}, job.name)
            except ConfigError as error:
                self.failed[job.name] = str(error)
                self.ended(job, str(error))
            else:
                return replace(job, recipe=recipe)
        return None

    def ended(self, job: Job, reason: str) -> None:
        """Tell Optuna what a trial reached, or that it failed."""
        number = int(job.name.rpartition("_")[2])
        if reason:
            self.study.tell(number, state=_state("FAIL"))
            return
        found = numbers(open_run(self.folder.run(job)))
        self.study.tell(number, float(found[measure_of(self.folder.study, [found])]))


def open_search(folder: Folder, search: Search) -> Any:
    """Optuna's study, made if need be."""
    try:
        import optuna
    except ImportError as error:
        raise MissingPackageError(f"a search needs Optuna ({error}): pip install 'snn-delays[study]'") from error
    optuna.logging.set_verbosity(optuna.logging.WARNING)
    folder.path.mkdir(parents=True, exist_ok=True)
    url = search.storage or f"sqlite:///{folder.path.resolve() / 'optuna.db'}"
    try:
        storage = optuna.storages.RDBStorage(url)
        study = optuna.create_study(
            storage=storage, study_name=folder.study.name, load_if_exists=True,
            direction="maximize" if folder.study.larger_is_better else "minimize",
        )  # fmt: skip
        # Another seed for what is continued: the same one would draw the first trials once more.
        seed = (search.sampler_seed + 1009 * len(study.get_trials(deepcopy=False))) % 2**32
    except Exception as error:  # of SQLAlchemy, a driver of it, or Optuna
        reason = " ".join(str(error).split())[:200]
        raise ConfigError(
            f"cannot open the storage {url} ({reason}); search.storage takes a URL as sqlite:///FILE or "
            "postgresql://USER@HOST/NAME, whose driver is to be installed"
        ) from error
    samplers = optuna.samplers
    tpe = search.sampler == "tpe"
    study.sampler = samplers.TPESampler(seed=seed, constant_liar=True) if tpe else samplers.RandomSampler(seed=seed)
    return study


def trial_jobs(folder: Folder, trials: Sequence[Any]) -> list[Job]:
    """Trials as runs, without their recipes; labels have four digits of each number."""

    def brief(value: Any) -> str:
        return f"{value:.4g}" if isinstance(value, float) else shown(value)

    return [
        Job(
            f"trial_{trial.number:04d}", ", ".join(f"{key}={brief(value)}" for key, value in trial.params.items()),
            folder.study.seeds[0],
        )
        for trial in trials
    ]  # fmt: skip


def _state(name: str) -> Any:
    from optuna.trial import TrialState

    return TrialState[name]


def _distribution(each: Range) -> Any:
    from optuna.distributions import CategoricalDistribution, FloatDistribution, IntDistribution

    if each.choices:  # a list is no value that a storage keeps
        return CategoricalDistribution([shown(c) if isinstance(c, list) else c for c in each.choices])
    kind: Any = IntDistribution if isinstance(each.low, int) and isinstance(each.high, int) else FloatDistribution
    return kind(each.low, each.high, log=each.log)
