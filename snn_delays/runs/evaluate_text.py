"""The one place that opens the test part of a text or of a set of sentences."""

import json
import math
from collections.abc import Callable
from typing import Any

from snn_delays.data.text import load_sentences
from snn_delays.errors import CheckpointError, ConfigError, DataError
from snn_delays.files import write_text
from snn_delays.models.spikegpt import SpikeGPT, with_integer_delays
from snn_delays.recipes.text import LanguageRecipe
from snn_delays.runs.load import trained_network
from snn_delays.training.activity import ones_rate
from snn_delays.training.language_measure import PROTOCOLS, TextMeasurement, measure_text, stream_count
from snn_delays.training.runlog import Run
from snn_delays.training.tasks.language import corpus_of
from snn_delays.training.tasks.sentences import encode, measure_sentences


def trained_language_network(run: Run, epoch: int | None = None, *, whole: bool = True) -> tuple[SpikeGPT, Any]:
    """The network of a run after an epoch (the best by default), in evaluation, and its vocabulary.

    ``whole``: with integer delays, the form that is evaluated and generates. Raises CheckpointError.
    """
    network = trained_network(run, epoch)
    vocabulary = network.card.vocabulary
    return (with_integer_delays(network) if whole else network).eval(), vocabulary


# A classifier of sentences is loaded alike.
trained_sentence_network = trained_language_network


def on_device(network: Any, device: str) -> Any:
    """The network on a device. Raises ConfigError for one that is not there."""
    try:
        return network.to(device)
    except (AssertionError, RuntimeError) as error:  # by the kind of device, torch raises the one or the other
        raise ConfigError(f"cannot run on device {device!r}: {error}") from error


def evaluate_language(
    run: Run, *, device: str = "cpu", progress: Callable[[int, int], None] = lambda done, total: None
) -> dict[str, Any]:
    """Measure a run's best network, with whole delays, on the test part of its data; write evaluation.json.

    ``progress`` is told how many tokens of how many are done, once for each protocol.

    Raises ConfigError for a device that is not there, DataError if the data are not those it was trained on, or
    CheckpointError if nothing was trained yet.
    """
    run = run.pinned()
    recorded = run.progress()
    if not recorded["history"]:
        raise CheckpointError(f"{run.folder} has not finished an epoch; continue it: {run.resume_command()}")
    best = next(row for row in recorded["history"] if row["epoch"] == recorded["best_epoch"])
    of_text = isinstance(run.recipe, LanguageRecipe)
    result = {
        "run": run.recipe.name,
        "data": recorded["source"],
        "delays": run.recipe.model.delays,
        "hidden": run.recipe.model.shape,
        "seed": run.recipe.seed,
        "epochs": len(recorded["history"]),
        "epochs_asked": run.recipe.training.epochs,
        "changes": recorded.get("changes", []),
        "best_epoch": recorded["best_epoch"],
        "training_minutes": sum(row["seconds"] for row in recorded["history"]) / 60,
        "init": run.recipe.model.init,
        **(_text(run, recorded, best, device, progress) if of_text else _sentences(run, recorded, best, device)),
    }
    write_text(run.evaluation, json.dumps(result, indent=1))
    return result


def _text(
    run: Run,
    recorded: dict[str, Any],
    best: dict[str, Any],
    device: str,
    progress: Callable[[int, int], None],
) -> dict[str, Any]:
    recipe: LanguageRecipe = run.recipe
    network, vocabulary = trained_language_network(run)
    corpus = corpus_of(recipe, vocabulary)
    _same(run, recorded, corpus.checksum, corpus.name)
    on_device(network, device)
    context = recipe.training.context

    def measured(protocol: str, of: SpikeGPT) -> TextMeasurement:
        return measure_text(
            of, corpus.test, corpus.bytes_of["test"], context, protocol=protocol, device=device, progress=progress
        )

    found = {protocol: measured(protocol, network) for protocol in PROTOCOLS}
    real = on_device(trained_language_network(run, whole=False)[0], device)
    real_delays = measured("windows", real) if recipe.model.has_delays else found["windows"]
    streams = stream_count(corpus.test)
    windows, carried = found["windows"], found["carried"]
    return {
        "parameters": sum(p.numel() for p in real.parameters() if p.requires_grad),
        "vocabulary": f"{vocabulary.kind} ({vocabulary.size})",
        "valid_bits_per_byte": best["valid_bits_per_byte"],
        "test_samples": windows.tokens,
        "test_loss": windows.loss,
        "test_perplexity": windows.perplexity,
        "test_bits_per_byte": windows.bits_per_byte,
        "test_bits_per_byte_real_delays": real_delays.bits_per_byte,
        "test_bits_per_byte_carried": carried.bits_per_byte,
        "protocol": f"windows of {context} tokens, each from rest",
        "protocol_carried": f"{streams} streams of {len(corpus.test) // streams:,} tokens, each from rest",
        "bits_by_position": (windows.by_position / math.log(2)).round(4).tolist(),
        "firing_rates": windows.rates,
        "firing_rate": windows.mean_rate,
        "embedding_ones": ones_rate(network),
        "operations_per_token": windows.operations,
    }


def _sentences(run: Run, recorded: dict[str, Any], best: dict[str, Any], device: str) -> dict[str, Any]:
    found = load_sentences(run.recipe.data.set)
    _same(run, recorded, found.checksum, found.name)
    network, vocabulary = trained_sentence_network(run)
    sentences = encode(found.test, vocabulary, run.recipe)
    measured = measure_sentences(on_device(network, device), sentences, device)
    trained, _ = trained_sentence_network(run, whole=False)
    return {
        "parameters": sum(p.numel() for p in trained.parameters() if p.requires_grad),
        "vocabulary": f"{vocabulary.kind} ({vocabulary.size})",
        "valid_accuracy": best["valid_accuracy"],
        "test_samples": len(found.test),
        "test_accuracy": measured.accuracy,
        "test_loss": measured.loss,
        "split": found.split_rule,
        "class_names": list(found.class_names),
        "firing_rates": measured.rates,
        "firing_rate": measured.mean_rate,
        "operations_per_token": measured.operations,
    }


def _same(run: Run, recorded: dict[str, Any], checksum: str, name: str) -> None:
    if recorded["checksum"] != checksum:
        raise DataError(
            f"{run.folder} was trained on {recorded['source']} (sha256 {recorded['checksum']}), the data here are "
            f"{name} ({checksum}); put the first back"
        )
