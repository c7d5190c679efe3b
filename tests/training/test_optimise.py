"""Optimiser steps: schedules against closed forms, parts of a batch against the whole, clipping, what decays."""

import copy
import math
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from lightning_fabric import Fabric
from torch import Tensor, nn

from snn_delays.errors import ConfigError, TrainingError
from snn_delays.models import SpikeGPT
from snn_delays.models.spikegpt import delay_shifts
from snn_delays.recipes.text import LanguageRecipe
from snn_delays.training.optimise import (
    Optimisation,
    StepOutput,
    optimise,
    optimiser_step,
    rate_at,
    share_of,
)
from snn_delays.training.tasks.text import next_token_loss
from tests.support import tiny_texts

Loss = Callable[[], tuple[Tensor, Tensor]]
PLAIN = {"accumulate": 1, "warmup_steps": 0}


def recipe(model: dict[str, Any] | None = None, **training: Any) -> LanguageRecipe:
    return tiny_texts.language_recipe(Path("none"), model=model or {}, training=training)


def network(shift: str = "learned", **options: Any) -> SpikeGPT:
    """A small network in which everything is at work: all weights drawn, and neurons that fire."""
    torch.manual_seed(5)
    made = SpikeGPT(11, 8, 2, shift={"kind": shift, "max_delay_steps": 5}, init="torch", **options).double()
    with torch.no_grad():
        for name, p in made.named_parameters():
            if name.endswith("shift.weight") or name.endswith((".output.weight", ".value.weight")):
                p.copy_(torch.randn_like(p))
    return made


def fabric() -> Fabric:
    return Fabric(accelerator="cpu", devices=1)


def step(made: SpikeGPT, config: Any, losses: list[Loss], total: int = 10) -> tuple[float, Optimisation]:
    optimisation = optimise(config, made, math.ceil(total / config.epochs))
    engine = fabric()
    module, *_ = engine.setup(made, *optimisation.optimisers.values())
    parts = [lambda loss=loss: StepOutput(*loss()) for loss in losses]
    return optimiser_step(engine, module, made, optimisation, parts, 1)[0], optimisation


def on(made: SpikeGPT, x: Tensor, y: Tensor) -> Loss:
    return lambda: next_token_loss(made(x)[0], y, 0.0)


def batch(sequences: int = 8) -> tuple[Tensor, Tensor]:
    drawn = torch.randint(11, (13, sequences), generator=torch.Generator().manual_seed(1))
    return drawn[:-1], drawn[1:]


def test_cosine_with_warm_up_is_its_closed_form() -> None:
    config = recipe(schedule="cosine", warmup_steps=4, epochs=5, steps_per_epoch=20).training
    rates = [rate_at(config, s, 100, 0.1) for s in range(101)]
    assert rates[:4] == pytest.approx([0.25, 0.5, 0.75, 1.0])
    expected = [0.1 + 0.9 * (1 + math.cos(math.pi * (s - 4) / 96)) / 2 for s in range(4, 101)]
    assert rates[4:] == pytest.approx(expected, abs=1e-12)
    assert rates[52] == pytest.approx(0.55)  # half way
    assert rates[100] == pytest.approx(0.1)
    assert rate_at(config, 1000, 100, 0.1) == pytest.approx(0.1)  # and stays


def test_warm_up_stable_decay_is_its_closed_form() -> None:
    config = recipe(schedule="wsd", warmup_steps=10, epochs=5, steps_per_epoch=20).training
    rates = [rate_at(config, s, 100, 0.2) for s in range(101)]
    assert rates[:10] == pytest.approx([(s + 1) / 10 for s in range(10)])
    assert set(rates[10:81]) == {1.0}
    assert rates[81:] == pytest.approx([1 - 0.8 * (s - 80) / 20 for s in range(81, 101)])
    long = recipe(schedule="wsd", warmup_steps=90, epochs=5, steps_per_epoch=20).training
    assert [rate_at(long, s, 100, 0.0) for s in (89, 90, 95, 100)] == pytest.approx([1, 1, 0.5, 0])


def test_without_warm_up_the_first_step_is_at_the_peak() -> None:
    config = recipe(warmup_steps=0).training
    assert rate_at(config, 0, 9, 0.0) == 1.0
    assert rate_at(config, 0, 1, 0.0) == 1.0


def test_the_optimisers_walk_their_schedules() -> None:
    config = recipe(warmup_steps=2, lr=0.5, final_lr=0.05, lr_delay=0.2, epochs=2, steps_per_epoch=5).training
    made = network()
    optimisation = optimise(config, made, 10 // config.epochs)
    seen: dict[str, list[float]] = {"weight": [], "delay": []}
    for _ in range(10):
        for name, optimiser in optimisation.optimisers.items():
            (rate,) = {group["lr"] for group in optimiser.param_groups}
            seen[name].append(rate)
            optimiser.step()
            optimisation.schedules[name].step()
    assert seen["weight"] == pytest.approx([0.5 * rate_at(config, s, 10, 0.1) for s in range(10)])
    assert seen["delay"] == pytest.approx([0.2 * rate_at(config, s, 10, 0.0) for s in range(10)])
    assert optimisation.optimisers["weight"].param_groups[0]["lr"] == pytest.approx(0.05)
    assert optimisation.optimisers["delay"].param_groups[0]["lr"] == pytest.approx(0.0)


@pytest.mark.parametrize(
    ("model", "training", "expected"),
    [
        ({"shift": "token"}, {}, [None, None, None]),
        ({"shift": "fixed"}, {}, [None, None, None]),
        ({"shift": "dense"}, {}, [None, None, None]),
        ({"taps": "linear"}, {}, [None, None, None]),
        ({"shift": "token", "neuron_delays": "axonal"}, {}, [1.0, 0.4 ** (2 / 3), 0.4]),
        ({"max_delay_steps": 32}, {}, [4.0, 4.0 * 0.1 ** (2 / 3), 0.4]),  # over half of 3 epochs
        ({"max_delay_steps": 32}, {"sigma_epochs": 2}, [4.0, math.sqrt(4.0 * 0.4), 0.4]),
        ({"max_delay_steps": 32}, {"sigma_epochs": 0}, [0.4, 0.4, 0.4]),
        ({"taps": "triangle"}, {"sigma_start_steps": 2.0, "sigma_epochs": 1}, [2.0, 0.4, 0.4]),
    ],
)
def test_width_narrows_by_the_same_factor_from_epoch_to_epoch(
    model: dict[str, Any], training: dict[str, Any], expected: list[float | None]
) -> None:
    made = recipe(model, **training)
    assert [made.sigma_at(epoch) for epoch in (0, 1, 2)] == pytest.approx(expected)


def test_width_narrows_within_an_epoch_too() -> None:
    made = recipe({"max_delay_steps": 32}, sigma_epochs=2)
    widths = [made.sigma_at(step / 10) for step in range(31)]
    assert widths[:21] == pytest.approx([4.0 * 0.1 ** (step / 20) for step in range(21)])
    assert widths[21:] == pytest.approx([0.4] * 10)


def test_every_shift_that_learns_gets_the_width() -> None:
    made, config = network(neuron_delays="axonal"), recipe(sigma_start_steps=0.7)
    optimisation = optimise(config.training, made, 10)
    optimisation.set_sigma(config.sigma_at(0))
    assert [float(shift.sigma) for shift in delay_shifts(made).values()] == pytest.approx([0.7] * 8)
    still = recipe({"taps": "linear"})
    optimisation.set_sigma(still.sigma_at(1))  # nothing is spread: nothing changes
    assert [float(shift.sigma) for shift in delay_shifts(made).values()] == pytest.approx([0.7] * 8)


@pytest.mark.parametrize(("shift", "kind"), [("learned", "adam"), ("fixed", "adamw"), ("token", "adam")])
def test_every_parameter_has_one_optimiser_and_only_matrices_decay(shift: str, kind: str) -> None:
    made = network(shift)
    config = recipe(optimiser=kind, weight_decay=0.3, betas=[0.8, 0.95], eps=1e-7).training
    optimisation = optimise(config, made, 10 // config.epochs)
    assert set(optimisation.optimisers) == set(optimisation.schedules)
    assert set(optimisation.optimisers) == ({"weight", "delay"} if shift == "learned" else {"weight"})
    names = {id(p): name for name, p in made.named_parameters()}
    decay, by = {}, {}
    for optimiser_name, optimiser in optimisation.optimisers.items():
        for group in optimiser.param_groups:
            for p in group["params"]:
                assert names[id(p)] not in decay
                decay[names[id(p)]], by[names[id(p)]] = group["weight_decay"], optimiser_name
    assert set(decay) == {name for name, p in made.named_parameters() if p.requires_grad}
    matrices = {f"{name}.weight" for name, m in made.named_modules() if isinstance(m, nn.Linear)}
    assert len(matrices) == 2 * 7 + 1
    assert {name for name, value in decay.items() if value} == matrices
    assert {decay[name] for name in matrices} == {0.3}
    assert {name for name in by if by[name] == "delay"} == {
        name for name in names.values() if name.endswith(".delay") and shift == "learned"
    }
    weight = optimisation.optimisers["weight"]
    assert type(weight) is (torch.optim.AdamW if kind == "adamw" else torch.optim.Adam)
    assert weight.param_groups[0]["betas"] == (0.8, 0.95)
    assert weight.param_groups[0]["eps"] == 1e-7


def test_decay_acts_on_matrices_alone() -> None:
    config = recipe(optimiser="adamw", weight_decay=0.5, lr=0.1, **PLAIN).training
    made = network()
    before = copy.deepcopy(made.state_dict())
    nothing = sum((p * 0).sum() for p in made.parameters())
    step(made, config, [lambda: (nothing, nothing)])
    for name, tensor in made.state_dict().items():
        shrunk = before[name] * (1 - 0.1 * 0.5) if before[name].ndim == 2 and _is_matrix(made, name) else before[name]
        torch.testing.assert_close(tensor, shrunk, rtol=1e-12, atol=0, msg=name)


def _is_matrix(made: nn.Module, name: str) -> bool:
    return isinstance(made.get_submodule(name.rpartition(".")[0]), nn.Linear)


def _parts(made: SpikeGPT, cuts: list[int]) -> list[Loss]:
    x, y = batch()
    return [on(made, a, b) for a, b in zip(x.split(cuts, 1), y.split(cuts, 1))]


@pytest.mark.parametrize("clip", [1e-2, 1e9])
def test_four_parts_of_a_batch_are_one_batch(clip: float) -> None:
    config = recipe(lr=1e-2, clip=clip, **PLAIN).training
    whole, parts, wrong = network(), network(), network()
    reported = [step(made, config, _parts(made, cuts))[0] for made, cuts in ((whole, [8]), (parts, [2] * 4))]
    assert reported[0] == pytest.approx(reported[1], rel=1e-6)
    step(wrong, config, _parts(wrong, [1, 3, 2, 2]))  # canary: means of unequal parts are no mean of the whole
    different = False
    for (name, p), q, r in zip(whole.named_parameters(), parts.parameters(), wrong.parameters()):
        if p.grad is None:
            continue
        scale = float(p.grad.abs().max()) + 1e-12
        assert float((p.grad - q.grad).abs().max()) < 1e-5 * scale, name  # losses are of single precision
        different |= float((p.grad - r.grad).abs().max()) > 1e-3 * scale
    assert different


def test_four_parts_end_at_the_same_weights() -> None:
    config = recipe(lr=1e-2, eps=1e-3, **PLAIN).training  # so that no sign of a gradient near 0 decides
    whole, parts = network(), network()
    for made, cuts in ((whole, [8]), (parts, [2] * 4)):
        step(made, config, _parts(made, cuts))
    start = dict(network().named_parameters())
    for (name, p), q in zip(whole.named_parameters(), parts.parameters()):
        torch.testing.assert_close(p, q, rtol=1e-5, atol=1e-5, msg=name)
    assert not torch.equal(whole.head.weight, start["head.weight"])


def test_clipping_holds_the_norm_of_all_weights_and_leaves_delays() -> None:
    free, clipped = network(), network()
    step(free, recipe(clip=1e9, **PLAIN).training, _parts(free, [8]))
    step(clipped, recipe(clip=0.01, **PLAIN).training, _parts(clipped, [8]))

    def norm(made: SpikeGPT) -> float:
        parts = [p.grad.norm() for name, p in made.named_parameters() if not name.endswith(".delay")]
        return float(torch.stack(parts).norm())

    assert norm(free) > 0.1
    assert norm(clipped) == pytest.approx(0.01, rel=1e-4)
    for (name, p), q in zip(free.named_parameters(), clipped.named_parameters()):
        factor = 1.0 if name.endswith(".delay") else 0.01 / norm(free)
        torch.testing.assert_close(p.grad * factor, q[1].grad, rtol=1e-4, atol=1e-12, msg=name)
    few = network()
    step(few, recipe(clip=norm(free) * 2, **PLAIN).training, _parts(few, [8]))
    assert norm(few) == norm(free)


def test_delays_stay_in_their_window() -> None:
    made = network()
    step(made, recipe(lr_delay=50.0, **PLAIN).training, _parts(made, [8]))
    for shift in delay_shifts(made).values():
        assert shift.delay is not None
        assert set(shift.delay.detach().unique().tolist()) <= {0.0, 5.0}


@pytest.mark.parametrize("number", [math.nan, math.inf])
def test_a_loss_that_is_no_number_stops_before_anything_moves(number: float) -> None:
    made = network()
    before = copy.deepcopy(made.state_dict())
    lost = made.head.weight.sum() * number
    with pytest.raises(TrainingError, match=r"the loss is (nan|inf|-inf) in epoch 1: all parameters are finite$"):
        step(made, recipe().training, [lambda: (lost, lost)])
    for name, tensor in made.state_dict().items():
        assert torch.equal(tensor, before[name]), name


def test_a_parameter_that_is_no_number_is_named() -> None:
    made = network()
    with torch.no_grad():
        made.norm_out.bias[1] = math.nan
    with pytest.raises(TrainingError, match=r"norm_out\.bias holds values that are not finite"):
        step(made, recipe().training, _parts(made, [8]))


def test_a_gradient_that_is_no_number_stops_before_anything_moves() -> None:
    """Neurons hide it from the loss: what is no number never reaches a threshold."""
    made = network()
    before = copy.deepcopy(made.state_dict())
    finite = (made.blocks[0]["time"].mixing.key.weight * 0).sum().sqrt()  # 0, and its derivative is infinite times 0
    with pytest.raises(TrainingError, match=r"gradient.*epoch 1.*blocks\.0\.time\.mixing\.key\.weight"):
        step(made, recipe(**PLAIN).training, [lambda: (finite, finite)])
    for name, tensor in made.state_dict().items():
        assert torch.equal(tensor, before[name]), name


def test_a_gradient_that_is_no_number_in_delays_alone_stops_before_anything_moves() -> None:
    made = network()
    before = copy.deepcopy(made.state_dict())
    delay = made.branches()[1].mixing.shift.delay
    assert delay is not None
    finite = (delay * 0).sum().sqrt() + made.head.weight.square().sum()
    with pytest.raises(TrainingError, match=r"gradient.*epoch 1.*blocks\.0\.channel\.mixing\.shift\.delay holds"):
        step(made, recipe(**PLAIN).training, [lambda: (finite, finite)])
    assert bool(made.head.weight.grad.isfinite().all())  # those of the weights are finite
    for name, tensor in made.state_dict().items():
        assert torch.equal(tensor, before[name]), name


@pytest.mark.parametrize(("size", "processes", "parts", "share"), [(8, 1, 1, 8), (8, 2, 2, 2), (12, 3, 1, 4)])
def test_a_batch_is_shared_out_evenly(size: int, processes: int, parts: int, share: int) -> None:
    assert share_of(recipe(batch_size=size, accumulate=parts).training, processes) == share


def test_a_batch_that_cannot_be_shared_is_refused() -> None:
    with pytest.raises(ConfigError, match=r"batch_size \(8\) cannot be shared by 3 processes of 2 .* a multiple of 6"):
        share_of(recipe(batch_size=8, accumulate=2).training, 3)


def test_the_pull_on_the_largest_logit_is_in_the_gradient_alone() -> None:
    logits = torch.randn(3, 2, 7, dtype=torch.float32, requires_grad=True)
    y = torch.randint(7, (3, 2))
    value, mean = next_token_loss(logits, y, 0.25)
    (plain,) = torch.autograd.grad(next_token_loss(logits, y, 0.0)[0], logits)
    (pulled,) = torch.autograd.grad(value, logits)
    largest = logits.detach().amax(-1, keepdim=True)
    expected = torch.where(logits == largest, 0.25 * largest / 6, 0.0)  # by the number of tokens
    torch.testing.assert_close(pulled - plain, expected, rtol=1e-4, atol=1e-6)
    assert mean.item() == next_token_loss(logits, y, 0.0)[1].item()
