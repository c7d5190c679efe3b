"""Operations, ``torch.compile`` and ``torch.export``: choosing a backend and running kernels cannot be traced."""

import functools
from collections.abc import Callable
from typing import ParamSpec, TypeVar

import torch

from snn_delays.errors import ExportError

P = ParamSpec("P")
R = TypeVar("R")


def untraced(function: Callable[P, R]) -> Callable[P, R]:
    """Decorator: ``torch.compile`` leaves the function as it is and compiles what is around it.

    As ``torch.compiler.disable``, but that would import the compiler for everybody, and costs at every call.
    """

    @functools.wraps(function)
    def run(*args: P.args, **kwargs: P.kwargs) -> R:
        if torch.compiler.is_compiling():
            if torch.compiler.is_exporting():
                raise ExportError(
                    "torch.export cannot hold these layers, whose kernels are chosen by what they are given; "
                    "snn_delays.export writes NIR, C99 and other formats, torch.save a state_dict"
                )
            outside: Callable[P, R] = torch.compiler.disable(function)
            return outside(*args, **kwargs)
        return function(*args, **kwargs)

    return run
