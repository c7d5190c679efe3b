"""The package's own ``.npz`` files: arrays, and a JSON text that says what they are, both checked when read."""

import io
import json
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, TypeVar

import numpy as np
from numpy.typing import NDArray
from pydantic import BaseModel, ConfigDict, ValidationError

from snn_delays.errors import DataError, SnnDelaysError
from snn_delays.npy import read_npz
from snn_delays.reading import parse_json

KINDS = {"integers": "iu", "numbers": "iuf"}


class Outline(BaseModel):
    """A JSON text whose every key is known and of its type."""

    model_config = ConfigDict(strict=True, extra="forbid", allow_inf_nan=False)

    format: str


OutlineOf = TypeVar("OutlineOf", bound=Outline)


def archive_bytes(arrays: dict[str, Any]) -> bytes:
    """The bytes of an ``.npz`` of arrays in their order; a dictionary among them becomes its JSON text."""
    buffer = io.BytesIO()
    texts = {name: np.array(json.dumps(value)) for name, value in arrays.items() if isinstance(value, dict)}
    np.savez_compressed(buffer, **{**arrays, **texts})
    return buffer.getvalue()


class Arrays:
    """The arrays of a file, each taken once as what it must be; in the end none is left."""

    def __init__(self, arrays: dict[str, NDArray[Any]]) -> None:
        self._arrays = arrays

    def take(self, name: str, what: str, shape: tuple[int | None, ...], end: int | None = None) -> NDArray[Any]:
        """An array of ``"numbers"`` or ``"integers"``, all finite, in ``0..end - 1``; None in ``shape`` is any length.

        Raises DataError if it is not there, or is another.
        """
        if name not in self._arrays:
            raise DataError(f"there is no array {name}")
        array = self._arrays.pop(name)
        fits = array.ndim == len(shape) and all(n in (None, length) for n, length in zip(shape, array.shape))
        if not fits or array.dtype.kind not in KINDS[what]:
            expected = ", ".join("any" if n is None else str(n) for n in shape)
            raise DataError(f"{name} must be {what} of shape [{expected}], is {array.dtype} {list(array.shape)}")
        if bad := int((~np.isfinite(array)).sum()):
            raise DataError(f"{name}: {bad} of {array.size} values are not finite")
        if end is not None and array.size and not (array.min() >= 0 and array.max() < end):
            raise DataError(f"{name} must lie in 0..{end - 1}, has {array.min()}..{array.max()}")
        return array

    def names(self) -> list[str]:
        """Those that are left."""
        return list(self._arrays)


@contextmanager
def opened(path: str | Path, what: str, form: str, model: type[OutlineOf]) -> Iterator[tuple[Arrays, OutlineOf]]:
    """The arrays of a file and its JSON text, the array ``what``; errors that the block raises name the file.

    Raises DataError if the file is missing, damaged, not of the format ``form``, if its JSON text is none of ``model``,
    if the block finds it impossible or leaves arrays.
    """
    path = Path(path)
    if not path.is_file():
        raise DataError(f"there is no file {path}")
    try:
        contents = read_npz(path)
        text = parse_json(str(contents.pop(what)))
        if text["format"] != form:
            raise DataError(f"it has format {text['format']!r}, this version reads {form!r}; export it anew")
        arrays = Arrays(contents)
        yield arrays, model.model_validate(text)
        if left := arrays.names():
            raise DataError(f"nothing says what its array {left[0]!r} is; export it anew")
    except ValidationError as error:
        first = error.errors(include_url=False)[0]
        where = ".".join(map(str, first["loc"])) or what
        raise DataError(f"{path}: {what}: {where}: {first['msg']}; export it anew") from error
    except SnnDelaysError as error:
        raise DataError(f"{path}: {error}") from error
    except Exception as error:  # a damaged archive raises whatever zip, zlib, json or numpy meet first
        raise DataError(f"{path} is not a {what} of this package or is damaged ({error!r}); export it anew") from error
