"""Is a planted lag found in a stream of tokens? Every kind of shift, alone and inside a block of SpikeGPT.

``python -m experiments.studies.planted_lags FILE.png`` trains all, prints a table and draws what was found; it takes
three to four minutes on one core.
"""

import argparse
import math
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
import torch.nn.functional as F
from numpy.typing import NDArray
from torch import Tensor, nn

from experiments.studies.token_streams import UNSCORED, FixedLagCopy, PeriodicStream, TokenStream
from snn_delays.errors import ConfigError
from snn_delays.files import write_between_markers
from snn_delays.models import SpikeGPT
from snn_delays.models.spikegpt import with_integer_delays
from snn_delays.nn import DelayShift, SpikingEmbedding
from snn_delays.nn.delayed import DelayLineState
from snn_delays.nn.module import SpikingModule

COPIES = tuple(FixedLagCopy(copy_lag=lag) for lag in (7, 15, 30))
PERIODIC = tuple(PeriodicStream(period=period) for period in (5, 11, 24))
# The block takes four times as long, so it is tried on the shortest and the longest lag.
STUDY: dict[str, tuple[TokenStream, ...]] = {
    "shift": (*COPIES, *PERIODIC),
    "block": (COPIES[0], COPIES[-1], PERIODIC[0], PERIODIC[-1]),
}
SHIFTS = ("learned", "fixed", "dense", "token")
TITLES = {"shift": "The shift alone", "block": "A block of SpikeGPT"}
FEATURES, MAX_DELAY, STEPS = 32, 32, 64
BATCH, TEST_SEQUENCES = 16, 512


class ShiftAlone(SpikingModule):
    """Spikes of a token, a shift of one mixture, and a linear layer: only the shift remembers anything.

    Shapes: int64 ``[time, batch]`` to logits ``[time, batch, tokens]``.
    """

    def __init__(self, tokens: int, features: int, **shift: object) -> None:
        super().__init__()
        self.embedding = SpikingEmbedding(tokens, features)
        self.shift = DelayShift(torch.full((1, features), 0.5), **shift)  # type: ignore[arg-type]
        self.head = nn.Linear(features, tokens)

    def forward(self, x: Tensor, state: DelayLineState | None = None) -> tuple[Tensor, DelayLineState]:
        """Logits, and the shift's state."""
        y, state = self.shift(self.embedding(x)[0], state)
        return self.head(y[0]), state


@dataclass(frozen=True)
class Found:
    """What training came to, with integer delays, on sequences that it never saw.

    Attributes:
        loss_nats: cross-entropy, nats a token.
        accuracy: share of tokens right.
        share: share of all extra points' |weight| by delay, ``[max_delay + 1]``; 0 for the token shift, without any.
        begun: share of the points by delay before training; 0 where none are drawn.
        parameters: trained numbers.
    """

    loss_nats: float
    accuracy: float
    share: NDArray[np.float64]
    begun: NDArray[np.float64]
    parameters: int

    @property
    def delay(self) -> int | None:
        """The delay that most of the weight has, in steps."""
        return int(self.share.argmax()) if self.share.any() else None


def find_lag(
    task: TokenStream, kind: str, *, network: str = "shift", steps: int = 300, lr_delay: float = 0.6, seed: int = 0
) -> Found:
    """Train a network of one shift (``"shift"``, :class:`ShiftAlone`) or one block (``"block"``) on fresh sequences.

    Adam, 0.01 on weights and ``lr_delay`` steps on delays, both down to a tenth over the last two fifths;
    sigma annealed from half the window to 0.4 steps in the first three fifths. The same for every shift and task.
    The rate and the width of the delays, which learned ones alone have, were chosen on the copy of lag 30, the rate of
    the weights on seed 0 of copies in the block.

    Raises ConfigError for another network, or a lag beyond the window.
    """
    if network not in STUDY or task.lag > MAX_DELAY or steps < 1:
        raise ConfigError(
            f"find_lag trains {' or '.join(STUDY)} on lags up to {MAX_DELAY} for at least one step, got {network!r}, "
            f"lag {task.lag} and {steps} steps"
        )
    torch.manual_seed(seed)
    widest, narrowest = MAX_DELAY / 2, 0.4
    shift = {"kind": kind, "max_delay_steps": MAX_DELAY, "points": 2, "sigma_steps": widest}
    made = (
        ShiftAlone(task.tokens, FEATURES, **shift)
        if network == "shift"
        else SpikeGPT(task.tokens, FEATURES, 1, shift=shift)
    )
    shifts = [module for module in made.modules() if isinstance(module, DelayShift)]
    begun = _shares(shifts, count=True)
    delays = [one.delay for one in shifts if one.delay is not None and one.delay.requires_grad]
    apart = {id(delay) for delay in delays}
    rest = [p for p in made.parameters() if p.requires_grad and id(p) not in apart]
    optimiser = torch.optim.Adam([{"params": rest, "lr": 0.01}, {"params": delays, "lr": lr_delay}])
    schedule = torch.optim.lr_scheduler.LambdaLR(optimiser, lambda k: 1 - 0.9 * max(k / steps - 0.6, 0) / 0.4)
    generator = np.random.default_rng([seed, 0])
    for step in range(steps):
        for one in shifts:
            one.set_sigma(widest * (narrowest / widest) ** min(step / (0.6 * steps), 1.0))
        loss, _ = _loss_and_accuracy(made, task, BATCH, generator)
        optimiser.zero_grad()
        loss.backward()
        optimiser.step()
        schedule.step()
        for one in shifts:
            one.clamp_delays_()
    made = with_integer_delays(made)
    shifts = [module for module in made.modules() if isinstance(module, DelayShift)]
    with torch.no_grad():
        loss, accuracy = _loss_and_accuracy(made, task, TEST_SEQUENCES, np.random.default_rng([seed, 1]))
    return Found(loss.item(), accuracy, _shares(shifts), begun, sum(p.numel() for p in (*rest, *delays)))


def _loss_and_accuracy(
    network: nn.Module, task: TokenStream, sequences: int, generator: np.random.Generator
) -> tuple[Tensor, float]:
    tokens, targets = (torch.from_numpy(drawn) for drawn in task.draw(sequences, STEPS, generator))
    scored = targets != UNSCORED
    logits, expected = network(tokens)[0][scored], targets[scored]
    return F.cross_entropy(logits, expected), (logits.argmax(-1) == expected).double().mean().item()


@torch.no_grad()
def _shares(shifts: Sequence[DelayShift], count: bool = False) -> NDArray[np.float64]:
    """Share of |weight|, or of the points, by delay, over all mixtures and neurons of all shifts."""
    total = np.zeros(MAX_DELAY + 1)
    for shift in shifts:
        if shift.lags is not None and not count:
            total += shift.lags.abs().sum((1, 2)).double().numpy()
        elif shift.delay is not None and shift.weight is not None:
            at = shift.delay.round().long().flatten().numpy()
            total += np.bincount(at, None if count else shift.weight.abs().flatten().numpy(), MAX_DELAY + 1)
    return total / max(total.sum(), np.finfo(np.float64).tiny)


Study = dict[str, dict[TokenStream, dict[str, list[Found]]]]  # by network, task, kind; one for every seed


def study(seeds: tuple[int, ...] = (0, 1, 2)) -> Study:
    """Train everything."""
    return {
        network: {
            task: {kind: [find_lag(task, kind, network=network, seed=seed) for seed in seeds] for kind in SHIFTS}
            for task in tasks
        }
        for network, tasks in STUDY.items()
    }


def table(found: Study) -> str:
    """Markdown: for every network and task accuracy, loss and delay by kind of shift, mean and range over seeds."""
    parts = []
    for network, tasks in found.items():
        lines = [f"| {TITLES[network]} | optimum | " + " | ".join(SHIFTS) + " |", "|---" * (2 + len(SHIFTS)) + "|"]
        for task, by_kind in tasks.items():
            best, one_look = task.optimum(STEPS), task.optimum(STEPS, looks=1)
            accuracy, loss = f"{100 * best.accuracy:.1f}", f"{best.loss_nats:.3f}"
            if isinstance(task, PeriodicStream):
                accuracy += f"; one look {100 * one_look.accuracy:.1f}"
                loss += f"; one look {one_look.loss_nats:.3f}"
            cells = [[_spread([100 * one.accuracy for one in by_kind[kind]], 1) for kind in SHIFTS]]
            cells.append([_spread([one.loss_nats for one in by_kind[kind]], 3) for kind in SHIFTS])
            cells.append([_delays(by_kind[kind]) for kind in SHIFTS])
            lag = f"{task.lag}" + "".join(f", {other}" for other in task.lags(MAX_DELAY)[1:])
            rows = (("accuracy, %", accuracy), ("loss, nats", loss), ("delay found, steps (share of its weight)", lag))
            lines += [f"| {task.name}: {what} | {b} | " + " | ".join(row) + " |" for (what, b), row in zip(rows, cells)]
        sizes = [f"{next(iter(tasks.values()))[kind][0].parameters:,}" for kind in SHIFTS]
        lines.append("| parameters | | " + " | ".join(sizes) + " |")
        parts.append("\n".join(lines))
    tokens = COPIES[0].tokens
    return "\n\n".join([*parts, f"Chance: {100 / tokens:.1f} %, {math.log(tokens):.3f} nats."])


def _spread(values: list[float], digits: int) -> str:
    return f"{np.mean(values):.{digits}f} ({min(values):.{digits}f} to {max(values):.{digits}f})"


def _delays(found: list[Found]) -> str:
    return ", ".join(f"{one.delay} ({one.share.max():.0%})" for one in found if one.delay is not None) or "none"


def main() -> None:
    """Print the table and write the picture."""
    from experiments.studies.planted_lags_figure import planted_lags_figure
    from snn_delays.plot.style import save_figure

    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("picture", type=Path, help="PNG to write")
    parser.add_argument("--seeds", type=int, default=3, help="number of seeds, from 0")
    parser.add_argument("--write", type=Path, help="document to write the table into, between its markers")
    arguments = parser.parse_args()
    found = study(tuple(range(arguments.seeds)))
    print(table(found))
    if arguments.write is not None:
        write_between_markers(arguments.write, "lags", table(found) + "\n")
    learned = {task: by_kind["learned"] for task, by_kind in found["shift"].items()}
    figure = planted_lags_figure(
        {task.name: np.stack([one.share for one in every]) for task, every in learned.items()},
        {task.name: task.lags(MAX_DELAY) for task in learned},
        {
            TITLES[network]: {
                task.name: {kind: [one.accuracy for one in every] for kind, every in by_kind.items()}
                for task, by_kind in tasks.items()
            }
            for network, tasks in found.items()
        },
        {task.name: task.optimum(STEPS).accuracy for task in learned},
        chance=1 / COPIES[0].tokens,
        begun={task.name: np.mean([one.begun for one in every], axis=0) for task, every in learned.items()},
    )
    save_figure(figure, arguments.picture)


if __name__ == "__main__":
    main()
