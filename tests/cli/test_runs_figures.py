"""``snn-delays stream``: what it prints and writes, and how it refuses."""

import json
from collections.abc import Callable
from pathlib import Path

import pytest
from click.testing import Result

Ok = Callable[..., Result]
Bad = Callable[..., str]


@pytest.fixture
def run(snn: Ok, recipe: Path, tmp_path: Path) -> Path:
    snn("train", recipe, "--out", tmp_path / "run", "--accelerator", "cpu")
    return tmp_path / "run"


def test_stream_prints_writes_and_draws(snn: Ok, run: Path) -> None:
    shown = snn("stream", run, "--samples", 3, "--dt-ms", 0.5).stdout
    found = json.loads((run / "streaming.json").read_text())
    assert (found["recordings"], found["dt_ms"]) == (3, 0.5)
    assert found["steps"] >= 3 * 14
    assert found["spikes_differing_float64"] == 0
    assert found["environment"]
    assert [side["side"] for side in found["sides"]] == ["engine", "layers in torch"]
    for side in found["sides"]:
        assert f"{side['median_us']:.1f} µs" in shown
        assert side["configuration"] in shown
    assert "real-time factor, 0.5 ms" in shown
    assert (run / "figures" / "streaming.png").stat().st_size > 10_000


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (("--samples", 0), "--samples must be at least 1, got 0"),
        (("--dt-ms", 0), "dt_ms must be a positive number of milliseconds, got 0.0"),
    ],
)
def test_stream_refuses(refused: Bad, run: Path, options: tuple[object, ...], message: str) -> None:
    assert message in refused("stream", run, *options)
    assert not (run / "streaming.json").exists()
