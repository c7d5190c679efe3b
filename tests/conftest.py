"""What all tests share: seeds, one thread, hypothesis made repeatable, helpers importable."""

import sys
from collections.abc import Iterator
from pathlib import Path

import hypothesis
import pytest
import torch

# The helpers beside this file (contracts, mutants, networks, oracles) are imported by the tests by name.
sys.path.insert(0, str(Path(__file__).parent))

# The tensors of the tests are tiny: starting a second thread costs more than it saves.
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
def own_shape_errors() -> Iterator[None]:
    """Turn the runtime check of shapes off (where pytest switched it on): the test is about our own errors."""
    from jaxtyping import config

    before = config.jaxtyping_disable
    config.update("jaxtyping_disable", True)
    yield
    config.update("jaxtyping_disable", before)
