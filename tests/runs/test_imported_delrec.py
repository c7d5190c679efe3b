"""Checkpoints of DelRec: recurrent delays by the triangle that is not normalised, biases, a norm before the neurons."""

from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor, nn

import snn_delays
from snn_delays.errors import CheckpointError, ConfigError
from snn_delays.runs.imported import import_network

STEPS, BATCH, SIZES, TAU = 40, 4, (6, 9, 8, 3), 1.05
CHANGES = ("model.tau_mem_ms=10.5", "training.sigma_epochs=100", "training.epochs=100", "training.sigma_end_steps=0.1")
RECIPE = "demo_recurrent_delays"


class DelRec(nn.Module):
    """Of its code for SHD: linear, norm, neurons, two modules without parameters; the first layer without recurrence;
    membranes at the end. Of that for SSC: linear, dropout, neurons, one such module; a linear layer at the end."""

    def __init__(self, *, synaptic: bool = False, spread: bool = False, ssc: bool = False, sigma: float = 0.0):
        super().__init__()
        self.sigma = sigma
        slots: list[nn.Module] = []
        for i, (inputs, outputs) in enumerate(pairwise(SIZES[:-1])):
            slots.append(nn.Linear(inputs, outputs))
            slots[-1].weight.data.mul_(4)
            if ssc:
                slots.append(nn.Identity())
            else:
                slots.append(nn.BatchNorm1d(outputs))
                slots[-1].running_mean.uniform_(0, 0.5)
                slots[-1].bias.data.uniform_(0, 1)
            loop = nn.Module()
            if i:
                loop.recurrent_weights = nn.Parameter(torch.randn(outputs, outputs))
                shape = (outputs, outputs) if synaptic else (outputs,)
                loop.recurrent_delays = nn.Parameter(torch.rand(shape) * 6)
                if spread:
                    loop.p_spread = nn.Parameter(torch.randn(outputs))
            slots += [loop, nn.Identity()] if ssc else [loop, nn.Identity(), nn.Identity()]
        self.layers, self.ssc = nn.Sequential(*slots, nn.Linear(*SIZES[-2:])), ssc
        self.eval()

    def neurons(self, x: Tensor, loop: Any) -> Tensor:
        """h(l) = max(0, s - |l - (1 + d)|) / s^2 for lags l >= 1; the membrane loses 1 / tau and is reset to 0."""
        spikes: list[Tensor] = []
        v = torch.zeros_like(x[0])
        for t, current in enumerate(x):
            for lag in range(1, t + 1) if hasattr(loop, "recurrent_weights") else ():
                p = getattr(loop, "p_spread", None)
                s = torch.tensor(1 + self.sigma) if p is None else 1 + 2 * self.sigma * p.sigmoid()
                h = torch.clamp(s - (lag - (1 + loop.recurrent_delays)).abs(), min=0) / s**2
                current = current + spikes[t - lag] @ (loop.recurrent_weights * h).T
            v = v * (1 - 1 / TAU) + current
            spikes.append((v >= 1).to(x.dtype))
            v = v * (1 - spikes[-1])
        return torch.stack(spikes)

    @torch.no_grad()
    def forward(self, x: Tensor) -> Tensor:
        self.rates = []
        for layer in self.layers:
            if isinstance(layer, nn.BatchNorm1d):
                x = layer(x.flatten(0, 1)).view(x.shape)
            elif type(layer) is nn.Module:
                x = self.neurons(x, layer)
                self.rates.append(float(x.mean()))
            else:
                x = layer(x)
        if self.ssc:
            return x
        trace, v = [], torch.zeros_like(x[0])
        for current in x:
            v = v * (1 - 1 / TAU) + current
            trace.append(v)
        return torch.stack(trace)


def spikes() -> Tensor:
    return (torch.rand(STEPS, BATCH, SIZES[0], generator=torch.Generator().manual_seed(1)) < 0.3).float()


@pytest.fixture
def file(tmp_path: Path) -> Path:
    return tmp_path / "best.pth"


def sigma_after(epoch: int) -> float:
    return 10 * 0.01 ** (epoch / 100)


@pytest.mark.parametrize("synaptic", [False, True])
@pytest.mark.parametrize("spread", [False, True])
@pytest.mark.parametrize(("epoch", "ssc"), [(20, False), (90, False), (60, True)])
@torch.no_grad()
def test_logits_are_those_of_the_source(file: Path, synaptic: bool, spread: bool, epoch: int, ssc: bool) -> None:
    theirs, x = DelRec(synaptic=synaptic, spread=spread, ssc=ssc, sigma=sigma_after(epoch)), spikes()
    torch.save({"net": theirs.state_dict(), "acc": 90.0, "epoch": epoch}, file)
    import_network(file, "delrec", RECIPE, changes=CHANGES)
    ours, want = snn_delays.load(file.with_suffix(".safetensors")), theirs(x)
    assert all(0.02 < rate < 0.9 for rate in theirs.rates)
    torch.testing.assert_close(ours(x)[0], want, rtol=1e-5, atol=1e-5)
    assert ours.card.recipe.model.layers == "9x8r"
    assert ours.card.epoch == epoch
    ours.hidden2.neuron.synapse.delay.add_(-0.5).clamp_(min=1)
    assert not torch.allclose(ours(x)[0], want, atol=1e-2), "the recurrence says nothing"


@torch.no_grad()
def test_controls_with_fixed_delays_and_with_lag_one(file: Path) -> None:
    theirs = DelRec()
    loop = theirs.layers[7]
    for delays in ("fixed", "none"):
        loop.recurrent_delays.data = loop.recurrent_delays.data.round() if delays == "fixed" else torch.zeros(8)
        torch.save({"model": theirs.state_dict()}, file)
        out = file.with_name(f"{delays}.safetensors")
        changes = (CHANGES[0], f"model.recurrent.delays={delays}")
        ours = import_network(file, "delrec", "demo", changes=changes, out=out)
        torch.testing.assert_close(ours(spikes())[0], theirs(spikes()), rtol=1e-5, atol=1e-5)


def test_what_no_recipe_describes_is_named(file: Path) -> None:
    torch.save(DelRec().state_dict(), file)
    with pytest.raises(ConfigError, match=r"give a recipe with \[model.recurrent\]"):
        import_network(file, "delrec", "hammouamri_2024_shd")
    torch.save({**DelRec().state_dict(), "layers.7.recurrent_weights": torch.zeros(8, 9)}, file)
    with pytest.raises(CheckpointError, match=r"recurrence after layers.5 is not of 8 neurons"):
        import_network(file, "delrec", RECIPE, changes=CHANGES)
    torch.save({**DelRec().state_dict(), "layers.7.recurrent_delays": torch.full((8,), -1.0)}, file)
    with pytest.raises(CheckpointError, match="below 0"):
        import_network(file, "delrec", RECIPE, changes=CHANGES)
