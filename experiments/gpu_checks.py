"""``python -m experiments.gpu_checks``: every GPU kernel held to its contract, captured, sanitized, in one command.

Each check is a pytest run of its own under a time limit, so a kernel that hangs or corrupts memory ends its own check
and no other. Needs a checkout, torch with a CUDA GPU, CuPy or Numba CUDA, and pytest; fetches nothing.
"""

import json
import os
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from datetime import datetime, timezone
from pathlib import Path
from typing import Annotated, Any
from xml.etree import ElementTree

import torch
import typer

from experiments.benchmarks.machine import machine
from snn_delays.errors import ConfigError
from snn_delays.files import write_between_markers, write_text

KERNELS, NETWORKS = "tests/ops/test_cuda_gpu.py", "tests/models/test_gpu.py"
SANITIZERS = ("memcheck", "racecheck")
app = typer.Typer(add_completion=False, pretty_exceptions_enable=False, rich_markup_mode=None)


@dataclass(frozen=True)
class Check:
    """A selection of tests. ``share`` of the whole time is its limit; ``tool``: of ``compute-sanitizer``."""

    name: str
    what: str
    tests: tuple[str, ...]
    share: float
    tool: str | None = None


CHECKS = (
    Check("contract", "every kernel against the float64 reference, values and gradients; streams; half precision",
          (KERNELS, "-k", "not graph"), 0.35),
    Check("graphs", "forward and backward of every kernel captured in a CUDA graph and replayed",
          (KERNELS, "-k", "graph"), 0.1),
    Check("networks", "whole networks, and a run of `snn-delays train`, against the CPU", (NETWORKS,), 0.15),
    *(
        Check(tool, f"`compute-sanitizer --tool {tool}` over a part of the contract, without the caching allocator",
              (KERNELS, "-k", "cupy and not graph and not full_size and not stream", "--maxfail=1"), 0.2, tool)
        for tool in SANITIZERS
    ),
)  # fmt: skip


@dataclass
class Outcome:
    """How a check ended. ``state``: passed, failed, out of time, or not run; ``detail`` says why."""

    name: str
    what: str
    state: str
    passed: int = 0
    failed: int = 0
    skipped: int = 0
    seconds: float = 0.0
    detail: str = ""


@app.command()
def gpu_checks(
    minutes: Annotated[float, typer.Option(min=1, help="the most that all checks take together")] = 9.0,
    only: Annotated[list[str] | None, typer.Option(help="a check by name; may be repeated")] = None,
    out: Annotated[Path, typer.Option(help="where the record goes, as JSON")] = Path("runs/gpu-checks.json"),
    write: Annotated[Path | None, typer.Option(help="document to write the table into, between its markers")] = None,
) -> None:
    """Run the GPU checks and write a record; exits with 1 unless every check passes."""
    if not torch.cuda.is_available():
        raise SystemExit("error: torch finds no CUDA GPU here; the kernels' logic is tested on the CPU by `make test`")
    names = [check.name for check in CHECKS]
    if unknown := set(only or ()) - set(names):
        raise ConfigError(f"there is no check {unknown.pop()!r}; there are {', '.join(names)}")
    record: dict[str, Any] = {
        "date": datetime.now(timezone.utc).isoformat(timespec="seconds"), "machine": machine(), "checks": []
    }  # fmt: skip
    end = time.monotonic() + 60 * minutes
    for check in CHECKS:
        if only and check.name not in only:
            continue
        outcome = run_check(check, min(60 * minutes * check.share, end - time.monotonic()))
        record["checks"].append(asdict(outcome))
        print(f"{outcome.name}: {outcome.state}, {outcome.passed} passed, {outcome.failed} failed, "
              f"{outcome.skipped} skipped, {outcome.seconds:.0f} s {outcome.detail}", flush=True)  # fmt: skip
        write_text(out, json.dumps(record, indent=1))  # after every check: an interrupted run keeps what is done
    if write is not None:
        write_between_markers(write, "gpu-checks", table(record))
    if any(outcome["state"] != "passed" for outcome in record["checks"]):
        raise SystemExit(1)


def run_check(check: Check, seconds: float) -> Outcome:
    """Run one check in a process of its own for at most ``seconds``."""
    prefix: list[str] = []
    environment = dict(os.environ)
    if check.tool is not None:
        sanitizer = find_sanitizer()
        if sanitizer is None:
            return Outcome(check.name, check.what, "not run", detail="compute-sanitizer is not on PATH or in CUDA_HOME")
        prefix = [sanitizer, "--tool", check.tool, "--error-exitcode", "86"]
        environment["PYTORCH_NO_CUDA_MEMORY_CACHING"] = "1"  # each tensor an allocation of its own
    with tempfile.TemporaryDirectory() as folder:
        report = Path(folder, "report.xml")
        pytest = [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", f"--junitxml={report}"]
        began = time.monotonic()
        try:
            done = subprocess.run(
                [*prefix, *pytest, *check.tests], env=environment, timeout=max(seconds, 1), text=True,
                stdout=subprocess.PIPE, stderr=subprocess.STDOUT,
            )  # fmt: skip
        except subprocess.TimeoutExpired as error:
            output = error.output.decode(errors="replace") if isinstance(error.output, bytes) else error.output or ""
            return Outcome(check.name, check.what, "out of time", seconds=seconds, detail=last_line(output))
        outcome = outcome_of(check, report, done.returncode, done.stdout)
        outcome.seconds = time.monotonic() - began
        return outcome


def outcome_of(check: Check, report: Path, code: int, output: str) -> Outcome:
    """What pytest's report and its exit status say; nothing run, or all skipped, is no pass."""
    outcome = Outcome(check.name, check.what, "passed" if code == 0 else "failed")
    if not report.is_file():
        outcome.state, outcome.detail = "failed", last_line(output)
        return outcome
    for case in ElementTree.parse(report).iter("testcase"):
        bad = next((part for part in case if part.tag in ("failure", "error")), None)
        if bad is not None:
            outcome.failed += 1
            outcome.detail = outcome.detail or f"{case.get('name')}: {last_line(bad.get('message') or '')}"
        elif case.find("skipped") is not None:
            outcome.skipped += 1
        else:
            outcome.passed += 1
    if outcome.passed == 0 and outcome.state == "passed":
        outcome.state, outcome.detail = "failed", "nothing was run"
    if code == 86:
        outcome.detail = next((line for line in output.splitlines() if "=========" in line and "Invalid" in line), "")
    return outcome


def find_sanitizer() -> str | None:
    """``compute-sanitizer``, from PATH or the CUDA toolkit."""
    homes = [os.environ.get("CUDA_HOME"), "/usr/local/cuda"]
    beside = [f"{home}/bin" for home in homes if home]
    return shutil.which("compute-sanitizer") or shutil.which("compute-sanitizer", path=os.pathsep.join(beside))


def last_line(text: str) -> str:
    """The last line with something in it, cut to a readable length."""
    lines = [line.strip() for line in text.splitlines() if line.strip()]
    return lines[-1][:200] if lines else ""


def table(record: dict[str, Any]) -> str:
    """Markdown: machine, and a row for each check."""
    packages = ", ".join(f"{name} {version}" for name, version in record["machine"]["packages"].items())
    lines = [f"{record['date'][:10]}, {record['machine']['gpu']}, {packages}\n\n",
             "| check | what | result | tests | seconds |\n|---|---|---|---:|---:|\n"]  # fmt: skip
    lines += [_row(check) for check in record["checks"]]
    return "".join(lines)


def _row(check: dict[str, Any]) -> str:
    tests = f"{check['passed']} passed" + "".join(
        f", {check[kind]} {kind}" for kind in ("failed", "skipped") if check[kind]
    )
    state = check["state"] + (f": {check['detail']}" if check["detail"] else "")
    cells: Sequence[str] = (check["name"], check["what"], state, tests, f"{check['seconds']:.0f}")
    return f"| {' | '.join(cell.replace('|', chr(92) + '|') for cell in cells)} |\n"


if __name__ == "__main__":
    app()
