"""The table of what goes with what: every test that a cell names is there, and tests the name beside it."""

import re

from tests.support.pages import ROOT

PACKAGES = ["SpikingJelly", "Norse", "snnTorch", "Tonic", "NIR", "Lightning"]


def cells(text: str) -> dict[str, list[str]]:
    table = text.partition("<!-- what goes with what -->")[2].partition("<!-- /what")[0]
    rows = [[cell.strip() for cell in line.strip("|\n").split(" | ")] for line in table.strip().splitlines()[2:]]
    return {row[0].strip("| "): row[1:] for row in rows}


def problems(text: str) -> list[str]:
    """Cells that name no test, a test that is not there, or one that knows nothing of the name."""
    found = []
    for package, row in cells(text).items():
        for cell in row:
            *names, test = re.findall(r"`([^`]+)`", cell) or [""]
            path = ROOT / test
            if cell.strip(" |") == "-":
                continue
            known = path.read_text(encoding="utf-8") if test.startswith("tests/") and path.is_file() else ""
            if not names or any(name not in known for name in names):
                found.append(f"{package}: {cell}")
    return found


def test_every_cell_names_a_test_of_what_it_says() -> None:
    text = (ROOT / "docs" / "interop.md").read_text(encoding="utf-8")
    assert list(cells(text)) == PACKAGES
    assert sum(cell.strip(" |") != "-" for row in cells(text).values() for cell in row) > 15
    assert problems(text) == []


def test_canary_a_wrong_cell_is_noticed() -> None:
    head = "<!-- what goes with what -->\n| | a | b |\n|---|---|---|\n"
    good = "`ToNorse`, `tests/interop/test_norse.py`"
    for bad in ("`ToNorse`, `tests/interop/test_nothing.py`", "`ToNorway`, `tests/interop/test_norse.py`", "`ToNorse`"):
        assert problems(f"{head}| Norse | {good} | - |\n<!-- /what") == []
        assert len(problems(f"{head}| Norse | {bad} | - |\n<!-- /what")) == 1
