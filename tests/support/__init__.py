"""What the tests share: contracts, wrong versions, networks, tiny runs, made-up data."""

from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]  # of the repository: scripts in processes of their own run there
