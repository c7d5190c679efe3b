"""The case of a whole epoch at the size of SHD: made-up samples, cut into batches as ``snn-delays train`` does."""

from collections.abc import Callable
from functools import partial

import numpy as np
import torch
from torch import Tensor

from experiments.benchmarks.network_cases import CLASSES, DROPOUT, chosen, shd_setting
from experiments.benchmarks.network_checks import check_steps, check_timed
from experiments.benchmarks.peers import PublishedNetwork
from experiments.benchmarks.run import Case, Side
from experiments.benchmarks.sides import RATE, missing
from experiments.benchmarks.sizes import Sizes
from experiments.benchmarks.step import Trained, TrainingStep, of_ours, of_peer
from snn_delays.data.binning import Binning
from snn_delays.data.bucketing import bucketed
from snn_delays.data.dataset import BinnedDataset, ResidentDataset, offsets_of
from snn_delays.training.graphs import CudaGraphs, Replays

SIGMA = 0.5  # of three quarters of all epochs


def shd_epoch(sizes: Sizes, device: torch.device) -> Case:
    """Every batch of an epoch cut out of the data on the device, and a training step on it."""
    setting = shd_setting(sizes, SIGMA)
    data = _made_up(sizes)
    resident = ResidentDataset(data, device)
    order = np.random.default_rng(0).permutation(len(data))
    batches = bucketed(order, data.lengths(), sizes.batch, torch.Generator().manual_seed(0))

    def epoch(step: Callable[[Tensor, Tensor], None]) -> None:
        for chosen_samples in batches:
            batch = resident.batch(chosen_samples, padding="published")
            step(batch.counts, batch.labels)

    def side(name: str, how: str, trained: Trained) -> Side:
        what = f"{setting}, sigma {SIGMA:g}, dropout {DROPOUT}; {len(data):,} samples of {data.lengths().min()} to "
        what += f"{data.lengths().max()} steps, {len(batches)} batches cut, forward, loss, backward, Adam, clamp; {how}"
        return Side(name, what, partial(epoch, _on(trained)))

    ours = setting.network(DROPOUT).to(device)
    first = resident.batch(batches[0]).counts.float()
    sides = [side("snn_delays", f"delays: {chosen(ours, first)}", of_ours(ours))]
    if device.type == "cuda":
        step = partial(Replays(CudaGraphs(device)), None, _on(of_ours(setting.network(DROPOUT).to(device))))
        what = f"{sides[0].configuration}; a graph for each length"
        sides.append(Side("snn_delays, CUDA graphs", what, partial(epoch, step), sides[0].work))
    if not (line := missing("dcls", "spikingjelly")):
        peer = of_peer(PublishedNetwork(ours, setting.tau_steps))
        sides.append(side("dcls + spikingjelly", "causal padding alone; the same batches", peer))

    def check() -> None:
        check_timed(setting, setting.network().to(device), first)
        check_steps(setting, () if line else (0,), device)

    return Case("an epoch at the size of SHD", tuple(sides), check, (line,) if line else ())


def _on(trained: Trained) -> Callable[[Tensor, Tensor], None]:
    """A training step on counts and classes."""
    step = TrainingStep(trained, torch.empty(0), torch.empty(0))

    def run(counts: Tensor, target: Tensor) -> None:
        step.x, step.target = counts.float(), target
        step()

    return run


def _made_up(sizes: Sizes) -> BinnedDataset:
    """Samples that differ in length by a fifth either way, their spikes at the rate of all cases."""
    random = np.random.default_rng(0)
    lengths = random.integers(sizes.steps * 4 // 5, sizes.steps * 6 // 5 + 1, sizes.epoch_samples)
    counts = random.integers(0, 256, (int(lengths.sum()), sizes.inputs), dtype=np.uint8) < 256 * RATE
    labels = np.arange(len(lengths)) % CLASSES
    names = tuple(map(str, range(CLASSES)))
    arrays = counts.view(np.uint8), offsets_of(lengths), labels, np.zeros_like(labels)
    return BinnedDataset(*arrays, "made up", "none", Binning(), CLASSES, names)
