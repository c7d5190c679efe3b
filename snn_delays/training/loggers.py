"""Logs of a training in Lightning's loggers: the numbers, spikes and delays of every epoch, and the recipe."""

import importlib.util
import json
import os
from collections.abc import Iterable, Mapping
from contextlib import suppress
from itertools import islice
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from snn_delays.errors import CheckpointError, ConfigError, MissingPackageError
from snn_delays.files import write_text
from snn_delays.messages import did_you_mean
from snn_delays.nn.neuron import Neuron
from snn_delays.nn.optimise import layers_with_delays
from snn_delays.reading import read_json
from snn_delays.training.activity import population
from snn_delays.training.callbacks import Callback
from snn_delays.training.checkpoint import latest_epoch
from snn_delays.training.runlog import Run

# What each needs, and the extra that brings it.
LOGGERS: Mapping[str, tuple[tuple[str, ...], str]] = {
    "csv": ((), ""),
    "tensorboard": (("tensorboard",), "loggers"),
    "wandb": (("wandb", "pytorch_lightning"), "loggers"),
    "mlflow": (("mlflow", "pytorch_lightning"), "mlflow"),
}
POPULATIONS = 8  # in a raster


class Logs(Callback):
    """Logs a run's epochs: every number of their records, a raster of a validation sample, histograms of the delays.

    Args:
        loggers: names, of ``csv``, ``tensorboard``, ``wandb`` and ``mlflow``, in a sequence or separated by commas; or
            loggers of Lightning or Lightning Fabric. Those named write into the run's ``logs`` folder, and a run that
            is resumed goes on in the same log. ``csv`` has the numbers alone.

    ``WANDB_MODE=offline`` keeps a W&B run on the disk; MLflow does so unless ``MLFLOW_TRACKING_URI`` names a server.

    Raises ConfigError for an unknown logger or one that does not start, MissingPackageError for one whose package is
    not installed.
    """

    def __init__(self, loggers: str | Any | Iterable[Any]) -> None:
        several = isinstance(loggers, Iterable) and not isinstance(loggers, str)
        parts = list(loggers) if several else [loggers]
        names = [name.strip() for part in parts if isinstance(part, str) for name in part.split(",") if name.strip()]
        self.names = list(dict.fromkeys(names))
        self.given = [part for part in parts if not isinstance(part, str)]
        for name in self.names:
            _check(name)
        for logger in self.given:
            if not hasattr(logger, "log_metrics"):
                raise ConfigError(f"{logger!r} is no logger: it has no log_metrics; choose from {', '.join(LOGGERS)}")
        self.loggers: dict[str, Any] = {}
        self._changes: dict[str, Any] = {}

    def on_resume(self, changes: dict[str, Any]) -> None:
        """Keep what changes in the recipe."""
        self._changes = {key: new for key, (_, new) in changes.items()}

    def on_fit_start(self, run: Run, task: Any, network: nn.Module) -> None:
        """Start or continue the logs."""
        self._run, self._task, self._network = run, task, network
        self._folder = run.own("logs")
        self._folder.mkdir(exist_ok=True)
        self._state = self._read_state()
        history = [] if latest_epoch(run.checkpoints) is None else run.progress()["history"]
        done = len(history)
        for name in self.names:
            logged = self._state.get(name, {}).get("epoch")
            self.loggers[name] = logger = self._started(name, done)
            self._log_recipe(logger, done if logged is not None else 0)
            for row in history[0 if name == "csv" else logged or 0 :]:
                self._log(logger, row, pictures=row["epoch"] == done)
        for logger in self.given:
            self._log_recipe(logger, done)
        self._write_state(done)

    def on_train_epoch_end(self, row: dict[str, Any], best_epoch: int) -> None:
        """Log an epoch."""
        for logger in [*self.loggers.values(), *self.given]:
            self._log(logger, row)
        self._write_state(row["epoch"])

    def on_fit_end(self, succeeded: bool) -> None:
        """Close the logs."""
        for logger in [*self.loggers.values(), *self.given]:
            logger.finalize("success" if succeeded else "failed")
        if "wandb" in self.loggers:
            self.loggers["wandb"].experiment.finish(0 if succeeded else 1)

    def _log(self, logger: Any, row: Mapping[str, Any], pictures: bool = True) -> None:
        epoch = row["epoch"]
        numbers = {name: value for name, value in row.items() if isinstance(value, int | float) and name != "epoch"}
        logger.log_metrics(numbers, step=epoch)
        if pictures and _shows(logger):
            for name, layer in layers_with_delays(self._network).items():
                _log_delays(logger, f"delays/{name}", layer, epoch)
            if (raster := self._raster()) is not None:
                _log_figure(logger, "spikes", raster, epoch)
        logger.save()

    def _log_recipe(self, logger: Any, done: int) -> None:
        """The recipe, or of a log that goes on what changes in it: some loggers keep a value for good."""
        changes = {f"after_epoch_{done}": self._changes} if self._changes else None
        values = changes if done else self._run.recipe.model_dump(mode="json")
        if values:
            with suppress(NotImplementedError):  # Fabric's CSVLogger; the recipe lies in the run's folder
                logger.log_hyperparams(values)

    def _raster(self) -> Any:
        """A figure of the spikes of the network in evaluation; None where there is no sample, or nothing fires."""
        from snn_delays.plot import raster_figure

        sample = self._task.sample()
        if sample is None:
            return None
        spikes = spikes_of(self._network, sample)
        if sample.ndim > 2:
            spikes = {"input": _flat(sample), **spikes}
        dt_ms = getattr(getattr(self._run.recipe, "data", None), "dt_ms", None)
        figure = raster_figure(dict(islice(spikes.items(), POPULATIONS)), dt_ms=dt_ms or 1.0) if spikes else None
        if figure is not None and dt_ms is None:
            figure.axes[-1].set_xlabel("step")
        return figure

    def _started(self, name: str, done: int) -> Any:
        try:
            return self._start(name, done)
        except Exception as error:  # of a dozen types, by package
            offline = "; to log without a server, set WANDB_MODE=offline" if name == "wandb" else ""
            raise ConfigError(f"the logger {name!r} does not start: {error}{offline}") from error

    def _start(self, name: str, done: int) -> Any:
        before, recipe = self._state.get(name, {}), self._run.recipe
        if name == "csv":
            from lightning_fabric.loggers import CSVLogger

            (self._folder / "csv" / "metrics.csv").unlink(missing_ok=True)  # the whole history is written again
            return CSVLogger(self._folder, name="", version="csv", flush_logs_every_n_steps=1)
        if name == "tensorboard":
            from lightning_fabric.loggers import TensorBoardLogger

            # Later epochs, where one went back to an earlier one, are no longer shown.
            purge: dict[str, Any] = {"purge_step": done + 1} if before else {}
            return TensorBoardLogger(self._folder, name="", version="tensorboard", **purge)
        place = self._folder / name
        place.mkdir(exist_ok=True)
        if name == "wandb":
            from pytorch_lightning.loggers import WandbLogger

            project = os.environ.get("WANDB_PROJECT", "snn_delays")
            wandb = WandbLogger(project=project, name=recipe.name, save_dir=place, version=before.get("id"))
            self._state["wandb"] = {"epoch": 0, **before, "id": wandb.experiment.id}
            return wandb
        from pytorch_lightning.loggers import MLFlowLogger

        server = os.environ.get("MLFLOW_TRACKING_URI")
        mlflow = MLFlowLogger(
            os.environ.get("MLFLOW_EXPERIMENT_NAME", "snn_delays"), run_name=recipe.name, run_id=before.get("id"),
            tracking_uri=server or f"sqlite:///{(place / 'mlflow.db').resolve()}",
            artifact_location=None if server else (place / "artifacts").resolve().as_uri(),
        )  # fmt: skip
        self._state["mlflow"] = {"epoch": 0, **before, "id": mlflow.run_id}
        return mlflow

    def _read_state(self) -> dict[str, Any]:
        path = self._folder / "state.json"
        try:
            state = read_json(path) if path.exists() else {}
        except ValueError as error:
            raise CheckpointError(f"{path} is damaged: {error}; remove {self._folder} to begin new logs") from error
        return dict(state)

    def _write_state(self, epoch: int) -> None:
        for name in self.names:
            self._state[name] = {**self._state.get(name, {}), "epoch": epoch}
        write_text(self._folder / "state.json", json.dumps(self._state, indent=1))


@torch.no_grad()
def spikes_of(network: nn.Module, x: Tensor) -> dict[str, np.ndarray]:
    """Spikes ``[time, neuron]`` of the first sample of ``x``, by population in the order they fire, in evaluation."""
    found: dict[str, np.ndarray] = {}

    def keep(name: str) -> Any:
        def hook(_: nn.Module, __: Any, output: tuple[Tensor, Any]) -> None:
            found[name] = _flat(output[0])

        return hook

    was_training = network.training
    hooks = [
        layer.register_forward_hook(keep(population(name)))
        for name, layer in network.named_modules()
        if isinstance(layer, Neuron) and layer.fires
    ]
    try:
        network.eval()(x)
    finally:
        network.train(was_training)
        for hook in hooks:
            hook.remove()
    return found


def _flat(x: Tensor) -> np.ndarray:
    return x[:, 0].flatten(1).float().cpu().numpy()


def _check(name: str) -> None:
    if name not in LOGGERS:
        raise ConfigError(f"there is no logger {name!r}; {did_you_mean(name, LOGGERS)}choose from {', '.join(LOGGERS)}")
    packages, extra = LOGGERS[name]
    for package in packages:
        if importlib.util.find_spec(package) is None:
            raise MissingPackageError(
                f"the logger {name!r} needs the package {package} (pip install 'snn-delays[{extra}]')"
            )


def _shows(logger: Any) -> bool:
    """Whether a logger takes pictures."""
    return any(hasattr(each, name) for each in (logger, logger.experiment) for name in ("log_image", "add_image"))


def _log_delays(logger: Any, name: str, layer: Any, epoch: int) -> None:
    values = layer.effective_delay().detach().float().cpu().numpy().ravel()
    edges = np.arange(layer.min_delay_steps, layer.max_delay_steps + 2) - 0.5
    if hasattr(logger.experiment, "add_histogram"):
        logger.experiment.add_histogram(name, values, epoch, bins=edges)
    elif hasattr(logger, "log_image"):
        import wandb

        logger.log_metrics({name: wandb.Histogram(np_histogram=np.histogram(values, edges))}, step=epoch)
    else:
        from snn_delays.plot import delay_histogram

        _log_figure(logger, name, delay_histogram(values, max_delay_steps=layer.max_delay_steps, dt_ms=1.0), epoch)


def _log_figure(logger: Any, name: str, figure: Any, epoch: int) -> None:
    from matplotlib.backends.backend_agg import FigureCanvasAgg

    canvas = FigureCanvasAgg(figure if hasattr(figure, "savefig") else figure.figure)
    canvas.draw()
    image = np.asarray(canvas.buffer_rgba())[..., :3].copy()
    if hasattr(logger, "log_image"):  # W&B
        logger.log_image(name, [image], step=epoch)
    elif hasattr(logger.experiment, "add_image"):  # TensorBoard
        logger.experiment.add_image(name, image, epoch, dataformats="HWC")
    else:  # MLflow
        logger.experiment.log_image(logger.run_id, image, key=name, step=epoch)
