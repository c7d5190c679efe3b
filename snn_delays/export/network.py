"""The discrete network: what is evaluated is what is exported."""

from snn_delays.export.report import DiscretizationReport
from snn_delays.nn import Sequential, SpikingModule


class DiscreteNetwork(Sequential):
    """A network with whole delays and no norms or dropout: evaluated, streamed, drawn and exported.

    A chain of :class:`DelayedLinear` and :class:`DelayedConv2d` (taps "linear", whole delays, nothing trainable),
    neurons, pooling and :class:`Flatten`, under the names of the network it came from. Made for a target that computes
    in whole numbers, its weights are whole codes and its neurons
    :class:`snn_delays.nn.fixed_point.FixedPointLIF`. ``report`` says what was lost.
    """

    def __init__(self, report: DiscretizationReport, **named: SpikingModule) -> None:
        super().__init__(**named)
        self.report = report
        self.requires_grad_(False)
        self.eval()


def nested(layers: dict[str, SpikingModule]) -> dict[str, SpikingModule]:
    """Layers by dotted name as chains within chains."""
    groups: dict[str, dict[str, SpikingModule]] = {}
    for name, layer in layers.items():
        head, _, rest = name.partition(".")
        groups.setdefault(head, {})[rest] = layer
    return {head: inside[""] if "" in inside else Sequential(**nested(inside)) for head, inside in groups.items()}
