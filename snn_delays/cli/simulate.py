"""The command that simulates N-MNIST from MNIST."""

from pathlib import Path
from typing import Annotated

import typer

from snn_delays.cli.app import console
from snn_delays.cli.data import data_app


@data_app.command("simulate-nmnist")
def data_simulate_nmnist(
    mnist: Annotated[Path, typer.Argument(help="folder of MNIST's four files, packed with gzip or not")],
    images: Annotated[int, typer.Option(min=1, help="simulate the first so many images of MNIST's test set")] = 10000,
    seed: Annotated[int, typer.Option(min=0, help="with an image's number it decides its events")] = 0,
    out: Annotated[Path | None, typer.Option(help="folder; default: where `n-mnist-simulated` looks for it")] = None,
) -> None:
    """Move MNIST's test images before a model of an event camera, as N-MNIST was recorded; goes on where it stopped."""
    from snn_delays.data.encoders.simulated_nmnist import simulate_folder
    from snn_delays.data.files import data_folder
    from snn_delays.data.formats.idx import read_mnist
    from snn_delays.errors import ConfigError
    from snn_delays.training.progress import ProgressBar

    pictures, labels = read_mnist(mnist, "test")
    if images > len(pictures):
        raise ConfigError(f"--images {images}: MNIST's test set has {len(pictures):,}")
    with ProgressBar(console) as bar:
        folder = simulate_folder(pictures, labels, range(images), out or data_folder(), seed, bar.on_load)
    console.print(f"written: {folder}, {images:,} simulated recordings")
