"""The classifier with learned delays, in all its published sizes, feed-forward or recurrent."""

from itertools import pairwise
from typing import TYPE_CHECKING, Any

import torch
from torch import nn

from snn_delays.arguments import integer
from snn_delays.errors import ConfigError
from snn_delays.models.blocks import Blocks, widths
from snn_delays.nn import DelayedLayer, Sequential
from snn_delays.nn.specs import DelaySpec, Device, NetworkOptions, NeuronSpec, network_specs

if TYPE_CHECKING:
    from typing_extensions import Unpack

_SHD = {"in_features": 140, "classes": 20, "max_delay_steps": 24, "tau_steps": 1.005, "dropout": 0.4}
_SSC = {"in_features": 140, "classes": 35, "max_delay_steps": 30, "tau_steps": 1.5, "dropout": 0.25}

# Hammouamri et al., ICLR 2024: the networks of the paper at 10 ms a step (windows of 25 and 31 steps). Those of SSC
# serve Speech Commands too, and their headline results are those with two synapses a pair (2kc).
PUBLISHED: dict[str, dict[str, Any]] = {
    "hammouamri_2024_shd_2x256": {**_SHD, "hidden": (256, 256)},
    "hammouamri_2024_ssc_2x512_2kc": {**_SSC, "hidden": (512, 512), "delay_count": 2},
    "hammouamri_2024_ssc_3x512": {**_SSC, "hidden": (512, 512, 512)},
    "hammouamri_2024_ssc_3x512_2kc": {**_SSC, "hidden": (512, 512, 512), "delay_count": 2},
}


class DelayClassifier(Sequential):
    """Spikes in, readout membranes out: hidden layers of delayed synapses, norm, LIF, dropout; then leaky integrators.

    Args:
        in_features: input channels.
        hidden: neurons of each hidden layer.
        classes: readout neurons.
        delays: of every layer; ``max_delay_steps=0`` gives the network without delays, ``learn_delay=False`` one whose
            delays stay random integers.
        neurons: of every hidden layer; the readout has their time constant.
        recurrent: every hidden population also receives its own spikes (:class:`snn_delays.nn.Recurrent`), through
            delays of at least one step, and of exactly one where ``max_delay_steps`` is 0.
        dropout: probability of silencing a hidden neuron for a whole sample.
        device, dtype: of the parameters.
        options: fields of :class:`snn_delays.nn.DelaySpec` and :class:`snn_delays.nn.NeuronSpec` by keyword, as in
            ``DelayClassifier(140, (256, 256), 20, max_delay_steps=24, tau_steps=1.005)``.

    Children: ``hidden1``, ``hidden2``, ... each with ``synapse``, ``norm``, ``neuron``, ``dropout``; ``readout`` with
    ``synapse``, ``integrator``. A recurrent ``neuron`` has ``synapse`` and ``neuron`` inside. Shapes:
    ``[time, batch, in_features]`` to ``[time, batch, classes]``.

    Source: Hammouamri et al., ICLR 2024, section 3. There each layer adds ``(K - 1) // 2`` steps to the sequence; here
    none does, and the network runs on after a sample's end instead (``tail_steps``).
    """

    computes_as = Sequential

    def __init__(
        self,
        in_features: int,
        hidden: tuple[int, ...],
        classes: int,
        delays: DelaySpec | None = None,
        neurons: NeuronSpec | None = None,
        *,
        recurrent: bool = False,
        dropout: float = 0.0,
        device: Device = None,
        dtype: torch.dtype | None = None,
        **options: "Unpack[NetworkOptions]",
    ) -> None:
        in_features, classes = integer("in_features", in_features, 1), integer("classes", classes, 1)
        hidden = widths("hidden", hidden)
        if not hidden:
            raise ConfigError("hidden must name at least one layer, as in hidden=(256, 256)")
        delays, neurons = network_specs(delays, neurons, dict(options))
        build = Blocks(delays, neurons, dropout, recurrent, {"device": device, "dtype": dtype})
        layers = {
            f"hidden{i}": build.hidden(build.linear(inputs, outputs))
            for i, (inputs, outputs) in enumerate(pairwise((in_features, *hidden)), 1)
        }
        super().__init__(**layers, readout=build.readout(hidden[-1], classes))

    @classmethod
    def published(cls, name: str, **changes: Any) -> "DelayClassifier":
        """A published network by name (see ``PUBLISHED``), with any argument changed."""
        if name not in PUBLISHED:
            raise ConfigError(f"no published network {name!r}; there are {', '.join(PUBLISHED)}")
        return cls(**{"delay_init": "hammouamri_2024", **PUBLISHED[name], **changes})


def delayed_layers(network: nn.Module) -> dict[str, DelayedLayer]:
    """Every delayed synapse of a network, linear or convolutional, by its dotted name."""
    return {name: module for name, module in network.named_modules() if isinstance(module, DelayedLayer)}
