"""Formats that a canonical network is written to, and NIR in.

The room is also the function ``snn_delays.export(network, "nir", out="folder")``:
:func:`snn_delays.runs.export.export`.
"""

import importlib
import sys
from types import ModuleType
from typing import Any

from snn_delays.moved import forward

__getattr__ = forward(__name__, {"DiscreteNetwork": "snn_delays.discrete", "discretize": "snn_delays.discrete"})


class _Room(ModuleType):
    """A module that can be called: a package and the function of its name share one place in ``snn_delays``."""

    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        return importlib.import_module("snn_delays.runs.export").export(*args, **kwargs)


sys.modules[__name__].__class__ = _Room
