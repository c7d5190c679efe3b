"""What the training engine needs to know of what it trains."""

from typing import Any, Protocol

import numpy as np
import torch
from lightning_fabric import Fabric
from torch import nn

from snn_delays.training.schedule import Optimisation
from snn_delays.training.watcher import Watcher


class Task(Protocol):
    """Data, network and loss of a recipe, behind one face.

    ``source`` and ``checksum`` say which data they are; ``epochs`` of ``steps`` optimiser steps each are trained.
    """

    source: str
    checksum: str
    epochs: int
    steps: int

    def card(self) -> dict[str, Any]:
        """Fields of the :class:`snn_delays.training.card.NetworkCard` that the data decide."""

    def network(self) -> nn.Module:
        """The network, freshly drawn from torch's global generator."""

    def optimisation(self, network: nn.Module) -> Optimisation:
        """Optimisers and schedules of the network."""

    def ready(self, network: nn.Module) -> None:
        """Change what has to change once the optimisers were made."""

    def place(self, device: torch.device) -> None:
        """Put the data where batches cost least."""

    def begin(self, network: nn.Module) -> dict[str, Any]:
        """What an untrained network takes up from elsewhere; entries for the run's progress."""

    def settings(self, epoch: int, network: nn.Module, optimisation: Optimisation) -> dict[str, Any]:
        """Set what changes by epoch, and name it for the record."""

    def train_epoch(
        self,
        fabric: Fabric,
        module: nn.Module,
        network: nn.Module,
        optimisation: Optimisation,
        epoch: int,
        watcher: Watcher,
    ) -> dict[str, Any]:
        """Train an epoch; ``module`` is the network as the engine wraps it. Entries for the epoch's record."""

    def validate(self, network: nn.Module, device: torch.device) -> dict[str, Any]:
        """Measure the network on validation data; entries for the epoch's record."""

    def best(self, history: list[dict[str, Any]]) -> int:
        """Number of the epoch with the best validation; the earliest of equals."""


def seed_of(seed: int, epoch: int, stream: int) -> int:
    """A seed of its own for every recipe seed, epoch and use."""
    return int(np.random.SeedSequence((seed, epoch, stream)).generate_state(1)[0])


def best_of(history: list[dict[str, Any]], select_by: str) -> int:
    """Epoch with the best validation by ``"loss"`` or ``"accuracy"``; the earliest of equals."""
    if select_by == "loss":
        return int(min(history, key=lambda row: row["valid_loss"])["epoch"])
    return int(max(history, key=lambda row: row["valid_accuracy"])["epoch"])
