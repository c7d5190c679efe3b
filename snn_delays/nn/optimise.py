"""What a training loop needs beside an optimiser: parameter groups, and delays that stay in their window."""

import re
from typing import Any

from torch import Tensor, nn
from torch.optim import Optimizer
from torch.utils.hooks import RemovableHandle

from snn_delays.arguments import real
from snn_delays.errors import ConfigError
from snn_delays.nn.delay_shift import DelayShift
from snn_delays.nn.delayed import DelayedLayer
from snn_delays.nn.embedding import SpikingEmbedding

# Parameters with several axes that are no matrices of weights: decay would pull them to values that mean nothing.
NO_WEIGHTS = (DelayShift, SpikingEmbedding, nn.Embedding, nn.LayerNorm)
_PARAMETRISED = re.compile(r"(?:(.+)\.)?parametrizations\.([^.]+)\.original\d*")


def layers_with_delays(network: nn.Module) -> dict[str, DelayedLayer | DelayShift]:
    """Every layer of a network that has delays, by its dotted name."""
    return {
        name: layer
        for name, layer in network.named_modules()
        if isinstance(layer, DelayedLayer | DelayShift) and layer.delay is not None
    }


def parameter_groups(
    network: nn.Module, *, lr: float, lr_delay: float, weight_decay: float = 0.0
) -> list[dict[str, Any]]:
    """Parameters in groups for one of torch's optimisers: weights, what is not decayed, and delays.

    Args:
        network: of any layers, torch's included.
        lr: learning rate of all that is no delay.
        lr_delay: learning rate of delays, in steps: with Adam, how far a delay moves in an optimiser step at most.
        weight_decay: of weights (parameters with two axes or more). Norms, biases, embeddings, mixtures and delays have
            none.

    Returns:
        Groups named "weights", "others" and "delays", as far as there are any; what does not require a gradient is left
        out.

        optimiser = torch.optim.Adam(parameter_groups(network, lr=5e-3, lr_delay=0.1))
        keep_delays_in_window(network, optimiser)

    Raises ConfigError for a rate or a decay that is negative or no number, or a network without trainable parameters.
    """
    rates = {"lr": lr, "lr_delay": lr_delay, "weight_decay": weight_decay}
    for name, rate in rates.items():
        rates[name] = real(name, rate)
        if not 0 <= rates[name] < float("inf"):
            raise ConfigError(f"{name} must be a finite number >= 0, got {rate}")
    groups: dict[str, list[nn.Parameter]] = {"weights": [], "others": [], "delays": []}
    for name, parameter in network.named_parameters():
        if parameter.requires_grad:
            groups[_group_of(network, name, parameter)].append(parameter)
    if not any(groups.values()):
        raise ConfigError(f"{type(network).__name__} has no parameters that are trained")
    return [
        {
            "params": parameters,
            "name": name,
            "lr": rates["lr_delay" if name == "delays" else "lr"],
            "weight_decay": rates["weight_decay"] if name == "weights" else 0.0,
        }
        for name, parameters in groups.items()
        if parameters
    ]


def keep_delays_in_window(network: nn.Module, optimiser: Optimizer) -> RemovableHandle:
    """Clamp the delays of a network after every step of an optimiser, by a hook on it.

    An optimiser knows no bounds, and a delay outside its window is an error in the next forward pass. The handle that
    is returned takes the hook off again.

    Raises ConfigError where the network learns delays and the optimiser trains none of them.
    """
    layers = list(layers_with_delays(network).values())
    learned = {
        id(parameter)
        for name, parameter in network.named_parameters()
        if parameter.requires_grad and _group_of(network, name, parameter) == "delays"
    }
    trained = {id(parameter) for group in optimiser.param_groups for parameter in group["params"]}
    if learned and not learned & trained:
        raise ConfigError(f"this {type(optimiser).__name__} trains no delay of this network; pass the one that does")

    def clamp(*_: object) -> None:
        for layer in layers:
            layer.clamp_delays_()

    return optimiser.register_step_post_hook(clamp)


def _group_of(network: nn.Module, name: str, parameter: Tensor) -> str:
    """The group of a parameter, pruned and parametrised ones included."""
    if match := _PARAMETRISED.fullmatch(name):
        owner, local = network.get_submodule(match[1] or ""), match[2]
    else:
        path, _, local = name.rpartition(".")
        owner, local = network.get_submodule(path), local.removesuffix("_orig")
    if isinstance(owner, DelayedLayer | DelayShift) and local == "delay":
        return "delays"
    return "weights" if parameter.ndim > 1 and not isinstance(owner, NO_WEIGHTS) else "others"
