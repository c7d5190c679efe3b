"""The command line."""

from snn_delays.cli import data, demo, encode, export, language, runs, show, simulate, speed
from snn_delays.cli.app import app, console, main

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
