"""Text from a trained language model, a token at a time: the code it was trained with, on chunks of one."""

from collections.abc import Iterator
from typing import Any

import torch

from snn_delays.errors import ConfigError
from snn_delays.models.sampling import check_options, sample
from snn_delays.models.spikegpt import SpikeGPT, with_integer_delays
from snn_delays.runs.load import check_device, trained


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
    """Continue ``prompt``; yields text as soon as its characters are complete. Every token costs the same.

    Raises ConfigError for an empty prompt or a number out of range, DataError for a character that the vocabulary does
    not have.
    """
    if not prompt:
        raise ConfigError("the prompt is empty; give at least one character to continue")
    if tokens < 1:
        raise ConfigError(f"the number of tokens must be at least 1, got {tokens}")
    check_options(temperature, top_p)
    device = next(network.parameters()).device
    encoded = torch.from_numpy(vocabulary.encode(prompt)).long().to(device)
    generator, decoder = torch.Generator().manual_seed(seed), vocabulary.decoder()

    @torch.inference_mode()
    def continuation() -> Iterator[str]:
        logits, state = network(encoded[:, None])
        for _ in range(tokens):
            token = sample(logits[-1].cpu(), temperature=temperature, top_p=top_p, generator=generator)
            yield decoder.feed(int(token))
            logits, state = network(token[None].to(device), state)
        yield decoder.finish()

    return continuation()


def continue_text(source: Any, prompt: str, *, device: str = "cpu", **options: Any) -> Iterator[str]:
    """:func:`generate` with the network of a run, a file, or :func:`snn_delays.load`, with integer delays.

    Raises also ConfigError for a device that is not there or a network that is no language model.
    """
    network: Any = trained(source, "language").network
    check_device(device)
    return generate(with_integer_delays(network).eval().to(device), network.card.vocabulary, prompt, **options)
