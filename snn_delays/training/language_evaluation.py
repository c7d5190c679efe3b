"""The one place that opens the test part of a text or of a set of sentences."""

import json
import math
from typing import Any

from snn_delays.data.text import vocabulary_from_json
from snn_delays.errors import CheckpointError, ConfigError, DataError
from snn_delays.files import write_text
from snn_delays.models.spikegpt import SpikeGPT, SpikeGPTClassifier, delay_shifts, with_whole_delays
from snn_delays.training import checkpoint
from snn_delays.training.activity import ones_rate
from snn_delays.training.language import corpus_of, language_network, stored_vocabulary
from snn_delays.training.language_config import LanguageRecipe
from snn_delays.training.language_measure import PROTOCOLS, measure_text
from snn_delays.training.runlog import Run
from snn_delays.training.sentences import encode, load_sentences, measure_sentences, sentence_network


def trained_language_network(run: Run, epoch: int | None = None, *, whole: bool = True) -> tuple[SpikeGPT, Any]:
    """The network of a run after an epoch (the best by default), in evaluation, and its vocabulary.

    ``whole``: with whole delays, the form that is evaluated and generates. Raises CheckpointError.
    """
    progress = run.progress()
    vocabulary = vocabulary_from_json(stored_vocabulary(progress, str(run.folder)))
    network = language_network(run.recipe, vocabulary.size)
    checkpoint.load_network(run.checkpoints, run.best_epoch() if epoch is None else epoch, network)
    return (with_whole_delays(network) if whole else network).eval(), vocabulary


def trained_sentence_network(run: Run) -> tuple[SpikeGPTClassifier, Any]:
    """The best network of a run on sentences, with whole delays, in evaluation, and its vocabulary."""
    progress = run.progress()
    vocabulary = vocabulary_from_json(stored_vocabulary(progress, str(run.folder)))
    network = sentence_network(run.recipe, vocabulary.size, len(progress["class_names"]))
    checkpoint.load_network(run.checkpoints, run.best_epoch(), network)
    return with_whole_delays(network), vocabulary


def on_device(network: Any, device: str) -> Any:
    """The network on a device. Raises ConfigError for one that is not there."""
    try:
        return network.to(device)
    except (AssertionError, RuntimeError) as error:  # by the kind of device, torch raises the one or the other
        raise ConfigError(f"cannot run on device {device!r}: {error}") from error


def evaluate_language(run: Run, *, device: str = "cpu") -> dict[str, Any]:
    """Measure a run's best network, with whole delays, on the test part of its data; write evaluation.json.

    Raises ConfigError for a device that is not there, DataError if the data are not those it was trained on, or
    CheckpointError if nothing was trained yet.
    """
    progress = run.progress()
    if not progress["history"]:
        raise CheckpointError(f"{run.folder} has not finished an epoch; continue it with `snn-delays train --resume`")
    best = next(row for row in progress["history"] if row["epoch"] == progress["best_epoch"])
    of_text = isinstance(run.recipe, LanguageRecipe)
    result = {
        "run": run.recipe.name,
        "data": progress["source"],
        "delays": run.recipe.model.delays,
        "hidden": run.recipe.model.shape,
        "seed": run.recipe.seed,
        "epochs": len(progress["history"]),
        "epochs_asked": run.recipe.training.epochs,
        "best_epoch": progress["best_epoch"],
        "training_minutes": sum(row["seconds"] for row in progress["history"]) / 60,
        "init": run.recipe.model.init,
        **(_text(run, progress, best, device) if of_text else _sentences(run, progress, best, device)),
    }
    write_text(run.evaluation, json.dumps(result, indent=1))
    return result


def _text(run: Run, progress: dict[str, Any], best: dict[str, Any], device: str) -> dict[str, Any]:
    recipe: LanguageRecipe = run.recipe
    corpus = corpus_of(recipe)
    network, vocabulary = trained_language_network(run)
    _same(run, progress, corpus.checksum, corpus.name)
    if vocabulary != corpus.vocabulary:
        raise DataError(
            f"{run.folder} was trained with vocabulary {vocabulary.fingerprint} of {vocabulary.size} tokens, the text "
            f"has {corpus.vocabulary.fingerprint} of {corpus.vocabulary.size}; put the text back that it was trained on"
        )
    on_device(network, device)
    context = recipe.training.context
    found = {
        protocol: measure_text(network, corpus.test, corpus.bytes_of["test"], context, protocol=protocol, device=device)
        for protocol in PROTOCOLS
    }
    real, _ = trained_language_network(run, whole=False)
    real_delays = (
        measure_text(real.to(device), corpus.test, corpus.bytes_of["test"], context, device=device)
        if delay_shifts(network)
        else found["windows"]
    )
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
        "protocol": f"windows of {context} tokens from rest; carried: state carried on through long streams",
        "bits_by_position": (windows.by_position / math.log(2)).round(4).tolist(),
        "firing_rates": windows.rates,
        "firing_rate": _mean_rate(windows.rates),
        "embedding_ones": ones_rate(network),
        "operations_per_token": windows.operations,
    }


def _sentences(run: Run, progress: dict[str, Any], best: dict[str, Any], device: str) -> dict[str, Any]:
    found = load_sentences(run.recipe.data.set)
    _same(run, progress, found.checksum, found.name)
    network, vocabulary = trained_sentence_network(run)
    loss, accuracy, rates = measure_sentences(
        on_device(network, device), encode(found.test, vocabulary, run.recipe), device
    )
    return {
        "parameters": sum(p.numel() for p in network.parameters()),
        "vocabulary": f"{vocabulary.kind} ({vocabulary.size})",
        "valid_accuracy": best["valid_accuracy"],
        "test_samples": len(found.test),
        "test_accuracy": accuracy,
        "test_loss": loss,
        "split": found.split_rule,
        "class_names": list(found.class_names),
        "firing_rates": rates,
        "firing_rate": _mean_rate(rates),
    }


def _same(run: Run, progress: dict[str, Any], checksum: str, name: str) -> None:
    if progress["checksum"] != checksum:
        raise DataError(
            f"{run.folder} was trained on {progress['source']} (sha256 {progress['checksum']}), the data here are "
            f"{name} ({checksum}); put the first back"
        )


def _mean_rate(rates: dict[str, float]) -> float | None:
    neurons = [rate for name, rate in rates.items() if not name.endswith("embedding")]
    return sum(neurons) / len(neurons) if neurons else None
