"""The cases of convolutions with delays: a layer, and a training step of the network of the recipes of N-MNIST."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from experiments.benchmarks import peers
from experiments.benchmarks.delay_cases import Contender, layer_case
from experiments.benchmarks.network_cases import Setting, training_case
from experiments.benchmarks.run import Case
from experiments.benchmarks.sides import missing, spikes
from experiments.benchmarks.sizes import Sizes
from snn_delays.models import ConvolutionalClassifier
from snn_delays.nn import DelayedConv2d

DIGITS, POLARITIES, PADDING = 10, 2, 1
SIGMA_STEPS, TAU_STEPS = 5.0, 2.0  # midway through training; the recipes' 20 ms


@dataclass(frozen=True)
class MapSetting(Setting):
    """The network of the recipes of N-MNIST. ``group``: pixels along each axis that are one, as in ``channel_group``.

    With 1 it is that of ``nmnist_delays.toml``, with 2 of ``nmnist_subset.toml``.
    """

    group: int = 1

    classes = DIGITS

    def network(self, dropout: float = 0.0, hidden: tuple[int, ...] | None = None) -> ConvolutionalClassifier:
        """Ours, always with the same parameters."""
        sizes = self.sizes.maps
        return self._network(sizes.side // self.group, sizes.maps, hidden or sizes.hidden, dropout)

    def narrow(self) -> Any:
        """At the size of the checks in float64."""
        sizes = self.sizes.maps
        return self._network(sizes.check_side, sizes.check_maps, self.sizes.check_hidden[:1], 0.0)

    def signal(self, batch: int, device: torch.device, steps: int | None = None) -> Tensor:
        """Input spikes; fewer steps are those of the checks, on fewer pixels."""
        side = self.sizes.maps.side // self.group if steps is None else self.sizes.maps.check_side
        flat = spikes(steps or self.steps, batch, POLARITIES * side**2, device)
        return flat.unflatten(2, (POLARITIES, side, side))

    def peer(self, ours: ConvolutionalClassifier, right: int) -> nn.Module:
        """A network of ours out of ``Dcls3_1d``, ``Dcls1d`` and SpikingJelly's layers."""
        return peers.MapNetwork(ours, self.tau_steps)

    def _network(self, side: int, maps: Sequence[int], hidden: Sequence[int], dropout: float) -> Any:
        torch.manual_seed(0)
        return ConvolutionalClassifier(
            (POLARITIES, side, side), tuple(maps), tuple(hidden), DIGITS, kernel_size=5 if self.group == 1 else 3,
            padding=PADDING, sharing="channel", max_delay_steps=self.window - 1, sigma_steps=self.sigma_steps,
            tau_steps=self.tau_steps, dropout=dropout,
        )  # fmt: skip

    def __str__(self) -> str:
        side, kernel = self.sizes.maps.side // self.group, 5 if self.group == 1 else 3
        blocks = "-".join(f"{maps}c{kernel}p2" for maps in self.sizes.maps.maps)
        widths = "-".join(map(str, (*self.sizes.maps.hidden, self.classes)))
        shape = f"{POLARITIES}x{side}x{side}-{blocks}-{widths}, a delay for each pair of maps"
        return f"{shape}, K={self.window}, T={self.steps}, B={self.batch}, float32, input at 5 %"


def conv_training_step(group: int, sizes: Sizes, device: torch.device) -> Case:
    """Forward, loss, backward, Adam and clamp of the network of the recipes of N-MNIST."""
    few = sizes.maps
    setting = MapSetting(sizes, few.steps, few.batch, few.window, TAU_STEPS, SIGMA_STEPS, group)
    what = "N-MNIST" if group == 1 else f"N-MNIST, squares of {group} x {group} pixels"
    return training_case(f"training step of the convolutional network of {what}", setting, device, (0,))


def conv_layer(sizes: Sizes, device: torch.device) -> Case:
    """Forward and backward of that network's second convolution."""
    few = sizes.maps
    (inputs, outputs), side, kernel = few.maps, (few.side - 2) // 2, 5
    torch.manual_seed(0)
    layer = DelayedConv2d(
        inputs, outputs, kernel, max_delay_steps=few.window - 1, sigma_steps=SIGMA_STEPS, sharing="channel",
        padding=PADDING,
    ).to(device)  # fmt: skip
    x = spikes(few.steps, few.batch, inputs * side**2, device).unflatten(2, (inputs, side, side)).requires_grad_()
    plain = nn.Conv2d(inputs, outputs, kernel, padding=PADDING, bias=False, device=device)

    def in_space(x: Tensor) -> Tensor:
        return plain(x.flatten(0, 1)).unflatten(0, x.shape[:2])

    dense = DenseConvolution(layer)
    how = "the kernel of all taps built in plain torch, [batch, map, time, y, x] in between"
    others = [Contender("torch conv3d", how, dense, (dense.weight, dense.delay))]
    line = missing("dcls")
    if not line:
        peer = peers.DclsConvolution(layer)
        how = "gauss, SIG = sigma - 0.27, P shared over the kernel, causal padding"
        others.append(Contender("dcls Dcls3_1d", how, peer, (peer.weight, peer.P), (1, -1)))
    floor = Contender("torch Conv2d (floor)", "no delays: what the layer would cost at best", in_space, (plain.weight,))
    shape = f"T={few.steps}, B={few.batch}, {inputs}x{side}x{side} -> {outputs} maps of 5 x 5 kernels"
    title = "convolution with delays, forward + backward"
    return layer_case(title, layer, x, shape, others, floor, sizes, True, [line] if line else [])


class DenseConvolution(nn.Module):
    """What one writes without a package: the kernel of all taps, and ``torch.nn.functional.conv3d``."""

    def __init__(self, ours: DelayedConv2d) -> None:
        super().__init__()
        self.weight = nn.Parameter(ours.weight.detach().clone())
        self.delay = nn.Parameter(ours.delay.detach().clone())
        self.sigma, self.longest, self.padding = float(ours.sigma), ours.max_delay_steps, ours.padding

    def forward(self, x: Tensor) -> Tensor:
        """Current ``[time, batch, map, y, x]``."""
        lag = torch.arange(self.longest, -1, -1, device=x.device).view(-1, 1, 1, 1, 1)
        taps = torch.exp(-0.5 * ((lag - self.delay) / self.sigma) ** 2)
        kernel = (self.weight * taps / (taps.sum(0) + 1e-7)).permute(1, 2, 0, 3, 4)
        line = F.pad(x.permute(1, 2, 0, 3, 4), (0, 0, 0, 0, self.longest, 0))
        return F.conv3d(line, kernel, padding=(0, *self.padding)).permute(2, 0, 1, 3, 4)
