"""What a spiking network does while it runs: spikes of its neurons, what its matrices are fed with, and silence."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any

import torch
from torch import Tensor, nn

from snn_delays.models.spikegpt import SpikeGPT
from snn_delays.nn.delay_shift import DelayShift
from snn_delays.nn.neuron import LIF
from snn_delays.nn.rwkv import SpikingEmbedding

SATURATED = 0.99  # spikes per neuron and step from which a population fires all the time


@dataclass
class Fed:
    """What a matrix was fed with: ``[in, out]`` sizes, inputs seen, those not zero, and whether all were 0 or 1."""

    inputs: int
    outputs: int
    seen: int = 0
    nonzero: int = 0
    spikes_only: bool = True

    @property
    def macs(self) -> int:
        """Multiplications of a dense product, for a token."""
        return self.inputs * self.outputs

    @property
    def rate(self) -> float:
        """Share of the inputs that were not zero."""
        return self.nonzero / max(self.seen, 1)


class Activity:
    """Counts what a network does in evaluation, in a ``with`` block, at tokens of ``counted``, ``[time, batch]``."""

    def __init__(self, network: nn.Module) -> None:
        self.network = network
        self.counted: Tensor | None = None
        self.spikes: dict[str, float] = {}
        self.places: dict[str, int] = {}
        self.fed: dict[str, Fed] = {}
        self._hooks: list[Any] = []

    def __enter__(self) -> "Activity":
        self._was_training = self.network.training
        self.network.eval()
        for name, module in self.network.named_modules():
            if isinstance(module, LIF) or (isinstance(module, SpikingEmbedding) and module.binary):
                self._hooks.append(module.register_forward_hook(partial(self._fired, population(name))))
            elif isinstance(module, nn.Linear):
                self.fed[name] = Fed(module.in_features, module.out_features)
                self._hooks.append(module.register_forward_hook(partial(self._multiplied, self.fed[name])))
        return self

    def __exit__(self, *_: object) -> None:
        for hook in self._hooks:
            hook.remove()
        self.network.train(self._was_training)

    def rates(self) -> dict[str, float]:
        """Spikes per neuron and token, by population in the order they fire; that of the embedding first."""
        return {name: self.spikes[name] / max(self.places[name], 1) for name in self.spikes}

    def mean_rate(self) -> float | None:
        """Spikes per neuron and token over all neurons of all populations but the embedding; None without any."""
        names = [name for name in self.spikes if not name.endswith("embedding")]
        places = sum(self.places[name] for name in names)
        return sum(self.spikes[name] for name in names) / places if places else None

    def _rows(self, x: Tensor) -> Tensor:
        return x if self.counted is None or x.shape[:2] != self.counted.shape else x[self.counted]

    def _fired(self, name: str, module: nn.Module, args: Any, output: tuple[Tensor, Any]) -> None:
        rows = self._rows(output[0])
        self.spikes[name] = self.spikes.get(name, 0.0) + float(rows.sum())
        self.places[name] = self.places.get(name, 0) + rows.numel()

    def _multiplied(self, fed: Fed, module: nn.Module, args: tuple[Tensor], output: Tensor) -> None:
        rows = self._rows(args[0])
        nonzero = int(torch.count_nonzero(rows))
        fed.seen += rows.numel()
        fed.nonzero += nonzero
        fed.spikes_only &= nonzero == int((rows == 1).sum())


def population(name: str) -> str:
    """A population's name as people read it: ``block3.time.key`` for ``blocks.3.time.mixing.neurons.key``."""
    for long, short in (("network.", ""), ("blocks.", "block"), (".mixing", ""), (".neurons", ""), (".neuron", "")):
        name = name.replace(long, short)
    return name


def operations(activity: Activity) -> dict[str, float | None]:
    r"""Operations per token, as built and as they would be if every matrix of the blocks was fed with spikes.

    ``macs_dense``: multiplications of all matrices, :math:`\sum \text{in} \cdot \text{out}`.
    ``macs_as_built``: those of matrices fed with real numbers; ``accumulates_as_built``: additions of matrices fed with
    spikes, :math:`\sum \text{rate} \cdot \text{in} \cdot \text{out}`.
    ``macs_if_spike_driven`` and ``accumulates_if_spike_driven``: the same if each matrix in a block that reads real
    numbers read spikes at the mean rate of the network's neurons instead: what papers count, and what this network
    does not do. None for a network without neurons.
    ``spike_fed_share``: of the dense multiplications, those whose input is spikes.
    ``shift_macs``: weights of the shifts that are not zero. WKV, norms and gates, a few operations a neuron, are not
    counted. The last matrix of a classifier, which acts once a sentence, counts as if it acted at every token.
    """
    matrices = list(activity.fed.items())
    rate = activity.mean_rate()
    dense = sum(fed.macs for _, fed in matrices)
    driven = sum(fed.macs * fed.rate for _, fed in matrices if fed.spikes_only)
    inside = sum(fed.macs for name, fed in matrices if not fed.spikes_only and ".mixing." in name)
    outside = sum(fed.macs for name, fed in matrices if not fed.spikes_only and ".mixing." not in name)
    shifts = [module for module in activity.network.modules() if isinstance(module, DelayShift)]
    return {
        "macs_dense": dense,
        "macs_as_built": inside + outside,
        "accumulates_as_built": driven,
        "macs_if_spike_driven": None if rate is None else outside,
        "accumulates_if_spike_driven": None if rate is None else driven + rate * inside,
        "spike_fed_share": (dense - inside - outside) / dense,
        "shift_macs": sum(int(torch.count_nonzero(shift.kernel())) for shift in shifts),
    }


def ones_rate(network: SpikeGPT) -> float | None:
    """Share of ones in the embedding; None where it is of real numbers."""
    return network.embedding.ones_rate() if network.embedding.binary else None


def silent_and_saturated(rates: Mapping[str, float]) -> dict[str, str]:
    """Entries of an epoch's record: names of populations that never fired on validation data, and that always did.

    Silent ones pass no gradient on, saturated ones no information.
    """
    return {
        "silent": " ".join(name for name, rate in rates.items() if rate == 0),
        "saturated": " ".join(name for name, rate in rates.items() if rate >= SATURATED),
    }


def warning(history: Sequence[Mapping[str, Any]], recipe: Any) -> str | None:
    """The warning about such populations in the last epoch, with the keys to change.

    None if there are none, or the same as in the epoch before.
    """
    populations = [(row.get("silent"), row.get("saturated")) for row in history[-2:]]
    silent, saturated = populations[-1]
    reasons = [f"{silent} never fired"] if silent else []
    reasons += [f"{saturated} fired in at least {SATURATED:.0%} of all steps"] if saturated else []
    if not reasons or populations[:-1] == populations[-1:]:
        return None
    advice = recipe.remedy(bool(silent))
    return f"epoch {history[-1]['epoch']}: {'; '.join(reasons)} on validation data: {advice}"
