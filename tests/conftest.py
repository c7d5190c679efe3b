"""What all tests share: seeds, one thread, hypothesis made repeatable."""

import os
from collections.abc import Iterator

import hypothesis
import numba
import pytest
import torch
from jaxtyping import config, install_import_hook

from snn_delays.compiling import kernel_folder

os.environ["NUMBA_CACHE_DIR"] = str(kernel_folder())  # for tests with a cache folder of their own too

# Shapes and types of the operations are checked at every call of the tests. The hook is gone before the backends are
# imported, which happens when they are first needed: it would wrap the functions that Numba compiles.
with install_import_hook("snn_delays.ops", "beartype.beartype"):
    import snn_delays.models
    import snn_delays.ops  # noqa: F401

# The tensors of the tests are tiny: waking a second thread costs more than it saves, on a busy machine many times more.
# test_lif and test_leaky_integrator run some cases on all threads.
torch.set_num_threads(1)

hypothesis.settings.register_profile(
    "repeatable", max_examples=10, deadline=None, derandomize=True, database=None, print_blob=False,
    suppress_health_check=[hypothesis.HealthCheck.function_scoped_fixture, hypothesis.HealthCheck.too_slow],
)  # fmt: skip
hypothesis.settings.load_profile("repeatable")


@pytest.fixture(autouse=True)
def seeded() -> None:
    torch.manual_seed(0)


@pytest.fixture(autouse=True)
def no_backend_from_outside(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("SNN_DELAYS_BACKEND", raising=False)


@pytest.fixture
def all_threads() -> Iterator[None]:
    """Let torch, and Numba's kernels with it, run on every core."""
    torch.set_num_threads(numba.config.NUMBA_NUM_THREADS)
    yield
    torch.set_num_threads(1)


@pytest.fixture
def own_shape_errors() -> Iterator[None]:
    """Turn the runtime check of shapes off: the test is about our own errors."""
    before = config.jaxtyping_disable
    config.update("jaxtyping_disable", True)
    yield
    config.update("jaxtyping_disable", before)


def pytest_configure(config: pytest.Config) -> None:
    # Networks that are trained for a second may have populations that never fire.
    config.addinivalue_line("filterwarnings", "ignore:epoch .* on validation data:UserWarning")
