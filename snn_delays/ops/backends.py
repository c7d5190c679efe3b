"""What a backend is, how one is chosen, and why one refused.

Choice, first that applies: the ``backend=`` argument, ``with use_backend(...)``, the environment variable
``SNN_DELAYS_BACKEND``, the reference for a call that is done before a kernel is launched, the backend that does not
refuse and, by the operation's cost model where it has one, is expected to be fastest. A backend requested by name never
falls back. Unless one is requested, a choice is remembered for all calls with the same :func:`signature`.
"""

import contextlib
import contextvars
import importlib
import importlib.util
import os
import warnings
from collections.abc import Callable, Hashable, Iterator, Mapping
from dataclasses import dataclass, field
from functools import lru_cache
from typing import Any, NamedTuple

import torch
from torch import Tensor
from torch.autograd import forward_ad

from snn_delays.errors import BackendUnavailableError, ConfigError
from snn_delays.messages import did_you_mean
from snn_delays.ops.threads import lost_kernels

SMALL = 2**13  # numbers
PLAIN = (bool, float, int, str)  # arguments that are what they are
REMEMBERED = 4096  # choices of an operation; beyond, it starts anew
ENVIRONMENT_VARIABLE = "SNN_DELAYS_BACKEND"
RENAMED = {"delay": "delayed_linear", "delay_conv": "delayed_conv2d"}  # operations, from the keys that served them
_EVERY = "*"
_OPERATIONS: dict[str, "Operation"] = {}
_forced: contextvars.ContextVar[Mapping[str, str]] = contextvars.ContextVar("snn_delays_backend")
_as_captured = contextvars.ContextVar("snn_delays_as_captured", default=False)


@dataclass(frozen=True)
class Backend:
    """One implementation of an operation.

    ``module`` holds ``run(**call)`` and, unless it serves every call, ``refuses(**call)``, which says in a sentence why
    it cannot serve; it is imported when first needed, and only if every package in ``requires`` can be found.
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
        refuses = getattr(_module(self.module), "refuses", None)
        return None if refuses is None else refuses(**call)

    def run(self, call: Mapping[str, Any]) -> Any:
        """Compute the operation."""
        try:
            return _module(self.module).run(**call)
        except RuntimeError as error:
            if any(words in str(error) for words in TRANSFORMED):
                raise BackendUnavailableError(
                    f"the transforms of torch.func (grad, vmap, ...) cannot go through backend {self.name!r}: take "
                    "torch.autograd.grad, sample by sample where its gradients are needed"
                ) from error
            raise


# What torch says where a kernel, or a gradient that is not its own, meets a transform of torch.func.
TRANSFORMED = ("Cannot access data pointer of Tensor that doesn't have storage", "autograd.Function with functorch")


@lru_cache(maxsize=64)
def _module(name: str) -> Any:
    """A backend's module; asking the import system anew would cost as much as a step of a small layer."""
    return importlib.import_module(name)


@lru_cache(maxsize=64)
def installed(package: str) -> bool:
    """Whether a package can be found; looked up once."""
    return importlib.util.find_spec(package) is not None


def refuses_off_cpu(**tensors: Tensor | None) -> str | None:
    """Sentence unless all tensors, by name, have the dtype of the first, float32 or float64, and it is on the CPU."""
    name, first = next(iter(tensors.items()))
    if first is not None and first.device.type != "cpu":
        return f"it runs on the CPU and the {name} is on {first.device}"
    return refuses_dtype(**tensors)


def refuses_dtype(**tensors: Tensor | None) -> str | None:
    """Sentence unless all tensors, by name, have the dtype of the first, which is float32 or float64."""
    (name, first), *others = tensors.items()
    assert first is not None
    if first.dtype not in (torch.float32, torch.float64):
        return f"it computes in float32 or float64 and the {name} is {first.dtype}"
    for other, tensor in others:
        if tensor is not None and tensor.dtype != first.dtype:
            return f"it computes in one dtype; the {name} is {first.dtype}, the {other} {tensor.dtype}"
    return None


class Candidate(NamedTuple):
    """A backend for a call: why it refuses it, or the seconds it is expected to take, if that is known."""

    backend: Backend
    refusal: str | None
    seconds: float | None


@dataclass(frozen=True)
class Operation:
    """A named operation and its backends, the reference last.

    ``example()`` is a small call, for asking backends whether they can serve on this machine.
    ``cost(backend name, call)`` gives expected seconds; the cheapest backend serves. Without it the first one does.
    ``small(call)`` tells calls so small that the reference is done before a kernel is launched.
    ``reads(call)`` is all that ``refuses`` and ``cost`` read of the numbers in a call's tensors, None where the choice
    is not to be remembered. Without it they read none.
    """

    name: str
    backends: tuple[Backend, ...]
    example: Callable[[], Mapping[str, Any]]
    cost: Callable[[str, Mapping[str, Any]], float] | None = None
    small: Callable[[Mapping[str, Any]], bool] | None = None
    reads: Callable[[Mapping[str, Any]], Hashable] | None = None
    _choices: dict[Hashable, Backend] = field(default_factory=dict, repr=False, compare=False)

    def __post_init__(self) -> None:
        _OPERATIONS[self.name] = self

    def choose(self, call: Mapping[str, Any], backend: str | None = None) -> Backend:
        """Backend that serves this call. Raises BackendUnavailableError if the one requested cannot."""
        if requested := backend or _requested(self.name):
            return self._named(requested, call)
        key = self.key(call)
        try:
            chosen = None if key is None else self._choices.get(key)
        except TypeError:  # a surrogate of the user's that has no hash
            key = None
        if key is None:
            return self.fastest(call)
        if chosen is None:
            if len(self._choices) >= REMEMBERED:
                self._choices.clear()
            chosen = self._choices[key] = self.fastest(call)
        return chosen

    def key(self, call: Mapping[str, Any]) -> Hashable:
        """All that decides the choice for a call, None where it is not to be remembered."""
        form = signature(call)
        if self.reads is None or form is None:
            return form
        data = self.reads(call)
        return None if data is None else (form, data)

    def fastest(self, call: Mapping[str, Any]) -> Backend:
        """Backend that serves this call if none is requested, by asking all of them."""
        if self.small is not None and self.small(call):
            return self.backends[-1]
        serving = (candidate for candidate in self.backends if candidate.refuses(call) is None)
        cost = self.cost
        return next(serving) if cost is None else min(serving, key=lambda candidate: cost(candidate.name, call))

    def _named(self, name: str, call: Mapping[str, Any]) -> Backend:
        named = {candidate.name: candidate for candidate in self.backends}
        if name not in named:
            hint = did_you_mean(name, named)
            raise BackendUnavailableError(f"{self.name} has no backend {name!r}; {hint}it has {', '.join(named)}")
        if reason := named[name].refuses(call):
            raise BackendUnavailableError(f"backend {name!r} cannot run {self.name}: {reason}")
        return named[name]

    def explain(self, call: Mapping[str, Any]) -> list[Candidate]:
        """All backends for a call; those that serve it first, fastest first."""
        candidates = []
        for backend in self.backends:
            refusal = backend.refuses(call)
            seconds = self.cost(backend.name, call) if self.cost and refusal is None else None
            candidates.append(Candidate(backend, refusal, seconds))
        first = self.backends[-1] if self.small is not None and self.small(call) else None
        return sorted(candidates, key=lambda c: (c.refusal is not None, c.backend is not first, c.seconds or 0.0))

    def __call__(self, call: Mapping[str, Any], backend: str | None = None) -> Any:
        """Choose and run."""
        if forward_ad._current_level >= 0:  # tangents would be dropped: at spikes always, in kernels of all kinds
            raise BackendUnavailableError(
                f"forward-mode derivatives (torch.func.jvp, torch.autograd.forward_ad) do not go through {self.name}; "
                "take torch.autograd.grad"
            )
        return self.choose(call, backend).run(call)


def signature(call: Mapping[str, Any]) -> tuple[Any, ...] | None:
    """All that a choice may depend on but the numbers in tensors; None while a CUDA graph is captured.

    Shape, dtype, device and whether a gradient is needed of every tensor, all other arguments, whether gradients are
    computed, and the number of threads.
    """
    parts: list[Any] = [torch.is_grad_enabled(), torch.get_num_threads()]
    for value in call.values():
        if value is None or value.__class__ in PLAIN:
            parts.append(value)
        elif isinstance(value, Tensor):
            if value.is_cuda and without_reading(value.device):
                return None
            parts.append((value.shape, value.dtype, value.device, value.requires_grad))
        elif hasattr(value, "_asdict"):  # a state
            parts.append(signature(value._asdict()))
        else:
            parts.append(value)
    return tuple(parts)


def capturing(device: torch.device) -> bool:
    """Whether work on this device is being captured in a CUDA graph."""
    return device.type == "cuda" and torch.cuda.is_current_stream_capturing()


def without_reading(device: torch.device) -> bool:
    """Whether nothing may be read back from this device, since work on it is captured, or is about to be."""
    return _as_captured.get() or capturing(device)


@contextlib.contextmanager
def as_captured() -> Iterator[None]:
    """Choose in the block as in a capture, so that what is warmed up is what will be recorded."""
    token = _as_captured.set(True)
    try:
        yield
    finally:
        _as_captured.reset(token)


def forget_choices() -> None:
    """Have every operation choose anew: what a choice rests on beside the call has changed."""
    for operation in _OPERATIONS.values():
        operation._choices.clear()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=forget_choices)  # kernels may be lost


def one_step_of(name: str, with_gradients: bool = False) -> Callable[[Mapping[str, Any]], bool]:
    """For ``Operation.small``: whether the tensor of that name is one short step on the CPU.

    Only where no gradients are computed, unless ``with_gradients``.
    """

    def small(call: Mapping[str, Any]) -> bool:
        x = call[name]
        short = len(x) == 1 and x.numel() <= SMALL and x.device.type == "cpu"
        return short and (with_gradients or not torch.is_grad_enabled())

    return small


def operations() -> tuple[Operation, ...]:
    """Every operation known, by name."""
    return tuple(_OPERATIONS[name] for name in sorted(_OPERATIONS))


@contextlib.contextmanager
def use_backend(name: str | None = None, **by_operation: str) -> Iterator[None]:
    """Force a backend inside a ``with`` block.

    Args:
        name: of the backend of every operation, as ``use_backend("reference")``.
        by_operation: of one, by the name of its function, as ``use_backend(lif="numba_cpu")``.

    Raises ConfigError for an unknown operation; an unknown or refusing backend raises when the operation is
    called.
    """
    outer = {} if name else _forced.get({})
    token = _forced.set({**outer, **_parse(name, by_operation, "use_backend", stacklevel=4)})
    try:
        yield
    finally:
        _forced.reset(token)


def _requested(operation: str) -> str | None:
    requested = _forced.get(None)
    if requested and (name := requested.get(operation) or requested.get(_EVERY)):
        return name
    if not (text := os.environ.get(ENVIRONMENT_VARIABLE)):
        return None
    requested = _from_environment(text)
    return requested.get(operation) or requested.get(_EVERY)


@lru_cache(maxsize=16)
def _from_environment(text: str) -> Mapping[str, str]:
    """Read ``reference`` or ``lif=numba_cpu,delayed_linear=dense``."""
    if "=" not in text:
        return _parse(text, {}, ENVIRONMENT_VARIABLE)
    pairs = [item.partition("=") for item in text.split(",")]
    return _parse(None, {key.strip(): value.strip() for key, _, value in pairs}, ENVIRONMENT_VARIABLE)


def _parse(name: str | None, by_operation: Mapping[str, str], where: str, stacklevel: int = 2) -> dict[str, str]:
    """Names of backends by operation; ``_EVERY`` stands for those that have none of their own."""
    names = {_EVERY: name} if name else {}
    for operation, backend in by_operation.items():
        if operation in RENAMED:
            new = RENAMED[operation]
            warnings.warn(
                f"{where}: the operation {operation!r} is now {new!r}; the old name goes with the next version",
                DeprecationWarning,
                stacklevel=stacklevel,
            )
        elif operation not in _OPERATIONS:
            hint = did_you_mean(operation, _OPERATIONS)
            known = ", ".join(sorted(_OPERATIONS))
            raise ConfigError(f"{where}: no operation {operation!r}; {hint}there are {known}")
        names[RENAMED.get(operation, operation)] = backend
    return names
