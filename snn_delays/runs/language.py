"""What is measured of networks on text, language models and classifiers of sentences, and how that is shown."""

import math
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from snn_delays.data.text import load_sentences
from snn_delays.errors import ConfigError, DataError
from snn_delays.models.spikegpt import SpikeGPT, with_integer_delays
from snn_delays.runs.load import Trained, trainable_parameters
from snn_delays.runs.table import Page, Table, number
from snn_delays.training.activity import ones_rate
from snn_delays.training.callbacks import Callback
from snn_delays.training.language_measure import (
    PROTOCOLS,
    TextMeasurement,
    measure_sentences,
    measure_text,
    stream_count,
)
from snn_delays.training.runlog import Run
from snn_delays.training.tasks.text import LanguageTraining, SentencesTraining, corpus_of, encode


def page(results: Sequence[dict[str, Any]]) -> Page:
    """All about one evaluation, or a row for each of several."""
    if len(results) == 1:
        return _of_one(results[0])
    heads = ("run", "network", "delays", "seed", "bits per byte", "accuracy", "fires", "data")
    rows = [
        (
            r["run"], r["hidden"], r["delays"], str(r["seed"]), number(r, "test_bits_per_byte", ".4f"),
            number(r, "test_accuracy", ".1%"), number(r, "firing_rate", ".1%"), r["data"],
        )
        for r in results
    ]  # fmt: skip
    return Page([Table(heads, rows)])


class Language(LanguageTraining):
    """The next token of a text."""

    page = staticmethod(page)

    def evaluate(self, trained: Trained, *, on: str | None, device: str, callback: Callback | None) -> dict[str, Any]:
        """Bits per byte of the test text and what belongs to it, see :func:`snn_delays.runs.evaluate.evaluate`."""
        _refuse_other_data(on)
        corpus = corpus_of(self.recipe, trained.card.vocabulary)
        _check_alike(trained, corpus.checksum, corpus.name)
        context, streams = self.recipe.training.context, stream_count(corpus.test)
        real = trained.network.to(device)
        network = with_integer_delays(real).eval()

        def measured(network: SpikeGPT, protocol: str) -> TextMeasurement:
            return measure_text(
                network, corpus.test, corpus.bytes_of["test"], context, protocol=protocol, device=device,
                progress=callback.on_evaluate if callback else lambda done, total: None,
            )  # fmt: skip

        windows, carried = (measured(network, protocol) for protocol in PROTOCOLS)
        real_delays = measured(real, "windows") if self.recipe.model.has_delays else windows
        return {
            **_network(trained, "valid_bits_per_byte"),
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

    def figures(self, run: Run, names: Sequence[str] = (), sample: int | None = None) -> list[Path]:
        """Tokens, rates, delays of the shifts, positions, learning curves."""
        from snn_delays.runs.figures import LANGUAGE, draw_pictures

        return draw_pictures(LANGUAGE, run, names, sample)


class Sentences(SentencesTraining):
    """The class of a sentence."""

    page = staticmethod(page)

    def evaluate(self, trained: Trained, *, on: str | None, device: str, callback: Callback | None) -> dict[str, Any]:
        """Accuracy on test sentences and what belongs to it, see :func:`snn_delays.runs.evaluate.evaluate`."""
        _refuse_other_data(on)
        data = load_sentences(self.recipe.data.set)
        _check_alike(trained, data.checksum, data.name)
        sentences = encode(data.test, trained.card.vocabulary, self.recipe)  # type: ignore[arg-type]
        measured = measure_sentences(with_integer_delays(trained.network).eval().to(device), sentences, device)
        return {
            **_network(trained, "valid_accuracy"),
            "test_samples": len(data.test),
            "test_accuracy": measured.accuracy,
            "test_loss": measured.loss,
            "split": data.split_rule,
            "class_names": list(data.class_names),
            "firing_rates": measured.rates,
            "firing_rate": measured.mean_rate,
            "operations_per_token": measured.operations,
        }

    def figures(self, run: Run, names: Sequence[str] = (), sample: int | None = None) -> list[Path]:
        """Learning curves and rates."""
        from snn_delays.runs.figures import SENTENCES, draw_pictures

        return draw_pictures(SENTENCES, run, names, sample)


def _network(trained: Trained, validated: str) -> dict[str, Any]:
    """The network, and of a run what it achieved on validation."""
    vocabulary: Any = trained.card.vocabulary
    return {
        "init": trained.recipe.model.init,
        "parameters": trainable_parameters(trained.network),
        "vocabulary": f"{vocabulary.kind} ({vocabulary.size})",
        **{key: value for key, value in trained.best.items() if key == validated},
    }


def _refuse_other_data(on: str | None) -> None:
    if on is not None:
        raise ConfigError("--on takes the test samples of another event data set, and this run is of text")


def _check_alike(trained: Trained, checksum: str, name: str) -> None:
    progress, card = {} if trained.run is None else trained.run.progress(), trained.card
    expected, source = progress.get("checksum", card.checksum), progress.get("source", card.source)
    if expected and expected != checksum:
        raise DataError(
            f"{trained.name} was trained on {source} (sha256 {expected}), the data here are {name} ({checksum}); put "
            "the first back"
        )


def _of_one(result: dict[str, Any]) -> Page:
    rows = [("network", f"{result['hidden']}, shift {result['delays']}, {result['parameters']:,} parameters")]
    rows += _text_rows(result) if "test_bits_per_byte" in result else _sentence_rows(result)
    rows += _operation_rows(result["operations_per_token"])
    tables = [Table((), rows, f"{result['run']}: {result['data']}, test")]
    if result["firing_rates"]:
        tables.append(Table(("population", "fires"), [(k, f"{v:.1%}") for k, v in result["firing_rates"].items()]))
    return Page(tables)


def _text_rows(result: dict[str, Any]) -> list[tuple[str, str]]:
    valid = number(result, "valid_bits_per_byte", ".4f")
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
    valid = number(result, "valid_accuracy", ".1%")
    return [
        ("accuracy", f"{result['test_accuracy']:.1%} of {result['test_samples']:,} (valid {valid})"),
        ("loss", f"{result['test_loss']:.4f}"),
        ("split", result["split"]),
        ("vocabulary", result["vocabulary"]),
    ]


def _operation_rows(per_token: dict[str, float | None]) -> list[tuple[str, str]]:
    """What a token costs as built, and beside it what it would cost if the network were spike-driven."""

    def count(form: str) -> str:
        return f"{per_token[f'macs_{form}']:,.0f} MACs and {per_token[f'accumulates_{form}']:,.0f} accumulates"

    if per_token["macs_if_spike_driven"] is None:
        driven = "the network does not spike: there is no firing rate"
    elif per_token["macs_if_spike_driven"] == per_token["macs_as_built"]:
        driven = "the same: every matrix of the blocks reads spikes"
    else:
        driven = f"{count('if_spike_driven')}: not what this network does"
    return [
        ("matrices as built, per token", count("as_built")),
        ("  if it were spike-driven", driven),
        ("  input is spikes", f"{per_token['spike_fed_share']:.1%} of {per_token['macs_dense']:,.0f} dense MACs"),
        ("  besides", f"{per_token['shift_macs']:,.0f} MACs of the shifts; WKV, norms and gates are not counted"),
    ]
