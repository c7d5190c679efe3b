"""The runs of a study: what is done, what is left, and doing it in processes of this machine or of a cluster."""

from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import FIRST_COMPLETED, Executor, Future, ThreadPoolExecutor, wait
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

from snn_delays.errors import ConfigError
from snn_delays.files import alone_in, write_text
from snn_delays.messages import did_you_mean
from snn_delays.recipes.files import to_toml
from snn_delays.recipes.keys import differences
from snn_delays.recipes.registry import PLUGINS, task_of
from snn_delays.recipes.study import Job, Study, jobs, read_study, write_study
from snn_delays.runs.evaluate import read_evaluation
from snn_delays.training.checkpoint import latest_epoch
from snn_delays.training.runlog import Run, open_run
from snn_delays.workers import executor, run_commands

MEASURES = (
    "test_accuracy", "test_bits_per_byte", "test_nmse", "valid_accuracy", "valid_bits_per_byte", "valid_nmse",
    "valid_loss",
)  # fmt: skip
TRIES = 3
"""How often a run whose process was killed is started again, the first time counted."""


@dataclass(frozen=True)
class Folder:
    """Where a study keeps what it made: ``runs/NAME``, ``recipes/NAME.toml``, ``logs/NAME.txt``, ``study.toml``."""

    path: Path
    study: Study

    def run(self, job: Job) -> Path:
        """The folder of a run."""
        return self.path / "runs" / job.name

    def log(self, job: Job) -> Path:
        """What training and evaluating a run printed."""
        return self.path / "logs" / f"{job.name}.txt"

    def recipe(self, job: Job) -> Path:
        """The recipe that a run is trained with."""
        return self.path / "recipes" / f"{job.name}.toml"

    def epochs(self, job: Job) -> int:
        """Epochs that a run has finished, also on another machine."""
        return latest_epoch(self.run(job) / "checkpoints") or 0

    def finished(self, job: Job) -> bool:
        """Whether a run is trained to the end of its recipe, and evaluated where the study says so.

        Raises ConfigError if the run there is of another recipe, other than one with fewer epochs.
        """
        if not (self.run(job) / "recipe.toml").exists():
            return False
        run = open_run(self.run(job))
        for key, (old, new) in differences(run.recipe, job.recipe).items():
            if key != "training.epochs" or old > new:
                raise ConfigError(
                    f"{run.folder} was trained with {key} = {old!r}, the study now says {new!r}; name another folder "
                    "with --out, or remove that run"
                )
        if self.epochs(job) < job.recipe.training.epochs:
            return False
        return not self.study.evaluate or numbers(run).get("epochs") == job.recipe.training.epochs

    def summary(self, job: Job) -> str:
        """A finished run in a line: its variant, and the last number of :data:`MEASURES` that is known of it."""
        found = numbers(open_run(self.run(job)))
        measure = measure_of(self.study, [found])
        return f"{job.label}, {measure} {found[measure]:.4f}, best epoch {found['best_epoch']}"

    def commands(self, job: Job) -> list[list[str]]:
        """What is left to do for a run, in the words of the command line."""
        plugins = [word for module in PLUGINS for word in ("--plugin", module)]
        folder = str(self.run(job))
        train = [*plugins, "train", str(self.recipe(job)), "--resume", "--out", folder]
        train += ["--accelerator", self.study.accelerator, "--logger", self.study.logger]
        return [train, *([[*plugins, "evaluate", folder]] if self.study.evaluate else [])]


def open_folder(path: Path, runs: Path) -> Folder:
    """The folder of a study, given as such or by the study's file, whose folder is then in ``runs``.

    Raises ConfigError if there is none.
    """
    if (path / "study.toml").is_file():
        return Folder(path, read_study(path / "study.toml"))
    if (path / "recipe.toml").is_file():
        raise ConfigError(f"{path} is a run, not a study; `snn-delays plot` draws runs, `compare` tabulates them")
    if path.is_dir():
        raise ConfigError(f"{path} has no study.toml; `snn-delays study STUDY.toml` makes the folder of a study")
    study = read_study(path)
    return Folder(runs / study.name, study)


def numbers(run: Run) -> dict[str, Any]:
    """What is known of a run by name: the row of its best epoch, and its evaluation where there is one."""
    progress = run.progress()
    row: dict[str, Any] = next((row for row in progress["history"] if row["epoch"] == progress["best_epoch"]), {})
    evaluation = read_evaluation(run) if run.evaluation.exists() else {}
    return {**row, **evaluation, "best_epoch": progress["best_epoch"]}


def measure_of(study: Study, found: Sequence[Mapping[str, Any]]) -> str:
    """The number that a study compares. Raises ConfigError, naming those that there are, if no run has it."""
    known = sorted({key for each in found for key, value in each.items() if isinstance(value, (int, float))})
    if study.search is not None:  # which the test data do not guide
        known = [key for key in known if not key.startswith("test")]
    measure = study.measure or next((name for name in MEASURES if name in known), "")
    if measure not in known:
        hint = did_you_mean(measure, known)
        raise ConfigError(f"no run of the study has a number {measure!r}; {hint}there are {', '.join(known)}")
    return measure


class View(Protocol):
    """What is called as a study goes."""

    def running(self, jobs: Sequence[Job]) -> None:
        """About once a second, the runs under way."""

    def ended(self, job: Job, reason: str) -> None:
        """A run ended; ``reason``: why it failed, empty if it did not."""


class Source(Protocol):
    """Where runs come from. ``failed``: why runs failed, by name; ``finished``: how many were from the beginning."""

    failed: dict[str, str]
    finished: int

    def next(self) -> Job | None:
        """A run to start; None if there is none now."""

    def ended(self, job: Job, reason: str) -> None:
        """A run ended; ``reason``: why it failed, empty if it did not."""


class Grid:
    """All runs of a study that are not finished, in order."""

    def __init__(self, folder: Folder) -> None:
        self.jobs = jobs(folder.study)
        self.failed: dict[str, str] = {}
        for job in self.jobs:
            task_of(job.recipe).check(folder.run(job))
        left = [job for job in self.jobs if not folder.finished(job)]
        self._left, self.finished = iter(left), len(self.jobs) - len(left)

    def next(self) -> Job | None:
        """As :meth:`Source.next`."""
        return next(self._left, None)

    def ended(self, job: Job, reason: str) -> None:
        """As :meth:`Source.ended`."""


def run_study(
    folder: Folder, source: Source, view: View, *, workers: int, scheduler: str | None = None
) -> dict[str, str]:
    """Run what is left of a study; returns why runs failed, by name. A failed one does not stop the rest.

    Every run is a process of its own, which goes on from the run's last checkpoint if it has one. One that was killed,
    or whose worker was lost, is started again, :data:`TRIES` times in all. A file ``stop`` in the folder ends them all.

    Args:
        folder: of the study; another process that runs it there is refused.
        source: of the runs.
        view: shows what is under way.
        workers: runs at once; 0: on a cluster, as many as its workers have threads.
        scheduler: address of a Dask scheduler, whose workers see the same files.

    Raises ConfigError, MissingPackageError: no scheduler there, no Dask; CheckpointError: another process runs it.
    """
    tries: dict[str, int] = {}
    stop = (folder.path / "stop").resolve()
    with alone_in(folder.path), executor(workers, scheduler, ThreadPoolExecutor) as (pool, slots), _stopping(stop):
        write_text(folder.path / "study.toml", write_study(folder.study))
        running: dict[Future[tuple[int, str]], Job] = {}
        again: list[Job] = []
        while True:
            while not stop.exists() and len(running) < slots() and (job := again.pop() if again else source.next()):
                running[_start(pool, folder, job, stop)] = job
            if not running:
                return source.failed
            view.running(list(running.values()))
            for future in wait(running, timeout=1, return_when=FIRST_COMPLETED).done:
                job = running.pop(future)
                code, reason = _outcome(future)
                tries[job.name] = tries.get(job.name, 0) + 1
                if code < 0 and (stop.exists() or tries[job.name] < TRIES):
                    again.append(job)
                    continue
                if reason:
                    source.failed[job.name] = reason
                source.ended(job, reason)
                view.ended(job, reason)


@contextmanager
def _stopping(stop: Path) -> Iterator[None]:
    """A file that ends all runs is there from when the block fails, also by Ctrl-C, until it begins again."""
    stop.unlink(missing_ok=True)
    try:
        yield
    except BaseException:
        stop.touch()
        raise


def _start(pool: Executor, folder: Folder, job: Job, stop: Path) -> "Future[tuple[int, str]]":
    path = Folder(folder.path.resolve(), folder.study)  # a worker may have another working folder
    write_text(path.recipe(job), to_toml(job.recipe))
    path.log(job).parent.mkdir(exist_ok=True)
    return pool.submit(run_commands, path.commands(job), path.log(job), stop, folder.study.threads)


def _outcome(future: "Future[tuple[int, str]]") -> tuple[int, str]:
    try:
        return future.result()
    except Exception as error:  # lost workers, or whatever a worker raised that lacks the package or the files
        return 1, " ".join(str(error).split()) or type(error).__name__
