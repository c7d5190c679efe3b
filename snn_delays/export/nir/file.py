"""NIR graphs from files of any tool."""

from pathlib import Path
from typing import Any

import nir
from nir.serialization import hdf2dict

from snn_delays.errors import DataError
from snn_delays.hdf5 import check_all_stored, opened_hdf5

PACKED = 2000  # matrices that copy spikes are nearly all zeros: gzip packs them a thousandfold


def read_nir(path: str | Path, *, type_check: bool = True) -> nir.NIRGraph:
    """A NIR graph from a file.

    Args:
        path: written by :func:`snn_delays.export.nir.write.write_nir` or another tool.
        type_check: raise where the shapes that nodes declare do not fit. Files in use often have such; the readers here
            go by the nodes' numbers and need no declared shapes.

    Raises DataError if the file is missing, truncated, or holds no NIR graph, or one whose shapes do not fit.
    """
    path = Path(path)
    if not path.is_file():
        raise DataError(f"there is no file {path}")
    foreign = f"{path} is an HDF5 file without a NIR graph that can be read"
    try:
        with opened_hdf5(path) as file:
            check_all_stored(file, path.stat().st_size, PACKED)
            content: dict[str, Any] = hdf2dict(file["node"])
    except (OSError, RuntimeError, MemoryError) as error:
        raise DataError(f"{path} is not an HDF5 file or is damaged ({error}); write it anew") from error
    except Exception as error:
        raise DataError(f"{foreign} ({error!r})") from error
    if (kind := str(content.get("type"))) != "NIRGraph":
        raise DataError(f"{path} holds a single {kind[:40]!r} node, expected a NIRGraph")
    try:
        graph = nir.dict2NIRNode(_checked(content, False))
    except Exception as error:  # nir raises whatever a field meets first
        raise DataError(f"{foreign} ({error!r})") from error
    if not type_check:
        return graph
    try:
        return nir.dict2NIRNode(_checked(content, True))
    except Exception as error:
        raise DataError(
            f"{path}: the shapes that its nodes declare do not fit ({error}); type_check=False reads it as it is"
        ) from error


def _checked(content: dict[str, Any], type_check: bool) -> dict[str, Any]:
    """The same with nir's check of types on or off, in nested graphs too."""
    same = {key: _checked(value, type_check) if isinstance(value, dict) else value for key, value in content.items()}
    return same | {"type_check": type_check} if "nodes" in same and same.get("type") == "NIRGraph" else same
