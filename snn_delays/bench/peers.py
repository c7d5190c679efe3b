"""The published network assembled from the packages it was published with: ``dcls`` and SpikingJelly."""

from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from snn_delays.models import DelayClassifier
from snn_delays.models.classifier import delayed_layers
from snn_delays.nn import DelayedLinear


def dcls_layer(layer: DelayedLinear) -> nn.Module:
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


def spikingjelly_lif(tau_steps: float) -> Any:
    """``LIFNode`` as published: multi-step, no input decay, hard detached reset, ATan of 5."""
    from spikingjelly.activation_based import neuron, surrogate

    return neuron.LIFNode(
        tau=tau_steps,
        decay_input=False,
        v_threshold=1.0,
        v_reset=0.0,
        detach_reset=True,
        surrogate_function=surrogate.ATan(5.0),
        step_mode="m",
    )


class PublishedNetwork(nn.Module):
    """Ours, with ``Dcls1d``, ``BatchNorm1d`` and ``LIFNode`` in place of our layers; causal padding only, no dropout.

    The published code also pads ``(K - 1) // 2`` steps on the right of every layer; they are left out, so that both
    sides process as many steps.
    """

    def __init__(self, ours: DelayClassifier, tau_steps: float) -> None:
        super().__init__()
        synapses = list(delayed_layers(ours).values())
        self.synapses = nn.ModuleList(dcls_layer(layer) for layer in synapses)
        self.norms = nn.ModuleList(nn.BatchNorm1d(layer.out_features).to(layer.weight) for layer in synapses[:-1])
        self.neurons = nn.ModuleList(spikingjelly_lif(tau_steps) for _ in synapses[:-1])
        self.decay = 1 - 1 / tau_steps
        self.left = synapses[0].max_delay_steps

    def forward(self, x: Tensor) -> Tensor:
        """Readout membranes ``[time, batch, class]``."""
        from spikingjelly.activation_based import functional

        for i, synapse in enumerate(self.synapses):
            current = synapse(F.pad(x.permute(1, 2, 0), (self.left, 0)))
            if i == len(self.norms):
                break
            x = self.neurons[i](self.norms[i](current).permute(2, 0, 1))
        functional.reset_net(self)
        v, trace = torch.zeros_like(current[..., 0]), []
        for step in current.permute(2, 0, 1).unbind(0):
            v = self.decay * v + step
            trace.append(v)
        return torch.stack(trace)
