"""The command that takes over what other code trained."""

from pathlib import Path
from typing import Annotated

import typer

from snn_delays.cli.app import app
from snn_delays.cli.output import print_lines
from snn_delays.messages import command


@app.command("import")
def import_file(
    file: Annotated[Path, typer.Argument(help="state_dict of torch.save, or a NIR file", show_default=False)],
    source: Annotated[str, typer.Option("--from", help="dcls, snn-delays, delrec or nir", show_default=False)],
    recipe: Annotated[
        str, typer.Option(help="recipe that says what the file does not: dt, neurons, window, data", show_default=False)
    ],
    changes: Annotated[
        list[str] | None, typer.Option("--set", help="section.key=value, overrides the recipe; may be repeated")
    ] = None,
    out: Annotated[
        Path | None, typer.Option(help="file; default: that of the checkpoint, ending .safetensors", show_default=False)
    ] = None,
) -> None:
    """Make a network of ours of a checkpoint of DCLS, SNN-delays, DelRec or NIR; snn_delays.load opens it."""
    from snn_delays.nn.optimise import SPREAD, layers_with_delays
    from snn_delays.runs.imported import import_network

    out = file.with_suffix(".safetensors") if out is None else out
    network = import_network(file, source, recipe, changes=changes or (), out=out)
    card, model = network.card, network.card.recipe.model
    widths = {f"{one.taps}, {one.sigma:.4g}" for one in layers_with_delays(network).values() if one.taps in SPREAD}
    window = "" if model.delays == "none" else f" of up to {card.recipe.max_delay_steps} steps"
    print_lines(
        [
            f"network  {card.sensor[0]} inputs, {model.layers}; {model.delays} delays{window}",
            f"neurons  tau {model.tau_mem_ms:g} ms, steps of {card.dt_ms:g} ms, threshold {model.threshold:g}, "
            f"{model.reset} reset",
            *(f"taps     {width} steps wide" for width in sorted(widths)),
            f"written  {out}",
            f"next     {command('evaluate', out)}",
        ]
    )
