"""The root of the command line. Errors are one line and an exit code; a traceback is a bug."""

import os
import sys
import warnings
from pathlib import Path
from typing import Annotated, Any, NoReturn, TextIO

import typer
from rich.console import Console
from rich.text import Text
from typer.core import TyperGroup

import snn_delays
from snn_delays.cli import interrupt
from snn_delays.errors import SnnDelaysError
from snn_delays.printable import printable

RUNS = Path("runs")
# What torch calls memory that is not there, on the host and on devices, and sizes beyond all memory.
_NO_MEMORY = ("can't allocate memory", "not enough memory", "out of memory", "size calculation overflowed")


class _Terminal(Console):
    """A console to which text of others, as from a stranger's run folder, goes without its control characters."""

    def render_str(self, text: str, **options: Any) -> Text:
        return super().render_str(printable(text), **options)


console = _Terminal(soft_wrap=True, markup=False)  # paths and messages may hold brackets


class Commands(TyperGroup):
    """Turns the errors a user can meet into one line and an exit code."""

    def invoke(self, ctx: Any) -> Any:
        """Run a command."""
        try:
            with interrupt.raised():
                return super().invoke(ctx)
        except SnnDelaysError as error:
            _fail(str(error), 2)
        except KeyboardInterrupt:
            _fail("interrupted; what was finished is saved: start it again, train with --resume", interrupt.CODE)
        except BrokenPipeError:  # whoever reads, such as head, has enough
            os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
            raise SystemExit(0) from None
        except OSError as error:
            _fail(f"{error.filename or 'system'}: {error.strerror or error}", 1)
        except (MemoryError, RuntimeError) as error:
            if not isinstance(error, MemoryError) and not any(words in str(error) for words in _NO_MEMORY):
                raise
            _fail(f"there is not enough memory ({str(error) or 'none left'}); take smaller sizes or batches", 1)


def _fail(message: str, code: int) -> NoReturn:
    # torch's own messages have several lines
    print(f"error: {printable(' '.join(message.split()))}", file=sys.stderr)
    raise SystemExit(code)


app = typer.Typer(cls=Commands, no_args_is_help=True, pretty_exceptions_enable=False, rich_markup_mode=None)


def _print_version(requested: bool) -> None:
    if requested:
        print(f"snn_delays {snn_delays.__version__}")
        raise typer.Exit


@app.callback()
def root(
    plugins: Annotated[
        list[str] | None,
        typer.Option("--plugin", metavar="MODULE", help="import a module or .py file with tasks; may be repeated"),
    ] = None,
    version: Annotated[
        bool, typer.Option("--version", callback=_print_version, is_eager=True, help="print the version and exit")
    ] = False,
) -> None:
    """Spiking neural networks whose synaptic delays are learned."""
    for module in plugins or ():
        from snn_delays.recipes.registry import import_plugin

        import_plugin(module)


def main() -> None:
    """Entry point of ``snn-delays``."""
    interrupt.end_at_once()  # but inside a command, and again when it has ended
    warnings.showwarning = _show_warning
    app()


def _show_warning(
    message: Warning | str,
    category: type[Warning],
    filename: str,
    lineno: int,
    file: TextIO | None = None,
    line: str | None = None,
) -> None:
    """A warning in one line, without the line of code that Python shows below it."""
    print(f"warning: {printable(' '.join(str(message).split()))}", file=sys.stderr)
