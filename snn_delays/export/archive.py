"""Reading the package's own ``.npz`` files: arrays, and a JSON text that says what they are."""

import json
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np

from snn_delays.errors import DataError, ExportError


@contextmanager
def opened(path: str | Path, outline: str, form: str, what: str) -> Iterator[tuple[dict[str, Any], dict[str, Any]]]:
    """The arrays of a file and its JSON text, the array ``outline``; what goes wrong with them in the block is told.

    Raises DataError if the file is missing, damaged, not of the format ``form``, or if the block finds it impossible;
    ``what`` says what it should be.
    """
    path = Path(path)
    if not path.is_file():
        raise DataError(f"there is no file {path}")
    try:
        with np.load(path, allow_pickle=False) as archive:
            arrays = {name: archive[name] for name in archive.files}
        text = json.loads(str(arrays.pop(outline)))
        if text["format"] != form:
            raise DataError(f"{path} has format {text['format']!r}, this version reads {form!r}; export it anew")
        yield arrays, text
    except ExportError as error:
        raise DataError(f"{path}: {error}") from error
    except DataError:
        raise
    except Exception as error:  # a damaged archive raises whatever zip, zlib, json or numpy meet first
        raise DataError(f"{path} is not {what} of this package or is damaged ({error!r}); export it anew") from error
