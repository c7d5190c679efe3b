"""Tables, lines and progress on the console, and arguments that several commands take."""

from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer
from rich.table import Column
from rich.table import Table as RichTable

from snn_delays.cli.app import console
from snn_delays.printable import printable
from snn_delays.runs.table import Table

if TYPE_CHECKING:
    from snn_delays.training.progress import ProgressBar

RunFolder = Annotated[Path, typer.Argument(help="run folder, as made by train", show_default=False)]
Network = Annotated[
    Path, typer.Argument(help="run folder, checkpoint folder, .safetensors file or zoo:NAME", show_default=False)
]
DataSet = Annotated[str, typer.Argument(help="data set, as in `data list`")]
Device = Annotated[str, typer.Option(help="device to run on: cpu, cuda ...")]
Scheduler = Annotated[
    str | None,
    typer.Option(help="address of a Dask scheduler, as tcp://HOST:8786; default: here", show_default=False),
]
Write = Annotated[Path | None, typer.Option(help="write the table into this document, between its markers")]


def progress() -> "ProgressBar":
    """A bar on the console, for a ``with`` block."""
    from snn_delays.training.progress import ProgressBar

    return ProgressBar(console)


def print_lines(lines: Iterable[str]) -> None:
    """Print lines without colours for the numbers in them."""
    for line in lines:
        console.print(line, highlight=False)


def print_table(table: Table, *, fold: int = 0, no_wrap: Sequence[int] = (), sections: bool = False) -> None:
    """Print a table; one column may fold, those in ``no_wrap`` stay on a line, ``sections`` puts lines between rows."""
    rich = RichTable(
        *(
            Column(head, overflow="fold" if i == fold and i not in no_wrap else "ellipsis", no_wrap=i in no_wrap)
            for i, head in enumerate(table.heads or ("", ""))
        ),
        title=table.title or None, title_justify="left", show_header=bool(table.heads),
    )  # fmt: skip
    for row in table.rows:
        rich.add_row(*row, end_section=sections)
    console.print(rich)


def write_or_print(markdown: str, document: Path | None, markers: str) -> None:
    """Write a table between the markers of a document, or print it."""
    from snn_delays.files import write_between_markers

    if document is None:
        print(printable(markdown), end="")
    else:
        write_between_markers(document, markers, markdown)
