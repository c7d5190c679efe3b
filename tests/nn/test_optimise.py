"""Parameter groups, delays kept in their window after optimiser steps, and the annealing of sigma."""

import pytest
import torch
from torch import nn
from torch.nn.utils import parametrize, prune

from snn_delays import (
    LIF,
    BatchNorm,
    DelayClassifier,
    DelayedLinear,
    Sequential,
    SigmaSchedule,
    SpikeGPT,
    keep_delays_in_window,
    parameter_groups,
)
from snn_delays.errors import ConfigError
from snn_delays.nn.eventprop import EventPropNetwork
from snn_delays.nn.quantize import quantize_weights
from tests.support.networks import poisson


def names(network: nn.Module, **options: float) -> dict[str, list[str]]:
    of = {id(parameter): name for name, parameter in network.named_parameters()}
    groups = parameter_groups(network, lr=1e-3, lr_delay=0.1, **options)
    return {group["name"]: [of[id(parameter)] for parameter in group["params"]] for group in groups}


def test_weights_decay_norms_do_not_and_delays_are_apart() -> None:
    network = Sequential(DelayedLinear(3, 4, max_delay_steps=5, bias=True), BatchNorm(4), LIF(2.0), nn.Linear(4, 2))
    groups = {group["name"]: group for group in parameter_groups(network, lr=1e-3, lr_delay=0.1, weight_decay=1e-2)}
    others = ["0.bias", "1.weight", "1.bias", "3.bias"]
    assert names(network) == {"weights": ["0.weight", "3.weight"], "others": others, "delays": ["0.delay"]}
    assert {name: (group["lr"], group["weight_decay"]) for name, group in groups.items()} == {
        "weights": (1e-3, 1e-2), "others": (1e-3, 0.0), "delays": (0.1, 0.0),
    }  # fmt: skip
    torch.optim.AdamW(groups.values())


def test_pruned_parametrised_and_frozen_parameters_find_their_group() -> None:
    network = DelayClassifier(3, (4,), 2, max_delay_steps=5)
    quantize_weights(network.hidden1.synapse, bits=4)
    prune.random_unstructured(network.readout.synapse, "weight", 0.5)
    parametrize.register_parametrization(network.readout.synapse, "delay", nn.Identity())
    found = names(network)
    assert found["weights"] == ["hidden1.synapse.parametrizations.weight.original", "readout.synapse.weight_orig"]
    assert found["delays"] == ["hidden1.synapse.delay", "readout.synapse.parametrizations.delay.original"]
    assert "delays" not in names(DelayClassifier(3, (4,), 2, max_delay_steps=5, learn_delay=False))


def test_of_spikegpt_matrices_decay_alone() -> None:
    network = SpikeGPT(7, 6, 2, shift={"kind": "learned", "max_delay_steps": 4})
    found = names(network)
    assert sorted(found["weights"]) == sorted(
        f"{name}.weight" for name, module in network.named_modules() if isinstance(module, nn.Linear)
    )
    assert len(found["delays"]) == 4
    assert "embedding.weight" in found["others"]
    assert sum(map(len, found.values())) == len(list(network.parameters()))


def test_delays_in_milliseconds_are_not_taken_for_steps() -> None:
    network = EventPropNetwork([3, 5, 2], end_ms=30.0)
    with pytest.raises(ConfigError, match="delays in ms, not steps"):
        parameter_groups(network, lr=0.1, lr_delay=0.1)
    with pytest.raises(ConfigError, match="delays in ms, not steps"):
        keep_delays_in_window(network, torch.optim.Adam(network.parameters()))


def test_what_parameter_groups_refuse() -> None:
    network = DelayClassifier(3, (4,), 2, max_delay_steps=5)
    with pytest.raises(ConfigError, match="lr_delay must be a finite number >= 0, got -1"):
        parameter_groups(network, lr=1e-3, lr_delay=-1)
    with pytest.raises(ConfigError, match="DelayClassifier has no parameters that are trained"):
        parameter_groups(network.requires_grad_(False), lr=1e-3, lr_delay=0.1)


@pytest.mark.parametrize("kind", ["classifier", "spikegpt"])
def test_delays_stay_in_their_window(kind: str) -> None:
    torch.manual_seed(0)
    if kind == "classifier":
        network: nn.Module = DelayClassifier(5, (6,), 3, max_delay_steps=4, min_delay_steps=1)
        x = poisson(12, 2, 5).float() * 4
    else:
        network = SpikeGPT(7, 6, 1, shift={"kind": "learned", "max_delay_steps": 4}, init="torch")
        for shift in (m for m in network.modules() if type(m).__name__ == "DelayShift"):
            nn.init.normal_(shift.weight)
        x = torch.randint(0, 7, (12, 2))
    optimiser = torch.optim.Adam(parameter_groups(network, lr=1e-3, lr_delay=9.0))
    handle = keep_delays_in_window(network, optimiser)

    def step() -> list[float]:
        optimiser.zero_grad()
        network(x)[0].square().sum().backward()
        optimiser.step()
        (delays,) = (group["params"] for group in optimiser.param_groups if group["name"] == "delays")
        return [value for delay in delays for value in (delay.min().item(), delay.max().item())]

    least = 1 if kind == "classifier" else 0
    for _ in range(3):
        found = step()
        assert least <= min(found) <= max(found) <= 4
    handle.remove()
    assert not least <= min(step()) or max(step()) > 4


def test_an_optimiser_without_the_delays_is_refused() -> None:
    network = DelayClassifier(3, (4,), 2, max_delay_steps=5)
    weights = torch.optim.Adam([network.hidden1.synapse.weight])
    with pytest.raises(ConfigError, match="this Adam trains no delay of this network"):
        keep_delays_in_window(network, weights)
    keep_delays_in_window(DelayClassifier(3, (4,), 2, max_delay_steps=0), weights)  # none to keep


def widths(network: nn.Module) -> list[float]:
    return [round(float(module.sigma), 6) for module in network.modules() if hasattr(module, "sigma")]


def test_sigma_shrinks_by_the_same_factor_and_stays_at_the_end() -> None:
    network = Sequential(
        DelayedLinear(3, 4, max_delay_steps=16), DelayedLinear(4, 4, max_delay_steps=16, taps="linear", sigma_steps=3.0)
    )
    schedule = SigmaSchedule(network, start=8.0, end=0.5, steps=4)
    found = [widths(network)]
    for _ in range(6):
        schedule.step()
        found.append(widths(network))
    assert [one for one, _ in found] == [8.0, 4.0, 2.0, 1.0, 0.5, 0.5, 0.5]
    assert all(other == 3.0 for _, other in found), "taps without a width are left alone"


def test_sigma_starts_at_what_each_layer_has() -> None:
    network = Sequential(DelayedLinear(3, 4, max_delay_steps=16), DelayedLinear(4, 4, max_delay_steps=3))
    narrow = DelayedLinear(4, 4, max_delay_steps=9, sigma_steps=0.3)
    network.add_module("narrow", narrow)
    schedule = SigmaSchedule(network, end=0.5, steps=2, offset=0.27)
    assert widths(network) == [8.0, 2.0, 0.3]
    schedule.step()
    assert widths(network)[:2] == pytest.approx([0.27 + (7.73 * 0.23) ** 0.5, 0.27 + (1.73 * 0.23) ** 0.5], abs=1e-6)
    assert widths(network)[2] == 0.3
    SigmaSchedule(network, start=8.0, end=0.5, steps=0)
    assert widths(network) == [0.5, 0.5, 0.5]


def test_a_schedule_goes_on_from_its_state() -> None:
    def made() -> tuple[Sequential, SigmaSchedule]:
        network = Sequential(DelayedLinear(3, 4, max_delay_steps=16))
        return network, SigmaSchedule(network, start=8.0, steps=4)

    (network, first), (other, second) = made(), made()
    first.step()
    first.step()
    second.load_state_dict(torch.load(_saved(first.state_dict()), weights_only=True))
    assert widths(other) == widths(network) == [2.0]
    second.step()
    assert widths(other) == [1.0]
    with pytest.raises(ConfigError, match="is of another network"):
        second.load_state_dict({**first.state_dict(), "start": {"elsewhere": 8.0}})


def _saved(state: dict) -> object:
    import io

    file = io.BytesIO()
    torch.save(state, file)
    file.seek(0)
    return file


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"steps": 4.5}, "steps must be an integer"),
        ({"steps": 4, "start": 0.2}, r"start \(0.2\) must be a finite number, at least end"),
        ({"steps": 4, "end": 0.0}, "end must be a finite number above offset"),
        ({"steps": 4, "end": 0.2, "offset": 0.27}, "end must be a finite number above offset"),
        ({"steps": 4, "start": float("nan")}, r"start \(nan\) must be"),
    ],
)
def test_what_a_schedule_refuses(options: dict, message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        SigmaSchedule(Sequential(DelayedLinear(3, 4, max_delay_steps=16)), **options)
