"""Yin-Yang by exact gradients: a network 4-30-3 in continuous time with delays that are learned, fixed, or none.

``python -m experiments.studies.eventprop_yin_yang FILE.md`` trains 15 networks, a quarter of a minute each on one core;
started again it trains what is missing from the folder beside the file. ``--append`` adds rows to a table of results
and ``--write`` puts the table into a document.
"""

import argparse
import json
import time
from collections.abc import Sequence
from itertools import islice
from pathlib import Path
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor

from snn_delays.data.synthetic import YinYang
from snn_delays.files import write_between_markers, write_text
from snn_delays.nn import EventPropNetwork
from snn_delays.runs.results import append_result

HIDDEN, CLASSES, EPOCHS, BATCH, SCALE = 30, 3, 30, 50, 10.0
DELAYS = ("learned", "fixed", "none")
Split = tuple[Tensor, Tensor]


def load(split: str, samples: int | None = None) -> Split:
    """Times of spikes in milliseconds, ``[sample, channel, 1]``, and classes."""
    drawn = list(islice(YinYang().split(split), samples))
    times = torch.zeros(len(drawn), YinYang.channels, 1, dtype=torch.float64)
    for row, sample in zip(times, drawn):
        row[torch.tensor(sample.events.channel), 0] = torch.tensor(sample.events.t_us).double() / 1000
    return times, torch.tensor([sample.label for sample in drawn])


def accuracy(network: EventPropNetwork, data: Split) -> float:
    """Share of samples whose class has the highest discounted mean."""
    with torch.no_grad():
        return float((network(data[0]).mean.argmax(1) == data[1]).double().mean())


def train(delays: str, seed: int, data: dict[str, Split], epochs: int = EPOCHS) -> dict[str, Any]:
    """Train one network and measure its best epoch by validation on the test data, as one row of results.

    Adam, 0.01 on weights and 0.1 ms on delays, both falling as half a cosine; cross-entropy of ``SCALE`` times the
    means. Rates and time constants were chosen on the validation data, with learned delays and another seed.
    """
    torch.manual_seed(seed)
    network = EventPropNetwork(
        (YinYang.channels, HIDDEN, CLASSES), end_ms=40.0, delays=delays, max_delay_ms=10.0, tau_mem_ms=10.0,
        tau_syn_ms=5.0, gain=1.5,
    )  # fmt: skip
    groups = [{"params": [network.weight]}]
    if delays == "learned":
        groups.append({"params": [network.delay_ms], "lr": 0.1})  # type: ignore[dict-item]
    optimiser = torch.optim.Adam(groups, lr=0.01)
    optimiser.register_step_post_hook(lambda *_: network.clamp_delays_())
    schedule = torch.optim.lr_scheduler.CosineAnnealingLR(optimiser, epochs)
    (times, labels), begun, best = data["train"], time.process_time(), (-1.0, 0, network.state_dict())
    for epoch in range(1, epochs + 1):
        for part in torch.randperm(len(times)).split(BATCH):
            optimiser.zero_grad()
            F.cross_entropy(SCALE * network(times[part]).mean, labels[part]).backward()
            optimiser.step()
        schedule.step()
        if (reached := accuracy(network, data["valid"])) > best[0]:
            best = reached, epoch, {name: value.clone() for name, value in network.state_dict().items()}
    network.load_state_dict(best[2])
    minutes = (time.process_time() - begun) / 60
    with torch.no_grad():
        spikes = network(data["valid"][0]).times_ms[:, :HIDDEN].isfinite().sum(-1).double()
    test = accuracy(network, data["test"])
    with torch.no_grad():
        network.delay_ms.round_()
    return {
        "run": "eventprop_yin_yang", "data": "yin-yang", "delays": delays, "hidden": str(HIDDEN), "seed": seed,
        "parameters": sum(p.numel() for p in network.parameters() if p.requires_grad), "epochs": epochs,
        "best_epoch": best[1], "readout": "as trained", "valid_accuracy": best[0], "test_samples": len(data["test"][1]),
        "test_accuracy": accuracy(network, data["test"]), "test_accuracy_real_delays": test,
        "training_minutes": minutes, "spikes": float(spikes.mean()), "silent": int((spikes.sum(0) == 0).sum()),
    }  # fmt: skip


def table(results: Sequence[dict[str, Any]]) -> str:
    """Markdown: mean and range over seeds by kind of delays, and what learning gains on the same seeds."""
    keys = {
        "valid_accuracy": "valid, %", "test_accuracy_real_delays": "test, %", "test_accuracy": "test, whole ms, %"
    }  # fmt: skip
    heads = ("delays", "trained numbers", "seeds", *keys.values(), "spikes a neuron", "silent", "CPU minutes a run")
    lines = ["| " + " | ".join(heads) + " |", "|---" * len(heads) + "|"]
    for delays in DELAYS:
        runs = [run for run in results if run["delays"] == delays]
        shares = [_spread([100 * run[key] for run in runs]) for key in keys]
        others = (_mean([run[key] for run in runs]) for key in ("spikes", "silent", "training_minutes"))
        lines.append("| " + " | ".join([delays, str(runs[0]["parameters"]), str(len(runs)), *shares, *others]) + " |")
    by_seed = {(run["delays"], run["seed"]): run["test_accuracy_real_delays"] for run in results}
    gains = []
    for other in DELAYS[1:]:
        pairs = [100 * (by_seed["learned", seed] - by_seed[other, seed]) for kind, seed in by_seed if kind == other]
        gains.append(f"{_spread(pairs, '+')} points over {other}")
    return "\n".join(lines) + f"\n\nOn the same seeds learned delays gain {' and '.join(gains)} (test, as trained).\n"


def _mean(values: list[float]) -> str:
    return f"{sum(values) / len(values):.1f}"


def _spread(values: list[float], sign: str = "") -> str:
    return f"{sum(values) / len(values):{sign}.1f} ({min(values):{sign}.1f} to {max(values):{sign}.1f})"


def main() -> None:
    """Train what is missing, print the table and write it."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("out", type=Path, help="Markdown file for the table; runs are kept in a folder beside it")
    parser.add_argument("--seeds", type=int, default=5, help="number of seeds, from 0")
    parser.add_argument("--append", type=Path, help="table of results to add the runs to")
    parser.add_argument("--write", type=Path, help="document to write the table into, between its markers")
    arguments = parser.parse_args()
    folder = arguments.out.with_suffix("")
    folder.mkdir(parents=True, exist_ok=True)
    data, results = {split: load(split) for split in ("train", "valid", "test")}, []
    for seed in range(arguments.seeds):
        for delays in DELAYS:
            kept = folder / f"{delays}_{seed}.json"
            if not kept.exists():
                write_text(kept, json.dumps(train(delays, seed, data)))
            results.append(json.loads(kept.read_text(encoding="utf-8")))
            print(delays, seed, f"{results[-1]['test_accuracy_real_delays']:.1%}", flush=True)
    print(table(results))
    write_text(arguments.out, table(results))
    for result in results if arguments.append is not None else ():
        append_result(arguments.append, result)
    if arguments.write is not None:
        write_between_markers(arguments.write, "yin-yang", table(results))


if __name__ == "__main__":
    main()
