"""``python -m experiments.studies.sparsity_costs FOLDER``: what delays of the study ``delay_sparsity`` cost a chip.

By variant, means over its finished runs: accuracy of the discretised network on validation samples, different (source,
delay) pairs, and buffer entries on a chip with a ring for each neuron, and on one with a delay line for each source.
The runs with all delays active are also pruned after training, by sensitivity and, to compare, at random.
"""

import argparse
from pathlib import Path
from typing import Any

import numpy as np
import torch

from snn_delays.chips.footprint import footprint
from snn_delays.chips.profiles import profile
from snn_delays.cli.output import write_or_print
from snn_delays.discrete.conversion import canonical
from snn_delays.discrete.discretize import discretize
from snn_delays.nn import layers_with_delays
from snn_delays.nn.pruning import prune_delays
from snn_delays.runs.load import trained
from snn_delays.runs.prune import prune
from snn_delays.runs.samples import samples_of
from snn_delays.runs.table import Table
from snn_delays.training.measure import measure

CHIPS = ("loihi2", "truenorth")
PRUNED = 0.8


def cost(network: Any, recipe: Any) -> list[float]:
    """Accuracy on validation samples, pairs, and entries on each of the chips."""
    discrete = discretize(network)
    dataset, chosen = samples_of(recipe, "validation")
    populations = canonical(discrete, dt_ms=recipe.data.dt_ms).populations
    found = [[footprint(population, profile(chip)) for population in populations] for chip in CHIPS]
    pairs, entries = sum(each.pairs for each in found[0]), [sum(each.entries for each in chip) for chip in found]
    return [measure(discrete, dataset, chosen, recipe).accuracy, pairs, *entries]


def main() -> None:
    """Print the table, or write it into a document."""
    parser = argparse.ArgumentParser(prog="python -m experiments.studies.sparsity_costs", description=__doc__)
    parser.add_argument("folder", type=Path, help="of the study")
    parser.add_argument("--write", type=Path, help="a document with the lines <!-- sparsity costs -->")
    arguments = parser.parse_args()
    costs: dict[str, list[list[float]]] = {}
    for path in sorted((arguments.folder / "runs").iterdir()):
        if not (path / "evaluation.json").exists():
            continue
        opened = trained(path, "events")
        name = path.name.partition("_seed_")[0].replace("_", " ")
        costs.setdefault(name, []).append(cost(opened.network, opened.recipe))
        if name == "all active":
            torch.manual_seed(0)
            layers = layers_with_delays(opened.network).items()
            random = {name: torch.rand_like(layer.delay) for name, layer in layers}
            for way, pruned in (
                ("by sensitivity", prune(path, PRUNED)),
                ("at random", prune_delays(opened.network, random, PRUNED)),
            ):
                costs.setdefault(f"{1 - PRUNED:.0%} kept after training, {way}", []).append(cost(pruned, opened.recipe))
    means = {name: np.mean(rows, 0) for name, rows in costs.items()}
    rows = [(k, str(len(costs[k])), f"{v[0]:.1%}", *(f"{number:,.0f}" for number in v[1:])) for k, v in means.items()]
    heads = ("variant", "runs", "validation", "pairs", *(f"entries, {profile(chip).title}" for chip in CHIPS))
    write_or_print(Table(heads, rows).markdown(), arguments.write, "sparsity costs")


if __name__ == "__main__":
    main()
