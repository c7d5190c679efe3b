"""Optimisers, learning-rate schedules, the annealing of sigma, and the optimiser step, of every task."""

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from functools import partial
from typing import Any

import torch
from lightning_fabric import Fabric
from torch import Tensor, nn
from torch.optim import Adam, AdamW, Optimizer
from torch.optim.lr_scheduler import CosineAnnealingLR, LambdaLR, LRScheduler, OneCycleLR

from snn_delays.errors import ConfigError, TrainingError
from snn_delays.nn import DelayedLayer
from snn_delays.nn.learned import LearnedConstants
from snn_delays.nn.optimise import bounded_neurons, layers_with_delays
from snn_delays.training.graphs import Recorder, Replays

STABLE_SHARE = 0.8  # of all steps, under the schedule "wsd"


@dataclass
class Optimisation:
    """Optimisers and schedules by what they train: ``weight`` always, ``delay`` where delays are learned.

    ``layers``: those with delays; ``every``: ``"epoch"`` or ``"step"``, how often the schedules move; ``clip``: largest
    norm of the weights' gradient; ``neurons``: those whose parameters have bounds.
    """

    optimisers: dict[str, Optimizer]
    schedules: dict[str, LRScheduler]
    layers: Sequence[Any] = ()
    every: str = "step"
    clip: float = math.inf
    neurons: Sequence[Any] = ()
    _rates: list[tuple[dict[str, Any], Tensor]] = field(init=False, default_factory=list)
    _replays: Replays | None = field(init=False, default=None)

    def rates(self) -> dict[str, float | None]:
        """Learning rates, for the record of an epoch."""
        return {
            f"lr_{name}": self.optimisers[name].param_groups[0]["lr"] if name in self.optimisers else None
            for name in ("weight", "delay")
        }

    def set_sigma(self, sigma: float | None) -> None:
        """Set sigma of every layer with delays, in steps; None leaves them as they are."""
        if sigma is not None:
            for layer in self.layers:
                layer.set_sigma(sigma)

    def set_sparsity(self, sparsity: float | None) -> None:
        """Have every learned mask leave out this share of the delays; None leaves them as they are."""
        for mask in (getattr(layer, "mask", None) for layer in self.layers):
            if sparsity is not None and mask is not None and mask.scores is not None:
                mask.set_sparsity(sparsity)

    def advance(self, moment: str) -> None:
        """Move the schedules if they move at this moment, ``"epoch"`` or ``"step"``; after an epoch, round delays that
        are rounded in place.
        """
        if moment == "epoch":
            for layer in self.layers:
                layer.round_after_epoch_()
        if moment == self.every:
            for schedule in self.schedules.values():
                schedule.step()

    def zero_grad(self, in_place: bool = False) -> None:
        """Let the gradients go, unless steps are recorded; ``in_place``: set them to zero where they are."""
        if in_place or self._replays is None:
            for optimiser in self.optimisers.values():
                optimiser.zero_grad(set_to_none=not in_place)

    def check_gradients(self) -> None:
        """Clip the weights' gradient; that of delays keeps its size. Raises RuntimeError if either is not finite.

        A neuron whose membrane is not finite never fires, so the loss may stay finite where a gradient is not.
        """
        for name, optimiser in self.optimisers.items():
            parameters = [p for group in optimiser.param_groups for p in group["params"]]
            largest = self.clip if name == "weight" else math.inf
            nn.utils.clip_grad_norm_(parameters, largest, error_if_nonfinite=True)

    def step(self) -> None:
        """Step every optimiser, keep delays in their window, and move the schedules if they move now."""
        if self._replays is None:
            self._update()
        else:
            self._replay(self._replays)
        self.advance("step")

    def _update(self) -> None:
        for optimiser in self.optimisers.values():
            optimiser.step()
        for layer in self.layers:
            layer.clamp_delays_()
        for neuron in self.neurons:
            neuron.clamp_parameters_()

    def record(self, recorder: Recorder, device: torch.device) -> None:
        """Have steps recorded and replayed; whoever computes gradients then sets them to zero before, in place."""
        on_gpu = device.type == "cuda"
        for optimiser in self.optimisers.values():
            dtype = optimiser.param_groups[-1]["params"][0].dtype if on_gpu else torch.float64  # that of Python
            for group in optimiser.param_groups:
                group["capturable"] = on_gpu
                self._rates.append((group, torch.zeros((), dtype=dtype, device=device)))
            for state in optimiser.state.values():
                state["step"] = state["step"].to(device)
        self._replays = Replays(recorder, most=1)

    def _replay(self, replays: Replays) -> None:
        """A replay reads learning rates from tensors; other numbers, as the beta1 of a cycle, belong to the key."""
        numbers = tuple(v for group, _ in self._rates for k, v in group.items() if k not in ("params", "lr"))
        planned = [group["lr"] for group, _ in self._rates]
        for group, rate in self._rates:
            group["lr"] = rate.fill_(group["lr"])
        try:
            replays(numbers, self._update)
        finally:
            for (group, _), lr in zip(self._rates, planned):
                group["lr"] = lr


def optimise(config: Any, network: nn.Module, steps_per_epoch: int) -> Optimisation:
    """Adam on weights and on delays, each under its schedule, as a recipe's training section says.

    Weight decay is of matrices, the weights of delayed and of linear layers, and of time constants learned as of PLIF:
    others it would pull to values that mean nothing. Schedules of the weights' learning rate:

    ``"one_cycle"``: Adam's beta1 is cycled as well; delays under a cosine to 0.
    ``"cosine"``: linear warm-up, then half a cosine down to ``final_lr``.
    ``"wsd"``: linear warm-up, constant, then linearly down over the last fifth of all steps.

    Source: Hammouamri et al., ICLR 2024, appendix, and the code published with it, for the first.
    """
    layers = list(layers_with_delays(network).values())
    delays = {id(layer.delay): layer.delay for layer in layers if layer.delay is not None}
    matrices = {id(m.weight) for m in network.modules() if isinstance(m, DelayedLayer | nn.Linear)}
    learned_taus = [m for m in network.modules() if isinstance(m, LearnedConstants)]
    matrices |= {id(p) for m in learned_taus for name, p in m.named_parameters() if name.startswith("tau")}
    rest = [p for p in network.parameters() if id(p) not in delays and p.requires_grad]
    groups = [
        {"params": [p for p in rest if id(p) in matrices], "weight_decay": config.weight_decay},
        {"params": [p for p in rest if id(p) not in matrices], "weight_decay": 0.0},
    ]
    learned = [delay for delay in delays.values() if delay.requires_grad]
    total = config.epochs * (steps_per_epoch if config.schedule_every == "step" else 1)
    optimisers: dict[str, Optimizer] = {}
    schedules: dict[str, LRScheduler] = {}
    if config.schedule == "one_cycle":
        optimisers["weight"] = Adam(groups)  # the schedule sets the rate
        schedules["weight"] = OneCycleLR(optimisers["weight"], max_lr=config.peak_rate, total_steps=max(total, 2))
    else:
        kind = AdamW if config.optimiser == "adamw" else Adam
        optimisers["weight"] = kind(groups, lr=config.lr, betas=config.betas, eps=config.eps)
        rate = partial(rate_at, config, total=total, floor=config.final_lr / config.lr)
        schedules["weight"] = LambdaLR(optimisers["weight"], rate)
    if learned:
        optimisers["delay"] = delay = Adam(learned, lr=config.lr_delay)
        one_cycle = config.schedule == "one_cycle"
        falling = partial(rate_at, config, total=total, floor=0.0)
        schedules["delay"] = CosineAnnealingLR(delay, T_max=total) if one_cycle else LambdaLR(delay, falling)
    return Optimisation(optimisers, schedules, layers, config.schedule_every, config.clip, bounded_neurons(network))


def rate_at(config: Any, step: int, total: int, floor: float) -> float:
    """Learning rate of a step, from 0, as a share of the peak: linear warm-up, then down to ``floor`` of it."""
    if step < config.warmup_steps:
        return float((step + 1) / config.warmup_steps)
    begin = config.warmup_steps if config.schedule == "cosine" else max(config.warmup_steps, STABLE_SHARE * total)
    done = min(max(step - begin, 0) / max(total - begin, 1), 1.0)
    fall = (1 - math.cos(math.pi * done)) / 2 if config.schedule == "cosine" else done
    return float(1 - (1 - floor) * fall)


def share_of(config: Any, processes: int) -> int:
    """Sequences that a process computes at once. Raises ConfigError if the batch cannot be shared out evenly."""
    parts = processes * config.accumulate
    if config.batch_size % parts:
        raise ConfigError(
            f"training.batch_size ({config.batch_size}) cannot be shared by {processes} processes of "
            f"{config.accumulate} parts each; make it a multiple of {parts}"
        )
    return int(config.batch_size // parts)


@dataclass(frozen=True)
class StepOutput:
    """What a task computes of a part of a batch.

    Attributes:
        loss: to differentiate.
        reported: the loss for the record; default: ``loss``.
        weight: of this step's loss in the epoch's mean, the number of samples, say.
        correct, seen: samples classified correctly, and classified.
        differentiated: whether the gradient of ``loss``, over the number of parts, has been added already.
        x: what the network read; if a loss is not finite, this is looked at first.
    """

    loss: Tensor
    reported: Tensor | None = None
    weight: float = 1.0
    correct: int | Tensor = 0
    seen: int = 0
    differentiated: bool = False
    x: Tensor | None = None


def optimiser_step(
    fabric: Fabric,
    module: nn.Module,
    network: nn.Module,
    optimisation: Optimisation,
    parts: Sequence[Callable[[], StepOutput]],
    epoch: int,
) -> tuple[float, float, int, int]:
    """One step on the mean of the losses of several parts, computed one by one.

    ``module`` is the network as Fabric wraps it. Returns the mean loss reported, its weight, and the samples that were
    classified correctly, and classified.

    Raises TrainingError naming what is not finite: the loss or the gradient, and where.
    """
    optimisation.zero_grad()
    reported, weight, correct, seen = 0.0, 0.0, 0, 0
    for i, part in enumerate(parts, 1):
        with fabric.no_backward_sync(module, enabled=i < len(parts)):  # type: ignore[arg-type]
            output = part()
            number = output.loss if output.reported is None else output.reported
            reported += float(number.detach()) / len(parts)
            if not math.isfinite(reported):
                raise TrainingError(_diagnosis(f"the loss is {reported}", epoch, network, output.x))
            if not output.differentiated:
                fabric.backward(output.loss / len(parts))
        weight, correct, seen = weight + output.weight, correct + int(output.correct), seen + output.seen
    try:
        optimisation.check_gradients()
    except RuntimeError as error:
        raise TrainingError(_diagnosis("the gradient is not finite", epoch, network)) from error
    optimisation.step()
    return reported, weight / len(parts), correct, seen


def _diagnosis(what: str, epoch: int, network: nn.Module, x: Tensor | None = None) -> str:
    named = list(network.named_parameters())
    tensors = [*named, *((f"the gradient of {name}", p.grad) for name, p in named if p.grad is not None)]
    if x is not None:
        tensors.insert(0, ("the input", x))
    broken = [name for name, tensor in tensors if not bool(torch.isfinite(tensor).all())]
    where = f"{broken[0]} holds values that are not finite" if broken else "all parameters are finite"
    return f"{what} in epoch {epoch}: {where}"
