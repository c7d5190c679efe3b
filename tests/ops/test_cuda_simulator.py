"""Numba CUDA kernels against the reference in Numba's simulator, which needs no GPU.

The simulator runs each thread as a thread of Python, so cases and blocks are tiny here. It must be chosen before Numba
is imported: hence another process.
"""

import json
import os
import subprocess
import sys

import pytest

from tests.support import ROOT

SIMULATED = """
import importlib, json, sys
from dataclasses import replace
from pathlib import Path
import torch
from tests.support import contracts, wkv_contract
from snn_delays.ops import delayed_linear, leaky_integrator, lif
from snn_delays.ops.cuda import numba_launch
from snn_delays.ops.delay import gather_cuda, gather_numba_cuda, gather_numba_cuda_kernels
torch.set_num_threads(1)
assert numba_launch.SIMULATED
numba_launch.BLOCK = 4
gather_cuda.LANES = gather_numba_cuda.LANES = gather_numba_cuda_kernels.LANES = 3
gather_numba_cuda_kernels.OUTPUTS = 2

def small(case, **sizes):
    return replace(case, **{{name: min(getattr(case, name), size) for name, size in sizes.items()}})

def once(cases):
    return list(dict.fromkeys(cases))

LIF = once(small(c, steps=12, batch=2, neurons=3) for c in
           [*list(contracts.lif_option_cases())[::3], *contracts.lif_edge_cases()])
INTEGRATOR = once(small(c, steps=9, batch=2, neurons=3) for c in contracts.integrator_cases())
DELAY = once(small(c, steps=9, batch=2, inputs_=2, outputs=3, max_delay_steps=2) for c in
             list(contracts.delay_cases())[::6]) + [
    contracts.DelayCase(batch=4, inputs_=2, outputs=3, steps=10, max_delay_steps=3, whole=True, taps="linear", count=2)]
WKV = once(small(c, steps=9, batch=2, neurons=3) for c in wkv_contract.wkv_cases())

def implementation(name, public, backend):
    operation = importlib.import_module("snn_delays.ops." + name).OPERATION
    return contracts.implementation(public, operation.example(), backend)

OPERATIONS = dict(
    lif=(implementation("lif", lif, "numba_cuda"), contracts.lif_contract, LIF),
    leaky_integrator=(
        implementation("leaky_integrator", leaky_integrator, "numba_cuda"), contracts.integrator_contract, INTEGRATOR),
    delay=(implementation("delay", delayed_linear, "gather_numba_cuda"), contracts.delay_contract, DELAY),
    wkv=(wkv_contract.wkv_implementation("numba_cuda"), wkv_contract.wkv_contract, WKV),
)

def failures(name):
    run, contract, cases = OPERATIONS[name]
    for case in cases:
        try:
            contract(run, case)
        except (AssertionError, IndexError) as error:  # the simulator sees an index outside an array
            yield contracts.case_name(case) + ": " + str(error)

def wrong(operation, old, new):
    module_name = {modules!r}[operation]
    module = importlib.import_module(module_name)
    text = Path(module.__file__).read_text()
    assert old in text
    right = module.kernels
    exec(compile(text.replace(old, new), module.__file__, "exec"), spoilt := dict(__name__=module_name))
    spoilt.update(LANES=3, OUTPUTS=2) if "LANES" in spoilt else None
    module.kernels = spoilt["kernels"]
    try:
        return next(failures(operation), None)
    finally:
        module.kernels = right

rates = [lif(**c.inputs(), **c.options(), backend="reference")[0].mean().item() for c in LIF
         if c.steps > 1 and not c.spoilt]
print(json.dumps(dict(
    cases={{name: len(OPERATIONS[name][2]) for name in OPERATIONS}},
    failures={{name: list(failures(name)) for name in OPERATIONS}},
    rate=sum(rates) / len(rates),
    wrong=[wrong(*edit) for edit in {edits!r}],
)))
"""
_MODULES = {
    "lif": "snn_delays.ops.lif.numba_cuda_kernels",
    "leaky_integrator": "snn_delays.ops.lif.numba_cuda_kernels",
    "delay": "snn_delays.ops.delay.gather_numba_cuda_kernels",
    "wkv": "snn_delays.ops.wkv.numba_cuda_kernels",
}
WRONG = [
    ("lif", "strict == 0", "strict >= 0"),
    ("lif", "v = m - theta if fired else m", "v = m - one if fired else m"),
    ("lif", "lane % decay.shape[0]", "lane // decay.shape[0]"),
    ("lif", "sum_gain += gh * x[t, lane]", "sum_gain += gh"),
    ("lif", "gv = gh * d", "gv = gh"),
    ("leaky_integrator", "gv = gh * d", "gv = gh"),
    ("leaky_integrator", "v = h[t - 1, lane]", "v = h[t, lane]"),
    ("leaky_integrator", "if kind == 4:", "if kind == 5:"),
    ("leaky_integrator", "v = v_reset if fired else m", "v = v_reset"),
    ("delay", "direction * m", "m"),
    ("delay", "for b in range(p * LANES + lane, batch, parts * LANES)", "for b in range(lane, LANES)"),
    ("delay", "cuda.syncthreads()", "pass"),
    ("wkv", "n = past if gap > zero else now", "n = now"),
    ("wkv", "lane % log_decay.shape[0]", "lane // log_decay.shape[0]"),
    ("wkv", "gq = past_next * gq - past_out * share * average", "gq = past_next * gq"),
    ("wkv", "past_next * (p * gp + q * gq)", "past_next * p * gp"),
]


@pytest.fixture(scope="module")
def simulated() -> dict:
    code = SIMULATED.format(edits=WRONG, modules=_MODULES)
    done = subprocess.run(
        [sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, timeout=900,
        env={**os.environ, "NUMBA_ENABLE_CUDASIM": "1", "OMP_WAIT_POLICY": "passive"},
    )  # fmt: skip
    assert done.returncode == 0, done.stderr[-3000:]
    return json.loads(done.stdout.splitlines()[-1])


@pytest.mark.parametrize("operation", ["lif", "leaky_integrator", "delay", "wkv"])
def test_kernels_equal_the_reference(simulated: dict, operation: str) -> None:
    assert simulated["cases"][operation] > 15
    assert simulated["failures"][operation] == []


def test_the_neurons_of_the_cases_fire(simulated: dict) -> None:
    assert 0.02 < simulated["rate"] < 0.6


@pytest.mark.parametrize("which", range(len(WRONG)), ids=[f"{operation}-{old[:25]}" for operation, old, _ in WRONG])
def test_canary_a_wrong_kernel_is_rejected(simulated: dict, which: int) -> None:
    failure = simulated["wrong"][which]
    assert failure is not None
    assert any(why in failure for why in ("off by", "differ", "out of bounds"))
