"""Caches and data of the tests lie in a folder of their own, never in the user's."""

import tarfile
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from snn_delays.data.events import Events, Sample


@pytest.fixture(autouse=True)
def own_folders(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("SNN_DELAYS_CACHE", str(tmp_path / "cache"))
    monkeypatch.delenv("SNN_DELAYS_DATA", raising=False)
    return tmp_path


@pytest.fixture
def samples() -> list[Sample]:
    """Six short recordings in SHD's shape, with spikes up to 1.3 s."""
    random = np.random.default_rng(0)
    made = []
    for i in range(6):
        n = 200 + 20 * i
        t_us = np.sort(random.integers(0, 2600, n)) * 500
        made.append(Sample(Events(t_us, random.integers(0, 700, n), 700), label=3 * i, speaker=i % 3))
    return made


@pytest.fixture(scope="session")
def real_events(tmp_path_factory: pytest.TempPathFactory) -> Callable[[str], Path]:
    """Paths of the real recordings in the common event formats, unpacked once."""
    archive = Path(__file__).resolve().parents[3] / "shared" / "data" / "event_samples" / "event_samples.tar.xz"
    folder = tmp_path_factory.mktemp("events")
    with tarfile.open(archive) as tar:
        for member in tar.getmembers():
            if member.isfile():
                target = folder / member.name
                target.parent.mkdir(parents=True, exist_ok=True)
                target.write_bytes(tar.extractfile(member).read())
    return lambda name: folder / name
