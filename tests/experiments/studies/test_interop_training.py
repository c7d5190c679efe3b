"""Networks of SpikingJelly and Norse with our delays: both train and fire; rows are kept, and nulls are said."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

from experiments.studies import interop_training as study
from experiments.studies.interop_training import DELAYS, SETTINGS, Row, append, read, spec, table, train
from snn_delays.data.dataset import BinnedDataset
from snn_delays.errors import DataError
from snn_delays.nn.optimise import layers_with_delays


def made_up(sensor: tuple[int, ...]) -> BinnedDataset:
    """Two classes that differ by which half of the channels is busy."""
    rng = np.random.default_rng(0)
    half = np.zeros(sensor)
    half.reshape(-1)[: half.size // 2] = 0.5
    samples = [(rng.random((8, *sensor)) < (half if i % 2 else 0.5 - half) + 0.1).astype(np.uint8) for i in range(40)]
    return BinnedDataset.from_arrays(samples, [i % 2 for i in range(40)])


@pytest.mark.parametrize(("name", "sensor"), [("spikingjelly", (2, 8, 8)), ("norse", (12,))])
def test_each_network_trains_and_fires(name: str, sensor: tuple[int, ...], monkeypatch: pytest.MonkeyPatch) -> None:
    pytest.importorskip(name, reason=f"{name} is not installed")
    monkeypatch.setattr(study, "BATCH", 10)
    setting, data = replace(SETTINGS[name], longest=4, tail_steps=4), made_up(sensor)
    rows = {delays: train(setting, delays, 0, data, data, 6) for delays in DELAYS}
    assert rows["learned"].parameters > rows["fixed"].parameters == rows["none"].parameters
    assert all(0.01 < row.firing_rate < 0.8 for row in rows.values())
    assert max(row.test_accuracy for row in rows.values()) > 0.7
    torch.manual_seed(0)
    network = setting.build(spec("learned", 4), data.sensor, 2)
    before = {name: layer.delay.detach().clone() for name, layer in layers_with_delays(network).items()}
    rounded = study.with_integer_delays(network)
    for name, layer in layers_with_delays(rounded).items():
        assert torch.equal(layer.delay, before[name].round())
        assert torch.equal(layers_with_delays(network)[name].delay, before[name])


def row(network: str, delays: str, seed: int, accuracy: float) -> Row:
    return Row(network, delays, seed, 100, 5, 3, 0.9, accuracy, 300, 0.2, 1.0)


def test_rows_are_kept_and_the_table_says_nulls(tmp_path: Path) -> None:
    file = tmp_path / "rows.csv"
    for seed in range(3):
        for delays, clear, unclear in (("none", 0.5, 0.6), ("fixed", 0.6, 0.6), ("learned", 0.8, 0.58 + 0.03 * seed)):
            append(file, row("Norse", delays, seed, clear + 0.001 * seed))
            append(file, row("SpikingJelly", delays, seed, unclear))
    assert len(read(file)) == 18
    assert read(file)[0] == row("Norse", "none", 0, 0.5)
    text = table(read(file))
    assert "| Norse | learned | 100 | 5 | 90.0 ± 0.0 % | 80.1 ± 0.1 % | 80.0, 80.1, 80.2 | 1.0 |" in text
    clear, unclear = (
        [line for line in text.splitlines() if line.startswith(f"- {name}")] for name in ("Norse", "SpikingJelly")
    )
    assert len(clear) == len(unclear) == 2
    assert all("this is no difference" not in line for line in clear)
    assert all("with 3 seeds and 300 test samples this is no difference" in line for line in unclear)


def test_what_has_a_row_is_not_trained_again(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture
) -> None:
    trained = []
    monkeypatch.setattr(study, "load_binned", lambda *_: made_up((12,)))

    def pretend(setting: study.Setting, delays: str, seed: int, *_: object) -> Row:
        trained.append((delays, seed))
        return row(setting.name, delays, seed, 0.5)

    monkeypatch.setattr(study, "train", pretend)
    file = tmp_path / "rows.csv"
    append(file, row("Norse", "fixed", 0, 0.5))
    document = tmp_path / "page.md"
    document.write_text("<!-- interop training -->\n<!-- /interop training -->\n")
    study.main([str(file), "--only", "norse", "--seeds", "1", "--write", str(document)])
    assert trained == [("none", 0), ("learned", 0)]
    assert "| Norse | learned |" in document.read_text()
    assert "| Norse | learned |" in capsys.readouterr().out

    def nothing(*_: object) -> BinnedDataset:
        raise DataError("no recordings")

    monkeypatch.setattr(study, "load_binned", nothing)
    with pytest.raises(SystemExit, match="SpikingJelly's network is not trained: no recordings"):
        study.main([str(file), "--seeds", "1"])
    assert len(read(file)) == 3
