"""Runs exports in the simulators they are for, each in an environment of its own, and prints one table.

    python -m tests.simulators.run [--samples N] [--write PAGE] FOLDER...

A folder is an export, or holds exports at any depth; what runs is every script of ENVIRONMENTS found beside a
`golden.npz`. Environments are made once in `.venv-export/` and kept as long as their table row is unchanged; may be
stopped and started again at any time. A folder with a file `must_differ` (see cases.py) passes by failing in the layer
that the file's first line names: a comparison is only believed once it has been seen to fail. A file `own.json` in a
folder has rows of checks that needed no simulator (see demo.py). `--write` puts the rows of networks that were trained,
and how many runs of others passed, into a page between its marks, if all is as it must be and nothing was skipped.

Exit status 1 if anything differs that must not, or breaks. Without an interpreter that a simulator has a build for it
is skipped, loudly; that is not a pass. Needs the standard library alone.
"""

from __future__ import annotations

import argparse
import json
import os
import re
import shutil
import subprocess
import sys
import time
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2] / ".venv-export"
LIMIT_S = 3600
SCRIPT_LINE = re.compile(r"^(\S+) +(\d+) (spikes|membranes)", re.MULTILINE)
SAMPLES_LINE = re.compile(r"^(\d+) samples of (\d+) steps", re.MULTILINE)
MISMATCH = re.compile(r"first mismatch at \(sample \d+, layer (.*?), t \d+, neuron \d+\)")
PROBE = "import ensurepip, sys, venv; print('%d.%d' % sys.version_info[:2])"


@dataclass(frozen=True)
class Environment:
    """A simulator: how it is installed under which Python, the first found is taken, and the scripts it runs."""

    name: str
    scripts: tuple[str, ...]
    installs: dict[str, tuple[str, ...]]  # by Python version: arguments of `pip install`, one call each


NEST = ("nest-simulator==3.10.0 pynn==0.13.0 neo==0.14.6",)
BRIAN2 = ("brian2==2.9.0 numpy==2.3.5",)
LAVA = "numpy==1.26.4 scipy==1.15.3 networkx==2.8.7 h5py==3.16.0"
ENVIRONMENTS = (
    Environment("brian2", ("run_brian2.py",), {"3.11": BRIAN2, "3.12": BRIAN2, "3.13": BRIAN2}),
    Environment("nest", ("run_nest.py", "run_pynn.py"), {"3.11": NEST, "3.12": NEST, "3.13": NEST, "3.10": NEST}),
    Environment(
        "lava",
        ("run_lava.py", "run_netx.py"),
        # lava-dl requires an old PyTorch, which running a network does not need.
        {
            "3.10": (f"lava-nc==0.10.0 {LAVA}", "--no-deps lava-dl==0.6.0"),
            # It says it needs 3.10; lava_python311.py, beside the scripts, is what it takes.
            "3.11": (
                f"{LAVA} asteval joblib cloudpickle",
                "--ignore-requires-python --no-deps lava-nc==0.10.0 lava-dl==0.6.0",
            ),
        },
    ),
)


@dataclass
class Row:
    """A line of the table."""

    target: str
    network: str
    result: str
    samples: str = "-"
    spikes: str = "-"
    seconds: str = "-"
    good: bool = False


def interpreter(version: str) -> str | None:
    """A Python of that version which can make environments; None if there is none."""
    managed = Path(os.environ.get("PYENV_ROOT", Path.home() / ".pyenv")) / "versions"
    candidates = [sys.executable, shutil.which(f"python{version}"), "/usr/bin/python" + version]
    candidates += [str(folder / "bin" / "python") for folder in sorted(managed.glob(f"{version}.*"))]
    for candidate in candidates:
        if candidate and Path(candidate).exists():
            answer = subprocess.run([candidate, "-c", PROBE], capture_output=True, text=True, check=False)
            if answer.stdout.strip() == version:
                return candidate
    return None


def prepare(environment: Environment) -> tuple[Path | None, str]:
    """The environment's Python, made if need be; or None and why not."""
    folder = ROOT / environment.name
    stamp = folder / "installed.json"
    python = folder / "bin" / "python"
    found = next(((v, p) for v in environment.installs if (p := interpreter(v))), None)
    if found is None:
        return None, f"SKIPPED: no Python {' or '.join(environment.installs)} found"
    version, base = found
    expected = json.dumps([version, environment.installs[version]])
    if stamp.is_file() and stamp.read_text() == expected and python.exists():
        return python, ""
    say(f"{environment.name}: making {folder} with Python {version}")
    shutil.rmtree(folder, ignore_errors=True)
    ROOT.mkdir(exist_ok=True)
    (ROOT / ".gitignore").write_text("*\n")
    calls = [[base, "-m", "venv", str(folder)]]
    pip = [str(python), "-m", "pip", "install", "--quiet", "--disable-pip-version-check"]
    calls += [[*pip, "--upgrade", "pip"]]
    calls += [[*pip, *arguments.split()] for arguments in environment.installs[version]]
    for call in calls:
        say(f"{environment.name}: {' '.join(call[3:])}")
        done = subprocess.run(call, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, check=False)
        if done.returncode:
            lines = done.stdout.strip().splitlines()
            print("\n".join(lines[-20:]))
            return None, f"FAILED to install: {lines[-1][:100] if lines else 'no output'}"
    stamp.write_text(expected)
    return python, ""


def run(python: Path, script: Path, samples: int | None) -> Row:
    """Run one script and read what it prints."""
    target, network = script.stem.removeprefix("run_"), label(script.parent)
    say(f"{target}: {network}")
    call = [str(python), str(script), *([] if samples is None else ["--samples", str(samples)])]
    surroundings = {**os.environ, "PYNEST_QUIET": "1", "PYTHONDONTWRITEBYTECODE": "1"}
    surroundings.pop("PYTHONPATH", None)
    start = time.monotonic()
    try:
        done = subprocess.run(
            call, capture_output=True, text=True, timeout=LIMIT_S, env=surroundings, cwd=script.parent, check=False
        )
    except subprocess.TimeoutExpired:
        return Row(target, network, f"STOPPED after {LIMIT_S} s")
    seconds = f"{time.monotonic() - start:.1f}"
    print(done.stdout, end="", flush=True)
    layers, size = SCRIPT_LINE.findall(done.stdout), SAMPLES_LINE.search(done.stdout)
    spikes = ", ".join(count for _, count, what in layers if what == "spikes")
    mismatch = MISMATCH.search(done.stdout)
    compared = bool(size and layers)
    if not compared or (done.returncode and not mismatch):
        print(done.stderr[-2000:])
        result, good = f"BROKE (exit status {done.returncode})", False
    elif (expected := script.parent / "must_differ").exists():
        where = expected.read_text().partition("\n")[0]
        good = mismatch is not None and mismatch[1] == where
        found = "EQUAL" if mismatch is None else f"DIFFERS first in {mismatch[1]}"
        result = f"differs in {where}, as it must" if good else f"{found}, BUT MUST DIFFER in {where}"
    else:
        good = not done.returncode
        result = "equal" if mismatch is None else mismatch.group().replace("first mismatch at", "DIFFERS first at")
    return Row(target, network, result, size.group(1) if size else "-", spikes or "-", seconds, good)


def label(folder: Path) -> str:
    """The folder, short: its last two names, of a random network (``cases/TARGET/NAME``) ``cases/NAME``."""
    *_, outer, inner, name = ("", "", *folder.resolve().parts)
    return f"{outer if outer == 'cases' else inner}/{name}"


def say(text: str) -> None:
    """A line of progress."""
    print(f"--- {text}", flush=True)


def table(rows: list[Row]) -> str:
    """The rows under their headings."""
    heads = ("target", "network", "samples", "spikes per layer", "result", "seconds")
    lines = [heads, *((r.target, r.network, r.samples, r.spikes, r.result, r.seconds) for r in rows)]
    widths = [max(len(line[i]) for line in lines) for i in range(len(heads))]
    return "\n".join("  ".join(cell.ljust(width) for cell, width in zip(line, widths)).rstrip() for line in lines)


def main() -> int:
    """Run everything found in the folders."""
    parser = argparse.ArgumentParser(description="Run exports in their simulators and compare, spike for spike.")
    parser.add_argument("folders", nargs="+", type=Path, help="exports, or folders that hold exports")
    parser.add_argument("--samples", type=int, help="run only so many samples of each")
    parser.add_argument("--write", type=Path, help="page with the marks <!-- simulators --> and <!-- /simulators -->")
    given = parser.parse_args()
    known = {script: environment for environment in ENVIRONMENTS for script in environment.scripts}
    scripts = sorted(
        {
            golden.with_name(script).resolve()
            for folder in given.folders
            for golden in folder.rglob("golden.npz")
            for script in known
            if golden.with_name(script).is_file()
        }
    )
    if not scripts:
        print(f"no export with one of {', '.join(known)} in {', '.join(map(str, given.folders))}")
        return 1
    rows = [
        Row(**row)
        for folder in given.folders
        for own in folder.rglob("own.json")
        for row in json.loads(own.read_text())
    ]
    for environment in ENVIRONMENTS:
        due = [script for script in scripts if script.name in environment.scripts]
        if not due:
            continue
        python, why = prepare(environment)
        for script in due:
            if python is not None:
                rows.append(run(python, script, given.samples))
            else:
                rows.append(Row(script.stem.removeprefix("run_"), label(script.parent), why))
    print("\n" + table(rows))
    skipped = sorted({row.target for row in rows if row.result.startswith("SKIPPED")})
    failed = [row for row in rows if not row.good and not row.result.startswith("SKIPPED")]
    if skipped:
        print(f"\nSKIPPED, so NOT checked: {', '.join(skipped)}")
    print(
        f"\n{sum(row.good for row in rows)} of {len(rows)} as they must be" + (f", {len(failed)} FAILED" * bool(failed))
    )
    if given.write is not None and (failed or skipped):
        print(f"{given.write} is left as it was: not everything was checked and as it must be")
    elif given.write is not None:
        write(given.write, rows)
    return int(bool(failed))


def write(page: Path, rows: list[Row]) -> None:
    """Put the rows into the page."""
    trained = [row for row in rows if not row.network.startswith("cases/")]
    heads = ("target", "network", "samples", "spikes per layer", "result")
    lines = [f"| {' | '.join(heads)} |", f"|{'---|' * len(heads)}"]
    lines += [f"| {r.target} | {r.network} | {r.samples} | {r.spikes} | {r.result} |" for r in trained]
    others = [row for row in rows if row not in trained]
    if others:
        wrong = sum(row.result.startswith("differs in") for row in others)
        lines += [
            "",
            f"And {len(others)} runs of random networks as they must be, {wrong} of them of networks that are wrong by "
            "one delay and were found out.",
        ]
    text = page.read_text(encoding="utf-8")
    before, mark, rest = text.partition("<!-- simulators -->\n")
    _, end, after = rest.partition("<!-- /simulators -->")
    if not (mark and end):
        sys.exit(f"{page} has no marks <!-- simulators --> and <!-- /simulators -->")
    page.write_text(before + mark + "\n" + "\n".join(lines) + "\n\n" + end + after, encoding="utf-8")
    say(f"written: {page}")


if __name__ == "__main__":
    sys.exit(main())
