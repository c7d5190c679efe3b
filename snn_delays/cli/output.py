"""Tables and pages on the console, and arguments that several commands take."""

from pathlib import Path
from typing import Annotated

import typer
from rich.table import Column
from rich.table import Table as RichTable

from snn_delays.cli.app import console
from snn_delays.runs.table import Page, Table

RunFolder = Annotated[Path, typer.Argument(help="run folder, as made by train", show_default=False)]
Network = Annotated[Path, typer.Argument(help="run folder, checkpoint folder or .safetensors file", show_default=False)]
Write = Annotated[Path | None, typer.Option(help="write the table into this document, between its markers")]
RESULTS = Path("experiments/results.csv")


def print_table(table: Table) -> None:
    """Print a table; the first column may fold."""
    rich = RichTable(
        *(Column(head, overflow="fold" if i == 0 else "ellipsis") for i, head in enumerate(table.heads or ("", ""))),
        title=table.title or None, title_justify="left", show_header=bool(table.heads),
    )  # fmt: skip
    for row in table.rows:
        rich.add_row(*row)
    console.print(rich)


def print_page(page: Page) -> None:
    """Print tables, then lines."""
    for table in page.tables:
        print_table(table)
    for line in page.lines:
        console.print(line)
