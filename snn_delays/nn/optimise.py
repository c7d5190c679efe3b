"""What a training loop needs beside an optimiser: parameter groups, delays kept in their window, sigma annealed."""

import math
import re
from collections.abc import Callable
from typing import Any

from torch import Tensor, nn
from torch.optim import Optimizer
from torch.utils.hooks import RemovableHandle

from snn_delays.arguments import integer, real
from snn_delays.errors import ConfigError
from snn_delays.nn.cells import CellNeuron
from snn_delays.nn.delay_shift import DelayShift
from snn_delays.nn.delayed import Delays
from snn_delays.nn.eventprop import EventPropNetwork
from snn_delays.nn.learned import LearnedConstants
from snn_delays.nn.rwkv import SpikingEmbedding
from snn_delays.nn.sparsity import DelayMask
from snn_delays.ops.delay.taps import TAPS

# Parameters with several axes that are no matrices of weights: decay would pull them to values that mean nothing.
NO_WEIGHTS = (DelayShift, DelayMask, SpikingEmbedding, nn.Embedding, nn.LayerNorm)
SPREAD = tuple(name for name, kind in TAPS.items() if kind.needs_sigma)  # taps that have a width
_PARAMETRISED = re.compile(r"(?:(.+)\.)?parametrizations\.([^.]+)\.original\d*")


def layers_with_delays(network: nn.Module, kind: type[Delays] = Delays) -> dict[str, Any]:
    """Every layer of a network that has delays, or those of one kind, by its dotted name."""
    modules = network.named_modules()
    return {name: layer for name, layer in modules if isinstance(layer, kind) and layer.delay is not None}


def parameter_groups(
    network: nn.Module, *, lr: float, lr_delay: float, weight_decay: float = 0.0
) -> list[dict[str, Any]]:
    """Parameters in groups for one of torch's optimisers: weights, what is not decayed, and delays.

    Args:
        network: of any layers, torch's included.
        lr: learning rate of all that is no delay.
        lr_delay: learning rate of delays, in steps: with Adam, how far a delay moves in an optimiser step at most; of
            learned widths of taps too.
        weight_decay: of weights (parameters with two axes or more, and the time constants of ``PLIF`` and ``CubaLIF``,
            which it draws to 2 steps, as Fang et al. and who followed them train them). Norms, biases, embeddings,
            mixtures, scores of masks, delays and all other constants of neurons have none.

    Returns:
        Groups named "weights", "others" and "delays", as far as there are any; what does not require a gradient is left
        out.

        optimiser = torch.optim.Adam(parameter_groups(network, lr=5e-3, lr_delay=0.1))
        keep_delays_in_window(network, optimiser)

    Raises ConfigError for a rate or a decay that is negative or no number, a network without trainable parameters, or
    an ``EventPropNetwork``, whose delays are in ms.
    """
    lr, lr_delay = real("lr", lr, least=0), real("lr_delay", lr_delay, least=0)
    weight_decay = real("weight_decay", weight_decay, least=0)
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
            "lr": lr_delay if name == "delays" else lr,
            "weight_decay": weight_decay if name == "weights" else 0.0,
        }
        for name, parameters in groups.items()
        if parameters
    ]


def bounded_neurons(network: nn.Module) -> list[Any]:
    """The neurons of a network whose parameters may have bounds: they have ``clamp_parameters_``."""
    return [module for module in network.modules() if isinstance(module, CellNeuron | LearnedConstants)]


def clamping(network: nn.Module) -> Callable[..., None]:
    """A function that brings a network's delays into their windows and its neurons' parameters into their bounds."""
    layers, neurons = list(layers_with_delays(network).values()), bounded_neurons(network)

    def clamp(*_: object) -> None:
        for layer in layers:
            layer.clamp_delays_()
        for neuron in neurons:
            neuron.clamp_parameters_()

    return clamp


def decays(owner: nn.Module, name: str, parameter: Tensor) -> bool:
    """Whether a parameter counts as a weight, which weight decay may shrink."""
    if isinstance(owner, LearnedConstants) and name.startswith("tau"):
        return True
    return parameter.ndim > 1 and not isinstance(owner, NO_WEIGHTS)


def keep_delays_in_window(network: nn.Module, optimiser: Optimizer) -> RemovableHandle:
    """Clamp the delays of a network, and bounded parameters of its neurons, after every step of an optimiser.

    Masks of delays that are learned follow their scores then.

    An optimiser knows no bounds, and a delay outside its window is an error in the next forward pass. It is done by a
    hook on the optimiser; the handle that is returned takes it off again.

    Raises ConfigError where the network learns delays and the optimiser trains none of them.
    """
    learned = {
        id(parameter)
        for name, parameter in network.named_parameters()
        if parameter.requires_grad and _group_of(network, name, parameter) == "delays"
    }
    trained = {id(parameter) for group in optimiser.param_groups for parameter in group["params"]}
    if learned and not learned & trained:
        raise ConfigError(f"this {type(optimiser).__name__} trains no delay of this network; pass the one that does")

    return optimiser.register_step_post_hook(clamping(network))


def _group_of(network: nn.Module, name: str, parameter: Tensor) -> str:
    """The group of a parameter, pruned and parametrised ones included."""
    if match := _PARAMETRISED.fullmatch(name):
        owner, local = network.get_submodule(match[1] or ""), match[2]
    else:
        path, _, local = name.rpartition(".")
        owner, local = network.get_submodule(path), local.removesuffix("_orig")
    if isinstance(owner, EventPropNetwork):
        raise ConfigError(
            "an EventPropNetwork has delays in ms, not steps: group its weight and delay_ms by hand, and call its "
            "clamp_delays_() after every step, as its docstring does"
        )
    if isinstance(owner, Delays) and local in ("delay", "width"):
        return "delays"
    return "weights" if decays(owner, local, parameter) else "others"


def annealed(start: float, end: float, done: float, offset: float = 0.0) -> float:
    r"""Sigma when a share ``done`` in 0..1 of annealing is done; never above ``start``.

    .. math:: \sigma = o + (\sigma_0 - o)\,\left(\frac{\sigma_{end} - o}{\sigma_0 - o}\right)^{done}

    ``offset`` is what DCLS adds to its width parameter, 0.27; the rest shrinks by the same factor in equal times.
    """
    return offset + (start - offset) * ((end - offset) / (start - offset)) ** done


class SigmaSchedule:
    """Anneal sigma, the width of the taps, of every layer with delays: wide at first, so that delays move far.

    Sets the sigma of the start; each :meth:`step` shrinks it by the same factor, until it is ``end`` after ``steps``
    calls. Call it once an epoch or once an optimiser step, like a schedule of torch's for learning rates.

    Args:
        network: its layers whose taps have a width are annealed; others are left alone.
        steps: calls of :meth:`step` until the end; 0 sets ``end`` at once.
        start: sigma at first, in steps; None: what each layer has, half its window if it is new.
        end: sigma at last, in steps. A layer whose sigma is smaller already is left alone.
        offset: see :func:`annealed`.

    Raises ConfigError for a sigma that is none, or an end above the start or not above the offset.
    """

    def __init__(
        self, network: nn.Module, *, steps: int, start: float | None = None, end: float = 0.5, offset: float = 0.0
    ) -> None:
        self.steps, self.last_step = integer("steps", steps, 0), 0
        self.end, self.offset = real("end", end), real("offset", offset)
        first = None if start is None else real("start", start)
        if not (0 <= self.offset < self.end < math.inf):
            raise ConfigError(f"end must be a finite number above offset, which is at least 0; got {end} and {offset}")
        if first is not None and not self.end <= first < math.inf:
            raise ConfigError(f"start ({start}) must be a finite number, at least end ({end})")
        self._layers = {name: layer for name, layer in layers_with_delays(network).items() if layer.taps in SPREAD}
        self.start = {name: float(layer.sigma) if first is None else first for name, layer in self._layers.items()}
        self._set()

    @property
    def sigma(self) -> dict[str, float]:
        """Sigma of each layer now, in steps, by the layer's name."""
        done = min(self.last_step / self.steps, 1.0) if self.steps else 1.0
        return {
            name: start if start <= self.end else annealed(start, self.end, done, self.offset)
            for name, start in self.start.items()
        }

    def step(self) -> None:
        """Anneal sigma by one step of the schedule."""
        self.last_step += 1
        self._set()

    def state_dict(self) -> dict[str, Any]:
        """Where the schedule is, and its numbers."""
        return {name: value for name, value in vars(self).items() if name != "_layers"}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Go on where another schedule of the same network was. Raises ConfigError for a state of other layers."""
        if set(state) != set(self.state_dict()) or set(state["start"]) != set(self.start):
            raise ConfigError("the state of the sigma schedule is of another network or of no such schedule")
        vars(self).update(state)
        self._set()

    def _set(self) -> None:
        for name, sigma in self.sigma.items():
            self._layers[name].set_sigma(sigma)
