"""What every state has in common: a NamedTuple that ``torch.load`` takes by its default, ``weights_only=True``."""

from typing import TypeVar

import torch

State = TypeVar("State", bound=type[tuple])


def loadable(state: State) -> State:
    """Class decorator: the NamedTuple may be in a file that ``torch.load`` opens with ``weights_only=True``."""
    torch.serialization.add_safe_globals([state])
    return state
