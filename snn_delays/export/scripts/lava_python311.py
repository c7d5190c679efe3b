"""Lets Python 3.11 import lava-nc 0.10.0, which asks for 3.10; imported before Lava, and does nothing under 3.10.

Since 3.11 the default of a dataclass's field must be hashable, and Lava has defaults that are dataclasses without a
hash. Given one they pass; Lava never asks for it. To install: pip install --ignore-requires-python --no-deps.
"""

from __future__ import annotations

import dataclasses
import sys
from typing import Any

if sys.version_info >= (3, 11):
    _dataclass: Any = dataclasses.dataclass

    def _hashable(cls: Any = None, /, **options: Any) -> Any:
        def made(cls: Any) -> Any:
            return _dataclass(cls, **options if "__hash__" in cls.__dict__ else {"unsafe_hash": True, **options})

        return made if cls is None else made(cls)

    dataclasses.dataclass = _hashable
