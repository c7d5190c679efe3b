"""What the ``audio`` extra brings, imported when it is first needed."""

from importlib import import_module
from typing import Any

from snn_delays.errors import BackendUnavailableError


def need(module: str) -> Any:
    """The module of the ``audio`` extra. Raises BackendUnavailableError saying how to install it."""
    try:
        return import_module(module)
    except (ImportError, OSError) as error:  # soundfile raises OSError where its library is missing
        raise BackendUnavailableError(
            f"the cochlea needs {module.partition('.')[0]} ({error}): pip install 'snn-delays[audio]'"
        ) from error
