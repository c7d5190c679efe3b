"""SpikeGPT: what it is made of, how it begins, its delays, and what it refuses."""

import importlib
import math
from typing import Any

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor, nn

from snn_delays.errors import ConfigError, ShapeError
from snn_delays.models import SpikeGPT
from snn_delays.models.spikegpt import PUBLISHED, delay_shifts, with_integer_delays
from snn_delays.nn import SpikingChannelMix, SpikingTimeMix
from tests.support.gpt_networks import (
    LAYERS,
    SHIFTS,
    STEPS,
    VOCABULARY,
    assert_lively,
    in_chunks,
    lively,
    same,
    text,
    watched,
)

SMALL = {"tokens": VOCABULARY, "features": 6, "layers": 2}
PLACES = pytest.mark.parametrize("spiking", ["after", "before", "none"])


@pytest.mark.parametrize(("delays", "kind"), [("none", "token"), ("axonal", "learned"), ("dendritic", "learned")])
def test_blocks_add_spikes_to_the_stream(delays: str, kind: str) -> None:
    network, x = lively(1, "after", kind, delays), text(seed=1)
    y = network.norm_in((network.embedding.weight[x] >= 0).double())
    for block in network.blocks:
        for branch, mixing in zip((block.time, block.channel), (SpikingTimeMix, SpikingChannelMix), strict=True):
            assert isinstance(branch.mixing, mixing)
            z, _ = branch.mixing(branch.norm(y))
            if delays == "dendritic":
                z, _ = branch.delays(z)
            z, _ = branch.neuron(z)
            assert set(z.unique().tolist()) == {0.0, 1.0}
            if delays == "axonal":
                z, _ = branch.delays(z)
            y = y + z
    same(network.head(network.norm_out(y)).detach(), network(x)[0].detach())


def test_dropout_falls_on_the_stream_behind_each_block() -> None:
    network, x = lively(1, dropout=0.3).train(), text(seed=1)
    torch.manual_seed(8)
    got = network(x)[0].detach()
    torch.manual_seed(8)
    y = network.norm_in(network.embedding(x)[0])
    for block in network.blocks:
        y = y + block.time(y)[0]
        y = nn.functional.dropout(y + block.channel(y)[0], 0.3)
    same(got, network.head(network.norm_out(y)).detach())


@PLACES
def test_matrices_read_spikes_where_neurons_stand_before_them(spiking: str) -> None:
    network = lively(0, spiking, "learned")
    fed: dict[str, bool] = {}
    hooks = [
        module.register_forward_pre_hook(
            lambda _, args, name=name: fed.update({name: bool(((args[0] == 0) | (args[0] == 1)).all())})
        )
        for name, module in network.named_modules()
        if isinstance(module, nn.Linear)
    ]
    network(text())
    for hook in hooks:
        hook.remove()
    assert not fed.pop("head")
    assert len(fed) == 7 * LAYERS
    assert set(fed.values()) == {spiking == "before"}
    assert network.embedding.binary == (spiking != "none")


def parameters_of(network: nn.Module) -> int:
    return sum(parameter.numel() for parameter in network.parameters())


@pytest.mark.parametrize(("name", "count"), [("zhu_2023_12x512", 41_226_240), ("zhu_2023_18x768", 215_399_424)])
def test_published_networks_have_as_many_parameters(name: str, count: int) -> None:
    with torch.device("meta"):  # sizes without the numbers
        network = SpikeGPT.published(name, init="torch")
    assert parameters_of(network) == count
    assert network.spiking == "after"
    assert network.dropout == 0.03
    tokens, features, layers = (PUBLISHED[name][key] for key in ("tokens", "features", "layers"))
    assert count == layers * (13 * features**2 + 11 * features) + 4 * features + 2 * tokens * features


@given(tokens=st.integers(1, 20), features=st.integers(1, 9), layers=st.integers(1, 4))
def test_parameters_by_the_formula(tokens: int, features: int, layers: int) -> None:
    base = layers * (13 * features**2 + 11 * features) + 4 * features + 2 * tokens * features
    for spiking, norms in (("after", 0), ("none", 0), ("before", 10)):
        network = SpikeGPT(tokens, features, layers, spiking=spiking)
        assert parameters_of(network) == base + layers * norms * features
        assert all(parameter.isfinite().all() for parameter in network.parameters())
        logits, _ = network(torch.zeros(3, 2, dtype=torch.int64))
        assert logits.shape == (3, 2, tokens)
        assert logits.isfinite().all()


def test_parameters_of_shifts_with_delays() -> None:
    base, uses = parameters_of(SpikeGPT(**SMALL)), 5 * SMALL["features"] * SMALL["layers"]
    for kind, more in (("learned", 2 * 2), ("fixed", 2 * 3), ("dense", 4)):
        assert parameters_of(SpikeGPT(**SMALL, shift=SHIFTS[kind])) == base + more * uses
    trained = [p for p in SpikeGPT(**SMALL, shift=SHIFTS["fixed"]).parameters() if p.requires_grad]
    assert sum(p.numel() for p in trained) == base + 3 * uses
    around = parameters_of(SpikeGPT(**SMALL, shift=SHIFTS["learned"], neuron_delays="axonal"))
    assert around == base + 4 * uses + 2 * (1 + 4) * SMALL["features"] * SMALL["layers"]


@pytest.mark.parametrize("init", ["published", "replicated", "torch"])
@pytest.mark.parametrize("spiking", ["after", "before"])
def test_the_same_seed_draws_the_same_network_whatever_the_shift(spiking: str, init: str) -> None:
    x, networks = text(), []
    for kind in SHIFTS:
        torch.manual_seed(11)
        options = {"max_delay_steps": 7, "points": 2, "kind": kind}
        networks.append(SpikeGPT(**SMALL, spiking=spiking, shift=options, init=init))
    token, want = networks[0].state_dict(), networks[0](x)[0]
    for network in networks[1:]:
        others = network.state_dict()
        assert all(torch.equal(others[name], value) for name, value in token.items() if not name.endswith("sigma"))
        assert torch.equal(network(x)[0], want)
    torch.manual_seed(12)
    assert not torch.equal(SpikeGPT(**SMALL, spiking=spiking, init=init)(x)[0], want)


# How it begins.


def gram(matrix: Tensor) -> Tensor:
    """Products of its rows, or of its columns where those are fewer."""
    matrix = matrix.detach().double()
    return matrix @ matrix.T if matrix.shape[0] <= matrix.shape[1] else matrix.T @ matrix


@pytest.mark.parametrize("tokens", [40, 10])
def test_published_initialisation(tokens: int) -> None:
    features = 20
    network = SpikeGPT(tokens, features, 2, init="published")
    identity = torch.eye(features, dtype=torch.float64)
    for block in network.blocks:
        time, channel = block.time.mixing, block.channel.mixing
        for matrix in (time.key, time.receptance, time.output, channel.receptance, channel.value):
            assert not matrix.weight.any()
        same(gram(time.value.weight), identity, 1e-5)
        same(gram(channel.key.weight), 4 * identity, 1e-5)
    smaller = torch.eye(min(tokens, features), dtype=torch.float64)
    same(gram(network.embedding.weight), 1e-8 * max(tokens, features) * smaller, 1e-5)
    same(gram(network.head.weight), 0.25 * max(tokens / features, 1) * smaller, 1e-5)


def test_published_initialisation_is_silent_and_still_learns() -> None:
    network, x = SpikeGPT(**SMALL, init="published"), text()
    with watched(network) as seen:
        logits, _ = network(x)
    assert len(seen) == 4
    assert not any(spikes.any() for ((_, spikes),) in seen.values())
    stream = network.norm_out(network.norm_in(network.embedding(x)[0]))
    same(logits.detach(), network.head(stream).detach(), 1e-6)
    assert next(iter(seen)).surrogate.derivative(torch.tensor(-1.0)).item() == pytest.approx(1 / (1 + math.pi**2))
    nn.functional.cross_entropy(logits.flatten(0, 1), x.roll(-1, 0).flatten()).backward()
    for block in network.blocks:
        assert block.time.mixing.output.weight.grad.abs().max() > 0
        assert block.channel.mixing.value.weight.grad.abs().max() > 0
    assert 0.3 < network.embedding.ones_rate() < 0.7


def test_replicated_and_torch_initialisation() -> None:
    replicated, plain = (SpikeGPT(50, 40, 2, init=init) for init in ("replicated", "torch"))
    assert replicated.embedding.weight.std().item() == pytest.approx(0.001, rel=0.1)
    assert plain.embedding.weight.std().item() == pytest.approx(1, rel=0.1)
    for name, module in replicated.named_modules():
        if isinstance(module, nn.Linear):
            assert module.weight.std().item() == pytest.approx(0.01, rel=0.1), name
    for name, module in plain.named_modules():
        if isinstance(module, nn.Linear):
            bound = module.in_features**-0.5
            assert 0.95 * bound < module.weight.abs().max().item() <= bound, name


# Delays.


def test_delays_by_name_and_rounded_together() -> None:
    network = lively(0, "after", "learned", "axonal")
    names = [
        f"blocks.{layer}.{half}.{place}"
        for layer in range(LAYERS)
        for half in ("time", "channel")
        for place in ("mixing.shift", "delays.shift")
    ]
    assert sorted(delay_shifts(network)) == sorted(names)
    x = text()
    soft = network(x)[0]
    rounded = with_integer_delays(network)
    assert torch.equal(network(x)[0], soft)  # the copy alone was rounded
    for before, shift in zip(delay_shifts(network).values(), delay_shifts(rounded).values()):
        assert torch.equal(shift.delay, before.delay.round())
        assert not shift.delay.requires_grad
        assert before.delay.requires_grad
        assert torch.equal(shift.kernel(), shift.frozen)
        shift.frozen = None
        assert not torch.equal(before.kernel(), shift.kernel())
        shift.freeze_()
    hard = rounded(x)[0].detach()
    assert not torch.allclose(hard, soft)
    assert_lively(rounded, x)
    same(in_chunks(rounded, x, list(range(STEPS + 1)))[0], hard)
    assert not delay_shifts(lively(0))
    assert not delay_shifts(lively(0, "after", "dense"))


def test_neuron_delays_are_learned_in_the_window_of_the_shift_unless_told_otherwise() -> None:
    for kind in SHIFTS:
        for branch in lively(0, "after", kind, "dendritic").branches():
            assert branch.delays.shift.kind == "learned"
            assert branch.delays.shift.max_delay_steps == SHIFTS[kind]["max_delay_steps"]


# Bad input.


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"spiking": "between"}, "spiking must be one of after, before, none; got 'between'"),
        ({"neuron_delays": "somatic"}, "neuron_delays must be one of none, axonal, dendritic; got 'somatic'"),
        ({"neuron_delays": "axonal", "spiking": "before"}, "'axonal' act around neurons.*'before' has none there"),
        ({"neuron_delays": "dendritic", "spiking": "none"}, "'dendritic' act around.*'none' has none there"),
        ({"shift": {"kind": "free"}}, "kind must be one of token, learned, fixed, dense; got 'free'"),
        ({"shift": {"kind": "learned", "taps": "box"}}, "taps must be one of"),
        ({"shift": {"kind": "learned", "max_delay_steps": 0}}, "max_delay_steps must be at least 1, got 0"),
        ({"init": "special"}, "init must be one of published, replicated, torch; got 'special'"),
        ({"dropout": 1.0}, r"dropout probability must lie in \[0, 1\), got 1.0"),
        ({"dropout": -0.1}, "got -0.1"),
        ({"dropout": float("nan")}, "got nan"),
        ({"tokens": 0}, "tokens must be at least 1, got 0"),
        ({"features": 0}, "features must be at least 1, got 0"),
        ({"layers": 0}, "layers must be at least 1, got 0"),
    ],
)
def test_wrong_arguments(options: dict[str, Any], message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        SpikeGPT(**{**SMALL, **options})


def test_published_networks_have_names_and_can_be_changed() -> None:
    with pytest.raises(ConfigError, match="no published network 'gpt2'; there are zhu_2023_12x512, zhu_2023_18x768"):
        SpikeGPT.published("gpt2")
    changed = SpikeGPT.published("zhu_2023_18x768", tokens=9, features=4, layers=1, spiking="before")
    assert (changed.embedding.tokens, len(changed.blocks), changed.dropout) == (9, 1, 0.03)


@pytest.mark.usefixtures("own_shape_errors")
def test_wrong_tokens_and_states() -> None:
    network, x = lively(0), text()
    state = network(x)[1]
    for tokens, message in (
        (x + VOCABULARY, f"vocabulary has {VOCABULARY}: encode the text with the vocabulary"),
        (x.double(), r"integers \[time, batch\], int64 or int32, got torch.float64"),
        (x[:, 0], r"takes a tensor \[time, batch\], got an input of shape \(16,\)"),
    ):
        with pytest.raises(ShapeError, match=message):
            network(tokens)
    with pytest.raises(ShapeError, match="the state has 3 parts, this network 4 branches; pass its own state back"):
        network(x, state[:3])
    with pytest.raises(ShapeError, match=r"shift's state has shape \(1, 3, 12\), the input needs \(1, 2, 12\)"):
        network(x[:, :2], state)
    with pytest.raises(ShapeError, match=r"shift's state has shape \(5, 3, 12\), the input needs \(1, 3, 12\)"):
        network(x, lively(0, "after", "learned")(x)[1])


@pytest.mark.parametrize(("value", "message"), [(9.5, "1 of 24 delays lie outside 0..5"), (math.nan, "are NaN")])
def test_delays_that_cannot_be(value: float, message: str) -> None:
    network = lively(0, "after", "learned", "axonal")
    with torch.no_grad():
        network.blocks[1].channel.delays.shift.delay[0, 0, 3] = value
    with pytest.raises(ConfigError, match=message):
        network(text())


def test_norms_in_front_of_neurons_begin_with_a_gain_that_makes_them_fire() -> None:
    for spiking, gain in (("before", 2.0), ("after", 1.0), ("none", 1.0)):
        for branch in SpikeGPT(**SMALL, spiking=spiking).branches():
            assert torch.equal(branch.norm.weight.detach(), torch.full((6,), gain))
            assert len(branch.mixing.norms) == (spiking == "before")


def test_the_copy_with_integer_delays_is_for_evaluation_alone() -> None:
    network = SpikeGPT(**SMALL, shift={"kind": "learned", "max_delay_steps": 8}, dropout=0.5).train()
    whole = with_integer_delays(network)
    assert not any(module.training for module in whole.modules())
    assert not any(parameter.requires_grad for parameter in whole.parameters())
    assert network.training
    assert all(parameter.requires_grad for parameter in network.parameters())


def test_a_kept_kernel_goes_with_the_weights_it_is_of() -> None:
    shift = {"kind": "learned", "max_delay_steps": 8}
    one, other = (SpikeGPT(**SMALL, shift=shift, init="torch") for _ in range(2))
    with torch.no_grad():
        for module in delay_shifts(other).values():
            module.weight.normal_()
    whole = with_integer_delays(one)
    x = text() % SMALL["tokens"]
    assert not torch.equal(whole(x)[0], with_integer_delays(other)(x)[0])
    whole.load_state_dict(with_integer_delays(other).state_dict())
    assert torch.equal(whole(x)[0], with_integer_delays(other)(x)[0])


def test_networks_of_one_seed_begin_with_the_same_matrices_whatever_their_delays() -> None:
    def matrices(**options: object) -> list[torch.Tensor]:
        torch.manual_seed(3)
        made = SpikeGPT(**SMALL, init="torch", **options)
        return [m.weight for m in made.modules() if isinstance(m, torch.nn.Linear)] + [made.embedding.weight]

    plain = matrices()
    for options in (
        {"shift": {"kind": "learned", "points": 3}}, {"neuron_delays": "axonal"},
        {"neuron_delays": "dendritic", "neuron_shift": {"kind": "fixed", "points": 1}},
    ):  # fmt: skip
        assert all(map(torch.equal, plain, matrices(**options)))


def test_delays_around_neurons_have_a_kind_of_their_own() -> None:
    for kind, learns in (("learned", True), ("fixed", False)):
        network = SpikeGPT(**SMALL, neuron_delays="axonal", neuron_shift={"kind": kind})
        found = delay_shifts(network)
        assert len(found) == 2 * SMALL["layers"]
        assert {shift.kind for shift in found.values()} == {kind}
        assert {shift.delay.requires_grad for shift in found.values()} == {learns}


@pytest.mark.parametrize(
    ("options", "says"),
    [
        ({"shift": {"knd": "token"}}, "shift: unexpected argument 'knd'; .*there are kind, max_delay_steps"),
        ({"shift": "learned"}, "shift takes a ShiftSpec or its fields by name"),
        ({"neuron_delays": "axonal", "neuron_shift": {"taps_": 1}}, "neuron_shift: unexpected argument 'taps_'"),
        ({"shift": {"kind": "learned", "max_delay_steps": 4.5}}, "max_delay_steps must be an integer, got 4.5"),
    ],
)
def test_arguments_of_shifts_that_are_none(options: dict, says: str) -> None:
    with pytest.raises(ConfigError, match=says):
        SpikeGPT(**SMALL, **options)


@pytest.mark.parametrize("module", ["snn_delays.models", "snn_delays.models.spikegpt"])
def test_the_old_name_of_integer_delays_serves_with_a_warning(module: str) -> None:
    with pytest.warns(DeprecationWarning, match=f"{module}.with_whole_delays is now .*with_integer_delays"):
        assert importlib.import_module(module).with_whole_delays is with_integer_delays
