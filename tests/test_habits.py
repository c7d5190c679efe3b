"""How tests are written here: for a loaded machine, without private names, each file where its module is."""

import ast
import re
from pathlib import Path

import pytest

from tests.support import ROOT

TESTS = Path(__file__).parent
FILES = sorted(set(TESTS.rglob("*.py")) - {Path(__file__)})
LIMITS = re.compile(r"\btimeout\s*=\s*([\d.]+)|\b(?:timeout|wait|join)\(([\d.]+)\)|\bmonotonic\(\) \+ ([\d.]+)")

# Tests of a law or of a meaning, which no one module has; all others are named after a module or a folder.
OF_NO_MODULE = {
    "cli": {"commands": "what all commands share", "language": "runs of text", "processes": "the command as a process"},
    "data/formats": {"ssc": "a data set in the format of another"},
    "docs": {
        "docs": "the documents", "datasets_page": "a page written from cards", "interop_table": "its cells name tests",
    },
    "experiments/benchmarks": {
        "canaries": "wrong sides", "cases": "every case", "command": "the program", "timing": "how sides are timed",
    },
    "experiments/studies": {"runner": "the program"},
    "export": {
        "maps": "all formats", "simulators": "Brian2, NEST and PyNN, one contract", "without_samples": "all formats",
    },
    "models": {"event_simulator": "the oracle", "gpu": "networks on a device"},
    "nn": {
        "bad_input": "refusals of all layers", "compile": "torch.compile", "factory": "device and dtype of all layers",
        "fused": "layers that run together", "laws": "the laws of all layers", "min_delay": "the window of delays",
        "numbers": "numbers given to all constructors", "per_neuron": "parameters of each neuron",
        "planted_delay": "meaning", "rounding": "in training", "torch_modules": "layers of torch in a chain",
    },
    "ops": {
        "one_step": "single steps of all operations",
        "changes_in_place": "autograd", "fork": "processes", "inference_mode": "torch.inference_mode",
        "mixed_precision": "dtypes of all operations", "poison": "memory that is not written",
    },
    "plot": {"plot": "all pictures"},
    "runs": {"without_data": "what is done to a run"},
    "training": {"own_data": "the whole path", "real_data": "the whole path"},
    ".": {"habits": "this file", "import": "the package", "public_names": "the package"},
}  # fmt: skip


def hasty(text: str) -> list[str]:
    """What of a test's source a loaded machine may make fail."""
    return [found[0] for found in LIMITS.finditer(text) if float(found[1] or found[2] or found[3]) < 600]


def private_patches(text: str) -> list[str]:
    """Private names that a test's source sets on modules or classes."""
    calls = [node for node in ast.walk(ast.parse(text)) if isinstance(node, ast.Call)]
    patches = [
        call for call in calls if isinstance(call.func, ast.Attribute) and call.func.attr in ("setattr", "patch")
    ]
    words = [a.value for call in patches for a in call.args[:2] if isinstance(a, ast.Constant)]
    return [word for word in words if isinstance(word, str) and re.search(r"(^|\.)_(?!_)", word)]


def of_no_module(path: Path, source: Path) -> bool:
    """Whether neither a module nor a folder of the room begins the name of a test file."""
    name = path.stem.removeprefix("test_")
    room = path.parent.relative_to(TESTS)
    folders = [folder / room for folder in (source / "snn_delays", source, TESTS) if (folder / room).is_dir()]
    entries = [entry for folder in folders for entry in folder.iterdir() if entry.is_dir() or entry.suffix == ".py"]
    modules = {entry.stem for entry in entries if not entry.stem.startswith("test_")}
    return not any(name == module or name.startswith(f"{module}_") for module in modules)


@pytest.mark.parametrize("path", FILES, ids=lambda p: str(p.relative_to(TESTS)))
def test_a_file_keeps_the_habits(path: Path) -> None:
    text = path.read_text(encoding="utf-8")
    assert hasty(text) == []
    assert private_patches(text) == []
    assert "sys.path" not in text, "import helpers as tests.support...; a script is run as python -m, in the root"


@pytest.mark.parametrize("room", sorted({path.parent for path in FILES if path.name.startswith("test_")}))
def test_files_are_where_their_modules_are(room: Path) -> None:
    found = {path.stem.removeprefix("test_") for path in room.glob("test_*.py") if of_no_module(path, ROOT)}
    assert found == set(OF_NO_MODULE.get(str(room.relative_to(TESTS)), {}))


def test_canary_haste_is_seen() -> None:
    assert hasty("process.communicate(timeout=300)") == ["timeout=300"]
    assert hasty("@pytest.mark.timeout(60)\n    process.wait(5)") == ["timeout(60)", "wait(5)"]
    assert hasty("until = time.monotonic() + 60") == ["monotonic() + 60"]
    assert hasty("subprocess.run(call, timeout=900)") == []


def test_canary_private_names_are_seen() -> None:
    assert private_patches('monkeypatch.setattr(module, "_name", 1)') == ["_name"]
    assert private_patches('patch.setattr("package._module.name", 1)') == ["package._module.name"]
    assert private_patches('monkeypatch.setattr(Class, "__call__", 1); patch.setattr(a.b, "c_d", "_e")') == []


def test_canary_a_stray_file_is_seen() -> None:
    assert of_no_module(TESTS / "ops" / "test_nothing_like_it.py", ROOT)
    assert not of_no_module(TESTS / "ops" / "test_lif_peers.py", ROOT)
