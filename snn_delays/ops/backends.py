"""What a backend is, how one is chosen, and why one refused.

An operation is a folder; every file in it that implements the operation is a backend: a name, a module that is
imported when first needed, and a function ``refuses`` that says in a sentence why it cannot serve a call.

Choice, first that applies: the ``backend=`` argument, ``with use_backend(...)``, the environment variable
``SNN_DELAYS_BACKEND``, the reference for a call that is done before a kernel is launched, the backend that does not
refuse and, by the operation's cost model where it has one, is expected to be fastest. A backend asked for by name never
falls back.
"""

import contextlib
import contextvars
import importlib
import importlib.util
import os
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from functools import lru_cache
from typing import Any

import torch

from snn_delays.errors import BackendUnavailableError, ConfigError
from snn_delays.messages import did_you_mean
from snn_delays.ops.threads import lost_kernels

SMALL = 2**13  # numbers
ENVIRONMENT_VARIABLE = "SNN_DELAYS_BACKEND"
_OPERATIONS: dict[str, "Operation"] = {}
_forced: contextvars.ContextVar[Mapping[str, str]] = contextvars.ContextVar("snn_delays_backend")


@dataclass(frozen=True)
class Backend:
    """One implementation of an operation.

    ``module`` holds ``run(**call)`` and ``refuses(**call) -> str | None``; it is imported when first needed, and only
    if every package in ``requires`` can be found.
    """

    name: str
    module: str
    requires: tuple[str, ...] = ()

    def refuses(self, call: Mapping[str, Any]) -> str | None:
        """Sentence saying why this backend cannot serve the call, or None if it can."""
        for package in self.requires:
            if not installed(package):
                return f"the package {package} is not installed (pip install {package})"
        if "numba" in self.requires and (reason := lost_kernels()):
            return reason
        return _module(self.module).refuses(**call)

    def run(self, call: Mapping[str, Any]) -> Any:
        """Compute the operation."""
        return _module(self.module).run(**call)


@lru_cache(maxsize=64)
def _module(name: str) -> Any:
    """A backend's module; asking the import system anew would cost as much as a step of a small layer."""
    return importlib.import_module(name)


@lru_cache(maxsize=64)
def installed(package: str) -> bool:
    """Whether a package can be found; looked up once."""
    return importlib.util.find_spec(package) is not None


@dataclass(frozen=True)
class Candidate:
    """What a backend says to a call: why it refuses it, or the seconds it is expected to take, if that is known."""

    backend: Backend
    refusal: str | None
    seconds: float | None


@dataclass(frozen=True)
class Operation:
    """A named operation and its backends, the reference last.

    ``cost(backend name, call)`` gives expected seconds; the cheapest backend serves. Without it the first one does.
    ``small(call)`` tells calls so small that the reference is done before a kernel is launched.
    """

    name: str
    backends: tuple[Backend, ...]
    cost: Callable[[str, Mapping[str, Any]], float] | None = None
    small: Callable[[Mapping[str, Any]], bool] | None = None

    def __post_init__(self) -> None:
        _OPERATIONS[self.name] = self

    def choose(self, call: Mapping[str, Any], backend: str | None = None) -> Backend:
        """Backend that serves this call. Raises BackendUnavailableError if the one asked for cannot."""
        wanted = backend or _wanted(self.name)
        if wanted is None:
            if self.small is not None and self.small(call):
                return self.backends[-1]
            serving = (candidate for candidate in self.backends if candidate.refuses(call) is None)
            if self.cost is None:
                return next(serving)
            cost = self.cost
            return min(serving, key=lambda candidate: cost(candidate.name, call))
        for candidate in self.backends:
            if candidate.name == wanted:
                reason = candidate.refuses(call)
                if reason is not None:
                    raise BackendUnavailableError(f"backend {wanted!r} cannot run {self.name}: {reason}")
                return candidate
        names = ", ".join(candidate.name for candidate in self.backends)
        hint = did_you_mean(wanted, [candidate.name for candidate in self.backends])
        raise BackendUnavailableError(f"{self.name} has no backend {wanted!r}; {hint}it has {names}")

    def explain(self, call: Mapping[str, Any]) -> list[Candidate]:
        """What every backend says to a call; those that serve it first, fastest first."""
        found = []
        for backend in self.backends:
            refusal = backend.refuses(call)
            seconds = self.cost(backend.name, call) if self.cost and refusal is None else None
            found.append(Candidate(backend, refusal, seconds))
        small = self.small is not None and self.small(call)
        first = self.backends[-1] if small else None
        return sorted(found, key=lambda one: (one.refusal is not None, one.backend is not first, one.seconds or 0.0))

    def __call__(self, call: Mapping[str, Any], backend: str | None = None) -> Any:
        """Choose and run."""
        return self.choose(call, backend).run(call)


def one_step_of(name: str) -> Callable[[Mapping[str, Any]], bool]:
    """For ``Operation.small``: whether the tensor of that name is one short step on the CPU that needs no gradient."""

    def small(call: Mapping[str, Any]) -> bool:
        x = call[name]
        return len(x) == 1 and x.numel() <= SMALL and x.device.type == "cpu" and not torch.is_grad_enabled()

    return small


def operations() -> tuple[Operation, ...]:
    """Every operation known, by name."""
    return tuple(_OPERATIONS[name] for name in sorted(_OPERATIONS))


@contextlib.contextmanager
def use_backend(name: str | None = None, **by_operation: str) -> Iterator[None]:
    """Force a backend inside a ``with`` block.

    ``use_backend("reference")`` speaks for every operation, ``use_backend(lif="numba_cpu")`` for one.
    Raises ConfigError for an unknown operation; an unknown or refusing backend raises when the operation is called.
    """
    token = _forced.set({**_forced.get({}), **_parse(name, by_operation, "use_backend")})
    try:
        yield
    finally:
        _forced.reset(token)


def _wanted(operation: str) -> str | None:
    forced = _forced.get({})
    if operation in forced:
        return forced[operation]
    return _from_environment(os.environ.get(ENVIRONMENT_VARIABLE, "")).get(operation)


def _from_environment(text: str) -> dict[str, str]:
    """Read ``reference`` or ``lif=numba_cpu,delay=dense``."""
    if not text:
        return {}
    if "=" not in text:
        return _parse(text, {}, ENVIRONMENT_VARIABLE)
    pairs = [item.partition("=") for item in text.split(",")]
    return _parse(None, {key.strip(): value.strip() for key, _, value in pairs}, ENVIRONMENT_VARIABLE)


def _parse(name: str | None, by_operation: Mapping[str, str], where: str) -> dict[str, str]:
    unknown = set(by_operation) - set(_OPERATIONS)
    if unknown:
        first = sorted(unknown)[0]
        hint = did_you_mean(first, _OPERATIONS)
        raise ConfigError(f"{where}: no operation {first!r}; {hint}there are {', '.join(sorted(_OPERATIONS))}")
    return {**(dict.fromkeys(_OPERATIONS, name) if name else {}), **by_operation}
