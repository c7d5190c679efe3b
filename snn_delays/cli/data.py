"""Commands about data sets."""

import shlex
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer
from rich.table import Table

from snn_delays.cli.app import app, console
from snn_delays.errors import ConfigError

if TYPE_CHECKING:
    from snn_delays.data.card import Card

data_app = typer.Typer(help="Data sets: list, fetch, verify, show, encode.", no_args_is_help=True)
app.add_typer(data_app, name="data")


@data_app.command("list")
def data_list() -> None:
    """List the data sets, whether their files are at hand, and the corpora and sentence sets.

    Your own cards are listed too if SNN_DELAYS_CARDS names their folder.
    """
    from snn_delays.data.catalogue.lookup import cards
    from snn_delays.data.text import text_cards

    table = Table("name", "what it is", "samples", "at hand")
    table.columns[0].no_wrap = table.columns[2].no_wrap = True
    for card in cards().values():
        sensor = " x ".join(str(size) for size in card.sensor) + (" channels" if len(card.sensor) == 1 else " events")
        tonic = f"Tonic's {card.tonic_class}" if card.tonic_class else "not in Tonic"
        about = [sensor, f"{card.n_classes} classes", card.licence, card.own or tonic]
        table.add_row(
            card.name,
            f"{card.title}\n{', '.join(filter(None, about))}",
            "\n".join(f"{split} {part.samples:,}" for split, part in card.splits.items()),
            _at_hand(card),
            end_section=True,
        )
    console.print(table)
    texts = Table("name", "what it is", "in the package or, below the data folder, at")
    texts.columns[0].no_wrap = True
    for text in text_cards().values():
        files = text.archive or ", ".join(dict.fromkeys(part.file for part in text.files.values()))
        place = "in the package" if text.bundled else f"{text.folder}/{files}"
        texts.add_row(text.name, f"{text.description}\n{text.kind}, {text.licence}", place, end_section=True)
    console.print(texts)


@data_app.command("verify")
def data_verify(name: Annotated[str, typer.Argument(help="data set, as in `data list`")]) -> None:
    """Compute the checksums of a data set's files anew and compare them with the catalogue's."""
    from snn_delays.data.catalogue.locate import find_data, verify
    from snn_delays.data.catalogue.lookup import card

    of = card(name)
    for split, part in of.splits.items():
        if not part.made_here:
            console.print(f"{verify(of, split)}: {split} is {of.display_name}")
        elif part.file:
            path = find_data(of, split)
            whose = "a data set of your own" if of.own else "made on this machine"
            console.print(f"{path}: {split} is {whose}, so that its card has no checksum to compare with")
        else:
            console.print(f"{split} is generated from its card; there is no file to compare")


def _at_hand(card: "Card") -> str:
    """Whether the files of every split are there; a bundled set is not expanded for the answer."""
    from snn_delays.data.catalogue.locate import find_data
    from snn_delays.data.files import files_in
    from snn_delays.errors import DataError

    if card.bundled:
        return "yes"
    there = []
    for split in card.splits:
        try:
            path = find_data(card, split)
        except DataError:
            continue
        part = card.splits[split]
        half = path.is_dir() and bool(part.file) and not part.made_here and len(files_in(path)) < part.samples
        there.append(f"{split}, incomplete" if half else split)
    return "yes" if there == list(card.splits) else ", ".join(there) or "no"


@data_app.command("unpack")
def data_unpack(
    archive: Annotated[Path, typer.Argument(help="such as speech_commands_v0.02.tar.gz or CIFAR10DVS.zip")],
    out: Annotated[Path | None, typer.Option(help="folder; default: where recipes look for the data set")] = None,
) -> None:
    """Unpack the archive of a data set to where recipes look for it; its checksum decides which one it is."""
    from snn_delays.data.catalogue.locate import unpack
    from snn_delays.training.progress import ProgressBar

    with ProgressBar(console) as bar:
        path = unpack(archive, out, bar.on_load)
    console.print(f"written: {path}")


@data_app.command("convert", hidden=True)
def data_convert(
    archive: Annotated[Path, typer.Argument(help="an archive, as for `data unpack`")],
    out: Annotated[Path | None, typer.Option(help="folder; default: where recipes look for the data set")] = None,
) -> None:
    """The former name of `data unpack`."""
    if archive.name.endswith(".npz.xz"):
        raise ConfigError(
            "unpublished archives of spikes are converted by a script of the repository now; from a checkout: "
            f"python -m experiments.studies.shd_regenerated convert {shlex.quote(str(archive))}"
        )
    data_unpack(archive, out)


@data_app.command("download")
def data_download(name: Annotated[str, typer.Argument(help="data set, as in `data list`")]) -> None:
    """Fetch a data set through Tonic to where recipes look for it, and compare its checksums."""
    from snn_delays.data.catalogue.fetch import download
    from snn_delays.data.catalogue.lookup import card

    for path in download(card(name), lambda line: console.print(line)):
        console.print(f"there: {path}")
