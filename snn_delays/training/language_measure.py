"""How well a network reads text: a language model every token, a classifier every sentence.

A language model predicts tokens under a stated protocol of context. ``"windows"``: the text is cut into windows as long
as those in training, each begun from rest, so a token is predicted from those before it in its window, half a window on
average. ``"carried"``: the text is read in few long streams whose state is carried on, so a token is predicted from all
before it in its stream. Either way every token but the first of the text is predicted exactly once.
"""

import math
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from numpy.typing import NDArray
from torch import Tensor

from snn_delays.data.batches import Indices, sample_indices
from snn_delays.data.text import pad, streams, windows
from snn_delays.models.spikegpt import SpikeGPT, SpikeGPTClassifier
from snn_delays.training.activity import Activity, operations
from snn_delays.training.objective import valid_steps

AT_ONCE = 16384  # tokens of a batch in evaluation
STREAMS = 16
PROTOCOLS = ("windows", "carried")


@dataclass(frozen=True, kw_only=True)
class Watched:
    """What a network did: spikes per neuron and token by population and of all neurons, and operations a token."""

    rates: dict[str, float] = field(default_factory=dict)
    mean_rate: float | None = None
    operations: dict[str, float | None] = field(default_factory=dict)


@dataclass(frozen=True)
class TextMeasurement(Watched):
    """``nats``: sum over all ``tokens`` predicted, of a text of so many ``bytes``; the text's first token is given.

    ``by_position``: mean nats by place in the window (windows only).
    """

    nats: float
    tokens: int
    bytes: float
    by_position: NDArray[np.float64]

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
    """Predict every token of a text of ``bytes_of`` bytes but its first, whose share of the bytes is left out.

    ``progress`` is called with the numbers of tokens done and in all.
    """
    nats, count, state = 0.0, 0, None
    sums, counts = torch.zeros(2, context, dtype=torch.float64)
    if protocol == "windows":
        chunks = windows(tokens, context, max(AT_ONCE // context, 1))
    else:
        chunks = streams(tokens, stream_count(tokens), AT_ONCE // STREAMS)
    with Activity(network) as activity:
        for x, y, counted in chunks:
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
        watched = _watched(activity)
    return TextMeasurement(nats, count, bytes_of * count / len(tokens), (sums / counts).numpy(), **watched)


def stream_count(tokens: NDArray[np.int32]) -> int:
    """Streams that a text is cut into under the protocol ``"carried"``."""
    return min(STREAMS, max(len(tokens) - 1, 1))


def _watched(activity: Activity) -> dict[str, Any]:
    return {"rates": activity.rates(), "mean_rate": activity.mean_rate(), "operations": operations(activity)}


@dataclass(frozen=True)
class Encoded:
    """Sentences as tokens, and their classes ``[n]``."""

    tokens: list[NDArray[np.int32]]
    labels: Tensor

    @property
    def lengths(self) -> NDArray[np.int64]:
        """Tokens of each sentence."""
        return np.array([len(each) for each in self.tokens])

    def batch(self, chosen: Indices, device: torch.device | str) -> tuple[Tensor, Tensor, Tensor]:
        """Tokens ``[time, batch]``, which of them are no padding, and classes."""
        chosen = sample_indices(chosen, len(self.tokens))
        tokens, lengths = pad([self.tokens[i] for i in chosen])
        valid = valid_steps(lengths, len(tokens))
        return tokens.to(device), valid.to(device), self.labels[chosen].to(device)


@dataclass(frozen=True)
class SentenceMeasurement(Watched):
    """Mean cross-entropy, and accuracy."""

    loss: float
    accuracy: float


@torch.inference_mode()
def measure_sentences(
    network: SpikeGPTClassifier, sentences: Encoded, device: torch.device | str, batch: int = 64
) -> SentenceMeasurement:
    """Measure a network on sentences; every sentence weighs the same."""
    order = sorted(range(len(sentences.tokens)), key=lambda i: len(sentences.tokens[i]))
    total, right = 0.0, 0
    with Activity(network) as activity:
        for begin in range(0, len(order), batch):
            tokens, activity.counted, labels = sentences.batch(order[begin : begin + batch], device)
            scores, _ = network(tokens, None, activity.counted)
            total += float(F.cross_entropy(scores.double(), labels, reduction="sum"))
            right += int((scores.argmax(1) == labels).sum())
        watched = _watched(activity)
    return SentenceMeasurement(total / len(order), right / len(order), **watched)
