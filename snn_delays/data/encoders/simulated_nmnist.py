"""A folder of simulated N-MNIST recordings in the layout and byte format of the recorded ones, and plainly named.

Format: G. Orchard et al., Frontiers in Neuroscience 9:437, 2015, and the data set's own reader: five bytes an event.
"""

import hashlib
import json
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from snn_delays.data.encoders.saccades import SENSOR, EventCamera, session_path_px, simulate_saccades
from snn_delays.data.files import Progress, writing
from snn_delays.errors import DataError
from snn_delays.files import atomic_path, write_text
from snn_delays.reading import read_json

DISPLAY_NAME = "N-MNIST (simulated from MNIST)"
FOLDER = "SimulatedNMNIST"
_LAST_US = (1 << 23) - 1

Numbers = NDArray[np.integer]


def write_nmnist_bin(path: Path, t_us: Numbers, x: Numbers, y: Numbers, p: Numbers) -> None:
    """Write a recording as N-MNIST's ``.bin``, whole or not at all.

    Five bytes an event: x; y; p in the top bit and bits 22 to 16 of t; bits 15 to 8; bits 7 to 0. All arrays [event];
    t in microseconds. Raises DataError naming the first event that does not fit, or if it cannot be written.
    """
    shapes = [np.shape(values) for values in (t_us, x, y, p)]
    if len(set(shapes)) != 1 or len(shapes[0]) != 1:
        raise DataError(f"{path}: t_us, x, y and p must have one axis of equal length, got {shapes}")
    for name, values, last in (("t_us", t_us, _LAST_US), ("x", x, 255), ("y", y, 255), ("p", p, 1)):
        outside = (np.asarray(values) < 0) | (np.asarray(values) > last)
        if outside.any():
            i = int(outside.argmax())
            raise DataError(f"{path}: {name}[{i}] is {values[i]}; the format holds 0 to {last}")
    t = np.asarray(t_us, dtype=np.int64)
    rows = np.stack([x, y, np.asarray(p, dtype=np.int64) << 7 | t >> 16, t >> 8 & 255, t & 255], axis=1)
    with writing(path), atomic_path(path) as temporary:
        temporary.write_bytes(rows.astype(np.uint8).tobytes())


def simulate_folder(
    images: NDArray[np.uint8],
    labels: NDArray[np.integer],
    indices: Sequence[int],
    out_folder: Path,
    seed: int = 0,
    progress: Progress | None = None,
    *,
    split: Literal["Train", "Test"] = "Test",
    camera: EventCamera | None = None,
) -> Path:
    """Simulate recordings of ``images[i]``, i in ``indices``; returns ``out_folder/SimulatedNMNIST``.

    ``images`` uint8 [image, 28, 28] and ``labels`` [image] are a whole split of MNIST. A recording is written to
    ``<split>/<label>/<i + 1:05d>.bin``: as in N-MNIST, files count from 1. Each depends on ``seed`` and i alone, not on
    the order or on the others. The picture is where it was in the recordings of that split. Files that are there
    and whole are kept, so a run that was stopped goes on; ``simulated.json`` records seed, motion, camera and the
    sha256 of images and labels.

    Raises DataError if the folder was begun with others, for an image that is not there, or if it cannot be written.
    """
    camera = camera or EventCamera()
    folder = out_folder / FOLDER
    path_px = session_path_px(split)
    mnist = hashlib.sha256(images.tobytes() + np.asarray(labels, dtype="<i8").tobytes())
    made_with = {
        "what": f"{DISPLAY_NAME}; not recordings of a camera",
        "seed": seed,
        "camera": asdict(camera),
        "path_px": path_px.tolist(),
        "MNIST (sha256 of images and labels)": mnist.hexdigest(),
    }
    _claim(folder / split / "simulated.json", made_with)
    for done, i in enumerate(indices):
        if not 0 <= i < len(images):
            raise DataError(f"there is no image {i}; MNIST's split has 0 to {len(images) - 1}")
        path = folder / split / str(int(labels[i])) / f"{i + 1:05d}.bin"
        size = path.stat().st_size if path.exists() else 0
        if size == 0 or size % 5:  # after a crash or on a full disk it can be empty or end within an event
            generator = np.random.Generator(np.random.PCG64(np.random.SeedSequence([seed, i])))
            events = simulate_saccades(images[i], generator, camera, path_px)
            p, y, x = np.unravel_index(events.channel, (2, SENSOR, SENSOR))
            write_nmnist_bin(path, events.t_us, x, y, p)
        if progress is not None:
            progress(done + 1, len(indices))
    return folder


def _claim(note: Path, made_with: dict[str, Any]) -> None:
    """Write what a folder is simulated with, or refuse one that was begun with anything else."""
    if not note.exists():
        with writing(note):
            write_text(note, json.dumps(made_with, indent=1))
        return
    try:
        noted = read_json(note)
    except (OSError, ValueError) as error:
        raise DataError(f"{note} is damaged ({error}); remove the folder {note.parent} and simulate again") from error
    if noted != made_with:
        changed = [name for name in made_with if not isinstance(noted, dict) or noted.get(name) != made_with[name]]
        raise DataError(
            f"{note.parent} was simulated with another {', '.join(changed)}; choose another folder or remove it"
        )
