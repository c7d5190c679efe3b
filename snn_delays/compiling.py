"""Kernels compiled once and kept on disk, where there is a place for them; the user is told when one is compiled."""

import contextlib
import logging
import os
import sys
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numba
from numba.core.caching import FunctionCache, NullCache

from snn_delays.files import cache_folder

_log = logging.getLogger(__name__)
reported: set[str] = set()


def _to_terminal(line: str) -> None:
    if sys.stderr is not None and sys.stderr.isatty():
        print(line, file=sys.stderr, flush=True)


announce: Callable[[str], None] = _to_terminal
"""Receives a line when the first kernel of a process has to be compiled; a program may put its own in its place."""


def cached_njit(**options: Any) -> Callable[[Callable[..., Any]], Any]:
    """``numba.njit(cache=True, **options)`` that works without a place to cache.

    Compiled code is kept where Numba keeps it (beside the source, else in the user's cache folder), else in
    :func:`snn_delays.files.cache_folder`; where none of them can be written, kernels are compiled in every process, and
    one warning says so. Damaged files are compiled anew, and a full disk costs the cache, not the call.
    """

    def decorate(function: Callable[..., Any]) -> Any:
        kernel = numba.njit(**options)(function)
        if hasattr(kernel, "_cache"):  # not with NUMBA_DISABLE_JIT
            kernel._cache = _cache_of(function)
        return kernel

    return decorate


def _cache_of(function: Callable[..., Any]) -> Any:
    try:
        return _DiskCache(function)
    except RuntimeError:  # no locator: nothing that Numba knows of can be written
        pass
    folder = cache_folder() / "kernels"
    own, numba.config.CACHE_DIR = numba.config.CACHE_DIR, str(folder)
    try:
        folder.mkdir(parents=True, exist_ok=True)
        if folder.stat().st_uid == os.geteuid():  # what lies there is run, so nobody else may have put it there
            return _DiskCache(function)
    except (OSError, RuntimeError):
        pass
    finally:
        numba.config.CACHE_DIR = own
    _warn_once(
        f"compiled kernels cannot be kept, so every process compiles them anew: neither {Path(__file__).parent} nor "
        f"{folder} can be written; set SNN_DELAYS_CACHE to a folder that can"
    )
    return _NoCache()


class _DiskCache(FunctionCache):
    def load_overload(self, sig: Any, target_context: Any) -> Any:
        kernel = None
        try:
            kernel = super().load_overload(sig, target_context)
        except Exception as error:  # whatever unpickling a damaged file throws
            _log.info("%s: the cached kernel cannot be read (%s) and is compiled anew", self._name, error)
            with contextlib.suppress(OSError):
                self.flush()  # else saving would read the damaged index again
        if kernel is None:
            _announce_compiling()
        return kernel

    def save_overload(self, sig: Any, data: Any) -> None:
        try:
            super().save_overload(sig, data)
        except OSError as error:
            _warn_once(f"compiled kernels cannot be kept in {self.cache_path}: {error.strerror or error}")


class _NoCache(NullCache):
    def load_overload(self, sig: Any, target_context: Any) -> None:
        _announce_compiling()


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
