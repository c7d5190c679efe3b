"""Commands about data sets."""

from pathlib import Path
from typing import Annotated

import typer
from rich.table import Table

from snn_delays.cli.app import app, console

data_app = typer.Typer(help="Data sets: what there is, where it lies, whether it is whole.", no_args_is_help=True)
app.add_typer(data_app, name="data")


@data_app.command("list")
def data_list() -> None:
    """List the data sets of the catalogue and whether their files are at hand."""
    from snn_delays.data.catalogue import cards
    from snn_delays.data.convert import hdf5_path

    table = Table("name", "title", "samples", "licence", "at hand")
    for card in cards().values():
        there = card.bundled or all(hdf5_path(card, part).exists() for part in card.splits.values())
        samples = " + ".join(f"{part.samples:,}" for part in card.splits.values())
        table.add_row(card.name, card.title, samples, card.licence, "yes" if there else "no")
    console.print(table)


@data_app.command("verify")
def data_verify(name: Annotated[str, typer.Argument(help="data set, as in `data list`")]) -> None:
    """Take the checksums of a data set's files afresh and compare them with the catalogue's."""
    from snn_delays.data.catalogue import card
    from snn_delays.data.convert import verify

    for split in card(name).splits:
        console.print(f"{verify(name, split)}: {split} is {card(name).display_name}")


@data_app.command("convert")
def data_convert(
    archive: Annotated[Path, typer.Argument(help="a compact archive, such as shd_regen_train.npz.xz")],
    out: Annotated[Path | None, typer.Option(help="HDF5 file; default: where recipes look for it")] = None,
) -> None:
    """Turn a compact archive into the HDF5 file that SHD's readers (Tonic among them) read."""
    from snn_delays.data.convert import convert_archive
    from snn_delays.training.progress import ProgressBar

    with ProgressBar(console) as bar:
        path = convert_archive(archive, out, bar.loading)
    console.print(f"written: {path}")
