"""What is measured of networks on text, language models and classifiers of sentences, and how that is shown."""

import math
from collections.abc import Sequence
from typing import Any

from snn_delays.data.text import load_sentences
from snn_delays.errors import ConfigError, DataError
from snn_delays.models.spikegpt import SpikeGPT, with_integer_delays
from snn_delays.runs.load import Trained, trained_network
from snn_delays.runs.table import Page, Table
from snn_delays.training.activity import ones_rate
from snn_delays.training.callbacks import Callback
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


def evaluate_text(opened: Trained, on: str | None, device: str, callback: Callback | None) -> dict[str, Any]:
    """Bits per byte of the test text and what belongs to it, see :func:`snn_delays.runs.evaluate.evaluate`."""
    recipe, vocabulary = opened.recipe, opened.card.vocabulary
    _no_other_data(on)
    corpus = corpus_of(recipe, vocabulary)
    _same_data(opened, corpus.checksum, corpus.name)
    context = recipe.training.context
    real = opened.network.to(device)
    network = with_integer_delays(real).eval()

    def measured(of: SpikeGPT, protocol: str) -> TextMeasurement:
        return measure_text(
            of, corpus.test, corpus.bytes_of["test"], context, protocol=protocol, device=device,
            progress=callback.on_evaluate if callback else lambda done, total: None,
        )  # fmt: skip

    windows, carried = (measured(network, protocol) for protocol in PROTOCOLS)
    real_delays = measured(real, "windows") if recipe.model.has_delays else windows
    streams = stream_count(corpus.test)
    return {
        **_of_network(opened),
        **_validated(opened, "valid_bits_per_byte"),
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


def evaluate_sentences(opened: Trained, on: str | None, device: str, callback: Callback | None) -> dict[str, Any]:
    """Accuracy on test sentences and what belongs to it, see :func:`snn_delays.runs.evaluate.evaluate`."""
    _no_other_data(on)
    found = load_sentences(opened.recipe.data.set)
    _same_data(opened, found.checksum, found.name)
    sentences = encode(found.test, opened.card.vocabulary, opened.recipe)  # type: ignore[arg-type]
    measured = measure_sentences(with_integer_delays(opened.network).eval().to(device), sentences, device)
    return {
        **_of_network(opened),
        **_validated(opened, "valid_accuracy"),
        "test_samples": len(found.test),
        "test_accuracy": measured.accuracy,
        "test_loss": measured.loss,
        "split": found.split_rule,
        "class_names": list(found.class_names),
        "firing_rates": measured.rates,
        "firing_rate": measured.mean_rate,
        "operations_per_token": measured.operations,
    }


def _of_network(opened: Trained) -> dict[str, Any]:
    vocabulary: Any = opened.card.vocabulary
    return {
        "init": opened.recipe.model.init,
        "parameters": sum(p.numel() for p in opened.network.parameters() if p.requires_grad),
        "vocabulary": f"{vocabulary.kind} ({vocabulary.size})",
    }


def _validated(opened: Trained, key: str) -> dict[str, Any]:
    if opened.run is None:
        return {}
    progress = opened.run.progress()
    return {key: next(row[key] for row in progress["history"] if row["epoch"] == progress["best_epoch"])}


def _no_other_data(on: str | None) -> None:
    if on is not None:
        raise ConfigError("--on takes the test samples of another event data set, and this run is of text")


def _same_data(opened: Trained, checksum: str, name: str) -> None:
    progress = {} if opened.run is None else opened.run.progress()
    trained_on, source = (
        progress.get("checksum", opened.card.checksum),
        progress.get("source", opened.card.source),
    )
    if trained_on and trained_on != checksum:
        raise DataError(
            f"{opened.name} was trained on {source} (sha256 {trained_on}), the data here are {name} ({checksum}); put "
            "the first back"
        )


def page(results: Sequence[dict[str, Any]]) -> Page:
    """All about one evaluation, or a row for each of several."""
    if len(results) == 1:
        return _of_one(results[0])
    heads = ("run", "network", "delays", "seed", "bits per byte", "accuracy", "fires", "data")
    rows = [
        (
            r["run"], r["hidden"], r["delays"], str(r["seed"]), _number(r, "test_bits_per_byte", ".4f"),
            _number(r, "test_accuracy", ".1%"), _number(r, "firing_rate", ".1%"), r["data"],
        )
        for r in results
    ]  # fmt: skip
    return Page([Table(heads, rows)])


def _of_one(result: dict[str, Any]) -> Page:
    network = ("network", f"{result['hidden']}, shift {result['delays']}, {result['parameters']:,} parameters")
    of_text = "test_bits_per_byte" in result
    rows = [network, *(_text_rows if of_text else _sentence_rows)(result)]
    rows += _operation_rows(result["operations_per_token"])
    tables = [Table((), rows, f"{result['run']}: {result['data']}, test")]
    if result["firing_rates"]:
        tables.append(Table(("population", "fires"), [(k, f"{v:.1%}") for k, v in result["firing_rates"].items()]))
    return Page(tables)


def _text_rows(result: dict[str, Any]) -> list[tuple[str, str]]:
    valid = _number(result, "valid_bits_per_byte", ".4f")
    rows = [
        ("bits per byte", f"{result['test_bits_per_byte']:.4f} (valid {valid})"),
        ("  in", result["protocol"]),
        ("  with state carried on", f"{result['test_bits_per_byte_carried']:.4f}"),
        ("  in", result["protocol_carried"]),
        ("loss, perplexity", f"{result['test_loss']:.4f} nats per token, {result['test_perplexity']:.3f}"),
        ("over", f"{result['test_samples']:,} tokens, all but the first; {result['vocabulary']}"),
    ]
    if "learned" in result["delays"]:
        rows.insert(4, ("  with real-valued delays", f"{result['test_bits_per_byte_real_delays']:.4f}"))
    if result["embedding_ones"] is not None:
        rows.append(("ones in the embedding", f"{result['embedding_ones']:.1%}"))
    return rows


def _sentence_rows(result: dict[str, Any]) -> list[tuple[str, str]]:
    valid = _number(result, "valid_accuracy", ".1%")
    return [
        ("accuracy", f"{result['test_accuracy']:.1%} of {result['test_samples']:,} (valid {valid})"),
        ("loss", f"{result['test_loss']:.4f}"),
        ("split", result["split"]),
        ("vocabulary", result["vocabulary"]),
    ]


def _operation_rows(done: dict[str, float | None]) -> list[tuple[str, str]]:
    """What a token costs as built, and beside it what it would cost if the network were spike-driven."""
    if done["macs_if_spike_driven"] is None:
        driven = "the network does not spike: there is no firing rate"
    elif done["macs_if_spike_driven"] == done["macs_as_built"]:
        driven = "the same: every matrix of the blocks reads spikes"
    else:
        driven = (
            f"{done['macs_if_spike_driven']:,.0f} MACs and {done['accumulates_if_spike_driven']:,.0f} accumulates: not "
            "what this network does"
        )
    built = f"{done['macs_as_built']:,.0f} MACs and {done['accumulates_as_built']:,.0f} accumulates"
    return [
        ("matrices as built, per token", built),
        ("  if it were spike-driven", driven),
        ("  input is spikes", f"{done['spike_fed_share']:.1%} of {done['macs_dense']:,.0f} dense MACs"),
        ("  besides", f"{done['shift_macs']:,.0f} MACs of the shifts; WKV, norms and gates are not counted"),
    ]


def _number(result: dict[str, Any], key: str, form: str) -> str:
    return "-" if result.get(key) is None else f"{result[key]:{form}}"
