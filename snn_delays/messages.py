"""What messages share: commands that can be pasted, and names that were perhaps meant."""

import difflib
import shlex
from collections.abc import Iterable
from pathlib import Path


def command(*words: object) -> str:
    """A command of ours, quoted for a shell: ``snn-delays evaluate 'my run'``."""
    return shlex.join(["snn-delays", *(f"./{word}" if _like_an_option(word) else str(word) for word in words)])


def did_you_mean(name: object, known: Iterable[str]) -> str:
    """``"did you mean 'loihi2'? "``, of the known names close to ``name``; empty if none is."""
    by_lower = {candidate.lower(): candidate for candidate in known}
    close = difflib.get_close_matches(str(name).lower(), by_lower, n=3)
    return f"did you mean {' or '.join(repr(by_lower[lower]) for lower in close)}? " if close else ""


def _like_an_option(word: object) -> bool:
    return isinstance(word, Path) and str(word).startswith("-")
