"""Lightning's Trainer with the callback: the numbers of a plain loop, delays in their window, rates in the log."""

import copy
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch.nn.functional import cross_entropy
from torch.utils.data import DataLoader, TensorDataset

from snn_delays import (
    LIF,
    BatchNorm,
    DelayedLinear,
    LeakyIntegrator,
    Sequential,
    SigmaSchedule,
    keep_delays_in_window,
    parameter_groups,
)
from snn_delays.errors import ConfigError, ShapeError
from snn_delays.nn import record
from tests.support import ROOT

lightning = pytest.importorskip("pytorch_lightning")

from snn_delays.interop import DelayCallback  # noqa: E402

EPOCHS = 3


def network(norm: bool = False) -> Sequential:
    torch.manual_seed(0)
    norms = [BatchNorm(20)] if norm else []
    first, second = DelayedLinear(6, 20, max_delay_steps=8), DelayedLinear(20, 3, max_delay_steps=4)
    return Sequential(first, *norms, LIF(3.0), second, LeakyIntegrator(5.0)).double()


def batches(size: int = 8, **options: Any) -> DataLoader[Any]:
    draw = torch.Generator().manual_seed(1)
    x = 2 * (torch.rand(40, 15, 6, generator=draw) < 0.3).double()
    return DataLoader(TensorDataset(x, torch.randint(3, (40,), generator=draw)), batch_size=size, **options)


def loss_of(net: nn.Module, x: Tensor, labels: Tensor) -> Tensor:
    return cross_entropy(net(x.transpose(0, 1))[0].mean(0), labels)


class Module(lightning.LightningModule):  # type: ignore[misc, name-defined]
    def __init__(self, net: nn.Module, lr_delay: float = 0.1) -> None:
        super().__init__()
        self.net, self.lr_delay = net, lr_delay

    def training_step(self, batch: Any, _: int) -> Tensor:
        return loss_of(self.net, *batch)

    def validation_step(self, batch: Any, _: int) -> None:
        self.log("valid_loss", loss_of(self.net, *batch))

    def configure_optimizers(self) -> Any:
        return torch.optim.Adam(parameter_groups(self.net, lr=1e-2, lr_delay=self.lr_delay))


def trainer(folder: Path, *callbacks: Any, epochs: int = EPOCHS, **options: Any) -> Any:
    return lightning.Trainer(
        accelerator="cpu", max_epochs=epochs, callbacks=list(callbacks), default_root_dir=folder, logger=False,
        enable_progress_bar=False, enable_model_summary=False, **{"enable_checkpointing": False, **options},
    )  # fmt: skip


def by_hand(epochs: int = EPOCHS) -> tuple[nn.Module, float]:
    net = network()
    optimiser = torch.optim.Adam(parameter_groups(net, lr=1e-2, lr_delay=0.1))
    keep_delays_in_window(net, optimiser)
    sigma = SigmaSchedule(net, start=4.0, end=0.5, steps=2)
    for _ in range(epochs):
        for x, labels in batches():
            optimiser.zero_grad()
            loss_of(net, x, labels).backward()
            optimiser.step()
        sigma.step()
    return net, float(net.get_submodule("0").sigma)


def same(a: nn.Module, b: nn.Module) -> bool:
    return all(torch.equal(p, q) for p, q in zip(a.state_dict().values(), b.state_dict().values(), strict=True))


def test_the_numbers_are_those_of_a_plain_loop(tmp_path: Path) -> None:
    module, (want, sigma) = Module(network()), by_hand()
    callback = DelayCallback(epochs=2, start=4.0, end=0.5)
    fitted = trainer(tmp_path, callback)
    fitted.fit(module, batches(), batches())
    assert same(module.net, want)
    assert not same(module.net, network())
    assert float(module.net.get_submodule("0").sigma) == sigma == 0.5
    with torch.no_grad():
        spikes = record(module.net, torch.cat([x for x, _ in batches()]).transpose(0, 1))["1"]
    assert 0.02 < spikes.mean() < 0.9
    torch.testing.assert_close(fitted.callback_metrics["rate/net.1"].double(), spikes.mean(), rtol=1e-6, atol=0)
    other = Module(network())
    trainer(tmp_path, DelayCallback()).fit(other, batches())
    assert not same(other.net, want), "sigma was not annealed"


def test_without_it_delays_leave_their_window(tmp_path: Path) -> None:
    with pytest.raises((ShapeError, ConfigError, ValueError), match="delay"):
        trainer(tmp_path).fit(Module(network(), lr_delay=5.0), batches())
    module = Module(network(), lr_delay=5.0)
    trainer(tmp_path, DelayCallback()).fit(module, batches())
    assert module.net.get_submodule("0").delay.min() == 0
    assert module.net.get_submodule("0").delay.max() == 8


def test_a_checkpoint_of_lightning_goes_on_where_annealing_was(tmp_path: Path) -> None:
    want, _ = by_hand()
    first = trainer(tmp_path, DelayCallback(epochs=2, start=4.0), epochs=1)
    first.fit(Module(network()), batches())
    first.save_checkpoint(tmp_path / "one.ckpt")
    module, callback = Module(network()), DelayCallback(epochs=2, start=4.0)
    trainer(tmp_path, callback).fit(module, batches(), ckpt_path=tmp_path / "one.ckpt")
    assert same(module.net, want)


@pytest.mark.slow
def test_two_processes_of_lightning_equal_one(tmp_path: Path) -> None:
    """Batch norms included, by the callback; with their own statistics the networks differ."""
    script = """
import os, sys, torch
from torch.utils.data import DistributedSampler
from tests.interop.test_lightning import DelayCallback, Module, Path, batches, network, trainer
torch.set_num_threads(1)
folder, callback = Path(sys.argv[1]), [DelayCallback()] if sys.argv[2] == "on" else []
module, data = Module(network(norm=True), lr_delay=0.0), batches().dataset
mine = DistributedSampler(data, 2, int(os.environ.get("LOCAL_RANK", "0")), shuffle=False)
options = {"strategy": "ddp", "devices": 2, "use_distributed_sampler": False}
trainer(folder, *callback, **options).fit(module, batches(size=4, sampler=mine))
if module.global_rank == 0:
    torch.save(module.net.state_dict(), folder / (sys.argv[2] + ".pt"))
"""
    (tmp_path / "script.py").write_text(script)
    for callback in ("on", "off"):
        done = subprocess.run(
            [sys.executable, tmp_path / "script.py", tmp_path, callback], text=True, capture_output=True, timeout=900,
            env={**os.environ, "PYTHONPATH": f"{ROOT}{os.pathsep}{os.environ.get('PYTHONPATH', '')}"},
        )  # fmt: skip
        assert done.returncode == 0, done.stderr[-2000:]
    module = Module(network(norm=True), lr_delay=0.0)
    trainer(tmp_path, DelayCallback()).fit(module, batches())
    got = torch.load(tmp_path / "on.pt", weights_only=True)
    for name, want in module.net.state_dict().items():
        torch.testing.assert_close(got[name], want, rtol=1e-8, atol=1e-10, msg=name)
    apart = torch.load(tmp_path / "off.pt", weights_only=True)
    assert (apart["0.weight"] - got["0.weight"]).abs().max() > 1e-3


def test_optimisers_are_left_alone_afterwards(tmp_path: Path) -> None:
    module = Module(network())
    fitted = trainer(tmp_path, DelayCallback(), epochs=1)
    fitted.fit(module, batches())
    assert not fitted.optimizers[0]._optimizer_step_post_hooks
    assert not any(layer._forward_hooks for layer in copy.copy(module).modules())
