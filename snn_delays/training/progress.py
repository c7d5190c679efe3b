"""A progress bar for training."""

from typing import Any

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TaskID, TextColumn, TimeRemainingColumn

from snn_delays.training.callbacks import Callback


class ProgressBar(Callback):
    """Draws a bar for the epoch being trained, and prints a line for each one done."""

    def __init__(self, console: Console) -> None:
        self._bar = Progress(
            TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn(),
            TextColumn("{task.fields[note]}"), console=console, transient=True,
        )  # fmt: skip
        self._task: TaskID | None = None
        self._losses: list[float] = []

    def __enter__(self) -> "ProgressBar":
        return self  # the bar starts with what it first shows: in a pipe, ending it prints a line

    def __exit__(self, *_: object) -> None:
        if self._bar.live.is_started:
            self._bar.stop()

    def on_resume(self, changes: dict[str, Any]) -> None:
        """Print the keys of the recipe that change."""
        for key, (old, new) in changes.items():
            self._bar.console.print(f"{key}: {old} so far, {new} from here on, by the schedule of the new recipe")

    def on_load(self, done: int, total: int) -> None:
        """Move the bar of reading the data."""
        self._show("reading the data", done, total)

    def on_evaluate(self, done: int, total: int) -> None:
        """Move the bar of an evaluation."""
        self._show("measuring", done, total)

    def on_train_epoch_start(self, epoch: int, epochs: int, steps: int) -> None:
        """Start the bar of an epoch."""
        self._losses = []
        self._drop()
        self._show(f"epoch {epoch}/{epochs}", 0, steps)

    def on_train_batch_end(self, loss: float) -> None:
        """Move the bar by a step."""
        self._losses.append(loss)
        if self._task is not None:
            note = f"loss {sum(self._losses) / len(self._losses):.3f}"
            self._bar.update(self._task, completed=len(self._losses), note=note)

    def on_train_epoch_end(self, row: dict[str, Any], best_epoch: int) -> None:
        """Print the epoch's line."""
        self._drop()
        best = "  best" if best_epoch == row["epoch"] else ""
        self._bar.console.print(f"{describe(row)}{best}", highlight=False)

    def _show(self, description: str, done: int, total: int) -> None:
        """Move the bar, which is added if there is none, and removed at its end."""
        if self._task is None:
            self._bar.start()
            self._task = self._bar.add_task(description, total=total, note="")
        self._bar.update(self._task, completed=done, note="")
        if done >= total:
            self._drop()

    def _drop(self) -> None:
        if self._task is not None:
            self._bar.remove_task(self._task)
            self._task = None


def describe(row: dict[str, Any]) -> str:
    """An epoch's record in a line, with what its task measures."""
    words = [f"epoch {row['epoch']:3d}", f"loss {row['train_loss']:.3f}"]
    if "train_accuracy" in row:
        words.append(f"train {row['train_accuracy']:6.1%}")
    if "valid_accuracy" in row:
        masked = f" ({row['valid_accuracy_masked']:.1%} masked)" if "valid_accuracy_masked" in row else ""
        words.append(f"valid {row['valid_accuracy']:6.1%}{masked}")
    if "valid_nmse" in row:
        words.append(f"valid NMSE {row['valid_nmse']:.4f}")
    if "valid_bits_per_byte" in row:
        words.append(f"valid {row['valid_loss']:.3f}, {row['valid_bits_per_byte']:.3f} bits per byte")
    if row.get("firing_rate") is not None:
        words.append(f"firing {row['firing_rate']:.1%}")
    words += [f"{name}: {row[name]}" for name in ("silent", "saturated") if row.get(name)]
    if row.get("sigma") is not None:
        words.append(f"sigma {row['sigma']:.2f}")
    return "  ".join([*words, f"{row['seconds']:.0f} s"])
