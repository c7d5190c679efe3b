"""That ours and the straightforward SpikeGPT compute the same, and that a token by itself gets what it gets in a text.

In float64 on narrow networks every spike is the same, and so are logits, gradients and the parameters after a step. In
float32, at the size that is timed, a spike now and then falls on the other side of its threshold, after which all goes
another way: what comes before the first such spike of a sample is compared.
"""

import copy
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import replace
from typing import Any, NamedTuple

import numpy as np
import torch
from torch import Tensor, nn

from experiments.benchmarks import gpt_peers, gpt_step
from experiments.benchmarks.gpt_networks import language_network, softmax_network, text
from experiments.benchmarks.gpt_softmax import Cache, SoftmaxGPT
from experiments.benchmarks.sides import assert_active, assert_close
from experiments.benchmarks.sizes import Sizes
from experiments.benchmarks.step import Trained
from snn_delays.discrete.streaming import LanguageEngine
from snn_delays.models import SpikeGPT
from snn_delays.ops.backends import use_backend

PLAIN, ENGINE = "plain SpikeGPT", "snn_delays, LanguageEngine"
EXACT, ROUNDED = 1e-6, 1e-3  # of the largest value, in float64 and in float32
LEAST = 0.5  # share of tokens that must come before the first spike that rounding moved
MORE = 2  # tokens that generation is checked on at each position


class Seen(NamedTuple):
    """What a network makes of a text: its logits and the spikes of every branch."""

    logits: Tensor
    spikes: list[Tensor]


def check_steps(sizes: Sizes, device: torch.device, plain: bool) -> None:
    """A step of narrow networks in float64, against the reference: ours, and the straightforward one if ``plain``."""
    small = sizes.language
    tokens, target = text(small, small.check_context, sizes.check_batch, device)
    for delays in (False, True):
        exact = language_network(small, delays, narrow=True).double().to(device)
        reference, names = in_reference(exact), _names(exact)
        ours = copy.deepcopy(exact)
        others: dict[str, tuple[nn.Module, Trained]] = {
            "snn_delays, DelayShift" if delays else "snn_delays": (ours, gpt_step.of_spikegpt(ours))
        }
        if plain and not delays:
            peer = gpt_peers.PlainSpikeGPT(exact)
            others[PLAIN] = peer, gpt_step.of_plain(peer)
        want = _see(exact, reference, tokens)
        _assert_fires(want)
        expected = _gradients(want, reference, target)
        gpt_step.LanguageStep(reference, tokens, target)()
        for side, (network, trained) in others.items():
            got = _see(network, trained, tokens)
            for i, (mine, theirs) in enumerate(zip(want.spikes, got.spikes, strict=True), 1):
                differ = float((mine != theirs).double().mean())
                assert differ == 0, f"{side}, branch {i}: {differ:.2%} of the spikes differ in float64"
            assert_close(got.logits, want.logits, EXACT, f"{side}, logits")
            for name, mine, theirs in zip(names, expected, _gradients(got, trained, target), strict=True):
                assert_close(theirs, mine, EXACT, f"{side}, gradient of {name}")
            gpt_step.LanguageStep(trained, tokens, target)()
            for name, mine, theirs in zip(names, _learned(reference), _learned(trained), strict=True):
                assert_close(theirs, mine, EXACT, f"{side}, {name} after the step")


def check_timed(sizes: Sizes, ours: SpikeGPT, peers: Mapping[str, nn.Module], tokens: Tensor, target: Tensor) -> None:
    """Networks of the same parameters in float32, as they are timed, against the reference of ours in float64.

    On the first tokens of some samples; ours in float64 on all tokens of one, which is exact.
    """
    exact = copy.deepcopy(ours).double()
    reference, names = in_reference(exact), _names(exact)
    few = slice(sizes.language.check_timed), slice(sizes.check_batch)
    want = _see(exact, reference, tokens[few])
    _assert_fires(want)
    for side, network in {"snn_delays": ours, **peers}.items():
        trained = gpt_step.of_spikegpt(network) if isinstance(network, SpikeGPT) else gpt_step.of_plain(network)
        got = _see(network, trained, tokens[few])
        same = _before_any_differs(want, got)
        share = float(same.double().mean())
        assert share >= LEAST, f"{side} in float32: spikes differ from float64 after {share:.1%} of the tokens"
        assert_close(got.logits[same], want.logits[same], ROUNDED, f"{side} in float32, logits")
        pairs = (_gradients(seen, one, target[few], same) for seen, one in ((want, reference), (got, trained)))
        for name, mine, theirs in zip(names, *pairs, strict=True):
            assert_close(theirs, mine, ROUNDED, f"{side} in float32, gradient of {name}")
    whole = tokens[:, :1]
    with torch.no_grad():
        assert_close(exact(whole)[0], reference.forward(whole), EXACT, f"snn_delays over {len(whole)} tokens, logits")


def check_generation(sizes: Sizes, device: torch.device, plain: bool) -> None:
    """Narrow networks in float64: token by token, all return what they return on the text at once."""
    small = sizes.language
    tokens, _ = text(small, small.check_context, sizes.check_batch, device)
    half = len(tokens) // 2
    with torch.no_grad():
        for delays in (False, True):
            ours = language_network(small, delays, narrow=True).double().to(device)
            want = _see(ours, in_reference(ours), tokens)
            _assert_fires(want)
            state = ours(tokens[:half])[1]
            side = "snn_delays, DelayShift" if delays else "snn_delays"
            got = token_by_token(ours, tokens[half:], state)
            assert_close(got, want.logits[half:], EXACT, f"{side}, by tokens")
            if plain and not delays:
                peer, start = gpt_peers.PlainSpikeGPT(ours), gpt_peers.plain_state(state)
                got = token_by_token(peer, tokens[half:], start)
                assert_close(got, want.logits[half:], EXACT, f"{PLAIN}, by tokens")
        softmax = softmax_network(small, len(tokens), narrow=True).double().to(device)
        cache = softmax.cache(tokens.shape[1])
        softmax(tokens[:half].T, cache)
        check_cache(softmax, tokens.T, cache, range(half, len(tokens)), EXACT)


def check_positions(ours: SpikeGPT, tokens: Tensor, states: Mapping[int, Any], plain: bool) -> None:
    """Ours in float32, and the straightforward one, a few tokens one by one from the states that are timed."""
    peer = gpt_peers.PlainSpikeGPT(ours) if plain else None
    with torch.no_grad():
        for position, state in states.items():
            chunk = tokens[position : position + MORE]
            want = ours(chunk, state)[0]
            got = token_by_token(ours, chunk, state)
            assert_close(got, want, ROUNDED, f"snn_delays by tokens, from token {position} on")
            if peer is not None:
                got = token_by_token(peer, chunk, gpt_peers.plain_state(state))
                assert_close(got, want, ROUNDED, f"{PLAIN} by tokens, from token {position} on")


def check_engine(sizes: Sizes, ours: SpikeGPT, tokens: Tensor, state: Any, plain: bool) -> None:
    """The compiled step: in float64 on a narrow network against the reference, and at the size and state timed."""
    small = sizes.language
    exact = language_network(small, narrow=True).double()
    probe, _ = text(small, small.check_context, sizes.check_batch, torch.device("cpu"))
    want = _see(exact, in_reference(exact), probe)
    _assert_fires(want)
    got = LanguageEngine(exact, np.float64, batch=probe.shape[1]).run(probe)
    assert_close(torch.from_numpy(got), want.logits, EXACT, f"{ENGINE}, by tokens")
    engine = LanguageEngine(ours, batch=tokens.shape[1])
    engine.load_state(state)
    with torch.no_grad():
        after = ours(tokens[:MORE], state)[0]
    assert_close(torch.from_numpy(engine.run(tokens[:MORE])), after, ROUNDED, ENGINE)
    if plain:
        with torch.no_grad():
            theirs = token_by_token(gpt_peers.PlainSpikeGPT(ours), tokens[:MORE], gpt_peers.plain_state(state))
        assert_close(theirs, after, ROUNDED, PLAIN)


def check_cache(softmax: SoftmaxGPT, row: Tensor, cache: Cache, positions: Iterable[int], tolerance: float) -> None:
    """The GPT without spikes, one token ``[batch, time]`` after the cache of those before, against all at once."""
    with torch.no_grad():
        want = softmax(row)
        for position in positions:
            got = softmax(row[:, position : position + 1], cache, position)[:, 0]
            assert_close(got, want[:, position], tolerance, f"torch GPT, token {position} with its cache")


def token_by_token(network: nn.Module, tokens: Tensor, state: Any) -> Tensor:
    """Logits of a network that gets one token after the other and its own state back."""
    produced = []
    for token in tokens:
        logits, state = network(token[None], state)
        produced.append(logits)
    return torch.cat(produced)


def in_reference(network: SpikeGPT) -> Trained:
    """Ours with every operation in its reference."""

    def forward(tokens: Tensor) -> Tensor:
        with use_backend("reference"):
            return network(tokens)[0]

    return replace(gpt_step.of_spikegpt(network), forward=forward)


def _see(network: nn.Module, trained: Trained, tokens: Tensor) -> Seen:
    with _watched(network) as spikes:
        return Seen(trained.forward(tokens), spikes)


@contextmanager
def _watched(network: Any) -> Iterator[list[Tensor]]:
    """The spikes of every branch in the order they fall, of ours or of the straightforward network."""
    fired: list[Tensor] = []
    branches: Any = network.branches() if isinstance(network, SpikeGPT) else network.branches

    def keep(_: nn.Module, __: object, result: Any) -> None:
        fired.append((result[0] if isinstance(result, tuple) else result).detach())

    hooks = [branch.neuron.register_forward_hook(keep) for branch in branches]
    try:
        yield fired
    finally:
        for hook in hooks:
            hook.remove()


def _gradients(seen: Seen, trained: Trained, target: Tensor, where: Tensor | None = None) -> tuple[Tensor, ...]:
    """Gradients of the loss of all tokens, or of those ``where`` is true."""
    some = ... if where is None else where
    loss = gpt_step.next_token_loss(seen.logits[some], target[some])
    return torch.autograd.grad(loss, _learned(trained), retain_graph=True)


def _before_any_differs(want: Seen, got: Seen) -> Tensor:
    """True ``[time, batch]`` until a spike of a sample is not the same in both."""
    same = [(mine == theirs).all(-1) for mine, theirs in zip(want.spikes, got.spikes, strict=True)]
    return torch.stack(same).all(0).long().cumprod(0).bool()


def _assert_fires(seen: Seen) -> None:
    for i, spikes in enumerate(seen.spikes, 1):
        assert_active(spikes, f"branch {i}")


def _learned(trained: Trained) -> tuple[Tensor, ...]:
    return *trained.weights, *trained.delays


def _names(ours: SpikeGPT) -> list[str]:
    """Names of the parameters in the order of ``_learned``."""
    names = {id(parameter): name for name, parameter in ours.named_parameters()}
    return [names[id(parameter)] for parameter in _learned(gpt_step.of_spikegpt(ours))]
