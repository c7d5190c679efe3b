"""No test depends on the machine being quiet: limits of time are generous."""

import re
from pathlib import Path

import pytest

TESTS = Path(__file__).parent
LIMITS = re.compile(r"\btimeout\s*=\s*([\d.]+)|\b(?:timeout|wait|join)\(([\d.]+)\)|\bmonotonic\(\) \+ ([\d.]+)")


def hasty(text: str) -> list[str]:
    """What of a test's source a loaded machine may make fail."""
    return [found[0] for found in LIMITS.finditer(text) if float(found[1] or found[2] or found[3]) < 600]


@pytest.mark.parametrize("path", sorted(set(TESTS.rglob("*.py")) - {Path(__file__)}), ids=lambda p: p.stem)
def test_tests_bear_a_loaded_machine(path: Path) -> None:
    assert hasty(path.read_text(encoding="utf-8")) == []


def test_canary_haste_is_seen() -> None:
    assert hasty("process.communicate(timeout=300)") == ["timeout=300"]
    assert hasty("@pytest.mark.timeout(60)\n    process.wait(5)") == ["timeout(60)", "wait(5)"]
    assert hasty("until = time.monotonic() + 60") == ["monotonic() + 60"]
    assert hasty("subprocess.run(call, timeout=900)") == []
