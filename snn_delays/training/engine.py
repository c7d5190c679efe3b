"""Training: from a recipe to a run; one engine for every task, on laptop, GPU and several processes."""

import copy
import os
import time
import warnings
from collections.abc import Iterable, Sequence
from contextlib import nullcontext
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any, cast

import numba
import torch
from lightning_fabric import Fabric
from lightning_fabric.utilities.exceptions import MisconfigurationException
from lightning_fabric.utilities.rank_zero import rank_zero_only
from torch import Tensor, nn

from snn_delays.errors import CheckpointError, ConfigError, DataError, TrainingError
from snn_delays.files import alone_in
from snn_delays.messages import did_you_mean
from snn_delays.nn.norm import synchronise_batch_norm
from snn_delays.recipes.files import load_recipe
from snn_delays.recipes.keys import check_changes, differences
from snn_delays.recipes.registry import task_of
from snn_delays.recipes.strict import BaseRecipe
from snn_delays.training import activity, checkpoint, graphs, sharded
from snn_delays.training.callbacks import Callback, Callbacks
from snn_delays.training.checkpoint import NetworkCard
from snn_delays.training.loggers import Logs
from snn_delays.training.optimise import StepOutput, optimiser_step
from snn_delays.training.runlog import (
    Run,
    create_run,
    forget_start,
    open_run,
    resume_run,
    session,
    spent,
    write_metrics,
)
from snn_delays.training.task import Task, seed_of

STRATEGIES = ("auto", "ddp", "fsdp")
# In what torch raises in a process when another one is gone.
LOST = ("Connection closed by peer", "Connection reset by peer", "Broken pipe", "Timed out waiting", "NCCL")


def train(
    recipe: BaseRecipe | Path | str,
    network: nn.Module | None = None,
    *,
    out: Path | str | None = None,
    resume: bool = False,
    changes: Sequence[str] = (),
    accelerator: str = "auto",
    devices: int | str = 1,
    num_nodes: int = 1,
    strategy: str = "auto",
    logger: Any = (),
    callbacks: Iterable[Callback] = (),
) -> Run:
    """Train a network by a recipe; returns the run, whose folder holds recipe, metrics, environment and checkpoints.

    Args:
        recipe: a recipe, its file, or the name of one that comes with the package.
        network: the network to train, which takes the recipe's data; default: the one that the recipe describes. Its
            checkpoints are loaded with ``snn_delays.load(path, network=...)``.
        out: folder of the run; default: ``runs/NAME``.
        resume: continue the run in ``out`` from its last finished epoch, if there is one.
        changes: keys of a recipe file to change, each as ``"section.key=value"`` in TOML.
        accelerator, devices, num_nodes: where to train, as of :class:`lightning_fabric.Fabric`; ``devices`` of a node.
        strategy: of several processes: ``"ddp"``, the default, where each keeps the network; ``"fsdp"``, where each
            keeps a part of it (:mod:`snn_delays.training.sharded`).
        logger: logs to write, as ``"csv,tensorboard"``; see :class:`snn_delays.training.loggers.Logs`.
        callbacks: called during training, in the first process alone.

    Raises:
        ConfigError: a recipe that is wrong, or other than the one that the run was started with.
        CheckpointError: ``out`` holds a run and ``resume`` is off, or another process is training there.
        DataError, TrainingError: as :func:`fit`.
    """
    loaded = recipe if isinstance(recipe, BaseRecipe) else load_recipe(recipe, tuple(changes))
    folder = Path("runs") / loaded.name if out is None else Path(out)
    # The first of several processes makes the folder. One that starts the others of its node knows the node alone.
    follows = bool(getattr(rank_zero_only, "rank", 0)) or os.environ.get("NODE_RANK", "0") != "0"
    callbacks = (*callbacks, *([Logs(logger)] if logger else []))
    new = False
    with nullcontext() if follows else alone_in(folder):
        if follows:
            run = Run(folder, loaded)
        elif resume and (folder / "recipe.toml").exists():
            before = open_run(folder).recipe
            run = resume_run(folder, loaded)
            Callbacks(callbacks).on_resume(differences(before, loaded))
        else:
            new = not (folder / "recipe.toml").exists()
            run = create_run(folder, loaded)
        try:
            where = {"accelerator": accelerator, "devices": devices, "num_nodes": num_nodes, "strategy": strategy}
            fit(run, network=network, callbacks=callbacks, **where)  # type: ignore[arg-type]
        except BaseException:
            if new:
                forget_start(run)  # a start that failed leaves no folder
            raise
    return run


def fit(
    run: Run,
    *,
    network: nn.Module | None = None,
    accelerator: str = "auto",
    devices: int | str = 1,
    num_nodes: int = 1,
    strategy: str = "auto",
    callbacks: Iterable[Callback] = (),
) -> None:
    """Train a run to the end of its recipe, from its last checkpoint if it has one; arguments as of :func:`train`.

    Every epoch draws its numbers from the recipe's seed and its own number, so a run that was killed and resumed ends
    with the numbers of one that was not. Only training and validation data are read.

    Raises ConfigError for an accelerator that is not there; DataError for data that are missing, or others than those
    the run was started with; CheckpointError if a checkpoint is damaged or another process trains in the run's folder;
    TrainingError when the loss or a gradient is not finite.
    """
    fabric = _fabric(run.recipe.training.precision, accelerator, devices, num_nodes, strategy)
    fabric.launch()
    # No more threads than Numba's kernels can use, which would otherwise set torch's number.
    torch.set_num_threads(min(torch.get_num_threads(), numba.config.NUMBA_NUM_THREADS))
    callback = Callbacks(callbacks if fabric.is_global_zero else ())
    with alone_in(run.folder) if fabric.is_global_zero else nullcontext():
        if (run.folder / "recipe.toml").exists():
            for key, (own, there) in differences(run.recipe, open_run(run.folder).recipe).items():
                raise CheckpointError(
                    f"{run.folder} is now of a run with {key} = {there!r}, this one has {own!r}; choose another folder"
                )
        succeeded = False
        try:
            with sharded.backends(fabric):
                _Fit(run, network, fabric, callback).train()
            succeeded = True
        except TrainingError as error:
            training = run.recipe.training
            remedy = f"--set training.{training.peak_key}={training.peak_rate / 10:g}"
            if checkpoint.latest_epoch(run.checkpoints) is None:
                remedy = f"train it anew with lower rates, as {remedy}"
            else:
                remedy = f"go on from the last finished epoch with lower rates, as {run.resume_command()} {remedy}"
            raise TrainingError(f"{error}; {remedy}") from error
        except RuntimeError as error:
            if fabric.world_size == 1 or not any(words in str(error) for words in LOST):
                raise
            where = f"process {fabric.global_rank} of {fabric.world_size}"
            raise TrainingError(f"{where} lost another one ({error}); go on with {run.resume_command()}") from error
        finally:
            callback.on_fit_end(succeeded)


def _fabric(precision: Any, accelerator: str, devices: int | str, num_nodes: int, strategy: str) -> Fabric:
    """Raises ConfigError where such devices or such a strategy are not there."""
    if strategy not in STRATEGIES:
        hint = did_you_mean(strategy, STRATEGIES)
        raise ConfigError(f"there is no strategy {strategy!r}; {hint}choose from {', '.join(STRATEGIES)}")
    chosen = sharded.strategy() if strategy == "fsdp" else strategy
    try:
        return Fabric(
            accelerator=accelerator, devices=devices, num_nodes=num_nodes, strategy=chosen, precision=precision
        )  # fmt: skip
    except (MisconfigurationException, RuntimeError, TypeError, ValueError) as error:
        asked = f"accelerator {accelerator!r} and devices {devices!r}"
        asked += f", num_nodes {num_nodes!r} and strategy {strategy!r}" if (num_nodes, strategy) != (1, "auto") else ""
        raise ConfigError(f"cannot train with {asked}: {error}") from error


class _Fit:
    """A run during training: its task, network and optimisers, as the last checkpoint left them."""

    def __init__(self, run: Run, given: nn.Module | None, fabric: Fabric, callback: Callback) -> None:
        self.run, self.fabric, self.callback = run, fabric, callback
        self.started, self.session = time.perf_counter(), session(fabric.device, fabric.world_size)
        self.task: Task = task_of(run.recipe)
        self.task.setup(run, fabric, callback)
        self.card = NetworkCard(run.recipe, 0, self.task.source, self.task.checksum, **self.task.card())
        torch.manual_seed(run.recipe.seed)
        if given is None:
            self.network = self.task.network(self.card)
        else:
            self.network, self.card = given, replace(self.card, network_class=type(given).__name__)
        if fabric.world_size > 1:
            synchronise_batch_norm(self.network)
        self.in_shards = sharded.in_shards(fabric)
        # What is evaluated and saved: the network itself, or where each process keeps a part of it, a whole copy.
        self.whole = copy.deepcopy(self.network) if self.in_shards else self.network
        # States are read once the network has its device and precision, which those of the optimisers then take over.
        if self.in_shards:
            self.module = self._sharded()
        else:
            self.optimisation = self.task.optimise(self.network)
            self.module, *_ = fabric.setup(self.network, *self.optimisation.optimisers.values())
        self.task.to(fabric.device)
        self.progress: dict[str, Any] = {
            "history": [], "best_epoch": 0, "source": self.task.source, "checksum": self.task.checksum,
        }  # fmt: skip
        self.before: list[dict[str, Any]] = []  # sessions that trained up to the checkpoint
        last = fabric.broadcast(checkpoint.latest_epoch(run.checkpoints))
        if last is None:
            self.progress |= self.task.on_fit_start(self.network)
            callback.on_fit_start(run, self.task, self.whole)
            self._save(0)
        else:
            self._resume(last)
            self._tidy(last)  # a run that was killed may not have come to it
            callback.on_fit_start(run, self.task, self.whole)
        self.replays: graphs.Replays | None = None
        if run.recipe.training.cuda_graphs:
            if not self.task.captured:
                raise ConfigError(f"{graphs.REFUSED}: task {run.recipe.task!r} has no captured step; {graphs.REMEDY}")
            recorder = graphs.recorder(fabric)
            self.optimisation.record(recorder, fabric.device)
            self.replays = graphs.Replays(recorder)

    def train(self) -> None:
        """Train and validate epoch by epoch, each with its checkpoint."""
        history, epochs = self.progress["history"], self.run.recipe.training.epochs
        for epoch in range(len(history) + 1, epochs + 1):
            start = time.perf_counter()
            self.callback.on_train_epoch_start(epoch, epochs, self.task.steps)
            row = {"epoch": epoch, **self.task.on_epoch_start(epoch, self.network, self.optimisation)}
            row |= self._train_epoch(epoch)
            if self.in_shards:
                self.whole.to(self.fabric.device).load_state_dict(sharded.whole(self.network.state_dict()))
            row |= self.task.validate(self.whole, self.fabric.device)
            row["seconds"] = time.perf_counter() - start
            history.append(row)
            self.progress["best_epoch"] = self.task.best_epoch(history)
            self._save(epoch)
            self._tidy(epoch)
            self.fabric.barrier()
            self.callback.on_train_epoch_end(row, self.progress["best_epoch"])
            if self.fabric.is_global_zero and (warning := activity.warning(history, self.run.recipe)):
                warnings.warn(warning, stacklevel=4)

    def _train_epoch(self, epoch: int) -> dict[str, Any]:
        task, fabric = self.task, self.fabric
        if self.in_shards:
            self.whole.cpu()  # leaves the room to training
        torch.manual_seed(seed_of(task.recipe.seed, epoch, 1001 + fabric.global_rank))  # dropout
        self.module.train()
        sums = [0.0, 0.0, 0.0, 0.0]  # losses, their weights, samples classified correctly, samples classified
        for step, parts in enumerate(task.batches(epoch)):
            task.on_step_start(epoch, step, self.network, self.optimisation)
            computed = [partial(self._computed, part, i == 0, len(parts)) for i, part in enumerate(parts)]
            loss, weight, correct, seen = optimiser_step(
                fabric, self.module, self.network, self.optimisation, computed, epoch
            )
            sums = [total + part for total, part in zip(sums, (loss * weight, weight, correct, seen))]
            self.callback.on_train_batch_end(loss)
        self.optimisation.advance("epoch")
        if fabric.world_size > 1:
            shared = torch.tensor(sums, dtype=torch.float64, device=fabric.device)
            sums = cast(Tensor, fabric.all_reduce(shared, reduce_op="sum")).tolist()
        total, weights, right, classified = sums
        return {"train_loss": total / weights, **({"train_accuracy": right / classified} if classified else {})}

    def _computed(self, part: Any, first: bool, parts: int) -> StepOutput:
        """The loss of a part; where the recipe has CUDA graphs, with its gradient, by a recording for each shape."""
        if self.replays is None:
            return self.task.training_step(self.module, part)
        run = partial(self._differentiated, type(part), first, parts)
        inputs = (self.fabric.to_device(each) for each in part)
        output: StepOutput = self.replays((first, parts), run, *inputs)
        return replace(output, x=part[0])

    def _differentiated(self, kind: Any, first: bool, parts: int, *tensors: Tensor) -> StepOutput:
        if first:
            self.optimisation.zero_grad(in_place=True)
        output = self.task.training_step(self.module, getattr(kind, "_make", kind)(tensors))
        self.fabric.backward(output.loss / parts)
        reported = output.loss if output.reported is None else output.reported
        return replace(output, loss=reported.detach(), reported=None, differentiated=True, x=None)

    def _resume(self, last: int) -> None:
        """Load the last checkpoint."""
        run, task, folder = self.run, self.task, self.run.checkpoints
        tensors, saved = run.network_after(last)
        if saved.network_class != self.card.network_class:
            raise CheckpointError(
                f"{run.folder} trains {saved.network_class or 'the network of its recipe'}; resume with that network"
            )
        checkpoint.load_tensors(self.whole, tensors, checkpoint.network_file(folder, last))
        checkpoint.load_optimisation(folder, last, self.optimisation)
        if self.in_shards:
            self.network.load_state_dict(sharded.shared(tensors, self.network))
            for optimiser in self.optimisation.optimisers.values():
                sharded.share_state(optimiser)
        self.progress = checkpoint.read_progress(checkpoint.epoch_folder(folder, last))
        self.before = self.progress.get("sessions", [])
        if changes := differences(saved.recipe, run.recipe):
            check_changes(changes, run.folder)
            values = {key: list(both) for key, both in changes.items()}
            self.progress["changes"] = [*self.progress.get("changes", []), {"after_epoch": last, **values}]
        if self.progress["checksum"] != task.checksum:
            raise DataError(
                f"{run.folder} was trained on {self.progress['source']} (sha256 {self.progress['checksum']}), the file "
                f"here is {task.source} ({task.checksum}); put the first back, or start anew with --out"
            )

    def _sharded(self) -> Any:
        """The network in shards, as Fabric wraps it; the optimisers are of those."""
        recipe = self.run.recipe
        for name, used in {
            "fine_tuning": getattr(recipe, "fine_tuning", None), "training.cuda_graphs": recipe.training.cuda_graphs,
            "training.delay_penalty": getattr(recipe.training, "delay_penalty", 0.0),
            "model.delay_mask = 'learned'": recipe.sparsity_at(0) is not None,
        }.items():  # fmt: skip
            if used:
                raise ConfigError(f"{name} needs the network whole in every process: take strategy 'ddp'")
        try:
            module = self.fabric.setup_module(self.network)
        except ValueError as error:
            raise ConfigError(f"this network has no shards: {error}; take strategy 'ddp'") from error
        self.whole.to(self.fabric.device, next(self.network.parameters()).dtype)
        self.optimisation = self.task.optimise(self.network)
        return module

    def _save(self, epoch: int) -> None:
        states = checkpoint.states_of(self.optimisation)
        states = sharded.whole(states) if self.in_shards else states
        if self.fabric.is_global_zero:
            card = replace(self.card, epoch=epoch)
            self.progress["sessions"] = [*self.before, {**self.session, **spent(self.started, self.fabric.device)}]
            checkpoint.save_checkpoint(self.run.checkpoints, self.whole, states, self.progress, card)

    def _tidy(self, epoch: int) -> None:
        """Keep the checkpoints of the start, the best and the last epoch, and write the metrics."""
        if self.fabric.is_global_zero:
            progress = self.progress
            checkpoint.prune(self.run.checkpoints, {0, progress["best_epoch"], epoch})
            begin = [progress["fine_tuning"]["epoch_0"]] if "fine_tuning" in progress and progress["history"] else []
            write_metrics(self.run, [*begin, *progress["history"]])
