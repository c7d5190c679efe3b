"""The command that generates text."""

import io
import sys
from itertools import chain
from typing import Annotated, Any

import typer

from snn_delays.cli.app import app
from snn_delays.cli.output import Network
from snn_delays.printable import printable


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
    device: Annotated[str, typer.Option(help="device to run on: cpu, cuda ...")] = "cpu",
) -> None:
    """Generate text with a trained language model, printed token by token."""
    write_text_of(run, prompt, tokens=tokens, temperature=temperature, top_p=top_p, seed=seed, device=device)


def write_text_of(run: Any, prompt: str, **options: Any) -> None:
    """Print a prompt and its continuation by a run's network."""
    from snn_delays.runs.generate import continue_text

    written = continue_text(run, prompt, **options)
    if isinstance(sys.stdout, io.TextIOWrapper):
        sys.stdout.reconfigure(errors="replace")  # a terminal may not have every character
    for text in chain([prompt], written, ["\n"]):
        print(printable(text), end="", flush=True)
