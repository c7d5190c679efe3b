"""What a layer computes, for code that copies its arithmetic or runs layers together."""

from collections.abc import Iterable

from torch import nn
from torch.nn.modules import module as torch_module
from torch.nn.utils import parametrize, prune

from snn_delays.errors import ConfigError

_HOOKS = ("_forward_hooks", "_forward_pre_hooks", "_backward_hooks", "_backward_pre_hooks")


def has_own_hooks(layer: nn.Module) -> bool:
    """Whether forward or backward hooks are registered on this layer, or its ``forward`` has been replaced."""
    return any(getattr(layer, name) for name in _HOOKS) or "forward" in vars(layer)


def has_hooks(layer: nn.Module) -> bool:
    """The same, or hooks on all modules (``torch.nn.modules.module.register_module_forward_hook`` and its like)."""
    return has_own_hooks(layer) or torch_module._has_any_global_hook()


def kind_of(layer: nn.Module) -> type:
    """The class whose arithmetic a layer has: its own, or the base class that it declares as ``computes_as``.

    A subclass may compute anything, so it does not count as its base class unless its own body says
    ``computes_as = Base``. A parametrised layer is what it was before.

    Raises ConfigError for a ``computes_as`` that is no base class.
    """
    kind: type = parametrize.type_before_parametrizations(layer)
    while (declared := vars(kind).get("computes_as")) is not None:
        if not isinstance(declared, type) or declared is kind or not issubclass(kind, declared):
            raise ConfigError(f"{kind.__name__}.computes_as must be a base class of it, got {declared!r}")
        kind = declared
    return kind


def stranger(layer: nn.Module, known: Iterable[type]) -> str | None:
    """Why a layer that passes for one of the known kinds cannot be taken as that; None if it can or never passes."""
    bases = [kind for kind in known if isinstance(layer, kind)]
    if not bases or kind_of(layer) in bases:
        return None
    base = max(bases, key=lambda kind: len(kind.__mro__)).__name__
    return (
        f"is a subclass of {base}, whose arithmetic may be its own; write `computes_as = {base}` in its body if it "
        f"computes what {base} does"
    )


def alteration(layer: nn.Module) -> str | None:
    """How a layer computes otherwise than its class says, or None.

    Pruning masks and parametrisations are no alteration: what they make of a parameter is the parameter.
    """
    if "forward" in vars(layer):
        return "has a forward of its own"
    for hook in (*layer._forward_hooks.values(), *layer._forward_pre_hooks.values()):
        if not isinstance(hook, prune.BasePruningMethod):
            name = getattr(hook, "__name__", type(hook).__name__)
            return f"has a forward hook ({name}), whose effect would be lost; remove it, or make what it does permanent"
    return None


def apply_pruning(layer: nn.Module) -> None:
    """Put pruning masks on the parameters as they are now; a layer itself does so only when it is called."""
    for hook in layer._forward_pre_hooks.values():
        if isinstance(hook, prune.BasePruningMethod):
            hook(layer, ())
