"""Importing the package brings its own names and torch, nothing optional."""

import subprocess
import sys
from pathlib import Path

import pytest

import snn_delays

OPTIONAL = (
    "numba", "cupy", "triton", "tonic", "h5py", "matplotlib", "spikingjelly", "norse", "lightning", "lightning_fabric",
    "pydantic", "typer", "rich", "nir", "safetensors", "torchmetrics", "dcls", "DCLS",
)  # fmt: skip


def in_new_process(code: str) -> list[str]:
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=900, check=True)
    return done.stdout.split()


def test_nothing_optional_is_imported() -> None:
    code = f"""
import sys, torch
before = set(sys.modules)
import snn_delays
print(*[name for name in {OPTIONAL} if name in set(sys.modules) - before])
"""
    assert in_new_process(code) == []


def test_torch_is_imported_with_the_first_name() -> None:
    code = "import snn_delays, sys; print('torch' in sys.modules); snn_delays.LIF; print('torch' in sys.modules)"
    assert in_new_process(code) == ["False", "True"]
    assert {"LIF", "nn", "export"} <= set(dir(snn_delays))
    assert snn_delays.nn.LIF is snn_delays.LIF
    with pytest.raises(AttributeError, match="module 'snn_delays' has no attribute 'LIFF'"):
        snn_delays.LIFF  # noqa: B018


STATE = """
import os, signal, torch
def state():
    handlers = [signal.getsignal(number) for number in signal.valid_signals()]
    options = torch.is_grad_enabled(), torch.get_default_dtype(), torch.backends.cudnn.benchmark
    return dict(os.environ), torch.get_num_threads(), torch.get_num_interop_threads(), handlers, options
before = state()
"""


@pytest.mark.parametrize("names", ["snn_delays", "snn_delays.nn", "snn_delays.ops", "snn_delays.cli"])
def test_importing_changes_nothing_in_the_process(names: str) -> None:
    assert in_new_process(f"{STATE}\nimport {names}\nprint(before == state())") == ["True"]


def test_importing_before_torch_leaves_the_environment_alone() -> None:
    code = "import os; before = dict(os.environ); import snn_delays; snn_delays.LIF; print(before == dict(os.environ))"
    assert in_new_process(code) == ["True"]


@pytest.mark.parametrize(
    "change", ["os.environ['OMP_WAIT_POLICY'] = 'passive'", "torch.set_num_threads(torch.get_num_threads() + 1)"]
)
def test_canary_a_change_in_the_process_is_seen(change: str) -> None:
    assert in_new_process(f"{STATE}\nos.environ.pop('OMP_WAIT_POLICY', None); before = state()\n{change}\n"
                          "print(before == state())") == ["False"]  # fmt: skip


def test_canary_a_module_that_imports_more_is_seen() -> None:
    code = f"import snn_delays.training.engine, sys; print(*[name for name in {OPTIONAL} if name in sys.modules])"
    assert {"numba", "lightning_fabric", "pydantic"} <= set(in_new_process(code))


def test_the_command_line_starts_without_what_only_some_commands_need() -> None:
    code = "import snn_delays.cli, sys; print(*[n for n in ('numba', 'h5py', 'matplotlib', 'nir') if n in sys.modules])"
    assert in_new_process(code) == []


def test_public_names_exist_and_are_documented() -> None:
    assert len(set(snn_delays.__all__)) == len(snn_delays.__all__) <= 40
    for name in snn_delays.__all__:
        assert getattr(snn_delays, name).__doc__, name
    assert snn_delays.__version__.count(".") == 2


def test_the_package_says_it_is_typed() -> None:
    assert (Path(snn_delays.__file__).parent / "py.typed").exists()
