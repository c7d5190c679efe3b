"""A GPT without spikes, of the size of ours: softmax attention by torch's own kernel, generation with a cache."""

from typing import NamedTuple

import torch.nn.functional as F
from torch import Tensor, nn


class Cache(NamedTuple):
    """Keys and values of the tokens so far, ``[layer, batch, head, position, feature]``, as long as the context."""

    keys: Tensor
    values: Tensor


class SoftmaxBlock(nn.Module):
    """Attention to the past and a GELU layer of four times the width, each after a layer norm; no biases."""

    def __init__(self, features: int, heads: int) -> None:
        super().__init__()
        self.heads = heads
        self.norm_attention, self.norm_mlp = (nn.LayerNorm(features, bias=False) for _ in range(2))
        self.qkv = nn.Linear(features, 3 * features, bias=False)
        self.out = nn.Linear(features, features, bias=False)
        self.up = nn.Linear(features, 4 * features, bias=False)
        self.down = nn.Linear(4 * features, features, bias=False)

    def forward(self, x: Tensor, cache: Cache | None, start: int) -> Tensor:
        """The stream ``[batch, time, features]`` with both halves added; keys and values go into the cache."""
        steps = x.shape[1]
        q, k, v = self.qkv(self.norm_attention(x)).unflatten(2, (3, self.heads, -1)).permute(2, 0, 3, 1, 4)
        if cache is not None:
            end = start + steps
            cache.keys[:, :, start:end], cache.values[:, :, start:end] = k, v
            k, v = cache.keys[:, :, :end], cache.values[:, :, :end]
        y = F.scaled_dot_product_attention(q, k, v, is_causal=steps > 1)
        x = x + self.out(y.transpose(1, 2).flatten(2))
        return x + self.down(F.gelu(self.up(self.norm_mlp(x))))


class SoftmaxGPT(nn.Module):
    """A GPT with learned positions, its head a matrix of its own, as in ours."""

    def __init__(self, tokens: int, features: int, layers: int, heads: int, positions: int) -> None:
        super().__init__()
        self.cached = layers, heads, positions, features // heads
        self.embedding, self.position = nn.Embedding(tokens, features), nn.Embedding(positions, features)
        self.blocks = nn.ModuleList(SoftmaxBlock(features, heads) for _ in range(layers))
        self.norm_out = nn.LayerNorm(features, bias=False)
        self.head = nn.Linear(features, tokens, bias=False)

    def forward(self, tokens: Tensor, cache: Cache | None = None, start: int = 0) -> Tensor:
        """Logits ``[batch, time, token]`` for tokens ``[batch, time]``, the first at position ``start``.

        With a cache: a whole prompt from position 0 on, or a single token at any.
        """
        assert start == 0 or tokens.shape[1] == 1, "attention to a cache takes one token at a time"
        x = self.embedding(tokens) + self.position.weight[start : start + tokens.shape[1]]
        for i, block in enumerate(self.blocks):
            x = block(x, None if cache is None else Cache(cache.keys[i], cache.values[i]), start)
        logits: Tensor = self.head(self.norm_out(x))
        return logits

    def cache(self, batch: int) -> Cache:
        """Room for the keys and values of as many tokens as there are positions."""
        layers, *rest = self.cached
        return Cache(*(self.position.weight.new_zeros(layers, batch, *rest) for _ in range(2)))
