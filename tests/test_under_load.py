"""No test depends on the machine being quiet: limits are generous, and nothing sleeps."""

import re
from pathlib import Path

import pytest

TESTS = Path(__file__).parent
SLEEPS = re.compile(r"\btime\.sleep\(|\bimport sleep\b")
LIMITS = re.compile(r"\btimeout\s*=\s*([\d.]+)|\btimeout\(([\d.]+)\)")


def hasty(text: str) -> list[str]:
    """What of a test's source a loaded machine may make fail."""
    limits = [found[0] for found in LIMITS.finditer(text) if float(found[1] or found[2]) < 600]
    return [found[0] for found in SLEEPS.finditer(text)] + limits


@pytest.mark.parametrize("path", sorted(set(TESTS.rglob("*.py")) - {Path(__file__)}), ids=lambda p: p.stem)
def test_tests_bear_a_loaded_machine(path: Path) -> None:
    assert hasty(path.read_text(encoding="utf-8")) == []


def test_canary_haste_is_seen() -> None:
    assert hasty("process.communicate(timeout=300)") == ["timeout=300"]
    assert hasty("@pytest.mark.timeout(60)\n    time.sleep(0.1)") == ["time.sleep(", "timeout(60)"]
    assert hasty("subprocess.run(call, timeout=900)") == []
