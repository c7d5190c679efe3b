"""Are planted delays found? One layer of delayed synapses on the synthetic tasks, with delays learned and without.

``python -m experiments.studies.planted_delays FILE.png`` trains all tasks, prints a table and draws learned against
planted delays; it takes less than a minute.
"""

import argparse
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
import torch.nn.functional as F
from numpy.typing import NDArray
from torch import Tensor

from snn_delays.data.binning import Binning, bin_events
from snn_delays.data.events import Sample
from snn_delays.data.synthetic import TASKS, Coincidence, Ordering, PatternDetection, SyntheticTask
from snn_delays.discrete import discretize
from snn_delays.nn import DelayedLinear, LeakyIntegrator, Sequential

DT_MS = 1.0
TAU_STEPS = 1.005  # as published for SHD: a membrane forgets all but 0.5 % from one step to the next
BATCH = 50


@dataclass(frozen=True)
class Found:
    """What training found: accuracy of the discrete network on the test split, and its synapses.

    ``delay_steps`` (before rounding), ``weight``: ``[class, channel, synapse]``.
    """

    accuracy: float
    delay_steps: NDArray[np.float64]
    weight: NDArray[np.float64]


def dense(samples: list[Sample], steps: int) -> tuple[Tensor, Tensor]:
    """Counts ``[steps, sample, channel]`` at 1 ms and labels. ``steps`` is at least the longest recording."""
    x = torch.zeros(steps, len(samples), samples[0].events.n_channels)
    for i, sample in enumerate(samples):
        counts = bin_events(sample.events, Binning("fixed", dt_ms=DT_MS, channel_group=1))
        x[: len(counts), i] = torch.from_numpy(counts).float()
    return x, torch.tensor([sample.label for sample in samples])


def find_delays(
    task: SyntheticTask, *, delays: bool = True, delay_count: int = 1, epochs: int = 30, seed: int = 0
) -> Found:
    r"""Train one integrator per class after delayed synapses; its score is its highest membrane.

    .. math:: s_k = \max_t v_k[t], \quad v_k[t] = \sum_{c,j} w[k,c,j]\, x_c[t - d[k,c,j]] + 0.005\, v_k[t-1]

    with cross-entropy on s, Adam (0.02 on weights, 0.3 steps on delays), weights begun alike and kept >= 0, delays
    uniform, sigma annealed from half the window to 0.5 steps in the first 60 % of the epochs. The window is a fifth
    longer than what the task needs. ``delays=False``: the same with all delays 0. Only the train split is trained on;
    the test split is looked at once, at the end.
    """
    longest = round(task.longest_ms / DT_MS)
    window = longest + longest // 5 if delays else 0
    steps = round(task.duration_ms / DT_MS) + window
    x, labels = dense(task.split("train", seed), steps)
    torch.manual_seed(seed)
    synapse = DelayedLinear(task.channels, len(task.class_names), max_delay_steps=window, delay_count=delay_count)
    network = Sequential(synapse=synapse, integrator=LeakyIntegrator(TAU_STEPS))
    with torch.no_grad():
        synapse.weight.fill_(1 / delay_count)
    groups = [{"params": [synapse.weight], "lr": 0.02}]
    if delays:
        groups.append({"params": [synapse.delay], "lr": 0.3})
    optimiser = torch.optim.Adam(groups)
    widest = max(window / 2, 0.5)
    for epoch in range(epochs):
        synapse.set_sigma(widest * (0.5 / widest) ** min(epoch / (0.6 * epochs), 1.0))
        for chosen in torch.randperm(len(labels)).split(BATCH):
            loss = F.cross_entropy(_scores(network, x[:, chosen]), labels[chosen])
            optimiser.zero_grad()
            loss.backward()
            optimiser.step()
            synapse.clamp_delays_()
            with torch.no_grad():
                synapse.weight.clamp_(min=0)
    x, labels = dense(task.split("test", seed), steps)
    with torch.no_grad():
        right = _scores(discretize(network), x).argmax(1) == labels
    return Found(
        right.double().mean().item(), synapse.delay.detach().double().numpy(), synapse.weight.detach().double().numpy()
    )


def _scores(network: Sequential, x: Tensor) -> Tensor:
    return network(x)[0].amax(0)


def study(seeds: tuple[int, ...] = (0, 1, 2)) -> str:
    """The table of all tasks: accuracy on the test split with delays and without, over seeds, in per cent."""
    lines = ["| task | classes | learned delays | no delays | chance |", "|---|---|---|---|---|"]
    for name, task in TASKS.items():
        count = synapses_per_pair(task)
        sides = [
            [100 * find_delays(task, delays=delays, delay_count=count, seed=seed).accuracy for seed in seeds]
            for delays in (True, False)
        ]
        cells = [f"{np.mean(side):.1f} ({min(side):.1f} to {max(side):.1f})" for side in sides]
        classes = len(task.class_names)
        lines.append(f"| `{name}` | {classes} | {cells[0]} | {cells[1]} | {100 / classes:.1f} |")
    return "\n".join(lines)


def synapses_per_pair(task: SyntheticTask) -> int:
    """One where lags are fixed; where gaps vary, one for every gap that may come, and one more."""
    return task.delays_ms.size + 1 if isinstance(task, Ordering) else 1


def main() -> None:
    """Print the table and write the picture."""
    from experiments.studies.planted_delays_figure import planted_delays
    from snn_delays.plot.style import panels, save_figure

    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("picture", type=Path, help="PNG to write")
    parser.add_argument("--seeds", type=int, default=3, help="number of seeds, from 0")
    arguments = parser.parse_args()
    print(study(tuple(range(arguments.seeds))))

    coincidence, pattern = Coincidence(), PatternDetection()
    figure, ((left, right),) = panels(1, 2, 9.0, 4.2)
    found = find_delays(coincidence)
    planted_delays(
        coincidence.delays_ms, found.delay_steps[..., 0], found.weight[..., 0], dt_ms=DT_MS, ax=left,
        title=coincidence.name,
    )  # fmt: skip
    found = find_delays(pattern)
    planted_delays(
        pattern.delays_ms[None], found.delay_steps[1:, :, 0], found.weight[1:, :, 0], dt_ms=DT_MS, ax=right,
        title=pattern.name,
    )  # fmt: skip
    save_figure(figure, arguments.picture)


if __name__ == "__main__":
    main()
