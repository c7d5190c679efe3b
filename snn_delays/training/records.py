"""The records in a run's folder, checked as recipes are when they are read."""

from pathlib import Path
from typing import Any

from pydantic import BaseModel, ConfigDict, Field, ValidationError, model_validator

from snn_delays.errors import CheckpointError
from snn_delays.reading import read_json

_ENDS, _BEGINS, _NAMES = ("loss", "bits_per_byte"), ("rate_", "lr_"), ("sigma", "firing_rate", "seconds")


class Record(BaseModel):
    """What is read must be there and of its type; what else is there stays, and is a number where its name says so."""

    model_config = ConfigDict(extra="allow", strict=True)

    @model_validator(mode="after")
    def _numbers(self) -> "Record":
        for key, value in (self.__pydantic_extra__ or {}).items():
            named = "accuracy" in key or key.endswith(_ENDS) or key.startswith(_BEGINS) or key in _NAMES
            if named and not (value is None or type(value) in (int, float)):
                raise ValueError(f"{key} should be a number, got {str(value)[:60]!r}")
        return self


class EpochRecord(Record):
    """An epoch of the history."""

    epoch: int = Field(ge=1)
    seconds: float
    train_loss: float
    valid_loss: float
    valid_accuracy: float | None = None


class FineTuningRecord(Record):
    """The start of a fine-tuned run."""

    run: str
    valid_accuracy: float
    epoch_0: dict[str, float]


class SessionRecord(Record):
    """A stretch of training in one process."""

    seconds: float
    revision: str | None = None


class ProgressRecord(Record):
    """``progress.json`` of a checkpoint: the history up to it, and which data it was trained on."""

    history: list[EpochRecord]
    best_epoch: int = Field(ge=0)
    source: str
    checksum: str
    class_names: list[str] = []
    fingerprint: str = ""
    vocabulary: dict[str, Any] | None = None
    fine_tuning: FineTuningRecord | None = None
    sessions: list[SessionRecord] = []

    @model_validator(mode="after")
    def _epochs_in_order(self) -> "ProgressRecord":
        epochs = [row.epoch for row in self.history]
        if epochs != list(range(1, len(epochs) + 1)):
            raise ValueError(f"the epochs of history should be 1 to {len(epochs)}, one after the other")
        if self.best_epoch > len(epochs):
            raise ValueError(f"best_epoch is {self.best_epoch}, and history has {len(epochs)} epochs")
        return self


class EvaluationRecord(Record):
    """``evaluation.json``: what tables of results take from it, of networks on events and on text."""

    run: str
    data: str
    delays: str = ""
    hidden: str = ""
    parameters: int
    test_samples: int
    seed: int
    epochs: int
    best_epoch: int = 0
    firing_rate: float | None = None
    firing_rates: dict[str, float] = {}
    class_names: list[str] = []
    confusion: list[list[int]] = []
    bits_by_position: list[float] = []

    @model_validator(mode="after")
    def _every_class_has_its_place(self) -> "EvaluationRecord":
        if any(len(row) != len(self.confusion) for row in self.confusion):
            raise ValueError("confusion should have as many columns as rows")
        return self


class EventEvaluationRecord(EvaluationRecord):
    """The same of a classifier of events."""

    valid_accuracy: float | None
    test_accuracy: float | None
    test_accuracy_real_delays: float | None
    test_accuracy_unseen_speakers: float | None
    readout: str | None = None
    valid_accuracy_masked: float | None = None
    test_accuracy_masked: float | None = None

    @model_validator(mode="after")
    def _readout_with_its_numbers(self) -> "EventEvaluationRecord":
        for key in ("valid_accuracy_masked", "test_accuracy_masked"):
            if self.readout is not None and getattr(self, key) is None:
                raise ValueError(f"{key} is missing, and a readout is named")
        return self


def read_record(path: Path, kind: type[Record], remedy: str) -> dict[str, Any]:
    """A record in JSON, as it is written, once it is known to be what ``kind`` says.

    Raises CheckpointError naming file and key with the ``remedy``; FileNotFoundError if there is none.
    """
    try:
        record: dict[str, Any] = read_json(path)
        kind.model_validate(record)
    except FileNotFoundError:
        raise
    except ValidationError as error:
        first = error.errors()[0]
        where, message = ".".join(map(str, first["loc"])), first["msg"].removeprefix("Value error, ")
        raise CheckpointError(f"{path} is damaged: {where}{': ' if where else ''}{message}; {remedy}") from None
    except (OSError, ValueError) as error:
        reason = error.strerror if isinstance(error, OSError) else error
        raise CheckpointError(f"cannot read {path}: {reason}; {remedy}") from error
    return record
