"""What discretising a network changed, layer by layer."""

from dataclasses import dataclass


@dataclass(frozen=True)
class LayerReport:
    """What discretising a synapse, and the neurons after it, changed.

    ``delays_clamped``: outside the layer's own window. ``delays_over_limit``: synapses (of a weight) beyond
    ``limit_steps``, the longest delay requested or the target's, and set to it because that was allowed. ``neuron``:
    how decay and threshold were put into integers, empty where they were not or nothing changed.
    """

    name: str
    synapses: int
    delays_rounded: int
    mean_rounding_steps: float
    max_rounding_steps: float
    delays_clamped: int
    taps: str
    sigma_steps: float
    norm_folded: bool
    weight_bits: int | str | None = None
    weight_step: float | None = None
    max_weight_error: float = 0.0
    weights_zeroed: int = 0
    delays_over_limit: int = 0
    limit_steps: int | None = None
    neuron: str = ""

    @property
    def lossless(self) -> bool:
        """Whether the layer computes what it did (folding a norm only moves rounding errors)."""
        changed = self.delays_rounded or self.delays_clamped or self.delays_over_limit or self.max_weight_error
        return not changed and self.taps == "linear" and not self.neuron

    def __str__(self) -> str:
        parts = [
            f"{self.delays_rounded} delays rounded (by {self.mean_rounding_steps:.3f} steps on average, "
            f"{self.max_rounding_steps:.3f} at most)"
        ]
        if self.delays_clamped:
            parts.append(f"{self.delays_clamped} delays brought back into the window")
        if self.delays_over_limit:
            parts.append(f"{self.delays_over_limit} synapses' delays clamped to {self.limit_steps}, as requested")
        if self.taps != "linear":
            parts.append(f"{self.taps} taps of sigma {self.sigma_steps:.3g} replaced by one tap")
        if self.norm_folded:
            parts.append("norm folded")
        bits = ""
        if self.weight_bits is not None:
            bits = self.weight_bits if isinstance(self.weight_bits, str) else f"on {self.weight_bits} bits"
            parts.append(
                f"weights {bits} with step {self.weight_step:g}: error {self.max_weight_error:.3g} at most, "
                f"{self.weights_zeroed} became zero"
            )
        if self.neuron:
            parts.append(self.neuron)
        if self.lossless:
            parts = ["nothing lost" + (f", weights {bits} with step {self.weight_step:g} already" if bits else "")]
        return f"{self.name} ({self.synapses} synapses): " + "; ".join(parts)


@dataclass(frozen=True)
class DiscretizationReport:
    """What :func:`snn_delays.discrete.discretize` lost, layer by layer."""

    layers: tuple[LayerReport, ...]

    @property
    def lossless(self) -> bool:
        """Whether the discrete network computes exactly what the network given did."""
        return all(layer.lossless for layer in self.layers)

    def __str__(self) -> str:
        return "\n".join(str(layer) for layer in self.layers)
