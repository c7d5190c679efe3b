"""Prediction of a series of numbers: ``task = "regression"``."""

from collections.abc import Iterable
from typing import Any, NamedTuple

import torch
import torch.nn.functional as F
from lightning_fabric import Fabric
from torch import Tensor, nn

from snn_delays.data.series import SeriesWindows, Windows, load_series
from snn_delays.nn import Sequential
from snn_delays.recipes.build import build_network
from snn_delays.recipes.recurrent import kind_of_delays
from snn_delays.recipes.regression import RegressionRecipe
from snn_delays.training.activity import Activity, silent_and_saturated
from snn_delays.training.callbacks import Callback
from snn_delays.training.checkpoint import NetworkCard
from snn_delays.training.objective import class_scores, valid_steps
from snn_delays.training.optimise import StepOutput, share_of
from snn_delays.training.penalties import penalised
from snn_delays.training.rounding import with_integer_delays
from snn_delays.training.runlog import Run
from snn_delays.training.task import Task, seed_of, shared_out, steps_of


class Part(NamedTuple):
    """Windows of an optimiser step that are computed at once, and what their loss weighs in the mean over the parts."""

    x: Tensor
    y: Tensor
    weight: Tensor


class Errors(NamedTuple):
    """Mean squared error, the same over the variance of what was to be predicted (NMSE), and firing rates by layer.

    A prediction that is always the mean has an NMSE of 1.
    """

    mse: float
    nmse: float
    rates: dict[str, float]
    rate: float | None


class RegressionTraining(Task):
    """A number that lies ahead, by the mean squared error; validated on the discretised network."""

    recipe: RegressionRecipe
    captured = True

    def setup(self, run: Run, fabric: Fabric, callback: Callback) -> None:
        """Compute the series and cut its windows."""
        training = self.recipe.training
        self.data = windows_of(self.recipe)
        self.source, self.checksum, self.fabric = self.data.source, self.data.checksum, fabric
        self.share = share_of(training, fabric.world_size)
        self.steps = steps_of(len(self.data.train.y), training.batch_size, fabric)

    def card(self) -> dict[str, Any]:
        """One number is read at each step."""
        return {"sensor": (1,)}

    def network(self, card: NetworkCard) -> Sequential:
        """The network of the recipe, with one output."""
        return build_network(self.recipe, card.sensor, 1)

    def batches(self, epoch: int) -> Iterable[list[Part]]:
        """Windows of the training part in an order drawn from seed and epoch."""
        x, y = self.data.train
        generator = torch.Generator().manual_seed(seed_of(self.recipe.seed, epoch, 0))
        order = torch.randperm(len(y), generator=generator).split(self.recipe.training.batch_size)
        for _, mine, weight in shared_out(order, self.fabric):
            parts = mine.split(self.share)  # the last step's parts may be of unequal size
            shares = (torch.tensor(weight * len(part) * len(parts) / len(mine)) for part in parts)
            yield [
                Part(*(self.fabric.to_device(each) for each in (x[:, part], y[part], share)))
                for part, share in zip(parts, shares)
            ]

    def training_step(self, module: nn.Module, part: Part) -> StepOutput:
        """Mean squared error of the readout, with penalties."""
        x = part.x.to(self.recipe.training.dtype)
        with penalised(self.recipe.training, module) as objective:
            v, _ = module(x)
        mse = F.mse_loss(predicted(v, self.recipe.training.readout), part.y.to(x.dtype))
        return StepOutput(part.weight * objective(mse), part.weight * mse, weight=len(part.y), x=x)

    def sample(self) -> Tensor:
        """The first validation window."""
        return self.fabric.to_device(self.data.valid.x[:, :1]).to(self.recipe.training.dtype)

    def validate(self, network: nn.Module, device: torch.device) -> dict[str, Any]:
        """Errors and firing rates of the discretised network on the validation part."""
        found = measure_errors(with_integer_delays(network), self.data.valid, self.recipe, device)
        return {
            "valid_loss": found.mse,
            "valid_nmse": found.nmse,
            "firing_rate": found.rate,
            **silent_and_saturated(found.rates),
        }

    def describe(self) -> dict[str, Any]:
        """Kind of delays, and the hidden layers."""
        model = self.recipe.model
        return {"delays": kind_of_delays(model.delays, model.recurrent), "hidden": model.layers}


def windows_of(recipe: RegressionRecipe) -> SeriesWindows:
    """The series of a recipe in windows."""
    data = recipe.data
    return load_series(data.series, tau=data.tau, window=data.window, horizon=data.horizon, split=data.split)


def predicted(v: Tensor, readout: str) -> Tensor:
    """The prediction ``[sample, output]`` from readout membranes ``[time, sample, output]``."""
    return class_scores(v, valid_steps(torch.full(v.shape[1:2], len(v), device=v.device), len(v)), readout)


@torch.no_grad()
def measure_errors(
    network: nn.Module, windows: Windows, recipe: RegressionRecipe, device: torch.device | str = "cpu"
) -> Errors:
    """Run a network in evaluation on windows."""
    dtype = next((p.dtype for p in network.parameters()), torch.float32)
    outputs = []
    with Activity(network) as activity:
        for x in windows.x.split(recipe.training.batch_size, 1):
            outputs.append(predicted(network(x.to(device, dtype))[0], recipe.training.readout).cpu().double())
    y = windows.y.double()
    mse = float(F.mse_loss(torch.cat(outputs), y))
    return Errors(mse, mse / float(y.var(correction=0)), activity.rates(), activity.mean_rate())
