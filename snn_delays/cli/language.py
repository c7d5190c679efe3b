"""Commands of spiking language models."""

import io
import sys
from collections.abc import Sequence
from itertools import chain
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer
from rich.table import Column, Table

from snn_delays.cli.app import RUNS, app, console
from snn_delays.cli.runs import RunFolder
from snn_delays.messages import command
from snn_delays.printable import printable

if TYPE_CHECKING:
    from snn_delays.training.runlog import Run


@app.command()
def generate(
    run: RunFolder,
    prompt: Annotated[str, typer.Option(help="text to go on from", show_default=False)],
    tokens: Annotated[int, typer.Option(min=1, help="tokens to write")] = 500,
    temperature: Annotated[float, typer.Option(help="0 takes the likeliest token, 1 draws as the network says")] = 0.8,
    top_p: Annotated[
        float, typer.Option("--top-p", help="draw among the likeliest tokens of so much probability")
    ] = 0.95,
    seed: Annotated[int, typer.Option(help="the same seed writes the same text")] = 0,
    device: Annotated[str, typer.Option(help="where to run")] = "cpu",
) -> None:
    """Go on from a text, character by character, as they come."""
    from snn_delays.training.runlog import open_run

    opened = open_run(run, "language")
    _write(opened, prompt, tokens=tokens, temperature=temperature, top_p=top_p, seed=seed, device=device)


def _write(run: "Run", prompt: str, *, device: str = "cpu", **options: Any) -> None:
    """Print a prompt and what a run's network makes of it."""
    from snn_delays.runs.evaluate_text import on_device, trained_language_network
    from snn_delays.runs.generate import generate as go_on

    network, vocabulary = trained_language_network(run)
    written = go_on(on_device(network, device), vocabulary, prompt, **options)
    if isinstance(sys.stdout, io.TextIOWrapper):
        sys.stdout.reconfigure(errors="replace")  # a terminal may not have every character
    for text in chain([prompt], written, ["\n"]):
        print(printable(text), end="", flush=True)


@app.command("demo-gpt")
def demo_gpt(
    out: Annotated[Path, typer.Option(help="folder of the runs")] = RUNS,
) -> None:
    """Train a small SpikeGPT with learned delays on the bundled tiny Shakespeare; evaluate, draw, write text."""
    from snn_delays.cli.runs import train_run
    from snn_delays.runs.evaluate_text import evaluate_language
    from snn_delays.runs.figures_text import draw_language
    from snn_delays.training.progress import ProgressBar

    run = train_run("demo_gpt", (), True, out / "demo_gpt", "cpu", 1)
    with ProgressBar(console) as bar:
        result = evaluate_language(run, progress=bar.on_evaluate)
    print_evaluation(result)
    for path in draw_language(run):
        console.print(f"picture  {path}")
    console.rule("what it writes")
    _write(run, "ROMEO:", tokens=400)
    console.print(f"go on with: {command('generate', run.folder, '--prompt', 'JULIET:', '--seed', 1)}")


def print_evaluation(result: dict[str, Any]) -> None:
    """Print what ``evaluate`` found of a language model, or of a classifier of sentences."""
    table = Table("", "", title=f"{result['run']}: {result['data']}, test", title_justify="left", show_header=False)
    rows = _of_text(result) if "test_bits_per_byte" in result else _of_sentences(result)
    for row in [
        ("network", f"{result['hidden']}, shift {result['delays']}, {result['parameters']:,} parameters"),
        *rows,
    ]:
        table.add_row(*row)
    console.print(table)
    if result["firing_rates"]:
        rates = Table("population", "fires")
        for name, rate in result["firing_rates"].items():
            rates.add_row(name, f"{rate:.1%}")
        console.print(rates)


def _of_text(result: dict[str, Any]) -> list[tuple[str, str]]:
    rows = [
        ("bits per byte", f"{result['test_bits_per_byte']:.4f} (valid {result['valid_bits_per_byte']:.4f})"),
        ("  in", result["protocol"]),
        ("  with state carried on", f"{result['test_bits_per_byte_carried']:.4f}"),
        ("  in", result["protocol_carried"]),
        ("loss, perplexity", f"{result['test_loss']:.4f} nats a token, {result['test_perplexity']:.3f}"),
        ("over", f"{result['test_samples']:,} tokens, every one but the first; {result['vocabulary']}"),
    ]
    if "learned" in result["delays"]:
        rows.insert(4, ("  with real-valued delays", f"{result['test_bits_per_byte_real_delays']:.4f}"))
    if result["embedding_ones"] is not None:
        rows.append(("ones in the embedding", f"{result['embedding_ones']:.1%}"))
    return [*rows, *_of_operations(result["operations_per_token"])]


def _of_operations(done: dict[str, float | None]) -> list[tuple[str, str]]:
    """What a token costs as built, and never without it what it would cost if the network were spike-driven."""
    as_built = f"{done['macs_as_built']:,.0f} MACs and {done['accumulates_as_built']:,.0f} accumulates"
    if done["macs_if_spike_driven"] is None:
        driven = "it does not spike: there is no firing rate to reckon with"
    elif done["macs_if_spike_driven"] == done["macs_as_built"]:
        driven = "the same: every matrix of the blocks reads spikes"
    else:
        driven = (
            f"{done['macs_if_spike_driven']:,.0f} MACs and {done['accumulates_if_spike_driven']:,.0f} accumulates: not "
            "what this network does"
        )
    return [
        ("matrices as built, a token", as_built),
        ("  if it were spike-driven", driven),
        ("  fed with spikes", f"{done['spike_fed_share']:.1%} of {done['macs_dense']:,.0f} dense MACs"),
        ("  besides", f"{done['shift_macs']:,.0f} MACs of the shifts; WKV, norms and gates are not counted"),
    ]


def _of_sentences(result: dict[str, Any]) -> list[tuple[str, str]]:
    return [
        (
            "accuracy",
            f"{result['test_accuracy']:.1%} of {result['test_samples']:,} (valid {result['valid_accuracy']:.1%})",
        ),
        ("loss", f"{result['test_loss']:.4f}"),
        ("split", result["split"]),
        ("vocabulary", result["vocabulary"]),
        *_of_operations(result["operations_per_token"]),
    ]


def print_comparison(results: Sequence[dict[str, Any]]) -> None:
    """Print what ``evaluate`` found of several runs on text, a line each."""
    table = Table(
        Column("run", overflow="fold"), "network", "delays", "seed", "bits per byte", "accuracy", "fires", "data"
    )
    for r in results:
        bits = f"{r['test_bits_per_byte']:.4f}" if "test_bits_per_byte" in r else "-"
        accuracy = f"{r['test_accuracy']:.1%}" if "test_accuracy" in r else "-"
        fires = "-" if r["firing_rate"] is None else f"{r['firing_rate']:.1%}"
        table.add_row(r["run"], r["hidden"], r["delays"], str(r["seed"]), bits, accuracy, fires, r["data"])
    console.print(table)
