"""What is trained: data, network and loss of a recipe, and what is done with its runs."""

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
import torch
from lightning_fabric import Fabric
from torch import Tensor, nn

from snn_delays.errors import ConfigError
from snn_delays.messages import did_you_mean
from snn_delays.training.callbacks import Callback
from snn_delays.training.checkpoint import NetworkCard
from snn_delays.training.optimise import Optimisation, StepOutput, optimise
from snn_delays.training.records import EvaluationRecord, Record
from snn_delays.training.runlog import Run


class Task:
    """A task of a recipe; a subclass says what :meth:`setup` to :meth:`validate` do, and may replace the rest.

    :func:`snn_delays.recipes.registry.register_task` makes a task of your own known. The engine calls, in this order:
    :meth:`check`; :meth:`setup`; :meth:`card`; :meth:`network`, :meth:`optimise`; :meth:`to`; :meth:`on_fit_start` if
    the run is new; and in every epoch :meth:`on_epoch_start`, for each optimiser step :meth:`on_step_start` and, for
    each part of its batch, :meth:`training_step`; then :meth:`validate` and :meth:`best_epoch`.

    Args:
        recipe: the recipe; no data are opened before :meth:`setup`.

    Attributes:
        source, checksum: the training data, and what tells them from any others; set by :meth:`setup`.
        steps: optimiser steps of an epoch; set by :meth:`setup`.
        fabric: device and processes; set by :meth:`setup`.
        pictures: how the pictures of a run are drawn, by name.
        captured: whether a part is tensors, what the network reads first, and :meth:`training_step` reads them alone
            and nothing back from the device, so that it can be captured as a CUDA graph.
        evaluation_record: what :meth:`evaluate` returns, as it is checked when it is read again.
    """

    source: str
    checksum: str
    steps: int
    fabric: Fabric
    pictures: ClassVar[Mapping[str, Callable[[Run, int | None], list[Path]]]] = {}
    evaluation_record: ClassVar[type[Record]] = EvaluationRecord
    captured: ClassVar[bool] = False

    def __init__(self, recipe: Any) -> None:
        self.recipe = recipe

    def check(self, folder: Path) -> None:
        """Raise an error if a new run in ``folder`` cannot begin; nothing is written yet."""

    def setup(self, run: Run, fabric: Fabric, callback: Callback) -> None:
        """Open the training and validation data, and set ``source``, ``checksum``, ``steps`` and ``fabric``."""
        raise NotImplementedError

    def card(self) -> dict[str, Any]:
        """Fields of the :class:`snn_delays.training.checkpoint.NetworkCard` that follow from the data."""
        return {}

    def complete(self, card: NetworkCard, tensors: Mapping[str, Tensor], path: Path) -> NetworkCard:
        """The card of a file that lacks some fields, as files of format 1 do."""
        return card

    def network(self, card: NetworkCard) -> nn.Module:
        """The network that a card describes, drawn from torch's global generator."""
        raise NotImplementedError

    def build(self, card: NetworkCard, tensors: Mapping[str, Tensor]) -> nn.Module:
        """The network into which a checkpoint's tensors are loaded."""
        return self.network(card)

    def optimise(self, network: nn.Module) -> Optimisation:
        """Optimisers and schedules of the network."""
        return optimise(self.recipe.training, network, self.steps)

    def to(self, device: torch.device) -> None:
        """Put the data where batches cost least."""

    def on_fit_start(self, network: nn.Module) -> dict[str, Any]:
        """Change what is to change of a new network before training; returns entries for the run's progress."""
        return {}

    def on_epoch_start(self, epoch: int, network: nn.Module, optimisation: Optimisation) -> dict[str, Any]:
        """Set what changes by epoch; returns it for the epoch's record."""
        sigma = self.recipe.sigma_at(epoch - 1)
        optimisation.set_sigma(sigma)
        sparsity = self.recipe.sparsity_at(epoch - 1)
        optimisation.set_sparsity(sparsity)
        inactive = {} if sparsity is None else {"delay_sparsity": sparsity}
        return {"sigma": sigma, **optimisation.rates(), **inactive}

    def on_step_start(self, epoch: int, step: int, network: nn.Module, optimisation: Optimisation) -> None:
        """Set what changes by optimiser step, which counts from 0 in every epoch."""

    def batches(self, epoch: int) -> Iterable[Sequence[Any]]:
        """For every optimiser step of an epoch, this process's parts of the batch, computed one by one."""
        raise NotImplementedError

    def training_step(self, module: nn.Module, part: Any) -> StepOutput:
        """The loss of a part of a batch. ``module`` is the network as Fabric wraps it."""
        raise NotImplementedError

    def validate(self, network: nn.Module, device: torch.device) -> dict[str, Any]:
        """Measure the network on validation data; returns entries for the epoch's record, ``valid_loss`` among them."""
        raise NotImplementedError

    def sample(self) -> Tensor | None:
        """One validation sample as the network reads it, ``[time, 1, ...]``, to show what it does; None without any."""
        return None

    def best_epoch(self, history: list[dict[str, Any]]) -> int:
        """Number of the epoch with the best validation by ``training.select_by``, the earliest of equals.

        While delays become inactive, only the epochs with the fewest active ones count.
        """
        sparsest = max(row.get("delay_sparsity") or 0.0 for row in history)
        history = [row for row in history if (row.get("delay_sparsity") or 0.0) == sparsest]
        if getattr(self.recipe.training, "select_by", "loss") == "loss":
            return int(min(history, key=lambda row: row["valid_loss"])["epoch"])
        return int(max(history, key=lambda row: row["valid_accuracy"])["epoch"])

    def evaluate(self, trained: Any, *, on: str | None, device: str, callback: Callback | None) -> dict[str, Any]:
        """Measure a trained network on the test data, or on those of the data set ``on``.

        ``trained``: the network with its card and run (:class:`snn_delays.runs.load.Trained`). Returns what is
        particular to the task: at least ``data``, ``test_samples`` and ``parameters``.
        """
        raise ConfigError(f"runs of task {self.recipe.task!r} have no evaluation: {type(self).__name__} defines none")

    def describe(self) -> dict[str, Any]:
        """The network in short, for tables: ``delays`` and ``hidden``."""
        return {"delays": "", "hidden": ""}

    def figures(self, run: Run, names: Sequence[str] = (), sample: int | None = None) -> list[Path]:
        """Draw some of ``pictures``, or all that there are, into the run's ``figures`` folder.

        ``sample``: of the pictures that show a sample, its number among those of validation. Raises ConfigError for an
        unknown name, or one that the run has nothing to show of.
        """
        for name in names:
            if name not in self.pictures:
                choice = f"{did_you_mean(name, self.pictures)}choose from {', '.join(self.pictures) or 'none'}"
                raise ConfigError(f"there is no picture {name!r} of this run; {choice}")
        run = run.pinned()
        return [path for name in names or self.pictures for path in self.pictures[name](run, sample)]


def seed_of(seed: int, epoch: int, stream: int) -> int:
    """A seed of its own for every recipe seed, epoch and use."""
    return int(np.random.SeedSequence((seed, epoch, stream)).generate_state(1)[0])


def shared_out(batches: Iterable[Any], fabric: Fabric) -> Iterator[tuple[Any, Any, float]]:
    """Each batch whole, this process's samples of it, and what the mean of their losses weighs.

    DDP takes the mean over processes, whose shares may differ by a sample; with these weights it is that over the
    batch. A batch of fewer samples than processes is left out: none may be without one.
    """
    for batch in batches:
        if len(batch) >= fabric.world_size:
            mine = batch[fabric.global_rank :: fabric.world_size]
            yield batch, mine, len(mine) * fabric.world_size / len(batch)


def steps_of(samples: int, batch: int, fabric: Fabric) -> int:
    """Optimiser steps of an epoch that :func:`shared_out` shares out."""
    return samples // batch + (samples % batch >= fabric.world_size)
