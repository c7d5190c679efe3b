"""HDF5 files: written so that a full disk is an error and not a crash, and read without believing what they declare."""

import os
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

from snn_delays.files import atomic_path
from snn_delays.reading import RATIO, open_regular, room_for

if TYPE_CHECKING:
    import h5py

_BLOCK = 1 << 20
_UNWRITTEN = 1 << 20  # bytes that a dataset may declare without having them stored
_DEEPEST = 64  # groups within groups


@contextmanager
def written_hdf5(path: Path, room: int | None = None, **options: Any) -> Iterator["h5py.File"]:
    """A new HDF5 file, there whole when the block ends well and not at all otherwise. Raises OSError for a full disk.

    HDF5 does not survive a disk that fills up beneath it: it leaves its handles in disorder, and the process crashes.
    So the file is made in memory; with ``room``, an upper bound of its bytes, on the disk where so many fit.
    """
    import h5py

    with atomic_path(path) as temporary:
        if room is not None:
            with tempfile.TemporaryFile(dir=temporary.parent) as trial:
                for start in range(0, room, _BLOCK):
                    trial.write(bytes(min(_BLOCK, room - start)))
                trial.flush()
                os.fsync(trial.fileno())
            with h5py.File(temporary, "w", **options) as file:
                yield file
            return
        with h5py.File(temporary, "w", driver="core", backing_store=False, **options) as file:
            yield file
            file.flush()
            image = file.id.get_file_image()
        temporary.write_bytes(image)


def opened_hdf5(path: Path) -> "h5py.File":
    """A regular file opened for reading. Raises OSError, also for what is no HDF5."""
    import h5py

    open_regular(path).close()
    return h5py.File(path, "r")


def check_stored(dataset: "h5py.Dataset", file: "h5py.File", ratio: int = RATIO) -> int:
    """The bytes that a dataset declares. Raises ValueError unless they can be in ``file``, and are in no other.

    A dataset of any size takes no room until it is written, so a file of kilobytes may declare more than a memory has.
    ``ratio``: by which its content may be packed.
    """
    created = dataset.id.get_create_plist()
    if dataset.external or dataset.is_virtual or dataset.file.filename != file.filename:
        raise ValueError(f"{dataset.name} lies in other files; expected a file that holds all of its data")
    stored, declared = dataset.id.get_storage_size(), int(dataset.nbytes)
    if declared > (room_for(stored, ratio) if created.get_nfilters() else stored + _UNWRITTEN):
        raise ValueError(f"{dataset.name} declares {dataset.shape}, {declared:,} bytes, of which {stored:,} are stored")
    return declared


def check_all_stored(file: "h5py.File", size: int, ratio: int = RATIO) -> None:
    """:func:`check_stored` for every dataset of a file of ``size`` bytes; groups make a tree, without other links.

    Raises ValueError.
    """
    import h5py

    room, seen, groups = room_for(size, ratio), set(), [(file["/"], 0)]
    while groups:
        group, depth = groups.pop()
        address = h5py.h5o.get_info(group.id).addr
        if depth > _DEEPEST or address in seen:
            raise ValueError(f"group {group.name} is nested too deeply, or within itself")
        seen.add(address)
        for name in group:
            if not isinstance(group.get(name, getlink=True), h5py.HardLink):
                raise ValueError(f"{group.name}/{name} is a link; expected a file that holds all of its data")
            item = group[name]
            if isinstance(item, h5py.Group):
                groups.append((item, depth + 1))
            elif isinstance(item, h5py.Dataset) and (room := room - check_stored(item, file, ratio)) < 0:
                raise ValueError(f"its datasets declare more than {room_for(size, ratio):,} bytes, and it has {size:,}")
