"""Whether somebody looks at a layer from outside: what runs layers together, or reads into them, has to know."""

from torch import nn
from torch.nn.modules import module as torch_module

_OWN = ("_forward_hooks", "_forward_pre_hooks", "_backward_hooks", "_backward_pre_hooks")


def has_own_hooks(layer: nn.Module) -> bool:
    """Whether forward or backward hooks are registered on this layer, or its ``forward`` has been replaced."""
    return any(getattr(layer, name) for name in _OWN) or "forward" in vars(layer)


def has_hooks(layer: nn.Module) -> bool:
    """The same, or hooks on all modules (``torch.nn.modules.module.register_module_forward_hook`` and its like)."""
    return has_own_hooks(layer) or torch_module._has_any_global_hook()
