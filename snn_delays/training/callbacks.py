"""Callbacks of training, named as Lightning names them."""

from collections.abc import Callable, Iterable
from functools import partial
from typing import Any


class Callback:
    """Called as training goes; a subclass overrides what it needs. In several processes, the first alone calls it."""

    def on_resume(self, changes: dict[str, Any]) -> None:
        """A run is continued; ``changes``: keys of the recipe that differ from here on, with both values."""

    def on_load(self, done: int, total: int) -> None:
        """Recordings were read and binned."""

    def on_fit_start(self, run: Any, task: Any, network: Any) -> None:
        """Training begins or goes on, with the network as the last checkpoint left it."""

    def on_fit_end(self, succeeded: bool) -> None:
        """Training ended, or failed."""

    def on_train_epoch_start(self, epoch: int, epochs: int, steps: int) -> None:
        """An epoch of so many optimiser steps begins."""

    def on_train_batch_end(self, loss: float) -> None:
        """An optimiser step ended."""

    def on_train_epoch_end(self, row: dict[str, Any], best_epoch: int) -> None:
        """An epoch was validated, and its checkpoint written."""

    def on_evaluate(self, done: int, total: int) -> None:
        """Samples were evaluated."""


class Callbacks(Callback):
    """Several callbacks as one, called in their order."""

    def __init__(self, callbacks: Iterable[Callback] = ()) -> None:
        callbacks = tuple(callbacks)
        for name in vars(Callback):
            if name.startswith("on_"):
                setattr(self, name, partial(_call, [getattr(callback, name) for callback in callbacks]))


def _call(functions: Iterable[Callable[..., None]], *values: Any) -> None:
    for function in functions:
        function(*values)
