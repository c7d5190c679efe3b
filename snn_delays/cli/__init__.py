"""The command line."""

from snn_delays.cli import data, runs, speed
from snn_delays.cli.app import app, console, main

__all__ = ["app", "console", "data", "main", "runs", "speed"]
