"""Kernels compiled once and kept on disk, in a folder of ours, with a line when one is compiled.

A file holds one kernel for one signature. Its name is a digest of all that decides the code: the source of the kernel
and of what it calls, the constants it reads, options, versions and processor. So a stale kernel is never found, and
versions of the package, checkouts and processes that compile at once do each other no harm.
"""

import dis
import hashlib
import logging
import os
import pickle
import platform
import sys
import warnings
from collections.abc import Callable, Iterator
from functools import lru_cache
from pathlib import Path
from types import CodeType, ModuleType
from typing import Any

import llvmlite
import numba
import numpy as np
from numba.core.compiler import CompileResult

from snn_delays.files import atomic_path, cache_folder

_log = logging.getLogger(__name__)
reported: set[str] = set()
compiled: list[str] = []
"""Names of the kernels that this process has compiled because they were not on disk."""


def _to_terminal(line: str) -> None:
    if sys.stderr is not None and sys.stderr.isatty():
        print(line, file=sys.stderr, flush=True)


announce: Callable[[str], None] = _to_terminal
"""Receives a line when the first kernel of a process has to be compiled; a program may put its own in its place."""


def kernel_folder() -> Path:
    """Where compiled kernels are kept: ``NUMBA_CACHE_DIR``, else ``kernels`` in the cache folder."""
    chosen = os.environ.get("NUMBA_CACHE_DIR")
    return Path(chosen) if chosen else cache_folder() / "kernels"


def cached_njit(**options: Any) -> Callable[[Callable[..., Any]], Any]:
    """``numba.njit(**options)`` whose compiled code is kept in :func:`kernel_folder`.

    Where nothing can be written there, or the folder belongs to another user, kernels are compiled in every process,
    and one warning says so. Damaged files are compiled anew, and a full disk costs the cache, not the call.
    """

    def decorate(function: Callable[..., Any]) -> Any:
        kernel = numba.njit(**options)(function)
        if hasattr(kernel, "_cache"):  # not with NUMBA_DISABLE_JIT
            kernel._cache = _DiskCache(
                function, f"{sorted((name, _in_order(value)) for name, value in options.items())}"
            )
        return kernel

    return decorate


class _DiskCache:
    """What a dispatcher of Numba asks for compiled code, and gives it to."""

    def __init__(self, function: Any, options: str) -> None:
        self.function, self.options = function, options
        self.name = f"{function.__module__}.{function.__qualname__}".replace("<locals>.", "")

    @property
    def cache_path(self) -> str:
        return str(kernel_folder())

    def flush(self) -> None:
        """Forget all versions of this kernel."""
        for path in kernel_folder().glob(f"{self.name}-*"):
            path.unlink(missing_ok=True)

    def load_overload(self, signature: Any, context: Any) -> Any:
        context.refresh()
        path, kernel = self._path(signature, context), None
        if path is not None:
            try:
                digest, data = path.read_bytes().split(b"\n", 1)
                if hashlib.sha256(data).hexdigest().encode() != digest:
                    raise ValueError("its checksum is wrong")
                kernel = CompileResult._rebuild(context, *pickle.loads(data))
            except FileNotFoundError:
                pass
            except Exception as error:  # whatever unpickling throws too
                _log.info("%s: the cached kernel cannot be read (%s) and is compiled anew", path, error)
        if kernel is None:
            compiled.append(self.name)
            _announce_compiling()
        return kernel

    def save_overload(self, signature: Any, result: Any) -> None:
        path = self._path(signature, result.target_context)
        if path is None or result.lifted or result.library.has_dynamic_globals:
            return
        data = numba.core.serialize.dumps(result._reduce())
        try:
            with atomic_path(path) as temporary:
                temporary.write_bytes(hashlib.sha256(data).hexdigest().encode() + b"\n" + data)
        except OSError as error:
            _warn_once(f"compiled kernels cannot be kept in {path.parent}: {error.strerror or error}")

    def _path(self, signature: Any, context: Any) -> Path | None:
        folder, parts = _usable(kernel_folder()), dict(_decides(self.function))
        if folder is None or None in parts.values():
            return None
        key = repr((signature, context.codegen().magic_tuple(), self.options, VERSIONS, sorted(parts.items())))
        return folder / f"{self.name}-{hashlib.sha256(key.encode()).hexdigest()[:32]}.kernel"


VERSIONED = ("numba", "numpy", "llvmlite", "builtins")
VERSIONS = (platform.python_version(), numba.__version__, np.__version__, llvmlite.__version__)


def _decides(function: Any, seen: frozenset[str] = frozenset()) -> Iterator[tuple[str, str | None]]:
    """What decides a kernel's code, by name: sources of it and of all it calls (None: not there), constants."""
    cells = [cell.cell_contents for cell in function.__closure__ or ()]
    constants = [cell for cell in cells if isinstance(cell, (int, float, str))]  # tell functions of one source apart
    name = f"{function.__module__}.{function.__qualname__}{constants or ''}"
    if name in seen:
        return
    codes: list[CodeType] = [function.__code__]
    file, line = codes[0].co_filename, codes[0].co_firstlineno
    yield name, f"{line} {_digest_of(file, os.stat(file).st_mtime_ns)}" if os.path.exists(file) else None
    for code in codes:
        codes.extend(constant for constant in code.co_consts if isinstance(constant, CodeType))
    # Names of globals alone: an attribute may be called as a global that is there too, as in numpy.empty.
    loaded = {step.argval for code in codes for step in dis.get_instructions(code) if step.opname == "LOAD_GLOBAL"}
    used = {name: function.__globals__[name] for name in loaded if name in function.__globals__}
    used.update((f"closure {n}", cell) for n, cell in enumerate(cells))
    for key, value in sorted(used.items()):
        called = getattr(value, "py_func", getattr(value, "_defn", value))  # of a kernel, of an intrinsic
        if isinstance(value, ModuleType) or str(getattr(called, "__module__", "")).partition(".")[0] in VERSIONED:
            continue
        if isinstance(getattr(called, "__code__", None), CodeType):
            yield from _decides(called, seen | {name})
        else:
            data = (value.dtype, value.shape, value.tobytes()) if isinstance(value, np.ndarray) else value
            yield f"{name} {key}", repr(_in_order(data))


def _in_order(value: Any) -> Any:
    """A set's members in an order that every process has."""
    return sorted(value, key=repr) if isinstance(value, (set, frozenset)) else value


@lru_cache(maxsize=256)
def _digest_of(file: str, _changed: int) -> str:
    return hashlib.sha256(Path(file).read_bytes()).hexdigest()


@lru_cache(maxsize=8)
def _usable(folder: Path) -> Path | None:
    """The folder, if it is there or can be made, and nobody else may have put there what is run from it."""
    try:
        folder.mkdir(mode=0o755, parents=True, exist_ok=True)
        status, reason = folder.stat(), "belongs to another user"
        if status.st_uid == os.geteuid() or (status.st_uid == 0 and not status.st_mode & 0o022):
            return folder
    except OSError as error:
        reason = f"cannot be made ({error.strerror})"
    _warn_once(
        f"compiled kernels cannot be kept, so every process compiles them anew: {folder} {reason}; set "
        "SNN_DELAYS_CACHE to a folder that can be written"
    )
    return None


def _announce_compiling() -> None:
    line = "snn_delays: compiling kernels, once (up to a minute)"
    if line not in reported:
        reported.add(line)
        _log.info(line)
        announce(line)


def _warn_once(message: str) -> None:
    if message not in reported:
        reported.add(message)
        warnings.warn(message, stacklevel=3)
