"""The command line."""

from snn_delays.cli import data, encode, export, runs, show, simulate, speed
from snn_delays.cli.app import app, console, main

__all__ = ["app", "console", "data", "encode", "export", "main", "runs", "show", "simulate", "speed"]
