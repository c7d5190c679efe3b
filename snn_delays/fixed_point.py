"""The integers of neurons as chips compute them: sizes in bits, decays as fractions of a power of two."""

from dataclasses import dataclass

from snn_delays.arguments import integer, real
from snn_delays.errors import ConfigError

# Least and most: float64, in which they are computed, is exact below 2^53.
LIMITS = {"decay_bits": (0, 52), "weight_shift": (0, 52), "state_bits": (2, 53)}


@dataclass(frozen=True)
class FixedPoint:
    r"""The integers of a population.

    .. math::
        h_t &= \operatorname{trunc}\left(v_{t-1}\, k / 2^F\right) + 2^S x_t + b \qquad
               |h_t| \le 2^{B-1} - 1 \text{ (saturates)} \\
        s_t &= h_t > \theta \text{ (strict), else } h_t \ge \theta

    and ``v`` is then 0 (hard) or ``h - theta`` (soft) where ``s``. ``x`` is the sum of integer weights; membranes rest
    at 0.

    Attributes:
        decay_code: ``k``, 0..2^F; ``k / 2^F`` is the decay of a step.
        decay_bits: ``F``.
        weight_shift: ``S``, bits by which currents are shifted left into membranes.
        state_bits: ``B``, of the membrane, sign included.
        threshold: ``theta``, in units of the membrane.
        reset: ``"hard"`` or ``"soft"``.
        strict: fire only above the threshold, not at it.
        scale: what one unit of the membrane is worth in the units of the network it came from.
    """

    decay_code: int
    threshold: int
    scale: float
    decay_bits: int = 12
    weight_shift: int = 6
    state_bits: int = 24
    reset: str = "hard"
    strict: bool = True

    def __post_init__(self) -> None:
        for name in ("decay_code", "threshold", "decay_bits", "weight_shift", "state_bits"):
            object.__setattr__(self, name, integer(name, getattr(self, name), *LIMITS.get(name, ())))
        object.__setattr__(self, "scale", real("the scale of the membrane", self.scale, above=0))
        limit = 2 ** (self.state_bits - 1) - 1
        if not 0 <= self.decay_code <= 2**self.decay_bits:
            raise ConfigError(f"decay_code must lie in 0..{2**self.decay_bits}, got {self.decay_code}")
        if not 0 < self.threshold <= limit:
            raise ConfigError(
                f"the threshold must lie in 1..{limit} (state_bits {self.state_bits}), got {self.threshold}"
            )
        if self.reset not in ("hard", "soft"):
            raise ConfigError(f"reset must be 'hard' or 'soft', got {self.reset!r}")

    @property
    def limit(self) -> int:
        """Largest magnitude of a membrane."""
        return int(2 ** (self.state_bits - 1) - 1)
