"""Who is told how training goes."""

from typing import Any, Protocol


class Watcher(Protocol):
    """Is told how training goes; the command line draws a progress bar."""

    def loading(self, done: int, total: int) -> None:
        """Reading and binning the data."""

    def epoch_begins(self, epoch: int, epochs: int, steps: int) -> None:
        """An epoch of so many optimiser steps begins."""

    def step_done(self, training_loss: float) -> None:
        """An optimiser step was made."""

    def epoch_ends(self, row: dict[str, Any], best_epoch: int) -> None:
        """An epoch was validated and its checkpoint written."""


class Silent:
    """A watcher that says nothing."""

    def loading(self, done: int, total: int) -> None:
        """Say nothing."""

    def epoch_begins(self, epoch: int, epochs: int, steps: int) -> None:
        """Say nothing."""

    def step_done(self, training_loss: float) -> None:
        """Say nothing."""

    def epoch_ends(self, row: dict[str, Any], best_epoch: int) -> None:
        """Say nothing."""
