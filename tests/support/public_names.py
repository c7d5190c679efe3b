"""The public names: ``snn_delays.__all__`` and what the documents import or name, listed in tests/public_names.txt.

python -m tests.support.public_names adds what is documented and not listed yet, and prints what docs/api lacks.
A name is taken from the list by hand, once the version that served it with a warning is out.
"""

import ast
import importlib
import re
import warnings
from pathlib import Path
from types import ModuleType
from typing import Any

import snn_delays
from tests.support import ROOT
from tests.support.pages import blocks, spans

LIST = ROOT / "tests" / "public_names.txt"
PAGES = (ROOT / "README.md", *sorted((ROOT / "docs").rglob("*.md")))
REFERENCE = sorted((ROOT / "docs" / "api").glob("*.md"))


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


def entries(text: str) -> list[str]:
    """What a page of the API reference describes."""
    return re.findall(r"(?m)^::: (\S+)$", text)


def named(name: str) -> Any:
    """What ``from ... import ...`` gives under a full name; functions and modules of one name are told apart so."""
    module, _, attribute = name.rpartition(".")
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DeprecationWarning)
        try:
            return getattr(importlib.import_module(module), attribute)
        except (ImportError, AttributeError):
            return importlib.import_module(name)


def missing_entries(names: list[str], described: list[str]) -> list[str]:
    """Names of which no entry describes the object, or the module that it is a part of."""
    objects = [named(entry) for entry in described]
    modules = {each.__name__ for each in objects if isinstance(each, ModuleType)}
    return [
        name
        for name in names
        if not any(named(name) is each for each in objects) and getattr(named(name), "__module__", None) not in modules
    ]


def stray_entries(names: list[str], described: list[str]) -> list[str]:
    """Entries that describe what no name of the list means, or what an entry before them describes."""
    objects = [named(name) for name in names]
    seen: list[Any] = []
    wrong = []
    for entry in described:
        this = named(entry)
        if not any(this is each for each in objects) or any(this is each for each in seen):
            wrong.append(entry)
        seen.append(this)
    return wrong


def public() -> set[str]:
    """All names that users are shown."""
    return {f"snn_delays.{name}" for name in snn_delays.__all__}.union(*map(named_by, PAGES))


if __name__ == "__main__":
    LIST.write_text("\n".join(sorted(public().union(listed() if LIST.exists() else ()))) + "\n", encoding="utf-8")
    described = [entry for page in REFERENCE for entry in entries(page.read_text(encoding="utf-8"))]
    for missing in missing_entries(listed(), described):
        print(f"docs/api has no entry for {missing}: add a line '::: {missing}' to the page of its subject")
