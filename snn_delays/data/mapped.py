"""An array that is mapped from a file, as its place there: to be pickled without its contents."""

import mmap
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from snn_delays.errors import DataError


@dataclass(frozen=True)
class MappedArray:
    """The place of an array in a file."""

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
        try:
            array = np.memmap(self.path, np.dtype(self.dtype), "r", self.start, self.shape)
        except (OSError, ValueError) as error:
            raise DataError(f"{self.path} cannot be mapped again ({error}); load the data set anew") from error
        return array
