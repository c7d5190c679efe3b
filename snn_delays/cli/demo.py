"""The demos: what delays buy on the bundled digits, over several seeds; and a small language model."""

from collections.abc import Sequence
from pathlib import Path
from statistics import mean, stdev
from typing import Annotated, Any

import typer
from rich.table import Table

from snn_delays.cli.app import RUNS, app, console
from snn_delays.cli.results import evaluate_run
from snn_delays.cli.train import train_run
from snn_delays.messages import command

RECIPES = {"demo_no_delays": "none", "demo_fixed_delays": "fixed", "demo": "learned"}
FORMATS = ("nir", "c99")
Out = Annotated[Path, typer.Option(help="folder of the runs")]


@app.command()
def demo(
    out: Out = RUNS,
    seeds: Annotated[int, typer.Option(min=1, help="number of seeds for each kind of delays")] = 3,
) -> None:
    """Train without delays, with fixed and with learned delays on bundled spoken digits; evaluate, draw, export."""
    from snn_delays.cli.export import export_lines
    from snn_delays.runs.export import export
    from snn_delays.runs.figures import draw

    found: dict[str, list[dict[str, Any]]] = {name: [] for name in RECIPES}
    runs = []
    for seed in range(seeds):
        for name in RECIPES:
            folder = out / (f"{name}_seed_{seed}" if seed else name)
            console.rule(f"{name.replace('_', ' ')}, seed {seed}")
            runs.append(train_run(name, (f"seed={seed}",), True, folder, "cpu", 1))
            found[name].append(evaluate_run(runs[-1], "cpu"))
    shown = next(run for run in runs if run.folder == out / "demo")
    lines = [f"picture  {path}" for path in draw(shown)]
    for to in FORMATS:
        lines += export_lines(export(shown, to))
    console.rule("what delays buy")
    _print_gain(found)
    for line in [*lines, f"runs     {', '.join(str(run.folder) for run in runs)}"]:
        console.print(line)


@app.command("demo-gpt")
def demo_gpt(out: Out = RUNS) -> None:
    """Train a small SpikeGPT with learned delays on the bundled tiny Shakespeare; evaluate, draw, generate text."""
    from snn_delays.cli.generate import write_text_of
    from snn_delays.cli.output import print_page
    from snn_delays.runs.figures import draw
    from snn_delays.runs.tasks import pages

    run = train_run("demo_gpt", (), True, out / "demo_gpt", "cpu", 1)
    for page in pages([run.recipe], [evaluate_run(run, "cpu")]):
        print_page(page)
    for path in draw(run):
        console.print(f"picture  {path}")
    console.rule("generated text")
    write_text_of(run, "ROMEO:", tokens=400)
    console.print(f"continue with: {command('generate', run.folder, '--prompt', 'JULIET:', '--seed', 1)}")


def _print_gain(found: dict[str, list[dict[str, Any]]]) -> None:
    table = Table("delays", "trainable\nparameters", "valid", "test,\nreal delays", "test,\ninteger delays")
    for name, results in found.items():
        columns = ("valid_accuracy", "test_accuracy_real_delays", "test_accuracy")
        spreads = (_spread([100 * r[key] for r in results]) for key in columns)
        table.add_row(RECIPES[name], f"{results[0]['parameters']:,}", *spreads)
    console.print(table)
    learned, fixed = (found[name] for name in ("demo", "demo_fixed_delays"))
    gains = [f"{100 * (a['test_accuracy'] - b['test_accuracy']):+.1f}" for a, b in zip(learned, fixed)]
    one = learned[0]
    console.print(f"learned against fixed, seed by seed: {', '.join(gains)} points of test accuracy")
    console.print(
        f"percent, mean ± standard deviation over {len(learned)} seeds; data: {one['data']}, "
        f"{one['test_samples']:,} test samples"
        + (", all by speakers that were not trained on" if one["test_accuracy_known_speakers"] is None else "")
        + "; epochs chosen on validation samples held out of the training set"
    )


def _spread(values: Sequence[float]) -> str:
    return f"{mean(values):.1f} ± {stdev(values):.1f}" if len(values) > 1 else f"{values[0]:.1f}"
