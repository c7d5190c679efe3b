"""Trains the demo's networks if need be and exports them to every format, for `run.py` to check.

    python -m tests.simulators.demo RUNS EXPORTS

Feed-forward, recurrent, hard and soft reset; in real and in integers. What needs no outside simulator is checked
here: the NIR files by our interpreter, the C99 engine by the compiler at hand, the Verilog by Verilator, or on few
samples by Icarus Verilog. What came of it goes into EXPORTS/own.json, which run.py counts: a difference is its failure.
"""

import json
import shutil
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import numpy as np
from rich.console import Console

from snn_delays.export.nir.interpret import interpret
from snn_delays.export.nir.write import read_nir
from snn_delays.export.targets import NETWORK, TRACE
from snn_delays.ir.canonical import read_network
from snn_delays.ir.trace import first_mismatch, read_trace
from snn_delays.recipes.files import load_recipe
from snn_delays.runs.export import ExportOptions, export
from snn_delays.training.engine import fit
from snn_delays.training.progress import ProgressBar
from snn_delays.training.runlog import Run, create_run, resume_run

SAMPLES, FEW = 20, 3
# What checks an export, the first that is there: the program, the target of its Makefile, how many samples.
TOOLS = {
    "c99": (("cc", "test", SAMPLES),),
    "hdl": (("verilator", "fast", SAMPLES), ("iverilog", "test", FEW)),
}
LOIHI, GENERIC = ExportOptions("loihi2"), ExportOptions("generic")
# By recipe: format, name of the export, its options, options of the format.
EXPORTS: dict[str, list[tuple[str, str, ExportOptions, dict[str, Any]]]] = {
    "demo": [
        ("nir", "nir", ExportOptions(), {}),
        ("nir", "nir_branch", ExportOptions(), {"encoding": "branch"}),
        ("brian2", "brian2", ExportOptions(), {}),
        ("brian2", "brian2_loihi2", LOIHI, {}),
        ("nest", "nest", ExportOptions(), {}),
        ("pynn", "pynn", ExportOptions(), {}),
        ("lava", "lava", LOIHI, {}),
        ("lava", "lava_4bit", ExportOptions("loihi2", 4), {}),
        ("c99", "c99", GENERIC, {}),
        ("hdl", "hdl", GENERIC, {}),
    ],
    "demo_recurrent": [
        ("nir", "nir", ExportOptions(), {}),
        ("brian2", "brian2", ExportOptions(), {}),
        ("nest", "nest", ExportOptions(), {}),
        ("pynn", "pynn", ExportOptions(), {}),
        ("lava", "lava", LOIHI, {}),
        ("c99", "c99", GENERIC, {}),
    ],
    "demo_soft_reset": [
        ("brian2", "brian2", ExportOptions(), {}),
        ("brian2", "brian2_generic", GENERIC, {}),
        ("c99", "c99", GENERIC, {}),
    ],
    "demo_recurrent_soft_reset": [
        ("brian2", "brian2", ExportOptions(), {}),
        ("c99", "c99", GENERIC, {}),
    ],
}
console = Console(soft_wrap=True, markup=False, highlight=False)


def trained(name: str, folder: Path) -> Run:
    """The run of a recipe, trained to its end."""
    recipe = load_recipe(name)
    run = resume_run(folder, recipe) if (folder / "recipe.toml").exists() else create_run(folder, recipe)
    with ProgressBar(console) as bar:
        fit(run, accelerator="cpu", devices=1, callbacks=[bar])
    return run


def tool_of(kind: str) -> tuple[str, str, int] | None:
    """The first of TOOLS that is there; None without."""
    return next((tool for tool in TOOLS.get(kind, ()) if shutil.which(tool[0]) and shutil.which("make")), None)


def check(kind: str, folder: Path) -> str | None:
    """Compare an export that needs no outside simulator: "equal", or what is wrong; None where it needs one."""
    if kind == "nir":
        network, trace = read_network(folder / NETWORK), read_trace(folder / TRACE)
        graph = read_nir(folder / "network.nir")
        rasters = [interpret(graph, trace.counts[:, i]) for i in range(trace.samples)]
        outputs = {p.name: np.stack([r[p.name] for r in rasters], 1) for p in network.populations}
        mismatch = first_mismatch(network, trace, outputs)
        return "equal" if mismatch is None else f"DIFFERS: {mismatch}"
    if kind not in TOOLS:
        return None
    tool = tool_of(kind)
    if tool is None:
        return f"SKIPPED: no make with {' or '.join(name for name, *_ in TOOLS[kind])} found"
    done = subprocess.run(["make", "-C", str(folder), tool[1]], capture_output=True, text=True)
    return "equal" if done.returncode == 0 else "DIFFERS: " + " ".join((done.stdout + done.stderr).split())[-300:]


def main(runs: Path, exports: Path) -> None:
    """Train, export, check."""
    rows: list[dict[str, Any]] = []
    for recipe, requested in EXPORTS.items():
        run = trained(recipe, runs / recipe)
        for to, name, options, of_format in requested:
            tool = tool_of(to)
            samples = SAMPLES if tool is None else tool[2]
            made = export(
                run, to, out=exports / recipe / name, options=options, samples=samples, split="test", **of_format
            )
            assert made.trace.samples == samples, f"requested {samples} samples, got {made.trace.samples}"
            rasters = [made.trace.outputs[p.name] for p in made.network.populations if p.fires]
            assert all(raster.any() for raster in rasters), f"{recipe}/{name} has a silent layer"
            rates = ", ".join(f"{raster.mean():.1%}" for raster in rasters)
            started = time.monotonic()
            result = check(to, made.folder)
            console.print(f"{recipe}/{name}: {made.trace.samples} samples, rates {rates}: {result or 'written'}")
            if result is not None:
                rows.append(
                    {
                        "target": to if tool is None else f"{to} ({tool[0]})",
                        "network": f"{recipe}/{name}",
                        "samples": str(made.trace.samples),
                        "spikes": ", ".join(str(int(raster.sum())) for raster in rasters),
                        "result": result,
                        "seconds": f"{time.monotonic() - started:.1f}",
                        "good": result == "equal",
                    }
                )
    (exports / "own.json").write_text(json.dumps(rows, indent=1))


if __name__ == "__main__":
    main(Path(sys.argv[1]), Path(sys.argv[2]))
