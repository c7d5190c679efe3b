"""What a spiking language model does while it runs: spikes of its neurons, and what its matrices are fed with."""

from dataclasses import dataclass
from types import TracebackType
from typing import Any

import torch
from torch import Tensor, nn

from snn_delays.models.spikegpt import SpikeGPT
from snn_delays.nn.delay_shift import DelayShift
from snn_delays.nn.neuron import LIF
from snn_delays.nn.rwkv import SpikingEmbedding


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
    """Watches a network in a ``with`` block, and counts tokens that ``counted`` marks (bool ``[time, batch]``)."""

    def __init__(self, network: nn.Module) -> None:
        self.network = network
        self.counted: Tensor | None = None
        self.spikes: dict[str, float] = {}
        self.places: dict[str, int] = {}
        self.fed: dict[str, Fed] = {}
        self._hooks: list[Any] = []

    def __enter__(self) -> "Activity":
        for name, module in self.network.named_modules():
            if isinstance(module, LIF) or (isinstance(module, SpikingEmbedding) and module.binary):
                self._hooks.append(module.register_forward_hook(self._fired(name)))
            elif isinstance(module, nn.Linear):
                self.fed[name] = Fed(module.in_features, module.out_features)
                self._hooks.append(module.register_forward_hook(self._multiplied(name)))
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        for hook in self._hooks:
            hook.remove()

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

    def _fired(self, name: str) -> Any:
        def hook(module: nn.Module, args: Any, output: tuple[Tensor, Any]) -> None:
            rows = self._rows(output[0])
            self.spikes[place] = self.spikes.get(place, 0.0) + float(rows.sum())
            self.places[place] = self.places.get(place, 0) + rows.numel()

        place = population(name)
        return hook

    def _multiplied(self, name: str) -> Any:
        def hook(module: nn.Module, args: tuple[Tensor], output: Tensor) -> None:
            rows, fed = self._rows(args[0]), self.fed[name]
            nonzero = int(torch.count_nonzero(rows))
            fed.seen += rows.numel()
            fed.nonzero += nonzero
            fed.spikes_only &= nonzero == int((rows == 1).sum())

        return hook


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
    blocks = {name for name, _ in matrices if ".mixing." in name}
    rate = activity.mean_rate()
    dense = sum(fed.macs for _, fed in matrices)
    real = [(name, fed) for name, fed in matrices if not fed.spikes_only]
    driven = sum(fed.macs * fed.rate for _, fed in matrices if fed.spikes_only)
    shifts = [m for m in activity.network.modules() if isinstance(m, DelayShift)]
    return {
        "macs_dense": dense,
        "macs_as_built": sum(fed.macs for _, fed in real),
        "accumulates_as_built": driven,
        "macs_if_spike_driven": None if rate is None else sum(fed.macs for name, fed in real if name not in blocks),
        "accumulates_if_spike_driven": None
        if rate is None
        else driven + rate * sum(fed.macs for name, fed in real if name in blocks),
        "spike_fed_share": sum(fed.macs for _, fed in matrices if fed.spikes_only) / dense,
        "shift_macs": sum(int(torch.count_nonzero(shift.kernel())) for shift in shifts),
    }


def ones_rate(network: SpikeGPT) -> float | None:
    """Share of ones in the embedding; None where it is of real numbers."""
    return network.embedding.ones_rate() if network.embedding.binary else None
