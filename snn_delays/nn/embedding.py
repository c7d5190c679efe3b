"""Tokens to spikes."""

import torch
from torch import Tensor, nn

from snn_delays.arguments import integer
from snn_delays.errors import ShapeError
from snn_delays.nn.door import TOKENS, check_device, check_stateless, check_tensor
from snn_delays.nn.module import SpikingModule
from snn_delays.nn.specs import Device
from snn_delays.ops.surrogate import ATan, Surrogate, checked_surrogate, spike


class SpikingEmbedding(SpikingModule):
    r"""A pattern of spikes for every token, learned.

    .. math:: y_t[c] = \Theta(E[\text{token}_t, c])

    with a surrogate gradient in place of the step's; zero fires. ``binary=False`` returns the numbers themselves, the
    embedding of a network that does not spike.

    Args:
        tokens: size of the vocabulary.
        features: neurons.
        binary: fire or not, else real numbers.
        surrogate: derivative in place of the step's, ``ATan(2)`` by default.
        device, dtype: of the weight.

    Attributes: ``weight`` ``[tokens, features]``, standard normal.

    Shapes: int64 ``[time, batch]``, each in ``0..tokens - 1``, to ``[time, batch, features]``; no state.

    Raises ShapeError for an input that is not integers ``[time, batch]``, or a token outside the vocabulary (on the
    CPU; an accelerator is not stalled to look).

    Source: Zhu et al., TMLR 2024 (SpikeGPT), section 3.1, and the code published with it.
    """

    def __init__(
        self,
        tokens: int,
        features: int,
        *,
        binary: bool = True,
        surrogate: Surrogate | None = None,
        device: Device = None,
        dtype: torch.dtype | None = None,
    ) -> None:
        super().__init__()
        self.tokens, self.features, self.binary = integer("tokens", tokens, 1), integer("features", features, 1), binary
        self.surrogate = checked_surrogate(surrogate, ATan(2.0))
        self.weight = nn.Parameter(torch.randn(self.tokens, self.features, device=device, dtype=dtype))

    def forward(self, x: Tensor, state: None = None) -> tuple[Tensor, None]:
        """Spikes; there is no state."""
        check_stateless(self, state)
        check_tensor(self, x, TOKENS)
        if x.dtype not in (torch.int64, torch.int32):
            raise ShapeError(
                f"tokens must be integers [time, batch], int64 or int32, got {x.dtype} of shape {tuple(x.shape)}"
            )
        check_device(self, x, self.weight)
        looked_at = x.device.type == "cpu" and x.numel() and not torch.compiler.is_compiling()
        if looked_at and not 0 <= int(x.min()) <= int(x.max()) < self.tokens:
            raise ShapeError(
                f"the tokens reach from {int(x.min())} to {int(x.max())}, the vocabulary has {self.tokens}: encode the "
                "text with the vocabulary the network was made for"
            )
        drawn = nn.functional.embedding(x, self.weight)
        return (spike(drawn, self.surrogate) if self.binary else drawn), None

    @torch.no_grad()
    def ones_rate(self) -> float:
        """Share of neurons that fire, over all tokens alike: at its extremes, tokens can no longer be told apart."""
        return float((self.weight >= 0).double().mean())

    def extra_repr(self) -> str:
        """Arguments as one would write them."""
        return f"{self.tokens}, {self.features}, binary={self.binary}, surrogate={self.surrogate}"
