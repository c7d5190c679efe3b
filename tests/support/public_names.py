"""The public names: ``snn_delays.__all__`` and what the documents import or name, listed in tests/public_names.txt.

python -m tests.support.public_names adds what is documented and not listed yet. A name is taken from the list by hand,
once the version that served it with a warning is out.
"""

import ast
import re
from pathlib import Path

import snn_delays
from tests.support import ROOT
from tests.support.pages import blocks, spans

LIST = ROOT / "tests" / "public_names.txt"
PAGES = (ROOT / "README.md", *sorted((ROOT / "docs").glob("*.md")))


def listed() -> list[str]:
    """The names of the list."""
    return LIST.read_text(encoding="utf-8").split()


def named_by(page: Path) -> set[str]:
    """Full names of the package that a page's code imports or its text names."""
    text = page.read_text(encoding="utf-8")
    found = set(re.findall(r"(?m)^(snn_delays(?:\.\w+)+)(?:\(.*\))?$", "\n".join(spans(text))))
    for block in blocks(text):
        if block.language != "python":
            continue
        for node in ast.walk(ast.parse(block.code)):
            if isinstance(node, ast.ImportFrom) and (node.module or "").split(".")[0] == "snn_delays":
                found |= {f"{node.module}.{alias.name}" for alias in node.names}
            elif isinstance(node, ast.Import):
                found |= {alias.name for alias in node.names if alias.name.startswith("snn_delays.")}
    return found


def public() -> set[str]:
    """All names that users are shown."""
    return {f"snn_delays.{name}" for name in snn_delays.__all__}.union(*map(named_by, PAGES))


if __name__ == "__main__":
    LIST.write_text("\n".join(sorted(public().union(listed() if LIST.exists() else ()))) + "\n", encoding="utf-8")
