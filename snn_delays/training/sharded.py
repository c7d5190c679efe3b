"""Networks too large for one device: every process keeps a part of parameters, gradients and optimiser states.

FSDP as PyTorch has it now (``fully_shard``): the parameters of a branch of SpikeGPT, or of a network of another kind
all of them, are brought together while it computes. Checkpoints hold the whole network, as those of any other run.
"""

from contextlib import AbstractContextManager, nullcontext
from typing import Any

import torch
from lightning_fabric import Fabric
from lightning_fabric.strategies.model_parallel import ModelParallelStrategy
from torch import Tensor, nn
from torch.optim import Optimizer

from snn_delays.errors import ConfigError
from snn_delays.models.spikegpt import SpikingBranch
from snn_delays.ops.backends import use_backend


def strategy() -> ModelParallelStrategy:
    """The strategy of Fabric for it. Raises ConfigError before PyTorch 2.6."""
    try:
        from torch.distributed.device_mesh import init_device_mesh
        from torch.distributed.fsdp import fully_shard
    except ImportError as error:
        raise ConfigError(f"strategy 'fsdp' needs PyTorch 2.6 or newer, this is {torch.__version__}") from error

    def shard(network: nn.Module, mesh: Any) -> nn.Module:
        everyone = init_device_mesh(mesh.device_type, (mesh.size(),))
        for unit in [*(part for part in network.modules() if isinstance(part, SpikingBranch)), network]:
            fully_shard(unit, mesh=everyone)
        return network

    return ModelParallelStrategy(shard)


def in_shards(fabric: Fabric) -> bool:
    """Whether networks are in shards."""
    return isinstance(fabric.strategy, ModelParallelStrategy)


def backends(fabric: Fabric) -> AbstractContextManager[None]:
    """On CPUs the reference serves: memory that Numba's kernels have seen cannot be given back between layers."""
    return use_backend("reference") if in_shards(fabric) and fabric.device.type == "cpu" else nullcontext()


def whole(tree: Any) -> Any:
    """A state in which tensors in shards are whole, on the CPU; every process has to call it."""
    if isinstance(tree, dict):
        return {key: whole(value) for key, value in tree.items()}
    if isinstance(tree, list | tuple):
        return type(tree)(whole(value) for value in tree)
    return tree.full_tensor().cpu() if hasattr(tree, "full_tensor") else tree


def shared(tensors: dict[str, Tensor], network: nn.Module) -> dict[str, Tensor]:
    """Whole tensors of a state as this process keeps those of ``network``."""
    own = network.state_dict()
    return {name: _like(tensor, own.get(name)) for name, tensor in tensors.items()}


def share_state(optimiser: Optimizer) -> None:
    """Keep of an optimiser's state, just loaded, this process's part."""
    for parameter, state in optimiser.state.items():
        for name, value in state.items():
            if isinstance(value, Tensor) and value.shape == parameter.shape:
                state[name] = _like(value, parameter)


def _like(value: Tensor, own: Any) -> Tensor:
    if not hasattr(own, "full_tensor") or hasattr(value, "full_tensor"):
        return value
    from torch.distributed.tensor import distribute_tensor  # older versions of PyTorch have none

    return distribute_tensor(value.to(own.device, own.dtype), own.device_mesh, own.placements)
