"""The section of recurrent delays: what it builds, what it refuses, and that the switch means what it meant."""

import pytest
import torch

from snn_delays.errors import ConfigError
from snn_delays.models import DelayClassifier
from snn_delays.nn import DelaySpec, Recurrent, RecurrentSpec, layers_with_delays
from snn_delays.recipes.build import build_network
from snn_delays.recipes.files import load_recipe, recipe_from_toml, to_toml
from snn_delays.recipes.keys import refuse_unused
from snn_delays.recipes.recurrent import RecurrentConfig, kind_of_delays


def recipe(*changes: str):
    return load_recipe("demo", ["model.delays=none", *(f"model.recurrent.{change}" for change in changes)])


def test_the_section_builds_recurrent_delays_of_their_own() -> None:
    made = recipe("sharing=axon", "max_delay_ms=400", "delay_range_steps=[11, 31]", "dropout=0.3", "learn_width=axon")
    assert recipe_from_toml(to_toml(made), "written") == made
    assert made.model.layers == "64rx64r"
    torch.manual_seed(0)
    network = build_network(made, (140,), 20)
    for hidden in (network.hidden1, network.hidden2):
        assert isinstance(hidden.neuron, Recurrent)
        synapse = hidden.neuron.synapse
        assert (hidden.synapse.max_delay_steps, synapse.max_delay_steps, synapse.taps) == (0, 40, "delrec")
        assert (synapse.delay.shape, synapse.width.shape) == ((1, 64, 1), (1, 64, 1))
        assert synapse.delay.requires_grad
        assert synapse.width.requires_grad
        assert 11 <= float(synapse.delay.detach().min()) <= float(synapse.delay.detach().max()) <= 31
        weight = synapse.weight.detach()[..., 0]
        torch.testing.assert_close(weight @ weight.T, torch.eye(64), rtol=0, atol=1e-5)
        assert hidden.neuron.dropout.p == 0.3
        assert float(synapse.sigma) == pytest.approx(made.sigma_at(0))
    assert made.sigma_at(0) == pytest.approx(20.27)  # half of the recurrent window: there is no other


def test_layers_sharing_and_initial_weights() -> None:
    made = recipe("layers=[2]", "sharing=layer", "weight_init=uniform", "delay_init=half_normal", "delay_std_steps=5")
    network = build_network(made, (140,), 20)
    assert made.model.layers == "64x64r"
    assert not isinstance(network.hidden1.neuron, Recurrent)
    assert network.hidden2.neuron.synapse.delay.shape == (1, 1, 1)
    assert float(network.hidden2.neuron.synapse.weight.detach().abs().max()) < 0.2


@pytest.mark.parametrize(("delays", "longest"), [("fixed", 24), ("none", 1)])
def test_recurrent_delays_that_do_not_learn_are_integers(delays: str, longest: int) -> None:
    made = recipe(f"delays={delays}")
    assert made.annealing() is None
    for layer in (build_network(made, (140,), 20).hidden1.neuron.synapse,):
        assert (layer.max_delay_steps, layer.min_delay_steps, layer.taps) == (longest, 1, "linear")
        assert torch.equal(layer.delay, layer.delay.round())
        assert not layer.delay.requires_grad


def test_feed_forward_and_recurrent_delays_go_together() -> None:
    made = load_recipe("demo", ["model.recurrent.delays=learned", "model.taps=triangle"])
    taps = {layer.taps for layer in layers_with_delays(build_network(made, (140,), 20)).values()}
    assert taps == {"triangle", "delrec"}


def test_the_switch_draws_the_network_that_it_drew() -> None:
    torch.manual_seed(3)
    switched = DelayClassifier(5, (6,), 2, max_delay_steps=4, recurrent=True)
    torch.manual_seed(3)
    spec = RecurrentSpec(DelaySpec(max_delay_steps=4), orthogonal=False)
    spelled = DelayClassifier(5, (6,), 2, max_delay_steps=4, recurrent=spec)
    for one, other in zip(switched.state_dict().values(), spelled.state_dict().values(), strict=True):
        assert torch.equal(one, other)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        (["sharin=axon"], r"unknown key 'model.recurrent.sharin'; did you mean 'sharing'"),
        (["taps=linear", "delays=none"], "model.recurrent: taps does nothing with delays = 'none'"),
        (["delays=fixed", "learn_width=axon"], "learn_width does nothing with delays = 'fixed'"),
        (["layers=[3]"], r"recurrent.layers = \(3,\) are of 2 hidden layers"),
        (["delay_range_steps=[0, 3]"], r"delay_range_steps = \(0.0, 3.0\) must lie within 1..24 steps"),
        (["delay_init=half_normal"], "'half_normal' and delay_std_steps belong together"),
        (["max_delay_ms=2"], "is 0 steps of 10 ms; it must lie in 1.."),
        (["delay_count=2"], "'orthogonal' is of one synapse"),
        (["sharing=neuron"], "model.recurrent.sharing: Input should be"),
    ],
)
def test_what_cannot_be_is_refused(changes: list[str], message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        recipe(*changes)


def test_nothing_to_learn_is_refused() -> None:
    made = recipe("max_delay_ms=10")
    with pytest.raises(ConfigError, match=r"model.recurrent.delays = 'learned' has nothing to learn"):
        refuse_unused(made)


def test_specs_that_cannot_be() -> None:
    with pytest.raises(ConfigError, match="one synapse for each pair"):
        RecurrentSpec(DelaySpec(max_delay_steps=4, delay_count=2))
    with pytest.raises(ConfigError, match="are of 1 hidden layers"):
        DelayClassifier(
            5, (6,), 2, recurrent=RecurrentSpec(DelaySpec(max_delay_steps=4), layers=(2,)), max_delay_steps=0
        )


def test_tables_say_what_is_recurrent() -> None:
    assert kind_of_delays("none", True) == "none"
    assert kind_of_delays("none", RecurrentConfig()) == "none, recurrent learned"
