"""Names that moved: they serve for one version more, with a warning that says where they are."""

import importlib
import sys
import warnings
from collections.abc import Callable, Mapping
from types import ModuleType
from typing import Any


def forward(here: str, moved: Mapping[str, str] | str) -> Callable[[str], Any]:
    """A module's ``__getattr__`` that serves names from elsewhere with a DeprecationWarning.

    ``moved``: for each name the module that has it, as ``{"discretize": "snn_delays.discrete"}``, and where the name
    changed too, as ``"snn_delays.models:with_integer_delays"``; or one module for all names.
    Dunder names are never served, so that tools that look for them find nothing.
    """

    def __getattr__(name: str) -> Any:
        module = moved if isinstance(moved, str) else moved.get(name)
        if module is None or (name.startswith("__") and name.endswith("__")):
            raise AttributeError(f"module {here!r} has no attribute {name!r}")
        module, _, new = module.partition(":")
        new = new or name
        try:
            value = getattr(importlib.import_module(module), new)
        except ModuleNotFoundError as error:
            if error.name != "experiments":
                raise
            raise ModuleNotFoundError(f"{here} is now {module}, a script of the repository, not installed") from None
        warnings.warn(
            f"{here}.{name} is now {module}.{new}; the old name goes with the next version",
            DeprecationWarning,
            stacklevel=2,
        )
        return value

    return __getattr__


def forward_modules(package: str, **moved: str) -> None:
    """Serve modules of a package that are gone, each by the module of the package that has its names now.

    A module of the checkout's ``experiments`` is named in full.
    """
    for old, new in moved.items():
        new = new if new.startswith("experiments.") else f"{package}.{new}"
        module = sys.modules[f"{package}.{old}"] = ModuleType(f"{package}.{old}", f"Now {new}.")
        vars(module)["__getattr__"] = forward(module.__name__, new)
