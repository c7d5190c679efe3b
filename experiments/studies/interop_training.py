"""Do our delays help in the networks of others? A SpikingJelly network on N-MNIST's subset, a Norse one on the digits.

``python -m experiments.studies.interop_training FILE.csv`` trains each network with learned delays, with fixed random
ones and without, three seeds each, in a plain loop of torch. A training that has its row in the file is not repeated;
``--write docs/interop.md`` puts the table of what is there into the document.
"""

import argparse
import copy
import csv
import sys
import time
from collections.abc import Callable, Sequence
from dataclasses import astuple, dataclass, fields
from pathlib import Path
from statistics import mean, stdev
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from numpy.typing import NDArray
from torch import Tensor, nn

from snn_delays.data import Binning, load_binned
from snn_delays.data.dataset import BinnedDataset
from snn_delays.data.splits import validation_split
from snn_delays.errors import DataError
from snn_delays.files import locked, write_between_markers, write_text
from snn_delays.nn import DelayedConv2d, DelayedLinear, DelaySpec, SigmaSchedule, keep_delays_in_window
from snn_delays.nn import parameter_groups as groups
from snn_delays.nn.optimise import SPREAD, layers_with_delays
from snn_delays.training.objective import valid_steps
from snn_delays.units import round_delays

DELAYS = ("none", "fixed", "learned")
BATCH = 50


@dataclass(frozen=True)
class Setting:
    """A network of another package, and what it is trained on.

    Attributes:
        name: of the package.
        what: the network in short.
        dataset, binning, tail_steps, fraction: the data, and how much of them chooses the epoch.
        flat: channels in a row.
        longest: delay in steps.
        epochs, lr: of training.
        build: the network for delays ``none``, ``fixed`` or ``learned``, a sensor and a number of classes; called
            with ``[time, batch, ...]`` it returns ``[time, batch, class]``, from rest.
    """

    name: str
    what: str
    dataset: str
    binning: Binning
    tail_steps: int
    fraction: float
    flat: bool
    longest: int
    epochs: int
    lr: float
    build: Callable[[DelaySpec, tuple[int, ...], int], nn.Module]


@dataclass(frozen=True)
class Row:
    """What a training came to; accuracies are of integer delays, in the epoch that was best on validation."""

    network: str
    delays: str
    seed: int
    parameters: int
    epochs: int
    best_epoch: int
    valid_accuracy: float
    test_accuracy: float
    test_samples: int
    firing_rate: float
    minutes: float


def spikingjelly_network(delays: DelaySpec, sensor: tuple[int, ...], classes: int) -> nn.Module:
    """Two blocks of our convolution and SpikingJelly's norm, neurons and pooling; its linear layer reads out."""
    from spikingjelly.activation_based import functional, layer, neuron, surrogate

    from snn_delays.interop import ToSpikingJelly

    parts: list[nn.Module] = []
    maps, rows, columns = sensor
    for width in (8, 16):
        parts += [
            ToSpikingJelly(DelayedConv2d(maps, width, 3, delays, padding=1)),
            layer.BatchNorm2d(width),
            neuron.LIFNode(2.0, decay_input=False, detach_reset=True, surrogate_function=surrogate.ATan(5.0)),
            layer.MaxPool2d(2, 2),
        ]
        maps, rows, columns = width, rows // 2, columns // 2
    net = nn.Sequential(*parts, layer.Flatten(), layer.Linear(maps * rows * columns, classes))
    functional.set_step_mode(net, "m")
    net.register_forward_hook(_to_rest)
    return net


def _to_rest(net: nn.Module, *_: Any) -> None:
    from spikingjelly.activation_based import functional

    functional.reset_net(net)


class _FromRest(nn.Module):
    """A ``SequentialState`` of Norse that is called without a state."""

    def __init__(self, network: nn.Module) -> None:
        super().__init__()
        self.network = network

    def forward(self, x: Tensor) -> Tensor:
        y: Tensor = self.network(x)[0]
        return y


def norse_network(delays: DelaySpec, sensor: tuple[int, ...], classes: int) -> nn.Module:
    """Two layers of our synapses and Norse's current-based neurons, a linear layer after them."""
    import norse.torch as norse

    # A step is 1 ms to Norse: currents and membranes lose half in each.
    half = norse.LIFParameters(
        tau_syn_inv=torch.tensor(500.0), tau_mem_inv=torch.tensor(500.0), alpha=torch.tensor(5.0)
    )
    (inputs,) = sensor
    first, second = DelayedLinear(inputs, 64, delays, bias=True), DelayedLinear(64, 64, delays, bias=True)
    parts = first, norse.LIF(half), second, norse.LIF(half), nn.Linear(64, classes)
    return _FromRest(norse.SequentialState(*parts))


SETTINGS = {
    "spikingjelly": Setting(
        "SpikingJelly", "convolutions of 8 and 16 maps, 3 x 3", "n-mnist-subset", Binning("fixed", 20.0, 2), 6, 0.1,
        False, 6, 20, 5e-3, spikingjelly_network,
    ),
    "norse": Setting(
        "Norse", "2 x 64 current-based neurons", "shd-regenerated-subset", Binning("fixed", 20.0, 10), 12, 0.15,
        True, 12, 40, 1e-2, norse_network,
    ),
}  # fmt: skip


def spec(delays: str, longest: int) -> DelaySpec:
    """The delays of a side: learned ones over the window, random integers that stay, or none."""
    if delays == "none":
        return DelaySpec(0)
    learned = DelaySpec(longest, sharing="synapse")
    return learned if delays == "learned" else learned.with_fixed_integers()


def with_integer_delays(network: nn.Module) -> nn.Module:
    """A copy whose delays are integers with one tap each, as a chip has them."""
    rounded = copy.deepcopy(network)
    for layer in layers_with_delays(rounded).values():
        with torch.no_grad():
            layer.delay.copy_(round_delays(layer.delay))
        layer.taps = "linear"
    return rounded.eval()


def scores(network: nn.Module, counts: Tensor, lengths: Tensor) -> Tensor:
    """Mean of the readout over a sample's own steps, tail included: ``[batch, class]``."""
    valid = valid_steps(lengths, len(counts)).unsqueeze(2)
    return (network(counts.float()) * valid).sum(0) / lengths.unsqueeze(1)


def accuracy(network: nn.Module, data: BinnedDataset, chosen: NDArray[np.int64], tail_steps: int) -> float:
    """Share of samples that the network with integer delays classifies correctly."""
    rounded, right = with_integer_delays(network), 0
    with torch.no_grad():
        for start in range(0, len(chosen), 100):
            batch = data.batch(chosen[start : start + 100], tail_steps)
            right += int((scores(rounded, batch.counts, batch.lengths).argmax(1) == batch.labels).sum())
    return right / len(chosen)


def train(setting: Setting, delays: str, seed: int, data: BinnedDataset, test: BinnedDataset, epochs: int) -> Row:
    """Train a side of a setting; the epoch is chosen on validation samples, the test samples are looked at once.

    Adam with a one-cycle schedule on weights; delays at 0.1 steps, sigma annealed to half a step in the first quarter.
    """
    torch.manual_seed(seed)
    network = setting.build(spec(delays, setting.longest), data.sensor, data.n_classes)
    chosen, valid = validation_split(data, "fraction", fraction=setting.fraction, seed=seed)
    steps = epochs * -(-len(chosen) // BATCH)
    optimiser = torch.optim.Adam(groups(network, lr=setting.lr, lr_delay=0.1, weight_decay=1e-5))
    keep_delays_in_window(network, optimiser)
    rates = [group["lr"] for group in optimiser.param_groups]
    schedules: list[Any] = [torch.optim.lr_scheduler.OneCycleLR(optimiser, rates, total_steps=steps)]
    if any(layer.taps in SPREAD for layer in layers_with_delays(network).values()):
        schedules.append(SigmaSchedule(network, start=(setting.longest + 1) // 2, end=0.5, steps=max(steps // 4, 1)))
    best, begun = (-1.0, 0, network), time.process_time()
    for epoch in range(1, epochs + 1):
        network.train()
        for part in torch.from_numpy(chosen)[torch.randperm(len(chosen))].split(BATCH):
            batch = data.batch(part.numpy(), setting.tail_steps)
            loss = F.cross_entropy(scores(network, batch.counts, batch.lengths), batch.labels)
            optimiser.zero_grad()
            loss.backward()
            optimiser.step()
            for schedule in schedules:
                schedule.step()
        reached = accuracy(network, data, valid, setting.tail_steps)
        print(f"{setting.name}, {delays}, seed {seed}, epoch {epoch}: loss {loss:.3f}, valid {reached:.3f}", flush=True)
        if reached > best[0]:
            best = reached, epoch, copy.deepcopy(network)
    return Row(
        setting.name, delays, seed, sum(p.numel() for p in network.parameters() if p.requires_grad), epochs, best[1],
        best[0], accuracy(best[2], test, np.arange(len(test)), setting.tail_steps), len(test),
        firing_rate(best[2], test, setting.tail_steps), (time.process_time() - begun) / 60,
    )  # fmt: skip


def firing_rate(network: nn.Module, data: BinnedDataset, tail_steps: int) -> float:
    """Spikes for each hidden neuron and step, of the first hundred samples: no network that is silent counts."""
    rates: list[float] = []

    def count(_: nn.Module, __: Any, output: Any) -> None:
        spikes = output[0] if isinstance(output, tuple) else output
        rates.append(float(spikes.mean()))

    rounded = with_integer_delays(network)
    for module in rounded.modules():
        if type(module).__name__ in ("LIFNode", "LIF"):
            module.register_forward_hook(count)
    batch = data.batch(np.arange(min(100, len(data))), tail_steps)
    with torch.no_grad():
        scores(rounded, batch.counts, batch.lengths)
    return mean(rates)


def read(path: Path) -> list[Row]:
    """The rows of a file; none where there is no file."""
    if not path.exists():
        return []
    with path.open(newline="", encoding="utf-8") as file:
        kinds = [field.type for field in fields(Row)]
        return [Row(*(kind(row[f.name]) for kind, f in zip(kinds, fields(Row)))) for row in csv.DictReader(file)]  # type: ignore[operator]


def append(path: Path, row: Row) -> None:
    """Add a row to a file, whole or not at all."""
    with locked(path):
        rows = [*(read(path) if path.stat().st_size else []), row]
        lines = [",".join(field.name for field in fields(Row)), *(",".join(map(str, astuple(each))) for each in rows)]
        write_text(path, "\n".join(lines) + "\n")


def table(rows: Sequence[Row]) -> str:
    """Accuracies by network and delays, and what delays bring, seed by seed."""
    lines = [
        "| network | delays | trainable | epochs | validation | test | by seed | minutes |",
        "|---|---|---|---|---|---|---|---|",
    ]
    gains = []
    for setting in SETTINGS.values():
        sides = {side: {r.seed: r for r in rows if (r.network, r.delays) == (setting.name, side)} for side in DELAYS}
        for side, of in sides.items():
            if of:
                each, first = sorted(of.values(), key=lambda row: row.seed), next(iter(of.values()))
                cells = [
                    setting.name, side, f"{first.parameters:,}", f"{first.epochs}",
                    spread([row.valid_accuracy for row in each]), spread([row.test_accuracy for row in each]),
                    ", ".join(f"{100 * row.test_accuracy:.1f}" for row in each), f"{mean(r.minutes for r in each):.1f}",
                ]  # fmt: skip
                lines.append("| " + " | ".join(cells) + " |")
        for control in ("none", "fixed"):
            pairs = [
                (row.test_accuracy, sides[control][seed].test_accuracy)
                for seed, row in sorted(sides["learned"].items())
                if seed in sides[control]
            ]
            if len(pairs) > 1:
                gains.append(gain(setting, control, pairs, next(iter(sides["learned"].values())).test_samples))
    return "\n".join([*lines, "", *gains]) + "\n"


def spread(values: Sequence[float]) -> str:
    """Mean and standard deviation of the seeds, in per cent."""
    deviation = f" ± {100 * stdev(values):.1f}" if len(values) > 1 else ""
    return f"{100 * mean(values):.1f}{deviation} %"


def gain(setting: Setting, control: str, pairs: Sequence[tuple[float, float]], samples: int) -> str:
    """A line on learned delays against a control, which says so where seeds differ by more than they bring."""
    differences = [100 * (a - b) for a, b in pairs]
    middle, error = mean(differences), stdev(differences) / len(differences) ** 0.5
    # Student's 97.5 % for the degrees of freedom that few seeds leave.
    factor = {2: 12.71, 3: 4.30, 4: 3.18, 5: 2.78}.get(len(pairs), 2.5)
    clear = min(differences) > 0 and middle > factor * error
    verdict = "" if clear else f"; with {len(pairs)} seeds and {samples} test samples this is no difference"
    shown = ", ".join(f"{d:+.1f}" for d in differences)
    of = "no delays" if control == "none" else "fixed ones"
    return f"- {setting.name}, learned delays less {of}: {middle:+.1f} points (by seed {shown}){verdict}."


def main(arguments: Sequence[str] | None = None) -> None:
    """Train what has no row yet, print the table, and write it into a document."""
    parser = argparse.ArgumentParser(prog="experiments.studies.interop_training", description=__doc__)
    parser.add_argument("results", type=Path, help="CSV file of the rows")
    parser.add_argument("--only", choices=list(SETTINGS), help="train one of the networks")
    parser.add_argument("--seeds", type=int, default=3, help="number of seeds, from 0")
    parser.add_argument("--epochs", type=int, help="default: as the table has them")
    parser.add_argument("--write", type=Path, help="document in which to renew the table")
    given = parser.parse_args(arguments)
    missing: list[str] = []
    for setting in [SETTINGS[given.only]] if given.only else SETTINGS.values():
        done = {(row.delays, row.seed) for row in read(given.results) if row.network == setting.name}
        if pending := [(d, seed) for seed in range(given.seeds) for d in DELAYS if (d, seed) not in done]:
            try:
                loaded = [load_binned(setting.dataset, split, setting.binning) for split in ("train", "test")]
            except DataError as error:
                missing.append(f"{setting.name}'s network is not trained: {error}")
                continue
            data, test = (each.in_a_row() if setting.flat else each for each in loaded)
            for delays, seed in pending:
                append(given.results, train(setting, delays, seed, data, test, given.epochs or setting.epochs))
    text = table(read(given.results))
    print(text)
    if given.write is not None:
        write_between_markers(given.write, "interop training", text)
    if missing:
        sys.exit("\n".join(missing))


if __name__ == "__main__":
    main()
