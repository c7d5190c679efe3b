"""Small files in the layouts of the event-camera and cochlea data sets, made up by us.

``python -m tests.support.event_fixtures`` writes ``tests/data/fixtures`` anew; a test holds that to what lies there.
"""

import sys
from pathlib import Path

import h5py
import numpy as np
from numpy.typing import NDArray

FIXTURES = Path(__file__).parents[1] / "data" / "fixtures"
AEDAT2_HEADER = (
    b"#!AER-DAT2.0\r\n"
    b"# This is a raw AE data file - do not edit\r\n"
    b"# Data format is int32 address, int32 timestamp (8 bytes total), repeated for each event\r\n"
    b"# Timestamps tick is 1 us\r\n"
)
NTIDIGITS = {
    "train": ("man-ae-a-1", "woman-ac-b-z", "man-bd-a-o", "woman-ac-a-57", "man-ae-b-1", "woman-im-a-9"),
    "test": ("man-ah-a-3", "woman-aw-a-zo8", "woman-aw-b-5"),
}

Columns = tuple[NDArray[np.int64], NDArray[np.int64], NDArray[np.int64], NDArray[np.int64]]


def moving_bar(seed: int, n: int, size: int, last_us: int, first_us: int = 0) -> Columns:
    """t_us, x, y, p of a bar that crosses the sensor: ON in front, OFF behind, with some equal times."""
    random = np.random.default_rng(seed)
    t_us = np.sort(random.integers(first_us, last_us, n))
    t_us[1::7] = t_us[::7][: len(t_us[1::7])]
    p = random.integers(0, 2, n)
    x = (t_us - first_us) * (size - 4) // (last_us - first_us) + 3 * p
    return t_us, x, random.integers(0, size, n), p


def nmnist_bytes(t_us: NDArray, x: NDArray, y: NDArray, p: NDArray) -> bytes:
    return np.stack([x, y, p << 7 | t_us >> 16, t_us >> 8 & 255, t_us & 255], axis=1).astype(np.uint8).tobytes()


def aedat2_bytes(t_us: NDArray, x: NDArray, y: NDArray, p: NDArray) -> bytes:
    """A DVS128's addresses: bit 0 is 0 for ON, x counts from the right."""
    address = y << 8 | (127 - x) << 1 | (1 - p)
    return AEDAT2_HEADER + np.stack([address, t_us], axis=1).astype(">u4").tobytes()


def nas_bytes(address: NDArray, tick: NDArray, address_bytes: int) -> bytes:
    made = np.zeros(len(tick), dtype=[("address", f">u{address_bytes}"), ("tick", ">u4")])
    made["address"], made["tick"] = address, tick
    return made.tobytes()


def write_ntidigits(path: Path, splits: dict[str, dict[str, tuple[NDArray, NDArray]]]) -> None:
    with h5py.File(path, "w", libver=("earliest", "v110"), track_order=False) as file:
        for split, records in splits.items():
            names = np.array([name.encode() for name in records])
            file.create_dataset(f"{split}_labels", data=names, track_times=False)
            for name, (seconds, address) in records.items():
                file.create_dataset(f"{split}_timestamps/{name}", data=seconds, track_times=False)
                file.create_dataset(f"{split}_addresses/{name}", data=address, track_times=False)


def ntidigits_record(seed: int) -> tuple[NDArray, NDArray]:
    random = np.random.default_rng(seed)
    return np.sort(random.random(40)).astype(np.float32), random.integers(0, 64, 40).astype(np.uint8)


def make_fixtures(folder: Path) -> None:
    """Everything below ``folder``; the same bytes every time."""

    def write(name: str, content: bytes) -> None:
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_bytes(content)

    for seed, name in enumerate(("Train/0/00002", "Train/0/00010", "Train/7/00001", "Test/3/00001", "Test/9/00004")):
        write(f"NMNIST/{name}.bin", nmnist_bytes(*moving_bar(seed, 300, 34, 310_000)))

    train = ("user01_fluorescent/0", "user01_fluorescent/2", "user01_fluorescent/10", "user20_led/3", "user23_lab/1")
    for seed, name in enumerate([*train, "user24_fluorescent_led/0", "user29_natural/7"]):
        t_ms, x, y, p = moving_bar(seed, 80, 128, 6000, first_us=3)
        path = folder / "DVSGesture" / ("ibmGestureTrain" if name in train else "ibmGestureTest") / f"{name}.npy"
        path.parent.mkdir(parents=True, exist_ok=True)
        np.save(path, np.stack([x, y, p, t_ms], axis=1))

    (folder / "NTIDIGITS18").mkdir(parents=True, exist_ok=True)
    records = {split: {name: ntidigits_record(i) for i, name in enumerate(names)} for split, names in NTIDIGITS.items()}
    write_ntidigits(folder / "NTIDIGITS18" / "n-tidigits.hdf5", records)

    for label, name in enumerate(("airplane", "frog")):
        for i in range(10):
            events = moving_bar(10 * label + i, 40, 128, 1_300_000, first_us=1_000)
            write(f"CIFAR10DVS/{name}/cifar10_{name}_{i}.aedat", aedat2_bytes(*events))

    random = np.random.default_rng(0)
    for name, address_bytes in (("tone_mono_4ch_ONOFF_addr2b_ts02", 2), ("word_stereo_4ch_ONOFF_addr4b_ts1", 4)):
        n_channels = 8 * (address_bytes // 2)
        content = nas_bytes(
            random.integers(0, n_channels, 200), np.sort(random.integers(7, 90_000, 200)), address_bytes
        )
        write(f"nas/{name}.aedat", content)


if __name__ == "__main__":
    make_fixtures(Path(sys.argv[1]) if len(sys.argv) > 1 else FIXTURES)
