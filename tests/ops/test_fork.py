"""A process forked after kernels have run: GNU OpenMP would kill it, so other backends serve there."""

import os
import subprocess
import sys
from textwrap import dedent

import pytest

pytestmark = pytest.mark.skipif(not hasattr(os, "fork"), reason="no fork on this system")

SETUP = """
import os, sys, warnings
import torch
from snn_delays import LIF, BatchNorm, DelayedLinear, LeakyIntegrator, Sequential, use_backend
from snn_delays.errors import BackendUnavailableError
from snn_delays.ops import lif

torch.manual_seed(0)
torch.set_num_threads(1)
network = Sequential(
    DelayedLinear(20, 16, max_delay_steps=6), BatchNorm(16), LIF(2.0),
    DelayedLinear(16, 4, max_delay_steps=3), LeakyIntegrator(3.0),
).double()
x = (torch.rand(60, 32, 20) < 0.4).double()

def step():
    y = network(x)[0].square().mean()
    return y, *torch.autograd.grad(y, list(p for p in network.parameters() if p.requires_grad))

def in_a_child(work):
    child = os.fork()
    if child == 0:
        try:
            work()
        except BaseException as error:
            print(type(error).__name__, error, flush=True)
            os._exit(1)
        os._exit(0)
    return os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])
"""


def run(script: str) -> None:
    done = subprocess.run(
        [sys.executable, "-c", SETUP + dedent(script)], capture_output=True, text=True, timeout=900, check=False
    )
    assert done.returncode == 0, done.stdout + done.stderr


def test_a_network_computes_the_same_in_a_child_of_a_process_that_ran_kernels() -> None:
    run("""
        want = step()
        def work():
            with warnings.catch_warnings(record=True) as caught:
                warnings.simplefilter("always")
                for a, b in zip(step(), want, strict=True):
                    torch.testing.assert_close(a, b)
                step()
            assert len(caught) == 1 and "start workers with spawn" in str(caught[0].message), caught
        sys.exit(in_a_child(work))
    """)


def test_a_kernel_asked_for_by_name_is_refused_there() -> None:
    run("""
        lif(x, decay=0.5, backend="numba_cpu")
        def work():
            warnings.simplefilter("ignore")
            try:
                lif(x, decay=0.5, backend="numba_cpu")
            except BackendUnavailableError as error:
                assert "start workers with spawn" in str(error)
            else:
                raise AssertionError("it ran")
        sys.exit(in_a_child(work))
    """)


def test_a_child_of_a_process_that_ran_none_runs_its_own() -> None:
    run("""
        import numba
        def work():
            warnings.simplefilter("error")
            lif(x, decay=0.5, backend="numba_cpu")
        sys.exit(in_a_child(work))
    """)
