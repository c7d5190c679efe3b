"""`snn-delays import`: what it prints, and its errors in one line."""

from collections.abc import Callable
from pathlib import Path

import torch
from click.testing import Result

import snn_delays


def published(path: Path) -> Path:
    """A checkpoint of the published code: 6 inputs, 5 hidden neurons, 3 classes."""
    norm = {
        "weight": torch.ones(5),
        "bias": torch.zeros(5),
        "running_mean": torch.zeros(5),
        "running_var": torch.ones(5),
    }
    synapses = {"model.0": (5, 6, 1), "model.4": (3, 5, 1)}
    state = {f"model.1.{name}": tensor for name, tensor in norm.items()}
    for name, shape in synapses.items():
        state |= {
            f"{name}.weight": torch.rand(shape),
            f"{name}.P": torch.rand(1, *shape),
            f"{name}.SIG": torch.ones(1, *shape),
        }
    torch.save(dict(sorted(state.items())), path)
    return path


def test_a_checkpoint_is_imported_and_opens(snn: Callable[..., Result], tmp_path: Path) -> None:
    file = published(tmp_path / "best.pt")
    shown = snn("import", file, "--from", "snn-delays", "--recipe", "hammouamri_2024_shd").stdout
    for words in (
        "6 inputs, 5; learned delays of up to 24 steps",
        "gaussian, 1.27 steps wide",
        "tau 10.05 ms",
        "best.safetensors",
    ):
        assert words in shown
    assert f"snn-delays evaluate {tmp_path / 'best.safetensors'}" in shown
    assert float(snn_delays.load(tmp_path / "best.safetensors").hidden1.synapse.sigma) == torch.tensor(1.27)


def test_errors_are_one_line(refused: Callable[..., str], tmp_path: Path) -> None:
    file = published(tmp_path / "best.pt")
    given = ("import", file, "--recipe", "hammouamri_2024_shd", "--from")
    assert "source" in refused(*given, "keras")
    assert "no checkpoint of delrec" in refused(*given, "delrec")
    assert "is not an HDF5 file" in refused(*given, "nir")
    assert "cannot read" in refused("import", tmp_path / "none.pt", "--from", "dcls", "--recipe", "demo")
