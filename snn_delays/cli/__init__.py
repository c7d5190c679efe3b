"""The command line."""

from snn_delays.cli import interrupt

_changed = interrupt.end_at_once()  # while the rest is loaded

from snn_delays.cli import data, demo, encode, export, language, runs, show, simulate, speed  # noqa: E402
from snn_delays.cli.app import app, console, main  # noqa: E402

if _changed:
    interrupt.raise_again()

__all__ = [
    "app",
    "console",
    "data",
    "demo",
    "encode",
    "export",
    "language",
    "main",
    "runs",
    "show",
    "simulate",
    "speed",
]
