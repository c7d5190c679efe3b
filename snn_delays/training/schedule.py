"""Two optimisers, their learning-rate schedules, and the narrowing of the taps."""

from dataclasses import dataclass

from torch import nn
from torch.optim import Adam, Optimizer
from torch.optim.lr_scheduler import CosineAnnealingLR, LRScheduler, OneCycleLR

from snn_delays.models.classifier import delayed_layers
from snn_delays.recipes.events import Recipe


@dataclass
class Optimisation:
    """Optimisers and their schedules, by what they train: ``weight`` always, ``delay`` where delays are learned."""

    optimisers: dict[str, Optimizer]
    schedules: dict[str, LRScheduler]


def build_optimisation(recipe: Recipe, network: nn.Module, steps_per_epoch: int) -> Optimisation:
    """Adam with L2 on the weights and none on norms, under a one-cycle schedule; Adam on the delays under a cosine.

    Schedules move once per epoch (as published) or per optimiser step. One-cycle cycles Adam's beta1 as well.

    Source: Hammouamri et al., ICLR 2024, appendix, and the code published with it.
    """
    config = recipe.training
    synapses = delayed_layers(network)
    weights = [layer.weight for layer in synapses.values()]
    delays = [layer.delay for layer in synapses.values() if layer.delay.requires_grad]
    apart = {id(p) for p in (*weights, *(layer.delay for layer in synapses.values()))}
    others = [p for p in network.parameters() if id(p) not in apart]
    total = config.epochs * (steps_per_epoch if config.schedule_every == "step" else 1)
    groups = [{"params": weights, "weight_decay": config.weight_decay}, {"params": others, "weight_decay": 0.0}]
    optimisers: dict[str, Optimizer] = {"weight": Adam(groups)}  # the schedule sets the rate
    schedules: dict[str, LRScheduler] = {
        "weight": OneCycleLR(optimisers["weight"], max_lr=config.max_lr_weight, total_steps=max(total, 2))
    }
    if delays:
        optimisers["delay"] = Adam(delays, lr=config.lr_delay)
        schedules["delay"] = CosineAnnealingLR(optimisers["delay"], T_max=total)
    return Optimisation(optimisers, schedules)
