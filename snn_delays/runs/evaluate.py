"""What a trained network achieves on the test data; nothing is chosen by them."""

import json
from pathlib import Path
from typing import Any

from snn_delays.data.catalogue.lookup import lasting_name
from snn_delays.errors import CheckpointError
from snn_delays.files import write_text
from snn_delays.messages import command
from snn_delays.recipes.registry import task_of
from snn_delays.runs.load import check_device, trained
from snn_delays.training.callbacks import Callback
from snn_delays.training.records import read_record
from snn_delays.training.runlog import Run


def evaluate(
    source: Run | Path | str | Any,
    *,
    on: str | None = None,
    device: str = "cpu",
    callback: Callback | None = None,
) -> dict[str, Any]:
    """Measure a trained network on the test samples, with real-valued and with integer delays.

    The result of a run's best network, with the facts of its training, is also written to ``evaluation.json`` in the
    run's folder; of a file or a loaded network nothing is written.

    Args:
        source: a run, the path of a run, a checkpoint or a ``.safetensors`` file, or a network from
            :func:`snn_delays.load`.
        on: name or path of another event data set, with the same sensor and classes, whose test samples to take; the
            result goes to ``evaluation_NAME.json``.
        device: where to run.
        callback: its ``on_load`` and ``on_evaluate`` are called as data are read and measured.

    Returns:
        Numbers by name. Events: accuracy over samples with the readout as it was trained and, where it was trained over
        all steps of a batch (``padding = "published"``), with the masked one (:mod:`snn_delays.training.measure`);
        speakers of no training sample also by themselves, where numbers of speakers mean the same people. Text: loss,
        bits per byte or accuracy, firing rates, operations per token.

    Raises:
        ConfigError: a device that is not there, or a data set with another sensor or other classes.
        DataError: data that are missing, or others than the network was trained on.
        CheckpointError: nothing was trained yet.
    """
    on = None if on is None else lasting_name(on)
    check_device(device)
    opened = trained(source)
    run, recipe, card = opened.run, opened.recipe, opened.card
    progress = {} if run is None else run.progress()
    if run is not None and not progress["history"]:
        raise CheckpointError(f"{run.folder} has not finished an epoch; continue it: {run.resume_command()}")
    task = task_of(recipe)
    result = {
        "run": recipe.name, "data": card.source, **task.describe(), "seed": recipe.seed, "best_epoch": card.epoch,
    }  # fmt: skip
    if run is not None:
        result |= {
            "data": progress["source"],
            "epochs": len(progress["history"]),
            "epochs_asked": recipe.training.epochs,
            "changes": progress.get("changes", []),
            "training_minutes": sum(row["seconds"] for row in progress["history"]) / 60,
            "training_data_sha256": progress["checksum"],
            "sessions": progress.get("sessions", []),
        }
    result |= task.evaluate(opened, on=on, device=device, callback=callback)
    if run is not None:
        write_text(run.evaluation_on(on), json.dumps(result, indent=1))
    return result


def read_evaluation(run: Run, *needed: str) -> dict[str, Any]:
    """What ``evaluate`` wrote, with the keys that are ``needed``.

    Raises CheckpointError if the run was not evaluated, or if what is there is damaged or lacks a key.
    """
    again = command("evaluate", run.folder)
    try:
        result = read_record(run.evaluation, task_of(run.recipe).evaluation_record, f"evaluate it again: {again}")
    except FileNotFoundError:
        raise CheckpointError(f"{run.folder} was not evaluated yet: {again}") from None
    if missing := [key for key in needed if not result.get(key)]:
        raise CheckpointError(f"{run.evaluation} has no {missing[0]}; evaluate it again: {again}")
    return result
