"""A progress bar for training."""

from types import TracebackType
from typing import Any

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TaskID, TextColumn, TimeRemainingColumn


class ProgressBar:
    """A watcher that draws a bar for the epoch under way and prints a line for each one done."""

    def __init__(self, console: Console) -> None:
        self._bar = Progress(
            TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn(),
            TextColumn("{task.fields[note]}"), console=console, transient=True,
        )  # fmt: skip
        self._task: TaskID | None = None
        self._losses: list[float] = []

    def __enter__(self) -> "ProgressBar":
        self._bar.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._bar.stop()

    def loading(self, done: int, total: int) -> None:
        """Reading and binning the data."""
        self._show("reading the data", total)
        self._update(done, "")
        if done >= total:
            self._drop()

    def measuring(self, done: int, total: int) -> None:
        """Reading the text to measure on."""
        self._show("measuring", total)
        self._update(done, "")
        if done >= total:
            self._drop()

    def epoch_begins(self, epoch: int, epochs: int, steps: int) -> None:
        """Start the bar of an epoch."""
        self._losses = []
        self._drop()
        self._show(f"epoch {epoch}/{epochs}", steps)

    def step_done(self, training_loss: float) -> None:
        """Move the bar by a step."""
        self._losses.append(training_loss)
        self._update(len(self._losses), f"loss {sum(self._losses) / len(self._losses):.3f}")

    def epoch_ends(self, row: dict[str, Any], best_epoch: int) -> None:
        """Print the epoch's line."""
        self._drop()
        best = "  best" if best_epoch == row["epoch"] else ""
        self._bar.console.print(f"{describe(row)}{best}", highlight=False)

    def _show(self, description: str, total: int) -> None:
        if self._task is None:
            self._task = self._bar.add_task(description, total=total, note="")

    def _update(self, done: int, note: str) -> None:
        if self._task is not None:
            self._bar.update(self._task, completed=done, note=note)

    def _drop(self) -> None:
        if self._task is not None:
            self._bar.remove_task(self._task)
            self._task = None


def describe(row: dict[str, Any]) -> str:
    """An epoch's record in a line, whatever its task measures."""
    words = [f"epoch {row['epoch']:3d}", f"loss {row['train_loss']:.3f}"]
    if "train_accuracy" in row:
        words.append(f"train {row['train_accuracy']:6.1%}")
    if "valid_accuracy" in row:
        masked = f" ({row['valid_accuracy_masked']:.1%} masked)" if "valid_accuracy_masked" in row else ""
        words.append(f"valid {row['valid_accuracy']:6.1%}{masked}")
    if "valid_bits_per_byte" in row:
        words.append(f"valid {row['valid_loss']:.3f}, {row['valid_bits_per_byte']:.3f} bits per byte")
    if row.get("firing_rate") is not None:
        words.append(f"firing {row['firing_rate']:.1%}")
    words += [f"{what}: {row[what]}" for what in ("silent", "saturated") if row.get(what)]
    if row["sigma"] is not None:
        words.append(f"sigma {row['sigma']:.2f}")
    return "  ".join([*words, f"{row['seconds']:.0f} s"])
