"""The benchmark needs the package, torch and what the package depends on; peers and tools of tests may be missing."""

import subprocess
import sys

if sys.version_info >= (3, 11):
    import tomllib
else:
    import tomli as tomllib

from tests.support import ROOT

ALONE = """
import re, sys
from importlib import metadata
from importlib.machinery import PathFinder

def closure(name, seen):
    name = re.sub("[-_.]+", "-", name).lower()
    if name not in seen:
        seen.add(name)
        try:
            requires = metadata.requires(name) or ()
        except metadata.PackageNotFoundError:
            return seen
        for each in requires:
            if "extra ==" not in each:
                closure(re.match("[A-Za-z0-9._-]+", each)[0], seen)
    return seen

ours, owners = {"snn-delays"}, metadata.packages_distributions()
for each in DEPENDENCIES:
    closure(re.match("[A-Za-z0-9._-]+", each)[0], ours)

class Present(PathFinder):
    @classmethod
    def find_spec(cls, name, path=None, target=None):
        owned = {re.sub("[-_.]+", "-", each).lower() for each in owners.get(name.partition(".")[0], ())}
        return None if owned and not owned & ours else super().find_spec(name, path, target)

sys.meta_path[sys.meta_path.index(PathFinder)] = Present
import torch
from experiments.benchmarks import __main__, select
from experiments.benchmarks.sizes import TINY
notes = []
for entry in select(long=True):
    if not entry.host:
        case = entry.make(TINY, torch.device("cpu"))
        assert case.sides, entry.name
        notes += case.notes
print(notes)
"""


def test_nothing_but_dependencies_is_needed() -> None:
    named = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["dependencies"]
    code = f"DEPENDENCIES = {named!r}\n{ALONE}"
    done = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    assert "left out: dcls, since DCLS is not installed" in done.stdout
