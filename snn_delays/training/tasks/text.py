"""What the tasks on text share: optimisers, schedules and the width of the taps."""

from typing import Any

import torch
from torch import nn

from snn_delays.recipes.text import LanguageRecipe, SentenceRecipe
from snn_delays.training.schedule import Optimisation
from snn_delays.training.steps import build_steps, set_width


class TextTask:
    """The part of a :class:`snn_delays.training.task.Task` that does not depend on what is learned from the text."""

    recipe: LanguageRecipe | SentenceRecipe
    epochs: int
    steps: int

    def optimisation(self, network: nn.Module) -> Optimisation:
        """Adam on weights and on delays."""
        return build_steps(self.recipe.training, network, self.epochs * self.steps)

    def ready(self, network: nn.Module) -> None:
        """Nothing has to change."""

    def place(self, device: torch.device) -> None:
        """Text stays where it is: a batch of it is small."""

    def settings(self, epoch: int, network: nn.Module, optimisation: Optimisation) -> dict[str, Any]:
        """Width of the taps and learning rates at the beginning of an epoch; both go on changing with every step."""
        rates = {f"lr_{name}": o.param_groups[0]["lr"] for name, o in optimisation.optimisers.items()}
        width = self.narrow(network, epoch, 0)
        return {"sigma": width, "lr_weight": rates["lr_weight"], "lr_delay": rates.get("lr_delay")}

    def narrow(self, network: nn.Module, epoch: int, step: int) -> float | None:
        """Set the width of the taps for a step of an epoch; returns it."""
        return set_width(network, self.recipe.training, self.recipe.model, epoch - 1 + step / self.steps)
