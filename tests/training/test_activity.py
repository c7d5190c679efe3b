"""Firing rates and operations: against direct counts, and by identities that must hold."""

import copy
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from snn_delays.models import SpikeGPT, SpikeGPTClassifier
from snn_delays.models.spikegpt import delay_shifts, with_integer_delays
from snn_delays.nn import LIF, DelayShift
from snn_delays.training.activity import Activity, ones_rate, operations, population
from tests.support.tiny_texts import mean_rates

TOKENS, FEATURES, LAYERS = 11, 8, 2
BLOCKS = LAYERS * 13 * FEATURES**2  # multiplications of the matrices in the blocks
HEAD = TOKENS * FEATURES


def lively(made: Any) -> Any:
    """All its weights drawn, so that everything fires now and then."""
    with torch.no_grad():
        for name, p in made.named_parameters():
            if name.endswith(("mixing.output.weight", "mixing.value.weight", "shift.weight")):
                p.copy_(2 * torch.randn_like(p))
    return made.eval()


def network(spiking: str = "after", shift: str = "token", **options: Any) -> SpikeGPT:
    torch.manual_seed(3)
    kind = {"kind": shift, "max_delay_steps": 4}
    return lively(SpikeGPT(TOKENS, FEATURES, LAYERS, spiking=spiking, shift=kind, init="torch", **options))


def text(steps: int = 40, batch: int = 3) -> Tensor:
    return torch.randint(TOKENS, (steps, batch), generator=torch.Generator().manual_seed(4))


def watched(made: nn.Module, *args: Any, counted: Tensor | None = None) -> Activity:
    with torch.inference_mode(), Activity(made) as activity:
        activity.counted = counted
        made(*args)
    return activity


def test_rates_are_spikes_over_neurons_and_tokens() -> None:
    made, x = network(), text()
    rates = watched(made, x).rates()
    with torch.inference_mode():
        fired, _ = made.embedding(x)
        stream, expected = made.norm_in(fired), {"embedding": fired}
        for i, branch in enumerate(made.branches()):
            spikes, _ = branch(stream)
            expected[f"block{i // 2}.{('time', 'channel')[i % 2]}"] = spikes
            stream = stream + spikes
    assert list(rates) == list(expected)
    for name, spikes in expected.items():
        assert set(spikes.unique().tolist()) <= {0.0, 1.0}
        assert rates[name] == pytest.approx(float(spikes.double().mean()), abs=1e-9), name
        assert 0.01 < rates[name] < 0.99, name


def test_chunks_add_up() -> None:
    made, x = network(), text()
    whole = watched(made, x)
    with torch.inference_mode(), Activity(made) as parts:
        state = None
        for chunk in x.split(7):
            _, state = made(chunk, state)
    assert parts.rates() == pytest.approx(whole.rates(), abs=1e-9)
    assert operations(parts) == pytest.approx(operations(whole))


def test_neurons_before_each_matrix_are_populations_of_their_own() -> None:
    rates = watched(network("before"), text()).rates()
    kinds = ["time.key", "time.value", "time.receptance", "time.output"]
    kinds += ["channel.key", "channel.receptance", "channel.value"]
    assert list(rates) == ["embedding", *(f"block{i}.{kind}" for i in range(LAYERS) for kind in kinds)]


@pytest.mark.parametrize("spiking", ["after", "before"])
def test_the_mean_rate_is_over_neurons(spiking: str) -> None:
    made = network(spiking)
    spikes, places = [], []
    for module in made.modules():
        if isinstance(module, LIF):
            module.register_forward_hook(
                lambda _, args, out: (spikes.append(float(out[0].sum())), places.append(out[0].numel()), None)[-1]
            )
    activity = watched(made, text())
    weighted, unweighted = mean_rates(activity.rates(), FEATURES)
    assert activity.mean_rate() == pytest.approx(sum(spikes) / sum(places), rel=1e-9)
    assert activity.mean_rate() == pytest.approx(weighted, rel=1e-9)
    assert set(places) == ({960} if spiking == "after" else {960, 3840})  # those of the channel's value are 4 C
    assert (unweighted == pytest.approx(weighted, rel=0.02)) == (spiking == "after")  # canary


@pytest.mark.parametrize(
    ("long", "short"),
    [
        ("blocks.3.time.mixing.neurons.key", "block3.time.key"),
        ("blocks.0.channel.neuron", "block0.channel"),
        ("network.blocks.11.time.neuron", "block11.time"),
        ("network.embedding", "embedding"),
        ("blocks.1.time.mixing", "block1.time"),
    ],
)
def test_names_as_people_read_them(long: str, short: str) -> None:
    assert population(long) == short


def test_a_network_of_real_numbers_has_no_rates() -> None:
    made = network("none")
    activity = watched(made, text())
    assert activity.rates() == {}
    found = operations(activity)
    assert found["macs_as_built"] == found["macs_dense"] == BLOCKS + HEAD
    assert found["accumulates_as_built"] == 0
    assert activity.mean_rate() is None
    assert found["macs_if_spike_driven"] is None  # there is no rate to reckon with
    assert found["accumulates_if_spike_driven"] is None
    assert ones_rate(made) is None


@pytest.mark.parametrize("spiking", ["after", "before", "none"])
def test_dense_multiplications_are_inputs_times_outputs(spiking: str) -> None:
    made = network(spiking)
    direct = sum(m.in_features * m.out_features for m in made.modules() if isinstance(m, nn.Linear))
    assert operations(watched(made, text()))["macs_dense"] == direct == BLOCKS + HEAD


def test_neurons_after_feed_no_matrix_with_spikes() -> None:
    activity = watched(network("after"), text())
    found = operations(activity)
    assert found["spike_fed_share"] == 0
    assert found["macs_as_built"] == found["macs_dense"]
    assert found["accumulates_as_built"] == 0
    assert not any(fed.spikes_only for fed in activity.fed.values())
    # what papers count: every matrix in the blocks at the mean rate of the neurons
    rates = [rate for name, rate in activity.rates().items() if name != "embedding"]
    assert found["macs_if_spike_driven"] == HEAD
    assert found["accumulates_if_spike_driven"] == pytest.approx(BLOCKS * sum(rates) / len(rates))
    assert found["accumulates_if_spike_driven"] > 0


def test_neurons_before_feed_every_matrix_of_the_blocks_with_spikes() -> None:
    made = network("before")
    activity = watched(made, text())
    found, rates = operations(activity), activity.rates()
    in_blocks = {name: fed for name, fed in activity.fed.items() if ".mixing." in name}
    assert len(in_blocks) == 7 * LAYERS
    assert all(fed.spikes_only for fed in in_blocks.values())
    assert found["spike_fed_share"] == pytest.approx(BLOCKS / (BLOCKS + HEAD))  # the head alone reads real numbers
    assert found["macs_as_built"] == found["macs_if_spike_driven"] == HEAD
    assert found["accumulates_as_built"] == found["accumulates_if_spike_driven"]
    direct = sum(fed.macs * rates[population(name)] for name, fed in in_blocks.items())
    assert found["accumulates_as_built"] == pytest.approx(direct)
    assert 0 < direct < BLOCKS


def test_canary_a_single_real_number_is_no_spike() -> None:
    made = network("before")
    key = made.branches()[0].mixing.neurons["key"]
    key.register_forward_hook(lambda _, args, out: (out[0] + (torch.arange(FEATURES) == 2) * 0.5, out[1]))
    activity = watched(made, text())
    assert not activity.fed["blocks.0.time.mixing.key"].spikes_only
    found = operations(activity)
    assert found["macs_as_built"] == HEAD + FEATURES**2
    assert found["macs_if_spike_driven"] == HEAD


def test_what_a_matrix_is_fed_with_by_hand() -> None:
    made, x = network("before"), text()
    seen: list[Tensor] = []
    made.branches()[3].mixing.value.register_forward_hook(lambda _, args, out: seen.append(args[0]))
    fed = watched(made, x).fed["blocks.1.channel.mixing.value"]
    assert (fed.inputs, fed.outputs, fed.macs) == (4 * FEATURES, FEATURES, 4 * FEATURES**2)
    assert fed.seen == seen[0].numel() == 40 * 3 * 4 * FEATURES
    assert fed.nonzero == int((seen[0] != 0).sum())
    assert fed.rate == pytest.approx(float(seen[0].double().mean()))


@pytest.mark.parametrize("spiking", ["after", "before"])
def test_padding_is_not_counted(spiking: str) -> None:
    torch.manual_seed(3)
    made = lively(SpikeGPTClassifier(3, TOKENS, FEATURES, LAYERS, spiking=spiking, init="torch"))
    lengths = torch.tensor([4, 13, 9])
    x = text(13)
    valid = torch.arange(13)[:, None] < lengths
    x = torch.where(valid, x, 0)
    padded = watched(made, x, None, valid, counted=valid)
    with torch.inference_mode(), Activity(made) as one_by_one:
        for i, length in enumerate(lengths):
            made(x[:length, i : i + 1])
    assert padded.rates() == pytest.approx(one_by_one.rates(), abs=1e-9)
    assert padded.places == one_by_one.places
    ours, theirs = operations(padded), operations(one_by_one)
    assert ours == pytest.approx(theirs)
    with_padding = watched(made, x, None, valid)  # canary
    assert with_padding.rates() != pytest.approx(one_by_one.rates(), abs=1e-3)


@pytest.mark.parametrize("shift", ["token", "learned", "fixed", "dense"])
def test_multiplications_of_shifts_are_their_taps(shift: str) -> None:
    made = network(shift=shift)
    if shift == "dense":
        with torch.no_grad():
            for module in made.modules():
                if isinstance(module, DelayShift):
                    module.lags.copy_(torch.randn_like(module.lags))
    made = with_integer_delays(made)
    direct = 0
    for module in made.modules():
        if isinstance(module, DelayShift):
            for lags in module.kernel().detach().flatten(1).T.tolist():
                direct += sum(weight != 0 for weight in lags)
    found = operations(watched(made, text()))
    assert found["shift_macs"] == direct
    mixes = LAYERS * 5 * FEATURES
    if shift == "token":
        assert mixes < direct <= 2 * mixes
    elif shift == "dense":
        assert direct == 5 * mixes
    else:
        assert 2 * mixes < direct <= 4 * mixes  # two points more, some on the same lag


def test_rates_are_of_neurons_not_of_delayed_copies() -> None:
    made = network(neuron_delays="axonal")
    assert len(delay_shifts(made)) == 2 * LAYERS
    rates, outputs = watched(made, text()).rates(), []
    made.branches()[0].register_forward_hook(lambda _, args, out: outputs.append(out[0]))
    with torch.inference_mode():
        made(text())
    assert 0 < rates["block0.time"] < 1
    assert not set(outputs[0].unique().tolist()) <= {0.0, 1.0}  # spikes and their delayed, weighted copies


def test_watching_changes_nothing_and_ends() -> None:
    made, x = network(), text()
    before = copy.deepcopy(made.state_dict())
    with torch.inference_mode():
        plain = made(x)[0]
        with Activity(made) as activity:
            assert torch.equal(made(x)[0], plain)
        counts = dict(activity.spikes)
        made(x)
    assert activity.spikes == counts
    assert not any(module._forward_hooks for module in made.modules())
    assert all(torch.equal(tensor, before[name]) for name, tensor in made.state_dict().items())


def test_hooks_go_when_the_network_fails() -> None:
    made = network()
    with pytest.raises(ValueError), Activity(made):
        made(torch.full((3, 1), TOKENS))
    assert not any(module._forward_hooks for module in made.modules())


def test_ones_of_the_embedding() -> None:
    made = network()
    with torch.no_grad():
        made.embedding.weight.fill_(-1)
        made.embedding.weight[:3, 0] = 0  # zero fires
    assert ones_rate(made) == pytest.approx(3 / (TOKENS * FEATURES))
