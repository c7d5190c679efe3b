"""The cases of language models: a training step against the length of the context, and the cost of one more token."""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from functools import partial
from typing import Any

import torch
from torch import Tensor, nn

from experiments.benchmarks import gpt_checks, gpt_step
from experiments.benchmarks.gpt_checks import PLAIN
from experiments.benchmarks.gpt_networks import DELAYS, language_network, parameters, softmax_network, text
from experiments.benchmarks.gpt_peers import PlainSpikeGPT, plain_state
from experiments.benchmarks.gpt_softmax import Cache
from experiments.benchmarks.peer_neurons import spikingjelly_path
from experiments.benchmarks.run import Case, Side
from experiments.benchmarks.sides import missing
from experiments.benchmarks.sizes import LanguageSizes, Sizes
from snn_delays.discrete.streaming import LanguageEngine
from snn_delays.models import SpikeGPT
from snn_delays.models.spikegpt import with_integer_delays

OURS, DELAYED, SOFTMAX = "snn_delays", "snn_delays, DelayShift", "torch GPT, no spikes"
LEARNED = f"{DELAYS['points']} learned delays up to {DELAYS['max_delay_steps']} tokens beside the token shift"
LOOPS = "ours in plain torch, WKV in a Python loop, shift by padding, LIFNode 'm'"
ATTENTION = "another model as wide and deep, its values not compared: scaled_dot_product_attention, GELU, positions"


def language_step(which: int, sizes: Sizes, device: torch.device) -> Case:
    """Forward, cross-entropy, backward, clipping, Adam."""
    small = sizes.language
    context, batch = small.texts[which]
    tokens, target = text(small, context, batch, device)
    shape = f"T={context}, B={tokens.shape[1]}, float32; forward, loss, backward, clip, Adam, after such a step"
    line = missing("spikingjelly")

    def step(made: nn.Module) -> gpt_step.LanguageStep:
        """A step that trains this network."""
        if isinstance(made, SpikeGPT):
            return gpt_step.LanguageStep(gpt_step.of_spikegpt(made), tokens, target)
        if isinstance(made, PlainSpikeGPT):
            return gpt_step.LanguageStep(gpt_step.of_plain(made), tokens, target)
        return gpt_step.LanguageStep(gpt_step.of_softmax(made), tokens.T.contiguous(), target.T.contiguous())

    def spiking(delays: bool = False) -> SpikeGPT:
        return language_network(small, delays).to(device)

    def softmax() -> nn.Module:
        return softmax_network(small, context).to(device)

    rows: list[tuple[str, str, Callable[[], nn.Module]]] = [
        (OURS, "token shift, neurons after", spiking),
        (DELAYED, LEARNED, partial(spiking, True)),
        (SOFTMAX, ATTENTION, softmax),
    ]
    if not line:
        rows.insert(2, (PLAIN, f"{LOOPS} ({spikingjelly_path(device)})", lambda: PlainSpikeGPT(spiking())))
    sides, notes = [], [line] if line else []
    for name, how, make in rows:
        network = make()
        what = f"{_size(network, small)}, {shape}; {how}"
        eager = step(network)
        sides.append(Side(name, what, eager))
        if device.type == "cuda" and name != PLAIN:
            try:
                sides.append(Side(f"{name}, CUDA graph", what, step(make()).captured(), eager))
            except RuntimeError as error:
                notes.append(f"left out: {name} as a CUDA graph: {str(error).splitlines()[0]}")

    def check() -> None:
        gpt_checks.check_steps(sizes, device, plain=not line)
        ours = spiking()
        gpt_checks.check_timed(sizes, ours, {} if line else {PLAIN: PlainSpikeGPT(ours)}, tokens, target)
        gpt_checks.check_timed(sizes, spiking(True), {}, tokens, target)

    title = f"training step of SpikeGPT, {batch} x {context} tokens"
    return Case(title, tuple(sides), check, tuple(notes), follows_itself=True)


def generation(sizes: Sizes, device: torch.device) -> Case:
    """The next token at several places of a long text, from the state or the cache that the tokens before left."""
    small = sizes.language
    places, line = small.positions, missing("spikingjelly")
    tokens, _ = text(small, places[-1] + gpt_checks.MORE, 1, device)
    ours = language_network(small).to(device)
    delayed = with_integer_delays(language_network(small, delays=True).to(device))
    states, delayed_states = (dict(_states(net, tokens, places)) for net in (ours, delayed))
    softmax = softmax_network(small, places[-1] + 1).to(device)
    row, cache = tokens[: places[-1] + 1].T, softmax.cache(1)
    with torch.no_grad():
        softmax(row, cache)

    def side(name: str, network: nn.Module, how: str, at: int, token: Tensor, kept: Any, *given: Any) -> Side:
        """One more token, after what is kept of those before; the peak memory is with a copy of it."""
        what = f"{_size(network, small)}, B=1, float32, {small.repeats} times token {at:,}; {how}: {_numbers(kept):,}"
        work = partial(_repeat, small.repeats, network, token, kept, *given)
        return Side(f"{name}, token {at:,}", what, work, lambda: _repeat(1, network, token, _copy(kept), *given))

    ends, kept = places[:: len(places) - 1], "numbers kept"
    sides = [side(OURS, ours, kept, at, tokens[at : at + 1], states[at]) for at in places]
    for at in ends:
        how = f"{LEARNED}, rounded; {kept}"
        sides.append(side(DELAYED, delayed, how, at, tokens[at : at + 1], delayed_states[at]))
    if not line:
        plain, how = PlainSpikeGPT(ours), f"{LOOPS} ({spikingjelly_path(device)}); {kept}"
        sides += [side(PLAIN, plain, how, at, tokens[at : at + 1], plain_state(states[at])) for at in ends]
    for at in places:
        so_far = Cache(*(part[..., : at + 1, :] for part in cache))
        sides.append(side(SOFTMAX, softmax, f"{ATTENTION}; {kept}", at, row[:, at : at + 1], so_far, at))

    def check() -> None:
        gpt_checks.check_generation(sizes, device, plain=not line)
        gpt_checks.check_positions(ours, tokens, states, plain=not line)
        gpt_checks.check_positions(delayed, tokens, delayed_states, plain=False)
        gpt_checks.check_cache(softmax, row, cache, places, gpt_checks.ROUNDED)

    title = f"generation by SpikeGPT, {small.repeats} tokens"
    return Case(title, tuple(sides), check, (line,) if line else ())


def engine_token(which: int, sizes: Sizes, device: torch.device) -> Case:
    """The next tokens of a few texts: the compiled step, the layers, and the straightforward network."""
    layers, features, batch = sizes.language.engines[which]
    small, line = replace(sizes.language, layers=layers, features=features), missing("spikingjelly")
    network = language_network(small).eval()
    begin = small.positions[0]
    tokens, _ = text(small, begin + small.repeats, batch, device)
    with torch.no_grad():
        _, state = network(tokens[:begin])
    following = tokens[begin:]
    engine = LanguageEngine(network, batch=batch)

    def write() -> None:
        engine.load_state(state)
        for token in following.numpy():
            engine.step(token)

    def layered(made: nn.Module, kept: Any) -> Callable[[], None]:
        def work() -> None:
            with torch.inference_mode():
                gpt_checks.token_by_token(made, following, kept)

        return work

    what = f"{_size(network, small)}, B={batch}, float32, {small.repeats} tokens, from token {begin}"
    sides = [
        Side(gpt_checks.ENGINE, f"{what}; one compiled call a token, one thread", write),
        Side(OURS, f"{what}; {torch.get_num_threads()} threads", layered(network, state)),
    ]
    if not line:
        how = f"{what}; {LOOPS} ({spikingjelly_path(device)}); {torch.get_num_threads()} threads"
        sides.append(Side(PLAIN, how, layered(PlainSpikeGPT(network), plain_state(state))))
    check = partial(gpt_checks.check_engine, sizes, network, following, state, not line)
    title = f"generation by SpikeGPT, {layers} x {features}, batch {batch}"
    return Case(title, tuple(sides), check, (line,) if line else ())


@torch.no_grad()
def _states(network: SpikeGPT, tokens: Tensor, places: Sequence[int]) -> Iterator[tuple[int, Any]]:
    """State of a network before each of these tokens."""
    state, begin = None, 0
    for at in places:
        _, state = network(tokens[begin:at], state)
        yield at, state
        begin = at


def _repeat(times: int, network: nn.Module, *given: Any) -> None:
    with torch.inference_mode():
        for _ in range(times):
            network(*given)


def _numbers(state: Any) -> int:
    """How many numbers a state holds."""
    if isinstance(state, Tensor):
        return state.numel()
    return sum(map(_numbers, state or ()))


def _copy(state: Any) -> Any:
    """A state in memory of its own."""
    if isinstance(state, Tensor):
        return state.clone()
    if state is None:
        return None
    parts = map(_copy, state)
    return type(state)(*parts) if hasattr(state, "_fields") else tuple(parts)


def _size(network: nn.Module, small: LanguageSizes) -> str:
    return f"{small.layers} x {small.features}, {parameters(network):,} parameters"
