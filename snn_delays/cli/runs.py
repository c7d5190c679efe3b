"""Commands that draw a run, stream it, or let it generate text."""

import io
import json
import sys
from itertools import chain
from typing import Annotated, Any

import typer

from snn_delays.cli.app import app, console
from snn_delays.cli.output import Device, Network, RunFolder, print_lines, print_table
from snn_delays.errors import ConfigError
from snn_delays.messages import command
from snn_delays.printable import printable
from snn_delays.runs.table import Table


@app.command()
def plot(
    run: RunFolder,
    what: Annotated[str, typer.Option(help="names of pictures, separated by commas; default: all")] = "",
    sample: Annotated[
        int | None,
        typer.Option(help="validation sample in rasters and membranes; default: the first classified correctly"),
    ] = None,
) -> None:
    """Draw a run: rasters, membranes, delays, learning curves, confusion matrix.

    Language models: tokens, rates, shift_delays, positions, curves. Only rasters, membranes and tokens open the data.
    """
    from snn_delays.runs.figures import draw
    from snn_delays.training.runlog import open_run

    opened = open_run(run)
    names = [name.strip() for name in what.split(",") if name.strip()]
    for path in draw(opened, names, sample):
        console.print(f"drawn: {path}")
    if not (names or opened.evaluation.exists()):
        console.print(f"pictures of the test results need: {command('evaluate', run)}")


@app.command()
def stream(
    run: RunFolder,
    samples: Annotated[int, typer.Option(help="validation samples to stream")] = 10,
    dt_ms: Annotated[float, typer.Option(help="real-time duration of a step, in ms")] = 1.0,
) -> None:
    """Run a network step by step on recordings, check it against the whole-sequence run, and time every step."""
    from snn_delays.discrete.streaming.measure import stream_report
    from snn_delays.files import write_text
    from snn_delays.plot import save_figure, streaming_figure
    from snn_delays.runs.load import discrete_network
    from snn_delays.runs.samples import samples_of
    from snn_delays.training.runlog import environment, open_run

    if samples < 1:
        raise ConfigError(f"--samples must be at least 1, got {samples}")
    opened = open_run(run, "events")
    dataset, chosen = samples_of(opened.recipe, "validation")
    batch = dataset.batch(chosen[:samples], opened.recipe.data.tail_steps)
    recordings = [batch.counts[: int(length), i].numpy() for i, length in enumerate(batch.lengths)]
    report = stream_report(discrete_network(opened), recordings, dt_ms=dt_ms)
    rows = [
        [s.side, *(f"{us:.1f} µs" for us in (s.median_us, s.p99_us, s.max_us)), f"{s.real_time_factor(dt_ms):.3g}"]
        for s in report.sides
    ]
    print_table(Table(("side", "median", "99th percentile", "longest", f"real-time factor, {dt_ms:g} ms"), rows))
    title = f"{opened.recipe.name}: {report.sides[0].configuration}"
    figure = streaming_figure({s.side: s.step_us for s in report.sides}, report.active, dt_ms=dt_ms, title=title)
    picture = save_figure(figure, opened.figures / "streaming.png")
    numbers = opened.folder / "streaming.json"
    write_text(numbers, json.dumps({"environment": environment(), **report.as_json()}, indent=1))
    print_lines([*report.lines(), f"drawn: {picture}", f"written: {numbers}"])


@app.command()
def generate(
    run: Network,
    prompt: Annotated[str, typer.Option(help="text to continue", show_default=False)],
    tokens: Annotated[int, typer.Option(min=1, help="number of tokens to generate")] = 500,
    temperature: Annotated[float, typer.Option(help="of sampling; 0 takes the most likely token")] = 0.8,
    top_p: Annotated[
        float, typer.Option("--top-p", help="sample among the most likely tokens of this total probability")
    ] = 0.95,
    seed: Annotated[int, typer.Option(help="random seed; the same seed generates the same text")] = 0,
    device: Device = "cpu",
) -> None:
    """Generate text with a trained language model, printed token by token."""
    print_text(run, prompt, tokens=tokens, temperature=temperature, top_p=top_p, seed=seed, device=device)


def print_text(run: Any, prompt: str, **options: Any) -> None:
    """Print a prompt and its continuation by a run's network."""
    from snn_delays.runs.generate import continue_text

    continuation = continue_text(run, prompt, **options)
    if isinstance(sys.stdout, io.TextIOWrapper):
        sys.stdout.reconfigure(errors="replace")  # a terminal may not have every character
    for text in chain([prompt], continuation, ["\n"]):
        print(printable(text), end="", flush=True)
