"""Text from a trained language model, a token at a time: the code it was trained with, on chunks of one."""

from collections.abc import Iterator
from typing import Any

import torch

from snn_delays.errors import ConfigError
from snn_delays.models.sampling import check_options, sample
from snn_delays.models.spikegpt import SpikeGPT


def generate(
    network: SpikeGPT,
    vocabulary: Any,
    prompt: str,
    *,
    tokens: int,
    temperature: float = 0.8,
    top_p: float = 0.95,
    seed: int = 0,
) -> Iterator[str]:
    """Characters that go on from ``prompt``, as soon as each is whole; every token costs the same.

    Raises ConfigError for an empty prompt or a number out of range, DataError for a character that the vocabulary does
    not have.
    """
    if not prompt:
        raise ConfigError("the prompt is empty, and the network goes on from a text; give it at least a character")
    if tokens < 1:
        raise ConfigError(f"the number of tokens must be at least 1, got {tokens}")
    check_options(temperature, top_p)
    encoded = torch.from_numpy(vocabulary.encode(prompt)).long()
    device = next(network.parameters()).device
    return _tokens(network, vocabulary, encoded.to(device), tokens, temperature, top_p, seed)


def _tokens(
    network: SpikeGPT, vocabulary: Any, prompt: torch.Tensor, tokens: int, temperature: float, top_p: float, seed: int
) -> Iterator[str]:
    generator, decoder = torch.Generator().manual_seed(seed), vocabulary.decoder()
    with torch.inference_mode():
        logits, state = network(prompt[:, None])
        for _ in range(tokens):
            chosen = sample(logits[-1].cpu(), temperature=temperature, top_p=top_p, generator=generator)
            yield decoder.feed(int(chosen))
            logits, state = network(chosen[None].to(prompt.device), state)
    yield decoder.finish()
