"""The GPU checks report what pytest does: passes, failures, crashes, nothing run, time over."""

import os
from pathlib import Path

import pytest
import torch
from typer.testing import CliRunner

from experiments import gpu_checks
from experiments.gpu_checks import CHECKS, Check, app, run_check, table

TESTS = """
import os, time, pytest
def test_passes(): pass
@pytest.mark.skip
def test_skipped(): pass
def test_wrong(): assert 1 == 2
def test_crash(): os.abort()
def test_slow(): time.sleep(600)
"""


@pytest.fixture
def check(tmp_path: Path):
    path = tmp_path / "test_made_up.py"
    path.write_text(TESTS)

    def make(selection: str, tool: str | None = None) -> Check:
        return Check(
            "made up",
            "some | tests",
            (*(f"{path}::test_{name}" for name in selection.split()), "-c", os.devnull),
            1.0,
            tool,
        )

    return make


@pytest.mark.parametrize(
    ("selection", "state", "passed", "failed", "skipped", "detail"),
    [
        ("passes skipped", "passed", 1, 0, 1, ""),
        ("passes wrong", "failed", 1, 1, 0, "test_wrong: assert 1 == 2"),
        ("crash", "failed", 0, 0, 0, ""),
        ("skipped", "failed", 0, 0, 1, "nothing was run"),
    ],
)
def test_outcomes(check, selection, state, passed, failed, skipped, detail) -> None:
    outcome = run_check(check(selection), seconds=300)
    assert (outcome.state, outcome.passed, outcome.failed, outcome.skipped) == (state, passed, failed, skipped)
    assert detail in outcome.detail


def test_a_hanging_kernel_ends_its_own_check(check) -> None:
    assert run_check(check("slow"), seconds=3).state == "out of time"


def test_a_sanitizer_that_is_not_there_is_said(check, monkeypatch) -> None:
    monkeypatch.setattr(gpu_checks, "find_sanitizer", lambda: None)
    outcome = run_check(check("passes", "memcheck"), seconds=60)
    assert outcome.state == "not run"
    assert "compute-sanitizer" in outcome.detail


def test_every_check_selects_tests_that_exist() -> None:
    assert sum(check.share for check in CHECKS) <= 1.0001
    for check in CHECKS:
        assert Path(check.tests[0]).is_file()


def test_the_table_has_a_row_for_every_check(check) -> None:
    record = {
        "date": "2026-11-29T00:00:00", "machine": {"gpu": "some GPU", "packages": {"torch": "2"}},
        "checks": [vars(run_check(check("passes"), seconds=300))],
    }  # fmt: skip
    assert "some GPU, torch 2" in table(record)
    assert "| made up | some \\| tests | passed | 1 passed |" in table(record)


@pytest.mark.skipif(torch.cuda.is_available(), reason="there is a GPU")
def test_without_a_gpu_it_says_so() -> None:
    result = CliRunner().invoke(app, [])
    assert result.exit_code == 1
    assert "no CUDA GPU" in str(result.exception)
