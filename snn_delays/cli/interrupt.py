"""Ctrl-C is one line and exit code 130 at any moment, also while modules are loaded or the process ends.

Inside a command it is a KeyboardInterrupt, so that what is under way is put in order. Outside of one there is nothing
to put in order, and an exception amid an import may surface as any other: there the process ends at once.
"""

import os
import signal
from collections.abc import Iterator
from contextlib import contextmanager
from types import FrameType
from typing import Any

CODE = 130


def end_at_once() -> bool:
    """Let Ctrl-C end the process from now on, unless somebody handles or ignores it; whether that was changed."""
    return _replace(signal.default_int_handler, _end)


@contextmanager
def raised() -> Iterator[None]:
    """Let Ctrl-C raise KeyboardInterrupt in the block, where it would end the process outside of it."""
    changed = _replace(_end, _raise)
    try:
        yield
    finally:
        if changed:
            _replace(_raise, _end)


def raise_again() -> None:
    """Undo :func:`end_at_once`."""
    _replace(_end, signal.default_int_handler)


def _replace(handler: Any, other: Any) -> bool:
    try:
        if signal.getsignal(signal.SIGINT) is not handler:
            return False
        signal.signal(signal.SIGINT, other)
    except ValueError:  # not in the main thread, which is where signals arrive
        return False
    return True


def _raise(number: int, frame: FrameType | None) -> None:
    while frame is not None:
        if frame.f_code.co_filename.startswith("<frozen importlib"):  # a module is being loaded
            _end(number, frame)
        frame = frame.f_back
    raise KeyboardInterrupt


def _end(number: int, frame: FrameType | None) -> None:
    os.write(2, b"error: interrupted\n")
    os._exit(CODE)
