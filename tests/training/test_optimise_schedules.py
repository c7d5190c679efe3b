"""The published schedules, against closed forms and against torch's schedules driven by themselves."""

import math
from typing import Any

import pytest
import torch

from snn_delays.nn import BatchNorm, DelayedLinear, layers_with_delays
from snn_delays.recipes.build import build_network
from snn_delays.recipes.files import load_recipe
from snn_delays.recipes.sigma import sigma_at
from snn_delays.training import engine as loop
from snn_delays.training.optimise import Optimisation, optimise
from snn_delays.training.runlog import create_run
from tests.support import tiny_runs

PUBLISHED = load_recipe("hammouamri_2024_shd")


def advance(optimisation: Optimisation) -> None:
    """A step of the optimisers, which moves nothing without gradients, then one of their schedules."""
    for optimiser in optimisation.optimisers.values():
        optimiser.step()
    for schedule in optimisation.schedules.values():
        schedule.step()


def test_sigma_narrows_as_published() -> None:
    sigma = [sigma_at(PUBLISHED, epoch) for epoch in range(151)]
    assert sigma[0] == pytest.approx(12.27)
    assert sigma[37] == pytest.approx(0.50)
    assert sigma[36] > 0.51
    assert set(sigma[37:]) == {sigma[37]}
    factor = (0.23 / 12) ** (1 / 37)
    assert factor == pytest.approx(0.898633, abs=5e-7)
    width = 12.0  # the code published with the paper multiplies its parameter by the factor after every epoch
    for epoch in range(38):
        assert sigma[epoch] == pytest.approx(width + 0.27, rel=1e-12)
        width *= factor


@pytest.mark.parametrize(
    ("model", "training", "expected"),
    [
        ({"delays": "none"}, {}, [None, None]),
        ({"delays": "fixed"}, {}, [None, None]),
        ({"taps": "linear"}, {}, [None, None]),
        ({"max_delay_ms": 0.0}, {}, [None, None]),
        ({"taps": "triangle"}, {"sigma_epochs": 1}, [4.27, 0.5]),
        ({}, {"sigma_epochs": 0}, [0.5, 0.5]),
        ({}, {"sigma_epochs": 1}, [4.27, 0.5]),
        ({}, {"sigma_epochs": 1, "sigma_start_steps": 2.0}, [2.0, 0.5]),
        ({}, {"sigma_start_steps": 0.4}, [0.5, 0.5]),
        ({}, {"sigma_epochs": None, "epochs": 3}, [0.5, 0.5]),
        ({}, {"sigma_epochs": 2, "sigma_offset_steps": 0.0}, [4.0, math.sqrt(4.0 * 0.5)]),
    ],
)
def test_sigma_where_it_matters(model: dict[str, Any], training: dict[str, Any], expected: list[float | None]) -> None:
    recipe = tiny_runs.tiny_recipe(model=model, training=training)
    assert [sigma_at(recipe, epoch) for epoch in (0, 1)] == pytest.approx(expected)


def test_rates_and_betas_of_the_published_recipe() -> None:
    network = build_network(PUBLISHED, (140,), 20)
    optimisation = optimise(PUBLISHED.training, network, steps_per_epoch=29)
    weight, delay = optimisation.optimisers["weight"], optimisation.optimisers["delay"]
    lone = torch.optim.Adam([torch.nn.Parameter(torch.zeros(1))], lr=1e-3)
    reference = torch.optim.lr_scheduler.OneCycleLR(lone, max_lr=5e-3, total_steps=150)
    rates, betas, delay_rates = [], [], []
    for epoch in range(150):
        rates.append({group["lr"] for group in weight.param_groups})
        betas.append({group["betas"] for group in weight.param_groups})
        delay_rates.append(delay.param_groups[0]["lr"])
        assert rates[-1] == {lone.param_groups[0]["lr"]}, epoch
        assert betas[-1] == {lone.param_groups[0]["betas"]}, epoch
        lone.step()
        advance(optimisation)
        if epoch < 149:
            reference.step()
    flat = [rate for (rate,) in rates]
    assert flat[0] == pytest.approx(2e-4)
    assert max(flat) == pytest.approx(5e-3)
    assert flat.index(max(flat)) == 44  # 0.3 * 150 - 1
    assert flat[-1] == pytest.approx(2e-8)
    first = [beta for ((beta, _),) in betas]
    assert (first[0], first[44], first[-1]) == pytest.approx((0.95, 0.85, 0.95))
    assert {second for ((_, second),) in betas} == {0.999}
    assert delay_rates == pytest.approx([0.05 * (1 + math.cos(math.pi * e / 150)) for e in range(150)])
    assert delay.param_groups[0]["lr"] == pytest.approx(0, abs=1e-12)
    assert delay.param_groups[0]["betas"] == (0.9, 0.999)


def test_by_step_the_same_curves_are_walked_in_steps() -> None:
    recipe = tiny_runs.tiny_recipe(training={"epochs": 5})
    optimisation = optimise(recipe.training, build_network(recipe, (12,), 4), steps_per_epoch=4)
    rates = []
    for _ in range(20):
        rates.append((optimisation.optimisers["weight"].param_groups[0]["lr"],
                      optimisation.optimisers["delay"].param_groups[0]["lr"]))  # fmt: skip
        advance(optimisation)
    assert max(range(20), key=lambda i: rates[i][0]) == 5  # 0.3 * 20 - 1
    assert [delay for _, delay in rates] == pytest.approx([0.05 * (1 + math.cos(math.pi * s / 20)) for s in range(20)])


def test_every_parameter_is_trained_by_one_optimiser_and_only_weights_decay() -> None:
    network = build_network(PUBLISHED, (140,), 20)
    optimisation = optimise(PUBLISHED.training, network, 29)
    assert set(optimisation.optimisers) == set(optimisation.schedules) == {"weight", "delay"}
    names = {id(p): name for name, p in network.named_parameters()}
    decay, by = {}, {}
    for kind, optimiser in optimisation.optimisers.items():
        assert type(optimiser) is torch.optim.Adam
        for group in optimiser.param_groups:
            for p in group["params"]:
                assert names[id(p)] not in decay
                decay[names[id(p)]], by[names[id(p)]] = group["weight_decay"], kind
    assert set(decay) == set(names.values())
    assert {name for name, value in decay.items() if value} == {
        f"{layer}.weight" for layer in layers_with_delays(network)
    }
    assert {value for value in decay.values() if value} == {1e-5}
    assert {name for name, kind in by.items() if kind == "delay"} == {f"{n}.delay" for n in layers_with_delays(network)}


@pytest.mark.parametrize("delays", ["fixed", "none"])
def test_delays_that_are_not_learned_have_no_optimiser(delays: str) -> None:
    recipe = tiny_runs.tiny_recipe(model={"delays": delays})
    network = build_network(recipe, (12,), 4)
    optimisation = optimise(recipe.training, network, 3)
    assert set(optimisation.optimisers) == set(optimisation.schedules) == {"weight"}
    held = {id(p) for group in optimisation.optimisers["weight"].param_groups for p in group["params"]}
    assert held == {id(p) for p in network.parameters() if p.requires_grad}


@pytest.mark.parametrize(
    ("delays", "expected"),
    [("learned", 214_016), ("fixed", 107_520), ("none", 107_520)],
)
def test_parameters_of_the_published_network(delays: str, expected: int) -> None:
    from snn_delays.runs.load import trainable_parameters

    recipe = load_recipe("hammouamri_2024_shd", (f"model.delays={delays}",))
    network = build_network(recipe, (140,), 20)
    # 140 x 256 + 256 x 256 + 256 x 20 synapses with a weight and a delay each, two norms of 2 x 256
    synapses = 140 * 256 + 256 * 256 + 256 * 20
    assert trainable_parameters(network) == expected == synapses * (2 if delays == "learned" else 1) + 2 * 2 * 256
    assert [m.num_features for m in network.modules() if isinstance(m, BatchNorm)] == [256, 256]


def test_delays_are_clamped_after_every_step(folder: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    recipe = tiny_runs.tiny_recipe(training={"epochs": 1, "lr_delay": 2.0})
    calls, outside = [], []
    clamp = DelayedLinear.clamp_delays_

    def watched(layer: DelayedLinear) -> None:
        outside.append(bool((layer.delay < 0).any() or (layer.delay > layer.max_delay_steps).any()))
        clamp(layer)
        assert bool(((layer.delay >= 0) & (layer.delay <= layer.max_delay_steps)).all())
        calls.append(layer)

    monkeypatch.setattr(DelayedLinear, "clamp_delays_", watched)
    loop.fit(create_run(folder, recipe), accelerator="cpu")
    assert len(calls) == 2 * 3  # layers, steps
    assert any(outside), "no delay left the window, so that this test would pass without clamping"
