"""The published network assembled from the packages it was published with: ``dcls`` and SpikingJelly."""

from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from experiments.benchmarks.peer_neurons import spikingjelly_lif
from snn_delays.models import ConvolutionalClassifier, DelayClassifier
from snn_delays.nn import (
    BatchNorm,
    BatchNorm2d,
    DelayedConv2d,
    DelayedLinear,
    Dropout,
    Flatten,
    MaxPool2d,
    layers_with_delays,
)

NEVER = 1e9  # the published readout is a LIF whose threshold is never met


def dcls_layer(layer: DelayedLinear) -> Any:
    """``Dcls1d`` with the weights of one of our layers, ``P = K - 1 - K // 2 - delay`` and ``SIG = sigma - 0.27``."""
    from DCLS.construct.modules import Dcls1d

    window = layer.max_delay_steps + 1
    peer = Dcls1d(
        layer.in_features,
        layer.out_features,
        kernel_count=layer.delay_count,
        dilated_kernel_size=window,
        bias=False,
        version="gauss",
    ).to(layer.weight)
    with torch.no_grad():
        peer.weight.copy_(layer.weight)
        peer.P.copy_((layer.max_delay_steps - window // 2 - layer.delay).unsqueeze(0))
        peer.SIG.fill_(float(layer.sigma) - 0.27)
    peer.SIG.requires_grad_(False)
    return peer


def dcls_evaluated(peer: Any) -> Any:
    """Put ``Dcls1d`` into the state of the published evaluation: version "max", no width, rounded positions.

    The version has to be passed to the module and to the builder of its kernel.
    """
    with torch.no_grad():
        peer.P.round_()
        peer.SIG.zero_()
    peer.version = peer.DCK.version = "max"
    return peer


def convolve(peer: Any, x: Tensor, left: int, right: int) -> Tensor:
    """Padded input through a peer's layer; ``[time, batch, neuron]`` both, the peer's own axes in between."""
    current: Tensor = peer(F.pad(x.permute(1, 2, 0), (left, right)))
    return current.permute(2, 0, 1)


class DclsConvolution(nn.Module):
    """``Dcls3_1d`` with the weights of one of our convolutions; positions that weights share are expanded to them."""

    def __init__(self, ours: DelayedConv2d) -> None:
        from DCLS.construct.modules import Dcls3_1d

        super().__init__()
        window = ours.max_delay_steps + 1
        self.weight = nn.Parameter(ours.weight.detach().clone())
        self.P = nn.Parameter(ours.max_delay_steps - window // 2 - ours.delay.detach())
        self.inner = Dcls3_1d(
            ours.in_channels, ours.out_channels, kernel_count=1, dense_kernel_size=ours.kernel_size,
            dilated_kernel_size=window, bias=False, version="gauss",
        ).to(ours.weight)  # fmt: skip
        for name in ("weight", "P", "SIG"):
            delattr(self.inner, name)
        self.sigma, self.padding, self.limit = float(ours.sigma) - 0.27, ours.padding, window // 2
        self.left = ours.max_delay_steps

    def forward(self, x: Tensor) -> Tensor:
        """Current ``[time, batch, map, y, x]``; the peer has time last."""
        down, right = self.padding
        line = F.pad(x.permute(1, 2, 3, 4, 0), (self.left, 0, right, right, down, down))
        weight = self.weight.unsqueeze(-1)
        places = self.P.expand_as(self.weight)[None, ..., None]
        width = places.new_full((), self.sigma).expand_as(places)
        current: Tensor = self.inner._conv_forward(line, weight, None, places, width)
        return current.permute(4, 0, 1, 2, 3)

    @torch.no_grad()
    def clamp_parameters(self) -> None:
        """Positions into the window, as ``Dcls3_1d`` has it."""
        self.P.clamp_(-self.limit, self.limit)


class MapNetwork(nn.Module):
    """Our convolutional network out of ``Dcls3_1d``, ``Dcls1d`` and SpikingJelly's norms, neurons, pools, dropout."""

    def __init__(self, ours: ConvolutionalClassifier, tau_steps: float) -> None:
        from spikingjelly.activation_based import layer

        super().__init__()
        synapses: list[nn.Module] = []
        blocks: list[list[nn.Module]] = []
        for module in ours.modules():
            if isinstance(module, DelayedConv2d):
                synapses.append(DclsConvolution(module))
            elif isinstance(module, DelayedLinear):
                synapses.append(_Along(dcls_layer(module), module.max_delay_steps))
            elif isinstance(module, BatchNorm2d):
                blocks.append([_norm(module, layer.BatchNorm2d, step_mode="m"), spikingjelly_lif(tau_steps)])
            elif isinstance(module, BatchNorm):
                blocks.append([_Last(_norm(module)), spikingjelly_lif(tau_steps)])
            elif isinstance(module, Dropout):
                blocks[-1].append(layer.Dropout(module.p, step_mode="m"))
            elif isinstance(module, MaxPool2d):
                blocks[-1].append(layer.MaxPool2d(module.kernel_size, step_mode="m"))
            elif isinstance(module, Flatten):
                blocks[-1].append(nn.Flatten(2))
        self.blocks = nn.ModuleList(nn.Sequential(*block) for block in blocks)
        self.stages = nn.ModuleList(synapses)
        self.readout = spikingjelly_lif(tau_steps, v_threshold=NEVER, store_v_seq=True)

    @property
    def synapses(self) -> list[Any]:
        """The packages' layers, in the order of ours."""
        return [stage.peer if isinstance(stage, _Along) else stage for stage in self.stages]

    def forward(self, x: Tensor) -> Tensor:
        """Readout membranes ``[time, batch, class]``."""
        from spikingjelly.activation_based import functional

        for synapse, block in zip(self.stages, self.blocks):
            x = block(synapse(x))
        self.readout(self.stages[-1](x))
        v: Tensor = self.readout.v_seq
        functional.reset_net(self)
        return v


class _Along(nn.Module):
    """``Dcls1d`` on ``[time, batch, neuron]``, padded in front."""

    def __init__(self, peer: Any, left: int) -> None:
        super().__init__()
        self.peer, self.left = peer, left

    def forward(self, x: Tensor) -> Tensor:
        return convolve(self.peer, x, self.left, 0)


class _Last(nn.Module):
    """``BatchNorm1d`` on ``[time, batch, neuron]``."""

    def __init__(self, norm: nn.Module) -> None:
        super().__init__()
        self.norm = norm

    def forward(self, x: Tensor) -> Tensor:
        y: Tensor = self.norm(x.flatten(0, 1)).unflatten(0, x.shape[:2])
        return y


class PublishedNetwork(nn.Module):
    """Ours, with ``Dcls1d``, ``BatchNorm1d``, ``LIFNode`` and SpikingJelly's dropout in place of our layers.

    ``right`` steps of silence follow the input of every layer: ``(K - 1) // 2`` in the published code, which makes
    every layer's output that much longer; 0 has both sides process as many steps.
    """

    def __init__(self, ours: DelayClassifier, tau_steps: float, right: int = 0) -> None:
        from spikingjelly.activation_based import layer

        super().__init__()
        synapses = [layer for layer in layers_with_delays(ours).values() if isinstance(layer, DelayedLinear)]
        norms = [module for module in ours.modules() if isinstance(module, BatchNorm)]
        drops = [module.p for module in ours.modules() if isinstance(module, Dropout)]
        self.synapses = nn.ModuleList(dcls_layer(synapse) for synapse in synapses)
        self.norms = nn.ModuleList(_norm(norm) for norm in norms)
        self.neurons = nn.ModuleList(spikingjelly_lif(tau_steps) for _ in norms)
        self.dropouts = nn.ModuleList(layer.Dropout(p, step_mode="m") for p in drops)
        self.readout = spikingjelly_lif(tau_steps, v_threshold=NEVER, store_v_seq=True)
        self.left, self.right = synapses[0].max_delay_steps, right

    def forward(self, x: Tensor) -> Tensor:
        """Readout membranes ``[time, batch, class]``."""
        from spikingjelly.activation_based import functional

        *hidden, last = self.synapses
        for synapse, norm, neuron, dropout in zip(hidden, self.norms, self.neurons, self.dropouts):
            current = synapse(F.pad(x.permute(1, 2, 0), (self.left, self.right)))
            x = dropout(neuron(norm(current).permute(2, 0, 1)))
        self.readout(convolve(last, x, self.left, self.right))
        v: Tensor = self.readout.v_seq
        functional.reset_net(self)
        return v

    def discretized(self) -> "PublishedNetwork":
        """Into the state of the published evaluation, in place: one tap a synapse, running statistics, no dropout."""
        for synapse in self.synapses:
            dcls_evaluated(synapse)
        return self.eval()


def _norm(ours: BatchNorm, kind: Any = nn.BatchNorm1d, **options: Any) -> Any:
    made = kind(ours.num_features, eps=ours.eps, momentum=ours.momentum, **options).to(ours.weight)
    with torch.no_grad():
        for mine, theirs in (
            (made.weight, ours.weight), (made.bias, ours.bias),
            (made.running_mean, ours.running_mean), (made.running_var, ours.running_var),
        ):  # fmt: skip
            assert mine is not None
            mine.copy_(theirs)
    return made
