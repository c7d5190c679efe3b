"""The classifier: its parts by name, the published sizes, padding that does not matter, learning."""

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from snn_delays import DelayClassifier, discretize
from snn_delays.errors import ConfigError, ShapeError
from snn_delays.models.classifier import PUBLISHED, RECURRENT_SCALE
from snn_delays.nn import LIF, Recurrent, layers_of, layers_with_delays, record
from snn_delays.training.objective import class_scores, loss, valid_steps
from tests.support.networks import assert_active, firing_rates, poisson, warmed_classifier

READOUTS = ("softmax_sum", "membrane_mean", "membrane_max")


def test_children_have_names() -> None:
    network = DelayClassifier(6, (9, 7), 4, max_delay_steps=5)
    assert [name for name, _ in layers_of(network)] == [
        "hidden1.synapse", "hidden1.norm", "hidden1.neuron", "hidden1.dropout",
        "hidden2.synapse", "hidden2.norm", "hidden2.neuron", "hidden2.dropout",
        "readout.synapse", "readout.integrator",
    ]  # fmt: skip
    assert list(layers_with_delays(network)) == ["hidden1.synapse", "hidden2.synapse", "readout.synapse"]
    assert network(torch.zeros(11, 2, 6))[0].shape == (11, 2, 4)


@torch.no_grad()
def test_a_bias_of_the_readout_is_a_constant_current() -> None:
    plain, biased = (warmed_classifier(max_delay_steps=3, readout_bias=given) for given in (False, True))
    assert plain.readout.synapse.bias is None
    biased.readout.synapse.bias.uniform_(-1, 1)
    x = poisson(20, 3, plain.hidden1.synapse.in_features)
    constant = biased.readout.synapse.bias.expand(20, 3, -1)
    torch.testing.assert_close(biased(x)[0], plain(x)[0] + biased.readout.integrator(constant)[0])
    torch.testing.assert_close(discretize(biased)(x)[0] - discretize(plain)(x)[0], biased(x)[0] - plain(x)[0])


@pytest.mark.parametrize("name", PUBLISHED)
def test_published_networks_have_the_published_sizes(name: str) -> None:
    network = DelayClassifier.published(name)
    inputs, hidden, classes, count, longest = {
        "hammouamri_2024_shd_2x256": (140, (256, 256), 20, 1, 24),
        "hammouamri_2024_ssc_2x512_2kc": (140, (512, 512), 35, 2, 30),
        "hammouamri_2024_ssc_3x512": (140, (512, 512, 512), 35, 1, 30),
        "hammouamri_2024_ssc_3x512_2kc": (140, (512, 512, 512), 35, 2, 30),
    }[name]
    widths = (inputs, *hidden, classes)
    for layer, shape in zip(layers_with_delays(network).values(), zip(widths[1:], widths)):
        assert layer.weight.shape == layer.delay.shape == (*shape, count)
        assert layer.max_delay_steps == longest
    assert len(layers_with_delays(network)) == len(hidden) + 1
    assert network.hidden1.neuron.surrogate.alpha == 5.0
    assert network.hidden1.neuron.detach_reset


def test_published_with_changes_and_unknown_names() -> None:
    network = DelayClassifier.published("hammouamri_2024_shd_2x256", hidden=(3,), max_delay_steps=0)
    assert len(network) == 2
    with pytest.raises(ConfigError, match="no published network 'best'; there are hammouamri_2024_shd_2x256"):
        DelayClassifier.published("best")
    with pytest.raises(ConfigError, match="hidden must name at least one layer"):
        DelayClassifier(6, (), 4, max_delay_steps=2)


def test_fixed_delays_are_integers_and_not_spread() -> None:
    for layer in layers_with_delays(DelayClassifier(6, (9,), 4, max_delay_steps=5, learn_delay=False)).values():
        assert torch.equal(layer.delay, layer.delay.round())
        assert layer.taps == "linear"
        assert not layer.delay.requires_grad


def padded(x: torch.Tensor, lengths: torch.Tensor, value: float) -> tuple[torch.Tensor, torch.Tensor]:
    valid = valid_steps(lengths, len(x))
    return torch.where(valid[..., None], x, torch.tensor(value, dtype=x.dtype)), valid


@pytest.mark.parametrize("readout", READOUTS)
@settings(max_examples=6)
@given(seed=st.integers(0, 30), lengths=st.lists(st.integers(5, 25), min_size=2, max_size=4))
def test_padding_and_neighbours_do_not_change_a_sample(readout: str, seed: int, lengths: list[int]) -> None:
    network = warmed_classifier(seed)
    steps = torch.tensor(lengths)
    x, valid = padded(poisson(25, len(lengths), 6, seed=seed), steps, 2.0)
    assert_active(network, x)
    together = class_scores(network(x, None, valid)[0], valid, readout)
    for b, length in enumerate(lengths):
        alone = x[:length, b : b + 1]
        mask = torch.ones(length, 1, dtype=torch.bool)
        scores = class_scores(network(alone, None, mask)[0], mask, readout)
        torch.testing.assert_close(together[b], scores[0], rtol=1e-10, atol=1e-11)


def test_in_training_padding_changes_neither_scores_nor_gradients_nor_statistics() -> None:
    lengths = torch.tensor([30, 17, 23])
    signal = poisson(30, 3, 6)
    outcomes = []
    for value, extra in ((0.0, 0), (3.0, 0), (1.0, 6)):
        network = warmed_classifier(4).train()
        x, valid = padded(torch.cat([signal, torch.ones(extra, 3, 6).double()]), lengths, value)
        scores = class_scores(network(x, None, valid)[0], valid)
        loss(scores, torch.tensor([0, 1, 2])).backward()
        grads = [p.grad for p in network.parameters()]
        outcomes.append([scores.detach(), *grads, *network.buffers()])
        assert all(0.02 < rate < 0.6 for rate in firing_rates(network.eval(), x[:17]).values())
    for other in outcomes[1:]:
        for got, want in zip(other, outcomes[0]):
            torch.testing.assert_close(got, want, rtol=1e-9, atol=1e-11)


def test_padding_test_sees_a_forgotten_mask() -> None:
    network = warmed_classifier(4).train()
    lengths = torch.tensor([30, 17, 23])
    scores = []
    for value in (0.0, 3.0):
        x, valid = padded(poisson(30, 3, 6), lengths, value)
        scores.append(class_scores(network(x, None, None)[0], valid).detach())
    assert not torch.allclose(*scores)


def test_scores_by_hand() -> None:
    v = torch.tensor([[[0.0, 0.0]], [[2.0, 1.0]], [[9.0, 9.0]]])
    valid = valid_steps(torch.tensor([2]), 3)
    assert valid[:, 0].tolist() == [True, True, False]
    want = torch.tensor([[0.5, 0.5]]) + torch.softmax(torch.tensor([[2.0, 1.0]]), -1)
    torch.testing.assert_close(class_scores(v, valid), want)
    assert class_scores(v, valid, "membrane_mean").tolist() == [[1.0, 0.5]]
    assert class_scores(v, valid, "membrane_max").tolist() == [[2.0, 1.0]]
    with pytest.raises(ConfigError, match="unknown readout 'last'"):
        class_scores(v, valid, "last")
    for wrong in (0, 4):
        with pytest.raises(ShapeError, match=r"lengths must lie in 1\.\.3 steps"):
            valid_steps(torch.tensor([wrong]), 3)


def test_a_few_steps_of_training_lower_the_loss() -> None:
    torch.manual_seed(1)
    network = DelayClassifier(6, (16,), 3, max_delay_steps=5, sigma_steps=1.5)
    x = torch.stack([poisson(25, 6, 6, seed=seed).float() for seed in range(3)]).transpose(0, 1).flatten(1, 2)
    labels = torch.arange(3).repeat_interleave(6)
    x = x + torch.nn.functional.one_hot(labels, 6).float()  # a channel for each class
    valid = torch.ones(25, 18, dtype=torch.bool)
    optimiser = torch.optim.Adam(network.parameters(), lr=0.02)
    losses = []
    for _ in range(25):
        value = loss(class_scores(network(x, None, valid)[0], valid), labels)
        optimiser.zero_grad()
        value.backward()
        assert all(p.grad is not None and p.grad.isfinite().all() for p in network.parameters())
        optimiser.step()
        for layer in layers_with_delays(network).values():
            layer.clamp_delays_()
        losses.append(value.item())
    assert losses[-1] < 0.3 * losses[0]


def recurrent_classifier(**changes) -> DelayClassifier:
    return DelayClassifier(6, (9, 7), 4, **{"max_delay_steps": 5, "recurrent": True, **changes})


def test_recurrence_is_in_every_hidden_layer_and_nowhere_else() -> None:
    network = recurrent_classifier(reset="soft", threshold=0.9, tau_steps=3.0, delay_count=2)
    plain = DelayClassifier(6, (9, 7), 4, max_delay_steps=5)
    assert [name for name, _ in layers_of(network)] == [name for name, _ in layers_of(plain)]
    assert list(layers_with_delays(network)) == [
        "hidden1.synapse", "hidden1.neuron.synapse", "hidden2.synapse", "hidden2.neuron.synapse", "readout.synapse",
    ]  # fmt: skip
    for hidden, neurons in ((network.hidden1, 9), (network.hidden2, 7)):
        assert isinstance(hidden.neuron, Recurrent)
        assert hidden.neuron.fires
        assert hidden.neuron.synapse.weight.shape == (neurons, neurons, 2)
        assert isinstance(lif := hidden.neuron.neuron, LIF)
        assert (lif.reset, lif.threshold, lif.tau_steps) == ("soft", 0.9, 3.0)
    assert network(torch.zeros(11, 2, 6))[0].shape == (11, 2, 4)


def test_recurrent_weights_begin_small() -> None:
    weight = DelayClassifier(6, (200,), 4, max_delay_steps=5, recurrent=True).hidden1.neuron.synapse.weight[..., 0]
    radius = torch.linalg.eigvals(weight.detach()).abs().max()
    assert radius == pytest.approx(RECURRENT_SCALE * 2**0.5, rel=0.2)
    assert radius * 2.5 < 1  # the surrogate's largest slope


@pytest.mark.parametrize(
    ("longest", "least", "window", "window_back"),
    [(5, 0, (0, 5), (1, 5)), (5, 2, (2, 5), (2, 5)), (0, 0, (0, 0), (1, 1)), (1, 1, (1, 1), (1, 1))],
)
def test_the_windows_of_delays(longest: int, least: int, window: tuple, window_back: tuple) -> None:
    for name, layer in layers_with_delays(recurrent_classifier(max_delay_steps=longest, min_delay_steps=least)).items():
        low, high = window_back if "neuron" in name else window
        assert (layer.min_delay_steps, layer.max_delay_steps) == (low, high), name
        assert low <= layer.delay.min()
        assert layer.delay.max() <= high
        assert layer.delay.requires_grad == (high > low)


def test_fixed_recurrent_delays_are_whole() -> None:
    for layer in layers_with_delays(recurrent_classifier(learn_delay=False, min_delay_steps=1)).values():
        assert torch.equal(layer.delay, layer.delay.round())
        assert layer.taps == "linear"
        assert layer.delay.min() >= 1


def test_without_recurrence_the_network_is_drawn_as_ever() -> None:
    torch.manual_seed(5)
    plain = DelayClassifier(6, (9,), 4, max_delay_steps=5).state_dict()
    torch.manual_seed(5)
    weight = (torch.rand(9, 6, 1) * 2 - 1) * 1.0
    assert torch.equal(plain["hidden1.synapse.weight"], weight)
    assert sorted(plain) == sorted(DelayClassifier(6, (9,), 4, max_delay_steps=5, min_delay_steps=2).state_dict())


@settings(max_examples=6)
@given(seed=st.integers(0, 30), at=st.integers(0, 25))
def test_chunk_law_and_causality_of_a_recurrent_classifier(seed: int, at: int) -> None:
    network, x = warmed_classifier(seed, recurrent=True, min_delay_steps=1), poisson(25, 3, 6, seed=seed)
    rates = {name: float(out.detach().mean()) for name, out in record(network, x).items() if name.endswith("neuron")}
    assert all(0.02 < rate < 0.6 for rate in rates.values()), rates
    assert len(rates) == 2
    whole, _ = network(x)
    first, state = network(x[:at])
    second, _ = network(x[at:], state)
    torch.testing.assert_close(torch.cat([first, second]), whole, rtol=1e-11, atol=1e-12)
    with torch.no_grad():
        for layer in network.modules():
            if isinstance(layer, Recurrent):
                layer.synapse.weight.zero_()
    assert not torch.allclose(network(x)[0], whole), "recurrence has no effect at all"


def test_in_training_padding_does_not_matter_to_a_recurrent_classifier() -> None:
    lengths, signal, outcomes = torch.tensor([20, 13]), poisson(20, 2, 6), []
    for value in (0.0, 3.0):
        network = warmed_classifier(4, recurrent=True).train()
        x, valid = padded(signal, lengths, value)
        scores = class_scores(network(x, None, valid)[0], valid)
        loss(scores, torch.tensor([0, 1])).backward()
        outcomes.append([scores.detach(), *(p.grad for p in network.parameters()), *network.buffers()])
    for got, want in zip(*outcomes):
        torch.testing.assert_close(got, want, rtol=1e-9, atol=1e-11)


def test_a_few_steps_of_training_lower_the_loss_of_a_recurrent_classifier() -> None:
    torch.manual_seed(1)
    network = DelayClassifier(6, (12,), 3, max_delay_steps=4, sigma_steps=1.5, recurrent=True, min_delay_steps=1)
    x = torch.stack([poisson(15, 6, 6, seed=seed).float() for seed in range(3)]).transpose(0, 1).flatten(1, 2)
    labels = torch.arange(3).repeat_interleave(6)
    x = x + torch.nn.functional.one_hot(labels, 6).float()
    valid = torch.ones(15, 18, dtype=torch.bool)
    back = network.hidden1.neuron.synapse
    before = back.weight.detach().clone(), back.delay.detach().clone()
    optimiser = torch.optim.Adam(network.parameters(), lr=0.02)
    losses = []
    for _ in range(25):
        value = loss(class_scores(network(x, None, valid)[0], valid), labels)
        optimiser.zero_grad()
        value.backward()
        assert all(p.grad is not None and p.grad.isfinite().all() for p in network.parameters())
        optimiser.step()
        for layer in layers_with_delays(network).values():
            layer.clamp_delays_()
        losses.append(value.item())
    assert losses[-1] < 0.4 * losses[0]
    assert not torch.equal(back.weight, before[0])
    assert not torch.equal(back.delay, before[1])
    assert back.delay.min() >= 1
