"""Whether a data set is read through Tonic."""

from importlib.metadata import PackageNotFoundError, version

from snn_delays.data.recordings import Reader
from snn_delays.errors import BackendUnavailableError, DataError


def through_tonic(reader: Reader) -> bool:
    """True if ``reader`` is ``"tonic"``, or ``"auto"`` where Tonic can serve.

    Raises DataError for a reader that is none, BackendUnavailableError if Tonic is asked for and cannot serve.
    """
    if reader not in ("auto", "tonic", "own"):
        raise DataError(f"unknown reader {reader!r}; choose auto, tonic or own")
    refusal = tonic_refuses()
    if reader == "tonic" and refusal:
        raise BackendUnavailableError(refusal)
    return reader != "own" and refusal is None


def tonic_refuses() -> str | None:
    """Why Tonic cannot serve, in a sentence, or None if it can."""
    try:
        found = version("tonic")
    except PackageNotFoundError:
        return "tonic is not installed: pip install 'snn-delays[tonic]', or read with reader='own'"
    if tuple(int(part) for part in found.split(".")[:2]) < (1, 7):
        return f"tonic {found} overflows SHD's float16 times: install tonic >= 1.7, or read with reader='own'"
    return None
