"""Commands that draw a run, or stream it."""

import json
from typing import Annotated

import typer

from snn_delays.cli.app import app, console
from snn_delays.cli.output import RunFolder, print_table
from snn_delays.errors import ConfigError
from snn_delays.messages import command


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
    from snn_delays.runs.table import Table
    from snn_delays.training.runlog import environment, open_run

    if samples < 1:
        raise ConfigError(f"--samples must be at least 1, got {samples}")
    opened = open_run(run, "events")
    dataset, chosen = samples_of(opened.recipe, "validation")
    batch = dataset.batch(chosen[:samples], opened.recipe.data.tail_steps)
    recordings = [batch.counts[: int(length), i].numpy() for i, length in enumerate(batch.lengths)]
    report = stream_report(discrete_network(opened), recordings, dt_ms=dt_ms)
    rows = [
        (
            side.side,
            *(f"{us:.1f} µs" for us in (side.median_us, side.p99_us, side.max_us)),
            f"{side.real_time_factor(dt_ms):.3g}",
        )
        for side in report.sides
    ]
    print_table(Table(("side", "median", "99th percentile", "longest", f"real-time factor, {dt_ms:g} ms"), rows))
    title = f"{opened.recipe.name}: {report.sides[0].configuration}"
    figure = streaming_figure({s.side: s.step_us for s in report.sides}, report.active, dt_ms=dt_ms, title=title)
    picture = save_figure(figure, opened.figures / "streaming.png")
    numbers = opened.folder / "streaming.json"
    write_text(numbers, json.dumps({"environment": environment(), **report.as_json()}, indent=1))
    for line in [*report.lines(), f"drawn: {picture}", f"written: {numbers}"]:
        console.print(line, highlight=False)
