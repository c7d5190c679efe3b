"""Arrays of numpy's files, whose headers are not believed: no more is allocated than is there."""

import io
import math
import zipfile
from pathlib import Path
from typing import IO, Any

import numpy as np
from numpy.typing import NDArray

from snn_delays.reading import open_regular, read_member, room_for

_HEADERS = {(1, 0): np.lib.format.read_array_header_1_0, (2, 0): np.lib.format.read_array_header_2_0}


def read_npy(content: bytes) -> NDArray[Any]:
    """The array of an ``.npy`` file. Raises ValueError unless its header announces just what follows it."""
    stream = io.BytesIO(content)
    try:
        version = np.lib.format.read_magic(stream)
        shape, fortran_order, dtype = _HEADERS[version](stream)
    except (KeyError, SyntaxError, RecursionError, MemoryError, TypeError, EOFError) as error:  # it is parsed as Python
        raise ValueError(f"it has no header of an array that is known ({type(error).__name__})") from None
    found, announced = len(content) - stream.tell(), math.prod(shape) * dtype.itemsize
    if dtype.hasobject or found != announced:
        raise ValueError(f"its header announces {dtype} of shape {shape}, {announced:,} bytes; {found:,} follow")
    flat = np.frombuffer(content, dtype, offset=stream.tell()) if announced else np.empty(0, dtype)
    return flat.reshape(shape, order="F" if fortran_order else "C").copy()


def read_npz(source: Path | bytes) -> dict[str, NDArray[Any]]:
    """The arrays of an ``.npz`` file or of its content, by name.

    Raises OSError if it cannot be read, ValueError or zipfile.BadZipFile if it is damaged or unpacks to absurdly much.
    """
    opened: IO[bytes] = io.BytesIO(source) if isinstance(source, bytes) else open_regular(source)
    with opened, zipfile.ZipFile(opened) as archive:
        room = room_for(opened.seek(0, io.SEEK_END))
        arrays: dict[str, NDArray[Any]] = {}
        for info in archive.infolist():
            name = info.filename.removesuffix(".npy")
            if name in arrays:
                raise ValueError(f"the array {name!r} is there twice")
            content = read_member(archive, info, room)
            room -= len(content)
            try:
                arrays[name] = read_npy(content)
            except ValueError as error:
                raise ValueError(f"array {name!r}: {error}") from None
    return arrays
