"""The command line."""

import importlib

from snn_delays.cli import interrupt

_changed = interrupt.end_at_once()  # while the rest is loaded

from snn_delays.cli.app import app, console, main  # noqa: E402

# Each adds its commands; help lists them in this order.
for _name in ("backends", "data", "train", "imported", "encode", "export", "runs", "study"):
    importlib.import_module(f"snn_delays.cli.{_name}")

if _changed:
    interrupt.raise_again()

__all__ = ["app", "console", "main"]
