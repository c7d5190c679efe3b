"""What steps and surrogates do to spikes and gradients: networks of steps beside the same one in continuous time.

``python -m experiments.studies.exact_gradients FILE.csv`` takes seconds; ``--write`` puts its table into a document.
"""

import argparse
import math
from itertools import pairwise
from pathlib import Path
from typing import NamedTuple

import torch
from torch import Tensor

from snn_delays.files import write_between_markers
from snn_delays.nn import CubaLIF, DelayedLinear, EventPropNetwork, LeakyIntegrator
from snn_delays.ops import ATan, Boxcar, FastSigmoid, Sigmoid, Surrogate, Triangle

SIZES, END_MS, LONGEST_MS = (6, 12, 2), 60.0, 8.0
STEPS_MS = (1.0, 0.5, 0.25, 0.125, 0.0625)
SURROGATES = (ATan(), FastSigmoid(), Sigmoid(), Triangle(), Boxcar(0.5))


class Discrete(NamedTuple):
    """A network of steps: hidden spikes ``[time, sample, neuron]``, mean membranes, and its layers of synapses."""

    spikes: Tensor
    mean: Tensor
    synapses: list[DelayedLinear]


def network(seed: int = 0) -> EventPropNetwork:
    """A small network with two layers of delays."""
    torch.manual_seed(seed)
    return EventPropNetwork(SIZES, end_ms=END_MS, max_delay_ms=LONGEST_MS, gain=1.5)


def stimuli(samples: int = 16, seed: int = 0) -> Tensor:
    """Two spikes a channel, at whole milliseconds, so that steps of any length here can have them exactly."""
    return torch.randint(25, (samples, SIZES[0], 2), generator=torch.Generator().manual_seed(seed)).double()


def discrete(net: EventPropNetwork, times_ms: Tensor, dt_ms: float, surrogate: Surrogate | None = None) -> Discrete:
    """The network in steps, by :class:`CubaLIF` and :class:`DelayedLinear`, whose delays need not be integers."""
    steps, sizes = round(net.constants["end_ms"] / dt_ms), net.sizes
    mem, syn = net.constants["tau_mem_ms"] / dt_ms, net.constants["tau_syn_ms"] / dt_ms
    x = torch.zeros(steps, len(times_ms), sizes[0], dtype=torch.float64)
    sample, channel = (each.flatten() for each in torch.meshgrid(*map(torch.arange, times_ms.shape[:2]), indexing="ij"))
    for nth in times_ms.unbind(-1):
        x.index_put_(((nth.flatten() / dt_ms).round().long(), sample, channel), torch.tensor(1.0).double(), True)
    synapses, start = [], 0
    for many, size in pairwise(sizes):
        layer = DelayedLinear(many, size, max_delay_steps=math.ceil(net.max_delay_ms / dt_ms), taps="linear").double()
        part = slice(start, start + many * size)
        with torch.no_grad():
            layer.weight.copy_(net.weight[part].view(many, size).T.unsqueeze(-1))
            layer.delay.copy_(net.delay_ms[part].view(many, size).T.unsqueeze(-1) / dt_ms)
        synapses.append(layer)
        start += many * size
    neurons = CubaLIF(mem, syn, decay_input=True, surrogate=surrogate or ATan(), threshold=float(net.threshold[0]))
    spikes = neurons(synapses[0](x)[0] * syn)[0]
    membranes = synapses[1](spikes)[0] * syn
    for tau in (syn, mem):
        membranes = LeakyIntegrator(tau, decay_input=True)(membranes)[0]
    share = torch.exp(-torch.arange(1, steps + 1) * dt_ms / net.constants["end_ms"]) / steps
    return Discrete(spikes, (membranes * share[:, None, None]).sum(0), synapses)


def late_ms(net: EventPropNetwork, times_ms: Tensor, dt_ms: float) -> tuple[float, float]:
    """How far the first hidden spikes are from those in continuous time, on average, and the share of neurons that
    fire as often as there."""
    with torch.no_grad():
        exact = net(times_ms).times_ms[:, : net.sizes[1]]
        spikes = discrete(net, times_ms, dt_ms).spikes
    alike = exact.isfinite().sum(-1) == spikes.sum(0)
    first = torch.where(spikes.any(0), spikes.argmax(0) * dt_ms, math.inf)
    both = first.isfinite() & exact[..., 0].isfinite()
    return float((first - exact[..., 0])[both].abs().mean()), float(alike.double().mean())


def directions(net: EventPropNetwork, times_ms: Tensor, dt_ms: float, surrogate: Surrogate) -> dict[str, float]:
    """Cosines between gradients by a surrogate and exact ones, of weights and delays before and after the neurons."""
    target = torch.randn(len(times_ms), SIZES[-1], generator=torch.Generator().manual_seed(1), dtype=torch.float64)
    exact = torch.autograd.grad((net(times_ms).mean * target).sum(), (net.weight, net.delay_ms))
    made = discrete(net, times_ms, dt_ms, surrogate)
    parameters = [each for layer in made.synapses for each in (layer.weight, layer.delay)]
    grads = torch.autograd.grad((made.mean * target).sum(), parameters)
    result, start = {}, 0
    for place, name in enumerate(("hidden", "readout")):
        size = grads[2 * place].numel()
        for kind in range(2):
            got = grads[2 * place + kind].squeeze(-1).T.flatten()
            want = exact[kind][start : start + size]
            result[f"{name} {('weights', 'delays')[kind]}"] = float(torch.cosine_similarity(got, want, dim=0))
        start += size
    return result


def table(seeds: int = 5) -> tuple[str, str]:
    """Both tables, in Markdown: spike times by step, and cosines by surrogate, means over networks."""
    times, nets = stimuli(), [network(seed) for seed in range(seeds)]
    lines = ["| step, ms | first spikes off by, ms | neurons that fire as often, % |", "|---|---|---|"]
    for dt in STEPS_MS:
        off, alike = torch.tensor([late_ms(net, times, dt) for net in nets]).mean(0).tolist()
        lines.append(f"| {dt:g} | {off:.3f} | {100 * alike:.1f} |")
    cosines = {str(s): [directions(net, times, 0.125, s) for net in nets] for s in SURROGATES}
    names = list(next(iter(cosines.values()))[0])
    second = ["| cosine with the exact gradient | " + " | ".join(names) + " |", "|---" * 5 + "|"]
    for surrogate, found in cosines.items():
        cells = [[one[name] for one in found] for name in names]
        spread = (f"{sum(c) / len(c):.2f} ({min(c):.2f} to {max(c):.2f})" for c in cells)
        second.append(f"| {surrogate} | " + " | ".join(spread) + " |")
    return "\n".join(lines), "\n".join(second)


def main() -> None:
    """Print both tables, and write them."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("out", type=Path, help="Markdown file to write both tables to")
    parser.add_argument("--write", type=Path, help="document to write them into, between its markers")
    arguments = parser.parse_args()
    steps, cosines = table()
    print(f"{steps}\n\n{cosines}")
    arguments.out.write_text(f"{steps}\n\n{cosines}\n", encoding="utf-8")
    if arguments.write is not None:
        write_between_markers(arguments.write, "steps", steps + "\n")
        write_between_markers(arguments.write, "cosines", cosines + "\n")


if __name__ == "__main__":
    main()
