"""How well a language model predicts a text: over every token of it, under a stated protocol of context.

``"windows"``: the text is cut into windows as long as those in training, each begun from rest, so a token is predicted
from those before it in its window, half a window on average. ``"carried"``: the text is read in few long streams whose
state is carried on, so a token is predicted from all before it in its stream. Either way every token but the first of
the text is predicted exactly once.
"""

import math
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from numpy.typing import NDArray
from torch import Tensor

from snn_delays.data.text import streams, windows
from snn_delays.models.spikegpt import SpikeGPT
from snn_delays.training.activity import Activity, operations

AT_ONCE = 16384  # tokens of a batch in evaluation
STREAMS = 16
PROTOCOLS = ("windows", "carried")


@dataclass(frozen=True)
class TextMeasurement:
    """``nats``: sum over all ``tokens`` predicted, of a text of so many ``bytes``; the text's first token is given.

    ``by_position``: mean nats by place in the window (windows only).
    """

    nats: float
    tokens: int
    bytes: float
    by_position: NDArray[np.float64]
    rates: dict[str, float] = field(default_factory=dict)
    mean_rate: float | None = None
    operations: dict[str, float | None] = field(default_factory=dict)

    @property
    def loss(self) -> float:
        """Mean cross-entropy of a token, in nats."""
        return self.nats / self.tokens

    @property
    def perplexity(self) -> float:
        """Of a token."""
        return math.exp(self.loss)

    @property
    def bits_per_byte(self) -> float:
        """Of the bytes that are predicted; the same for every vocabulary."""
        return self.nats / math.log(2) / self.bytes


@torch.inference_mode()
def measure_text(
    network: SpikeGPT,
    tokens: NDArray[np.int32],
    bytes_of: int,
    context: int,
    *,
    protocol: str = "windows",
    device: torch.device | str = "cpu",
    progress: Callable[[int, int], None] = lambda done, total: None,
) -> TextMeasurement:
    """Predict every token of a text but its first. ``bytes_of``: how many bytes the text has.

    The first token's share of the bytes is left out of those predicted. ``progress`` is called with the
    numbers of tokens done and in all.
    """
    was_training = network.training
    network.eval()
    nats, count = 0.0, 0
    sums, counts = torch.zeros(context, dtype=torch.float64), torch.zeros(context, dtype=torch.float64)
    state: Any = None
    with Activity(network) as activity:
        for x, y, counted in _chunks(tokens, context, protocol):
            activity.counted = counted.to(device)
            logits, after = network(x.to(device), state)
            losses = F.cross_entropy(logits.flatten(0, 1).double(), y.to(device).flatten(), reduction="none")
            losses = losses.view(y.shape).cpu() * counted
            nats, count = nats + float(losses.sum()), count + int(counted.sum())
            progress(count, len(tokens) - 1)
            if protocol == "windows":
                sums[: len(y)] += losses.sum(1)
                counts[: len(y)] += counted.sum(1)
            else:
                state = after
        done = operations(activity)
    network.train(was_training)
    return TextMeasurement(
        nats,
        count,
        bytes_of * count / len(tokens),
        (sums / counts).numpy(),
        activity.rates(),
        activity.mean_rate(),
        done,
    )


def _chunks(tokens: NDArray[np.int32], context: int, protocol: str) -> Iterator[tuple[Tensor, Tensor, Tensor]]:
    if protocol == "windows":
        return windows(tokens, context, max(AT_ONCE // context, 1))
    return streams(tokens, stream_count(tokens), AT_ONCE // STREAMS)


def stream_count(tokens: NDArray[np.int32]) -> int:
    """Streams that a text is cut into under the protocol ``"carried"``."""
    return min(STREAMS, max(len(tokens) - 1, 1))
