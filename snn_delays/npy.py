"""Arrays in files: numpy's, whose headers are not believed, and mapped ones, which are pickled as their place."""

import io
import math
import mmap
import zipfile
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Any

import numpy as np
from numpy.typing import NDArray

from snn_delays.reading import as_data_error, open_regular, read_member, room_for

_HEADERS = {(1, 0): np.lib.format.read_array_header_1_0, (2, 0): np.lib.format.read_array_header_2_0}


def read_npy(content: bytes) -> NDArray[Any]:
    """The array of an ``.npy`` file. Raises ValueError unless its header announces just what follows it."""
    stream = io.BytesIO(content)
    try:
        version = np.lib.format.read_magic(stream)
        shape, fortran_order, dtype = _HEADERS[version](stream)
    except (KeyError, SyntaxError, RecursionError, MemoryError, TypeError, EOFError) as error:  # it is parsed as Python
        raise ValueError(f"it has no header of an array that is known ({type(error).__name__})") from None
    following, announced = len(content) - stream.tell(), math.prod(shape) * dtype.itemsize
    if dtype.hasobject or following != announced:
        raise ValueError(f"its header announces {dtype} of shape {shape}, {announced:,} bytes; {following:,} follow")
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


@dataclass(frozen=True)
class MappedArray:
    """The place of an array in a file, to be pickled in the place of its contents."""

    path: str
    dtype: str
    start: int
    shape: tuple[int, ...]

    @staticmethod
    def of(array: NDArray[Any]) -> "MappedArray | NDArray[Any]":
        """The place of a mapped array that is contiguous; any other array as it is."""
        mapping = getattr(array, "_mmap", None)
        if not (isinstance(array, np.memmap) and isinstance(mapping, mmap.mmap) and array.flags.c_contiguous):
            return array
        # The mapping begins at a page of the file; a view begins somewhere in the mapping.
        page = array.offset - array.offset % mmap.ALLOCATIONGRANULARITY
        inside = array.ctypes.data - np.frombuffer(mapping, np.uint8).ctypes.data
        return MappedArray(str(array.filename), array.dtype.str, page + inside, array.shape)

    def open(self) -> NDArray[Any]:
        """The array, mapped again, to be read. Raises DataError if the file is gone or another."""
        with as_data_error(f"{self.path} cannot be mapped again", "load the data set anew", ValueError):
            return np.memmap(self.path, np.dtype(self.dtype), "r", self.start, self.shape)
