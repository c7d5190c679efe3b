"""Optimiser steps of spiking language models: Adam with warm-up and decay, clipped gradients, delays beside weights."""

import math
from collections.abc import Callable, Sequence
from functools import partial

import torch
from lightning_fabric import Fabric
from torch import Tensor, nn
from torch.optim import Adam, AdamW, Optimizer
from torch.optim.lr_scheduler import LambdaLR, LRScheduler

from snn_delays.errors import ConfigError, TrainingError
from snn_delays.models.spikegpt import delay_shifts
from snn_delays.recipes.text import SpikeGPTConfig, StepsConfig
from snn_delays.training.schedule import Optimisation

STABLE_SHARE = 0.8  # of all steps, under the schedule "wsd"


def build_steps(config: StepsConfig, network: nn.Module, total: int) -> Optimisation:
    """Adam or AdamW on the weights, Adam on the delays, each under the recipe's schedule over ``total`` steps.

    Weight decay is of matrices alone: it would pull mixtures, decays and norms to values that mean nothing.
    """
    delays = [shift.delay for shift in delay_shifts(network).values() if shift.delay is not None]
    apart = {id(delay) for delay in delays}
    rest = [p for p in network.parameters() if id(p) not in apart and p.requires_grad]
    matrices = {id(m.weight) for m in network.modules() if isinstance(m, nn.Linear)}
    groups = [
        {"params": [p for p in rest if id(p) in matrices], "weight_decay": config.weight_decay},
        {"params": [p for p in rest if id(p) not in matrices], "weight_decay": 0.0},
    ]
    kind = AdamW if config.optimiser == "adamw" else Adam
    optimisers: dict[str, Optimizer] = {"weight": kind(groups, lr=config.lr, betas=config.betas, eps=config.eps)}
    if learned := [delay for delay in delays if delay.requires_grad]:
        optimisers["delay"] = Adam(learned, lr=config.lr_delay)
    schedules: dict[str, LRScheduler] = {}
    for name, optimiser in optimisers.items():
        floor = config.final_lr / config.lr if name == "weight" else 0.0
        schedules[name] = LambdaLR(optimiser, partial(_rate, config, total, floor))
    return Optimisation(optimisers, schedules)


def rate_at(config: StepsConfig, step: int, total: int, floor: float) -> float:
    """Learning rate of a step, from 0, as a share of the peak: linear warm-up, then down to ``floor`` of it.

    ``"cosine"``: along half a cosine. ``"wsd"``: constant, and linearly down over the last fifth of all steps.
    """
    if step < config.warmup_steps:
        return (step + 1) / config.warmup_steps
    begin = config.warmup_steps if config.schedule == "cosine" else max(config.warmup_steps, STABLE_SHARE * total)
    done = min(max(step - begin, 0) / max(total - begin, 1), 1.0)
    fall = (1 - math.cos(math.pi * done)) / 2 if config.schedule == "cosine" else done
    return 1 - (1 - floor) * fall


def _rate(config: StepsConfig, total: int, floor: float, step: int) -> float:
    return rate_at(config, step, total, floor)


def width_at(config: StepsConfig, model: SpikeGPTConfig, epoch: float) -> float | None:
    """Width of the taps, in tokens, after so many epochs and parts of one; None without delays.

    It shrinks by the same factor with every step until it is ``sigma_end_steps``, and stays there.
    """
    if not model.has_delays or model.taps not in ("gaussian", "triangle"):
        return None
    start = max(model.max_delay_steps / 8, 1.0) if config.sigma_start_steps is None else config.sigma_start_steps
    narrowing = config.epochs / 2 if config.sigma_epochs is None else config.sigma_epochs
    done = min(epoch / narrowing, 1.0) if narrowing else 1.0
    return start * (config.sigma_end_steps / start) ** done


def set_width(network: nn.Module, config: StepsConfig, model: SpikeGPTConfig, epoch: float) -> float | None:
    """Set the width of the taps of every shift to what it is after so many epochs; returns it."""
    width = width_at(config, model, epoch)
    if width is not None:
        for shift in delay_shifts(network).values():
            shift.set_sigma(width)
    return width


def share_of(config: StepsConfig, processes: int) -> int:
    """Sequences that a process computes at once. Raises ConfigError if the batch cannot be shared out evenly."""
    parts = processes * config.accumulate
    if config.batch_size % parts:
        raise ConfigError(
            f"training.batch_size ({config.batch_size}) cannot be shared by {processes} processes of "
            f"{config.accumulate} parts each; make it a multiple of {parts}"
        )
    return config.batch_size // parts


def optimiser_step(
    fabric: Fabric,
    module: nn.Module,
    network: nn.Module,
    optimisation: Optimisation,
    config: StepsConfig,
    losses: Sequence[Callable[[], tuple[Tensor, Tensor]]],
    epoch: int,
) -> float:
    """One step on the mean of several losses, computed one by one; returns the mean of what they report.

    Each gives what is differentiated and what is reported. Raises TrainingError if one is no finite number.
    """
    for optimiser in optimisation.optimisers.values():
        optimiser.zero_grad()
    reported = 0.0
    for i, loss in enumerate(losses, 1):
        with fabric.no_backward_sync(module, enabled=i < len(losses)):  # type: ignore[arg-type]
            value, number = loss()
            reported += float(number.detach()) / len(losses)
            if not math.isfinite(reported):
                raise TrainingError(_diagnosis(f"the loss is {reported}", epoch, network))
            fabric.backward(value / len(losses))
    weights = [p for group in optimisation.optimisers["weight"].param_groups for p in group["params"]]
    try:  # a neuron whose membrane is no number never fires, so that the loss may stay finite
        torch.nn.utils.clip_grad_norm_(weights, config.clip, error_if_nonfinite=True)
        delays = [shift.delay for shift in delay_shifts(network).values() if shift.delay is not None]
        torch.nn.utils.clip_grad_norm_(delays, math.inf, error_if_nonfinite=True)
    except RuntimeError as error:
        raise TrainingError(_diagnosis("the gradient is not finite", epoch, network)) from error
    for optimiser in optimisation.optimisers.values():
        optimiser.step()
    for schedule in optimisation.schedules.values():
        schedule.step()
    for shift in delay_shifts(network).values():
        shift.clamp_delays_()
    return reported


def _diagnosis(what: str, epoch: int, network: nn.Module) -> str:
    named = list(network.named_parameters())
    tensors = [*named, *((f"the gradient of {name}", p.grad) for name, p in named if p.grad is not None)]
    broken = [name for name, tensor in tensors if not bool(torch.isfinite(tensor).all())]
    where = f"{broken[0]} holds values that are not finite" if broken else "all parameters are finite"
    return f"{what} in epoch {epoch}: {where}"
