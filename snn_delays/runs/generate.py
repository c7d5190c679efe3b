"""Text from a trained language model: the prompt is read at once, then a compiled step makes a token at a time."""

from collections.abc import Callable, Iterator
from typing import Any

import torch
from torch import Tensor

from snn_delays.discrete.streaming import LanguageEngine
from snn_delays.errors import ConfigError, ExportError
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

    On a CPU a :class:`snn_delays.discrete.streaming.LanguageEngine` takes the steps, elsewhere, and for a network that
    it refuses, the network itself on chunks of one token.

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
        after = following(network, state)
        last = logits[-1]
        for _ in range(tokens):
            token = sample(last.cpu(), temperature=temperature, top_p=top_p, generator=generator)
            yield decoder.feed(int(token))
            last = after(token)
        yield decoder.finish()

    return continuation()


def following(network: SpikeGPT, state: Any, compiled: bool = True) -> Callable[[Tensor], Tensor]:
    """What reads a token ``[1]`` and returns the logits after it ``[1, vocab]``, from this state on.

    Compiled where that can be; without, what it is compared with: the network, on a chunk of one token.
    """
    weight = next(network.parameters())
    if compiled and weight.device.type == "cpu":
        try:
            engine = LanguageEngine(network, str(weight.dtype).removeprefix("torch."))
        except (ConfigError, ExportError):
            return following(network, state, compiled=False)
        engine.load_state(state)
        return lambda token: torch.from_numpy(engine.step(token.numpy()).copy())

    def step(token: Tensor) -> Tensor:
        nonlocal state
        logits, state = network(token[None].to(weight.device), state)
        return logits[-1]

    return step


def continue_text(source: Any, prompt: str, *, device: str = "cpu", **options: Any) -> Iterator[str]:
    """:func:`generate` with the network of a run, a file, or :func:`snn_delays.load`, with integer delays.

    Raises also ConfigError for a device that is not there or a network that is no language model.
    """
    network: Any = trained(source, "language").network
    check_device(device)
    return generate(with_integer_delays(network).eval().to(device), network.card.vocabulary, prompt, **options)
