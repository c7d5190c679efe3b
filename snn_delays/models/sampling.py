"""Drawing the next token from the logits of a language model."""

import math

import torch
from torch import Tensor

from snn_delays.arguments import real
from snn_delays.errors import ConfigError, ShapeError, TrainingError

# What float64 sums of probabilities can be wrong by: a set this close to top_p has reached it.
_ROUNDING = 1e-12


def sample(logits: Tensor, *, temperature: float, top_p: float, generator: torch.Generator | None = None) -> Tensor:
    """One token for every row of logits: a draw from the nucleus of their softmax, or the largest at temperature 0.

        p = softmax(logits / temperature),   nucleus = fewest most likely tokens whose p sums to at least top_p

    ``logits``: ``[batch, vocab]``, on any device; the result, ``[batch]`` int64, is on the same one. ``temperature``:
    >= 0. ``top_p``: 0 < top_p <= 1; 1 keeps all tokens, and one token is always kept. Of tokens equally likely, the
    lower number comes first. ``generator``: where the chance comes from (torch's default one if none); each row takes
    one number of it, none at temperature 0. All is computed in float64 on the CPU, so that one seed yields one text.

    Raises ConfigError for another temperature or top_p, ShapeError for logits that are no such matrix, TrainingError
    for logits that are not finite. Source: nucleus (top-p) sampling, Holtzman et al. 2020, arXiv 1904.09751.
    """
    check_options(temperature, top_p)
    if logits.ndim != 2 or logits.shape[1] == 0 or not logits.is_floating_point():
        raise ShapeError(
            f"logits must be floating-point numbers [batch, vocab], got {logits.dtype} of shape {tuple(logits.shape)}"
        )
    scores = logits.detach().cpu().double()
    if not bool(scores.isfinite().all()):
        row, token = (~scores.isfinite()).nonzero()[0].tolist()
        raise TrainingError(
            f"the network's logits are not finite ({scores[row, token]:g} for token {token}, row {row}), so "
            f"no token can be drawn: its weights or its state have diverged; use an earlier checkpoint, or train again "
            f"with a smaller learning rate"
        )
    if temperature == 0:
        return scores.argmax(1).to(logits.device)
    # The maximum goes first: dividing by a tiny temperature then yields 0 and -inf, never infinity less infinity.
    p = ((scores - scores.amax(1, keepdim=True)) / temperature).softmax(1)
    p, tokens = p.sort(dim=1, descending=True, stable=True)
    reached = p.cumsum(1)
    kept = p > 0
    if top_p < 1:
        kept &= reached - p < top_p - _ROUNDING  # those before it do not reach top_p yet
        kept[:, 0] = True
    reached = (p * kept).cumsum(1)
    place = generator.device if generator is not None else "cpu"
    chance = torch.rand(len(p), 1, dtype=torch.float64, generator=generator, device=place).cpu()
    drawn = torch.searchsorted(reached, chance * reached[:, -1:], right=True)
    last = kept.sum(1, keepdim=True) - 1
    return tokens.gather(1, torch.minimum(drawn, last))[:, 0].to(logits.device)


def check_options(temperature: float, top_p: float) -> None:
    """Raise ConfigError for a temperature or a top_p that cannot be."""
    temperature, top_p = real("temperature", temperature), real("top_p", top_p)
    if not (math.isfinite(temperature) and temperature >= 0):
        raise ConfigError(
            f"temperature must be a finite number >= 0 (0 takes the likeliest token, 1 leaves the probabilities as "
            f"they are), got {temperature}"
        )
    if not 0 < top_p <= 1:
        raise ConfigError(f"top_p must be above 0 and at most 1 (1 keeps every token), got {top_p}")
