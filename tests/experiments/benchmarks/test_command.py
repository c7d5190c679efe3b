"""`python -m experiments.benchmarks`."""

import subprocess
import sys
from collections.abc import Iterator
from functools import partial
from pathlib import Path

import pytest
import torch
from click.testing import Result
from typer.testing import CliRunner

from experiments import benchmarks
from experiments.benchmarks.__main__ import app
from experiments.benchmarks.record import Benchmark, read_record
from experiments.benchmarks.sizes import TINY
from tests.support import ROOT

if sys.version_info >= (3, 11):
    import tomllib
else:
    import tomli as tomllib


@pytest.fixture(autouse=True)
def small_cases(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    monkeypatch.setattr(benchmarks, "Benchmark", partial(Benchmark, sizes=TINY))
    threads = torch.get_num_threads()
    yield
    torch.set_num_threads(threads)


def run(*arguments: object, code: int = 0) -> Result:
    result = CliRunner().invoke(app, [str(argument) for argument in arguments])
    assert result.exit_code == code, result.stderr
    return result


def refused(*arguments: object) -> str:
    return run(*arguments, code=2).stderr


def test_it_prints_writes_and_reads_back(tmp_path: Path) -> None:
    out, document = tmp_path / "bench.json", tmp_path / "benchmark.md"
    document.write_text("before\n<!-- benchmark -->\nold\n<!-- /benchmark -->\nafter\n")
    arguments = ("--only", "delay-integer-*", "--repeats", 1, "--out", out, "--write", document)
    shown = run(*arguments, "--threads", 1).stdout
    assert torch.get_num_threads() == 1
    for word in ("delay-integer-training", "delay-integer-inference", "torch Linear", "peak memory", "quartiles"):
        assert word in shown
    assert [case["name"] for case in read_record(out)["cases"]] == ["delay-integer-training", "delay-integer-inference"]
    text = document.read_text()
    assert text.startswith("before\n<!-- benchmark -->\n")
    assert text.endswith("<!-- /benchmark -->\nafter\n")
    assert "old" not in text
    again = run("--from", out).stdout
    assert again.count("torch Linear") == shown.count("torch Linear") > 0


def test_bad_options_are_one_line(tmp_path: Path) -> None:
    assert "the benchmark has no case 'warp'" in refused("--only", "warp")
    assert "at least one round, got 0" in refused("--repeats", 0)
    assert "--threads must be at least 1, got 0" in refused("--threads", 0)
    assert "cannot read" in refused("--from", tmp_path / "nothing.json")
    if not torch.cuda.is_available():
        assert "torch finds no CUDA GPU" in refused("--device", "cuda")


def test_an_interrupted_benchmark_keeps_what_was_measured(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    case = benchmarks.select(["delay-integer-training"])[0]

    def interrupt(*_: object) -> None:
        raise KeyboardInterrupt

    entries = (case, benchmarks.Entry("interrupted", interrupt))
    monkeypatch.setattr(benchmarks, "Benchmark", lambda *_, **__: Benchmark(entries, 1, ["cpu"], TINY))
    out = tmp_path / "bench.json"
    run("--out", out, code=130)
    assert [case["name"] for case in read_record(out)["cases"]] == ["delay-integer-training"]


# The benchmark needs torch and what the package depends on; peers and tools of tests may be missing.
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
