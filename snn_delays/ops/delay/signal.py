"""The input of a delay layer and what went before it.

Where nothing went before, no silence is put in front of the input: backends know that it is there.
"""

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor


def joined(x: Tensor, history: Tensor | None, max_delay_steps: int) -> Tensor:
    """``[max_delay_steps + time, batch, in]``: the history, or silence, followed by the input."""
    if max_delay_steps == 0:
        return x
    return torch.cat([x.new_zeros(max_delay_steps, *x.shape[1:]) if history is None else history, x])


def with_past(x: Tensor, history: Tensor | None) -> tuple[Tensor, int]:
    """The input after its history, if there is any, and the number of steps of that history."""
    if history is None or history.shape[0] == 0:
        return x, 0
    return torch.cat([history, x]), history.shape[0]


def last_steps(x: Tensor, history: Tensor | None, max_delay_steps: int) -> Tensor:
    """The last ``max_delay_steps`` inputs, in memory of their own, so that they do not keep the whole input."""
    if x.shape[0] >= max_delay_steps:
        return x[x.shape[0] - max_delay_steps :].clone()
    return joined(x, history, max_delay_steps)[x.shape[0] :]


def in_window(
    operation: Callable[..., tuple[Tensor, Tensor]],
    x: Tensor,
    history: Tensor | None,
    weight: Tensor,
    delay: Tensor,
    sigma: Tensor | None,
    *,
    min_delay_steps: int,
    max_delay_steps: int,
    **options: Any,
) -> tuple[Tensor, Tensor]:
    """Current and history by an operation whose window begins at 0, for one that begins at ``min_delay_steps``.

    It is given the input as much later and the delays as much shorter, so that no tap reaches a shorter lag.
    """
    least, spread = min_delay_steps, max_delay_steps - min_delay_steps
    if not least:
        return operation(x, weight, delay, sigma, history, max_delay_steps=spread, **options)
    before = x.new_zeros(least, *x.shape[1:]) if history is None else history[spread:]
    delayed, waiting = torch.cat([before, x]).split([len(x), least])
    early = None if history is None else history[:spread]
    current, early = operation(delayed, weight, delay - least, sigma, early, max_delay_steps=spread, **options)
    return current, torch.cat([early, waiting])
