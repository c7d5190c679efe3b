"""A token by the engine is a token by the network; and the comparison sees every way to get it wrong."""

import copy
import pickle
from collections.abc import Callable
from functools import cache
from typing import Any

import numpy as np
import pytest
import torch
from torch import nn

from snn_delays.discrete.streaming import LanguageEngine, StreamingEngine, language_kernels
from snn_delays.errors import ConfigError, DataError, ExportError, ShapeError
from snn_delays.models import SpikeGPT, with_integer_delays
from snn_delays.nn import LIF
from snn_delays.nn.rwkv import Linear
from tests.support import gpt_networks
from tests.support.gpt_networks import (
    FEATURES,
    NAMES,
    VARIANTS,
    VOCABULARY,
    assert_lively,
    same,
    tensors_of,
    text,
    watched,
)

LONG, BATCH = 200, 5  # texts: four that are taken together, and one
ALL = pytest.mark.parametrize(("spiking", "kind", "delays"), VARIANTS, ids=NAMES)
TEXT = text(LONG, BATCH, 3)


@cache
def lively(*variant: str, **changes: Any) -> Any:
    """Made once: no test may change it."""
    network = gpt_networks.lively(0, *variant, **changes)
    assert_lively(network, TEXT)
    return network


def at_once(network: nn.Module, tokens: torch.Tensor) -> tuple[np.ndarray, dict[str, np.ndarray], Any]:
    """Logits, spikes of every population by name, and the state, of whole texts."""
    names = {module: name for name, module in network.named_modules()}
    with watched(network) as seen, torch.no_grad():
        y, state = network(tokens)
    return y.numpy(), {names[neuron]: spikes[0][1].numpy() for neuron, spikes in seen.items()}, state


def stepped(engine: LanguageEngine, tokens: torch.Tensor, names: Any) -> tuple[np.ndarray, dict[str, np.ndarray]]:
    """The same, a token at a time."""
    y, spikes = [], {name: [] for name in names}
    for token in tokens.numpy():
        y.append(engine.step(token).copy())
        for name, so_far in spikes.items():
            so_far.append(engine.outputs[name].copy())
    return np.array(y), {name: np.array(so_far) for name, so_far in spikes.items()}


def assert_same(engine: LanguageEngine, network: nn.Module, tokens: torch.Tensor = TEXT) -> None:
    """Logits to rounding and spikes to the last one, in float64; and the state that is left."""
    want, fired, state = at_once(network, tokens)
    got, spikes = stepped(engine, tokens, fired)
    for name, expected in fired.items():
        np.testing.assert_array_equal(spikes[name], expected, name)
    np.testing.assert_allclose(got, want, rtol=0, atol=1e-10 * np.abs(want).max())
    for mine, theirs in zip(tensors_of(engine.state()), tensors_of(state), strict=True):
        same(mine, theirs)


@ALL
def test_every_token_is_the_networks(spiking: str, kind: str, delays: str) -> None:
    network = lively(spiking, kind, delays)
    assert_same(LanguageEngine(network, np.float64, batch=BATCH), network)


@ALL
def test_in_float32_until_a_spike_falls_otherwise(spiking: str, kind: str, delays: str) -> None:
    network = copy.deepcopy(lively(spiking, kind, delays)).float()
    want, fired, _ = at_once(network, TEXT)
    got, spikes = stepped(LanguageEngine(network, batch=BATCH), TEXT, fired)
    alike = np.ones(TEXT.shape, bool)
    for name, expected in fired.items():
        alike &= (spikes[name] == expected).all(-1)
    alike = np.logical_and.accumulate(alike)
    assert alike.mean() > 0.6  # a membrane within rounding of its threshold; then all goes another way
    np.testing.assert_allclose(got[alike], want[alike], rtol=0, atol=1e-5 * np.abs(want).max())


@pytest.mark.parametrize("batch", [1, 2, 4, 6])
def test_texts_do_not_see_each_other(batch: int) -> None:
    network, tokens = lively("after", "learned", "axonal"), text(40, batch, 4)
    assert_same(LanguageEngine(network, np.float64, batch=batch), network, tokens)


def test_wide_networks_and_uneven_ones() -> None:
    network = lively("after", "token", "none", features=37, tokens=41, layers=1)
    assert_same(LanguageEngine(network, np.float64, batch=BATCH), network)


def test_integer_delays() -> None:
    network = with_integer_delays(lively("after", "learned", "dendritic"))
    assert_same(LanguageEngine(network, np.float64, batch=BATCH), network)


def rows(engine: LanguageEngine, kind: str) -> list[np.ndarray]:
    table = engine._program.table
    return [row for row in table if row[language_kernels.KIND] == getattr(language_kernels, kind)]


def scaled(kind: str, at: int, factor: float = 1.2) -> Callable[[LanguageEngine], None]:
    """Another number at this place of those of the first operation of a kind."""

    def change(engine: LanguageEngine) -> None:
        engine._program.numbers[rows(engine, kind)[0][language_kernels.NUMBERS] + at] *= factor

    return change


def other(kind: str, column: str, value: Callable[[np.ndarray], int]) -> Callable[[LanguageEngine], None]:
    def change(engine: LanguageEngine) -> None:
        row = rows(engine, kind)[-1]
        row[getattr(language_kernels, column)] = value(row)

    return change


WRONG: dict[str, Callable[[LanguageEngine], None]] = {
    "another threshold": scaled("NEURONS", 2),
    "no decay of membranes": scaled("NEURONS", 0, 0.0),
    "soft reset": other("NEURONS", "SOFT", lambda row: 1),
    "no past": other("SHIFT", "ROWS", lambda row: 1),
    "another mixture": scaled("SHIFT", 2 * FEATURES),
    "one weight": scaled("MATRIX", language_kernels.lanes_of(np.dtype(np.float64))),
    "another decay of sums": scaled("WKV", 0),
    "another bonus": scaled("WKV", FEATURES),
    "key for value": other("WKV", "SECOND", lambda row: row[language_kernels.SOURCE]),
    "no gate": other("GATE", "KIND", lambda row: language_kernels.ADD),
    "no square": other("SQUARE", "KIND", lambda row: language_kernels.GATE),
    "another norm": scaled("NORM", 0),
    "another embedding": scaled("EMBED", 3 * FEATURES),
    "a branch left out": other("ADD", "SECOND", lambda row: row[language_kernels.TARGET]),
}


@pytest.mark.parametrize("name", WRONG)
def test_a_wrong_engine_is_seen(name: str) -> None:
    network = lively("after", "token", "none")
    engine = LanguageEngine(network, np.float64, batch=BATCH)
    WRONG[name](engine)
    with pytest.raises(AssertionError):
        assert_same(engine, network)


@ALL
def test_a_prompt_by_the_network_the_rest_by_the_engine_and_back(spiking: str, kind: str, delays: str) -> None:
    network = lively(spiking, kind, delays)
    engine = LanguageEngine(network, np.float64, batch=BATCH)
    with torch.no_grad():
        want, _ = network(TEXT)
        first, state = network(TEXT[:11])
        engine.load_state(state)
        second = torch.from_numpy(engine.run(TEXT[11:30]))
        third, state = network(TEXT[30:33], engine.state())
    same(torch.cat([first, second, third]), want[:33])
    engine.load_state(state)
    kept = engine.state()
    for mine, theirs in zip(tensors_of(kept), tensors_of(state), strict=True):
        assert torch.equal(mine, theirs)
    rest = engine.run(TEXT[33:])
    same(torch.from_numpy(rest), want[33:])
    other = pickle.loads(pickle.dumps(engine))
    other.load_state(kept)
    np.testing.assert_array_equal(other.run(TEXT[33:]), rest)
    np.testing.assert_array_equal(copy.deepcopy(other).run(TEXT[:9]), engine.run(TEXT[:9]))
    engine.reset()
    same(torch.from_numpy(engine.run(TEXT[:5])), want[:5])


def test_a_classifier_is_scored_over_what_it_reads() -> None:
    network = lively("after", "learned", "axonal", classes=3)
    engine = LanguageEngine(network, np.float64, batch=BATCH)
    with torch.no_grad():
        scores, state = network(TEXT[:20])
        one, _ = network(TEXT[20:21], state)
    same(torch.from_numpy(engine.run(TEXT[:20])), scores)
    same(torch.from_numpy(engine.step(TEXT[20]).copy()), one)
    with pytest.raises(ShapeError, match="at least one token each"):
        engine.run(TEXT[:0])


def test_the_engine_keeps_its_own_parameters() -> None:
    network = copy.deepcopy(lively("after", "token", "none"))
    engine = LanguageEngine(network, np.float64)
    want = engine.run(TEXT[:30, :1])
    with torch.no_grad():
        network.head.weight.mul_(2)
    engine.reset()
    np.testing.assert_array_equal(engine.run(TEXT[:30, :1]), want)
    assert not np.allclose(LanguageEngine(network, np.float64).run(TEXT[:30, :1]), want)


def small(**options: Any) -> SpikeGPT:
    return SpikeGPT(VOCABULARY, FEATURES, 1, **options)


def hooked() -> SpikeGPT:
    network = small()
    network.head.register_forward_hook(lambda *_: None)
    return network


class OwnHead(Linear):
    """May compute anything."""


def with_head(head: nn.Module) -> SpikeGPT:
    network = small()
    network.head = head
    return network


def with_neuron(neuron: nn.Module) -> SpikeGPT:
    network = small()
    network.branches()[0].neuron = neuron
    return network


def diverged() -> SpikeGPT:
    network = small()
    with torch.no_grad():
        network.head.weight[0, 0] = float("nan")
    return network


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: nn.Linear(2, 2), "a Linear is no SpikeGPT or SpikeGPTClassifier"),
        (hooked, r"layer 'head' \(Linear\) has a forward hook"),
        (lambda: with_head(OwnHead(FEATURES, VOCABULARY)), r"layer 'head' \(OwnHead\) is a subclass of Linear"),
        (lambda: with_head(nn.Identity()), r"layer 'head' \(Identity\) is none that SpikeGPT is made of"),
        (lambda: with_neuron(LIF(torch.full((FEATURES,), 2.0))), "blocks.0.time.neuron has a tau_steps of its own"),
        (diverged, "head.weight: 1 of 132 values are not finite"),
        (lambda: small(dropout=0.1), "in training, where dropout = 0.1 acts"),
        (lambda: small().bfloat16(), "computes in torch.bfloat16"),
    ],
)
def test_what_cannot_be_compiled_is_refused_by_name(make: Callable[[], Any], message: str) -> None:
    with pytest.raises(ExportError, match=message):
        LanguageEngine(make())


def test_the_other_engine_names_this_one() -> None:
    with pytest.raises(ExportError, match=r"a SpikeGPT reads tokens: LanguageEngine\(network\)"):
        StreamingEngine(small())


def test_bad_input_changes_nothing() -> None:
    engine = LanguageEngine(small(), batch=2)
    engine.run([[1, 2], [3, 4]])
    before = engine.state()
    for error, message, call in [
        (ShapeError, r"a step reads tokens of shape \(2,\)", lambda: engine.step([1, 2, 3])),
        (ShapeError, r"texts must be tokens of shape \(time, 2\)", lambda: engine.run([1, 2])),
        (DataError, "the token of text 1 is 11, the vocabulary has 11", lambda: engine.step([0, VOCABULARY])),
        (DataError, "the token at place 1 of text 0 is -1", lambda: engine.run([[0, 0], [-1, 0]])),
        (DataError, "tokens must be integers, got float64", lambda: engine.step([0.0, 1.0])),
        (ShapeError, "the state of the network is a tuple of 3 parts", lambda: engine.load_state(before + before[:1])),
        (ShapeError, r"\(batch 2\)", lambda: engine.load_state(LanguageEngine(small()).state())),
        (ConfigError, "float32 or float64, got dtype float16", lambda: LanguageEngine(small(), np.float16)),
        (ConfigError, "batch must be", lambda: LanguageEngine(small(), batch=0)),
    ]:
        with pytest.raises(error, match=message):
            call()
    assert all(map(torch.equal, tensors_of(engine.state()), tensors_of(before)))
    assert engine.run(np.zeros((0, 2), int)).shape == (0, 2, VOCABULARY)
    with pytest.raises(ValueError, match="read-only"):
        engine.outputs["head"][:] = 0
    assert LanguageEngine(small()).step(3).shape == (1, VOCABULARY)
