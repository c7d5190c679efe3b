"""``python -m experiments.benchmarks.neighbours``: a step beside busy processes, in either order of imports.

Every setting is a process of its own: torch or snn_delays is imported first, and nothing else runs or two processes
that never pause do. In each of them our step and the peer's take turns. The peer is also timed alone, in a process
that has run none of our kernels, since those change how OpenMP's threads wait.
"""

import contextlib
import json
import os
import statistics
import subprocess
import sys
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Annotated, Any

import typer

ORDERS = {"torch": "torch", "snn_delays": "snn_delays.models", "peer alone": "torch"}
NEIGHBOURS = (0, 2)
BATCH = 128
SIGMAS = (12.27, 0.5)

app = typer.Typer(add_completion=False, pretty_exceptions_enable=False, rich_markup_mode=None)


@app.command()
def neighbours(
    repeats: Annotated[int, typer.Option(help="timed rounds of every setting")] = 9,
    write: Annotated[Path | None, typer.Option(help="document to write the table into, between its markers")] = None,
) -> None:
    """Time a training step quiet and beside two busy processes, with torch or snn_delays imported first."""
    rows = []
    for sigma in SIGMAS:
        for busy in NEIGHBOURS:
            for first in ORDERS:
                with _busy_processes(busy):
                    rows.append(_measured(first, busy, sigma, repeats))
                print(_line(rows[-1]), flush=True)
    text = table(rows)
    print(text)
    if write is not None:
        from snn_delays.files import write_between_markers

        write_between_markers(write, "neighbours", text)


def table(rows: Sequence[dict[str, Any]]) -> str:
    """Markdown: the settings, the step of each side with its quartiles, and the ratio of the medians."""
    columns = (
        "sigma",
        "busy processes",
        "imported first",
        "ours, ms",
        "dcls + spikingjelly, ms",
        "ratio",
        "our CPU, ms",
    )
    lines = [f"| {' | '.join(columns)} |\n", "|---:|---:|---|---:|---:|---:|---:|\n"]
    for row in rows:
        ours, peer = row["seconds"].get("ours"), row["seconds"]["peer"]
        ratio = "" if ours is None else f"{statistics.median(peer) / statistics.median(ours):.1f}"
        cpu = "" if ours is None else f"{1e3 * statistics.median(row['cpu']):.0f}"
        cells = [f"{row['sigma']:g}", str(row["busy"]), row["first"], _spread(ours), _spread(peer), ratio, cpu]
        lines.append(f"| {' | '.join(cells)} |\n")
    return "".join(lines)


def _spread(seconds: list[float] | None) -> str:
    if seconds is None:
        return "not run"
    low, middle, high = statistics.quantiles(seconds, n=4, method="inclusive")
    return f"{1e3 * middle:.0f} ({1e3 * low:.0f} to {1e3 * high:.0f})"


def _line(row: dict[str, Any]) -> str:
    return f"sigma {row['sigma']:g}, {row['busy']} busy, {row['first']}: {json.dumps(row['seconds'])}"


@contextlib.contextmanager
def _busy_processes(count: int) -> Iterator[None]:
    running = [subprocess.Popen([sys.executable, "-c", "while True: pass"]) for _ in range(count)]
    try:
        yield
    finally:
        for process in running:
            process.kill()
            process.wait()


def _measured(first: str, busy: int, sigma: float, repeats: int) -> dict[str, Any]:
    code = (
        f"import {ORDERS[first]}; from experiments.benchmarks.neighbours import measure; "
        f"measure({first!r}, {sigma}, {repeats})"
    )
    unset = ("OMP_WAIT_POLICY", "GOMP_SPINCOUNT", "KMP_BLOCKTIME", "OMP_NUM_THREADS")
    environment = {name: value for name, value in os.environ.items() if name not in unset}
    done = subprocess.run([sys.executable, "-c", code], env=environment, check=True, stdout=subprocess.PIPE, text=True)
    return {"first": first, "busy": busy, "sigma": sigma, **json.loads(done.stdout)}


def measure(first: str, sigma: float, repeats: int) -> None:
    """In a process of its own: print the seconds of interleaved rounds of both sides, and CPU seconds of ours."""
    import time
    from dataclasses import replace

    import torch

    from experiments.benchmarks.network_cases import CLASSES, DROPOUT, shd_setting
    from experiments.benchmarks.peers import PublishedNetwork
    from experiments.benchmarks.sides import spikes
    from experiments.benchmarks.sizes import PUBLISHED
    from experiments.benchmarks.step import TrainingStep, of_ours, of_peer

    setting = shd_setting(replace(PUBLISHED, batch=BATCH), sigma)
    x, target = spikes(setting.steps, BATCH, PUBLISHED.inputs, torch.device("cpu")), torch.arange(BATCH) % CLASSES
    network = setting.network(DROPOUT)
    works = {"peer": TrainingStep(of_peer(PublishedNetwork(network, setting.tau_steps, right=0)), x, target)}
    if first != "peer alone":
        works["ours"] = TrainingStep(of_ours(network), x, target)
    seconds: dict[str, list[float]] = {name: [] for name in works}
    cpu = []
    for done in range(-2, repeats):
        for name, work in works.items():
            began, process = time.perf_counter(), time.process_time()
            work()
            if done >= 0:
                seconds[name].append(time.perf_counter() - began)
                if name == "ours":
                    cpu.append(time.process_time() - process)
    print(json.dumps({"seconds": seconds, "cpu": cpu, "threads": torch.get_num_threads()}))


if __name__ == "__main__":
    app()
