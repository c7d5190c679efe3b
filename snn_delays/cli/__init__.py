"""The command line."""

from snn_delays.cli import interrupt

_changed = interrupt.end_at_once()  # while the rest is loaded

from snn_delays.cli import (  # noqa: E402
    backends,
    data,
    demo,
    encode,
    export,
    figures,
    generate,
    results,
    show,
    simulate,
    train,
)
from snn_delays.cli.app import app, console, main  # noqa: E402

if _changed:
    interrupt.raise_again()

__all__ = [
    "app", "backends", "console", "data", "demo", "encode", "export", "figures", "generate", "main", "results", "show",
    "simulate", "train",
]  # fmt: skip
