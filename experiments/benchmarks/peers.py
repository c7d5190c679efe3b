"""The published network assembled from the packages it was published with: ``dcls`` and SpikingJelly."""

from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from experiments.benchmarks.peer_neurons import spikingjelly_lif
from snn_delays.models import DelayClassifier
from snn_delays.nn import BatchNorm, DelayedLinear, Dropout, layers_with_delays

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


def _norm(ours: BatchNorm) -> nn.BatchNorm1d:
    made = nn.BatchNorm1d(ours.num_features, eps=ours.eps, momentum=ours.momentum).to(ours.weight)
    with torch.no_grad():
        for mine, theirs in (
            (made.weight, ours.weight), (made.bias, ours.bias),
            (made.running_mean, ours.running_mean), (made.running_var, ours.running_var),
        ):  # fmt: skip
            assert mine is not None
            mine.copy_(theirs)
    return made
