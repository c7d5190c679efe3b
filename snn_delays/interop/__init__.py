"""Layers of SpikingJelly, Norse and snnTorch in our networks, and ours in theirs; a callback for Lightning.

Each package is an optional extra.
"""

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from snn_delays.interop.dcls import from_dcls
    from snn_delays.interop.lightning import DelayCallback
    from snn_delays.interop.norse import FromNorse, ToNorse
    from snn_delays.interop.snntorch import FromSnnTorch, ToSnnTorch
    from snn_delays.interop.spikingjelly import FromSpikingJelly, ToSpikingJelly, from_spikingjelly, to_spikingjelly

__all__ = [
    "DelayCallback",
    "FromNorse",
    "FromSnnTorch",
    "FromSpikingJelly",
    "ToNorse",
    "ToSnnTorch",
    "ToSpikingJelly",
    "from_dcls",
    "from_spikingjelly",
    "to_spikingjelly",
]


def __getattr__(name: str) -> Any:
    """Import a package beside us only with the first name that needs it."""
    if name in __all__:
        module = name.lower().replace("_", "").removeprefix("from").removeprefix("to")
        module = "lightning" if name == "DelayCallback" else module
        return getattr(importlib.import_module(f"snn_delays.interop.{module}"), name)
    raise AttributeError(f"module 'snn_delays.interop' has no attribute {name!r}")
