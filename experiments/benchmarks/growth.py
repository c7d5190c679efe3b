"""``python -m experiments.benchmarks.growth``: how the cost of a training step grows, ours and the peers', in pictures.

Points that are done are kept in a JSON file and not measured again. An exponent is the slope of a straight line
through the logarithms, by least squares: 1 means in proportion.
"""

import gc
import json
import os
import statistics
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Annotated, Any

import numpy as np
import torch
import typer

from experiments.benchmarks import gpt_checks, gpt_step, network_checks
from experiments.benchmarks.gpt_networks import language_network, text
from experiments.benchmarks.gpt_peers import PlainSpikeGPT
from experiments.benchmarks.machine import machine
from experiments.benchmarks.network_cases import CLASSES, TAU_MS, Setting
from experiments.benchmarks.sides import missing
from experiments.benchmarks.sizes import PUBLISHED, Sizes
from experiments.benchmarks.step import TrainingStep, of_ours, of_peer
from snn_delays.cli.app import RUNS, Commands, console
from snn_delays.errors import ConfigError
from snn_delays.files import write_between_markers, write_text
from snn_delays.messages import did_you_mean

CPU = torch.device("cpu")
BASE = {"batch": 16, "time": 100, "width": 256, "window": 25, "layers": 2, "threads": 1}
SIGMA_STEPS = 0.5
OURS, PEER, PLAIN = "snn_delays", "dcls + spikingjelly", "plain PyTorch SpikeGPT"
Point = dict[str, list[float]]  # seconds of every round, by side


@dataclass(frozen=True)
class Axis:
    """What grows, and the values it takes."""

    values: tuple[int, ...]
    letter: str
    what: str


AXES = {
    "batch": Axis((4, 8, 16, 32, 64), "B", "samples"),
    "time": Axis((50, 100, 200, 400, 800), "T", "steps"),
    "width": Axis((64, 128, 256, 512), "N", "neurons of each hidden layer"),
    "window": Axis((8, 16, 32, 64, 128), "K", "steps of the window"),
    "layers": Axis((1, 2, 4, 8), "L", "hidden layers"),
    "threads": Axis(tuple(sorted({1, 2, os.cpu_count() or 1})), "n", "threads"),
    "tokens": Axis((32, 64, 128, 256, 512), "T", "tokens of the text"),
}

app = typer.Typer(cls=Commands, add_completion=False, pretty_exceptions_enable=False, rich_markup_mode=None)


@app.callback(invoke_without_command=True)
def growth(
    only: Annotated[list[str] | None, typer.Option(help=f"of {', '.join(AXES)}; may be repeated")] = None,
    rounds: Annotated[int, typer.Option(help="timed rounds of every point")] = 7,
    seconds: Annotated[float, typer.Option(help="no further round of a point after so many seconds")] = 20.0,
    cpu: Annotated[bool, typer.Option("--cpu", help="CPU time, beside other programs; leaves threads out")] = False,
    out: Annotated[Path, typer.Option(help="JSON in which points that are done are kept")] = RUNS / "growth.json",
    pictures: Annotated[Path, typer.Option(help="folder of the pictures")] = RUNS / "growth",
    write: Annotated[Path | None, typer.Option(help="document to write the table into, between its markers")] = None,
) -> None:
    """Measure how the cost of a training step grows, and draw it."""
    for name in only or ():
        if name not in AXES:
            raise ConfigError(f"nothing grows by {name!r}; {did_you_mean(name, list(AXES))}there are {', '.join(AXES)}")
    if line := missing("dcls", "spikingjelly"):
        raise ConfigError(line)
    record = _record(out, cpu)
    for name in only or AXES:
        if not (cpu and name == "threads"):
            for _ in measured(name, record, rounds, seconds):
                write_text(out, json.dumps(record, indent=1))
    done = [name for name in AXES if len(record["points"].get(name, {})) > 1]
    for name in done:
        draw(name, record, pictures / f"growth_{name}.png")
    written = table(record)
    console.print(written, highlight=False)
    if write is not None:
        at = Path(os.path.relpath(pictures, write.parent))
        shown = [f"![A training step by {name}]({(at / f'growth_{name}.png').as_posix()})\n" for name in done]
        write_between_markers(write, "growth", "\n".join([written, *shown]))


def measured(name: str, record: dict[str, Any], rounds: int, seconds: float, sizes: Sizes = PUBLISHED) -> Iterator[int]:
    """Measure the values of an axis that the record has not; each when it is in there."""
    points = record["points"].setdefault(name, {})
    clock = time.process_time if record["clock"] == "CPU" else time.perf_counter
    checked = False
    for value in AXES[name].values:
        if str(value) in points:
            continue
        if not checked:
            check_axis(name, sizes)
            checked = True
        before = torch.get_num_threads()
        torch.set_num_threads(value if name == "threads" else BASE["threads"])
        try:
            points[str(value)] = timed(_sides(name, value, sizes), rounds, seconds, clock)
        finally:
            torch.set_num_threads(before)
        console.print(f"{name} {value}: {_medians(points[str(value)])}", highlight=False)
        yield value


def timed(sides: Mapping[str, Callable[[], object]], rounds: int, seconds: float, clock: Callable[[], float]) -> Point:
    """The sides in turn, after a round that warms up; no further round once the time is over."""
    found: Point = {side: [] for side in sides}
    for work in sides.values():
        work()
    began = time.perf_counter()
    for done in range(rounds):
        if done and time.perf_counter() - began > seconds:
            break
        for side, work in sides.items():
            gc.collect()
            at = clock()
            work()
            found[side].append(clock() - at)
    return found


def exponent(points: Mapping[str, Point], side: str) -> float:
    """Slope of the logarithm of the median time over that of the value."""
    values = np.log([float(value) for value in points])
    return float(np.polyfit(values, np.log([statistics.median(point[side]) for point in points.values()]), 1)[0])


def table(record: Mapping[str, Any]) -> str:
    """Markdown: where and how it was measured; for every axis its range, the exponents, and the ratio at both ends."""
    rounds = {
        len(times) for points in record["points"].values() for point in points.values() for times in point.values()
    }
    lines = [
        f"{record['method']} Rounds: {min(rounds)} to {max(rounds)}.\n",
        "| by | values | ours grows as | peer | peer grows as | peer / ours, first | last |",
        "|---|---|---:|---|---:|---:|---:|",
    ]
    for name, points in record["points"].items():
        if len(points) > 1:
            ours, peer = next(iter(points.values()))
            ratios = [statistics.median(point[peer]) / statistics.median(point[ours]) for point in points.values()]
            letter, (first, *_, last) = AXES[name].letter, points
            powers = [f"{letter}^{exponent(points, side):.2f}" for side in (ours, peer)]
            cells = (name, f"{first} to {last}", powers[0], peer, powers[1], f"{ratios[0]:.1f}", f"{ratios[-1]:.1f}")
            lines.append(f"| {' | '.join(cells)} |")
    return "\n".join(lines) + "\n"


def draw(name: str, record: Mapping[str, Any], path: Path) -> None:
    """Both sides over the axis, with the lines that were fitted."""
    from matplotlib.ticker import NullLocator

    from snn_delays.plot.style import BLUE, ORANGE, axes_or_new, save_figure

    axis, points = AXES[name], record["points"][name]
    ax = axes_or_new(None, 5.2, 3.4)
    values = np.array([float(value) for value in points])
    for side, color, marker in zip(next(iter(points.values())), (BLUE, ORANGE), "os"):
        times = np.array([1e3 * statistics.median(point[side]) for point in points.values()])
        power = exponent(points, side)
        fitted = np.exp(np.log(times).mean() + power * (np.log(values) - np.log(values).mean()))
        ax.plot(values, fitted, color=color, linewidth=1)
        ax.plot(values, times, marker, color=color, markersize=5, label=f"{side}, {axis.letter}$^{{{power:.2f}}}$")
    ax.set(xscale="log", yscale="log", xlabel=axis.what, ylabel=f"ms a training step ({record['clock']} time)")
    ax.set_xticks(values, list(points))
    ax.xaxis.set_minor_locator(NullLocator())
    ax.legend(frameon=False, fontsize=8)
    ax.set_title(_fixed(name), loc="left", fontsize=8)
    path.parent.mkdir(parents=True, exist_ok=True)
    save_figure(ax.figure, path)


def _sides(name: str, value: int, sizes: Sizes) -> dict[str, Callable[[], object]]:
    if name == "tokens":
        tokens, target = text(sizes.language, value, 1, CPU)
        ours = language_network(sizes.language)
        plain = PlainSpikeGPT(ours)
        return {
            OURS: gpt_step.LanguageStep(gpt_step.of_spikegpt(ours), tokens, target),
            PLAIN: gpt_step.LanguageStep(gpt_step.of_plain(plain), tokens, target),
        }
    setting = _setting(name, value, sizes)
    x, target = setting.signal(setting.batch, CPU), torch.arange(setting.batch) % CLASSES
    network = setting.network()
    peer = setting.peer(network, 0)
    return {OURS: TrainingStep(of_ours(network), x, target), PEER: TrainingStep(of_peer(peer), x, target)}


def _setting(name: str, value: int, sizes: Sizes) -> Setting:
    at = {**BASE, name: value}
    wide = replace(sizes, hidden=(at["width"],) * at["layers"])
    return Setting(wide, at["time"], at["batch"], at["window"], TAU_MS / 10, SIGMA_STEPS)


def check_axis(name: str, sizes: Sizes) -> None:
    """The sides compute the same; raises AssertionError."""
    if name == "tokens":
        gpt_checks.check_steps(sizes, CPU, plain=True)
    else:
        network_checks.check_steps(_setting(name, AXES[name].values[0], sizes), (0,), CPU)


def _fixed(name: str) -> str:
    if name == "tokens":
        small = PUBLISHED.language
        return f"SpikeGPT of {small.layers} x {small.features}, one text, {BASE['threads']} thread"
    rest = {
        "batch": "B={batch}", "time": "T={time}", "width": "N={width}", "window": "K={window}",
        "layers": "{layers} hidden layers", "threads": "{threads} thread",
    }  # fmt: skip
    return ", ".join(form.format(**BASE) for key, form in rest.items() if key != name) + f", sigma {SIGMA_STEPS}"


def _record(path: Path, cpu: bool) -> dict[str, Any]:
    clock = "CPU" if cpu else "wall"
    if path.exists():
        record: dict[str, Any] = json.loads(path.read_text(encoding="utf-8"))
        if record["clock"] != clock:
            raise ConfigError(f"{path} holds {record['clock']} times, not {clock} times; give another --out")
        return record
    found = machine()
    versions = ", ".join(f"{name} {version}" for name, version in found["packages"].items())
    how = "CPU time, beside other programs" if cpu else "wall time"
    method = (
        f"{time.strftime('%Y-%m-%d', time.gmtime())}, {found['processor']}, {versions}; {how}, medians of interleaved "
        f"rounds, one thread. A training step as in the cases above, of {_fixed('')}, but for what grows."
    )
    return {"clock": clock, "method": method, "points": {}}


def _medians(point: Mapping[str, Sequence[float]]) -> str:
    return ", ".join(f"{side} {1e3 * statistics.median(times):.1f} ms" for side, times in point.items())


if __name__ == "__main__":
    app()
