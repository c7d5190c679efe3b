"""Kernels are kept where something can be written, work where nothing can, and say when they are compiled."""

import os
import subprocess
import sys
import warnings
from collections.abc import Callable
from pathlib import Path
from textwrap import dedent
from types import ModuleType
from typing import Any

import numba
import numpy as np
import pytest

from snn_delays import compiling
from snn_delays.compiling import cached_njit

Double = Callable[[int], int]


@pytest.fixture
def messages(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    lines: list[str] = []
    monkeypatch.setattr(compiling, "announce", lines.append)
    monkeypatch.setattr(compiling, "reported", set())
    return lines


def made(folder: Path, source: str = "def double(x):\n    return FACTOR * x\n", **constants: Any) -> Double:
    """A function of a module of its own."""
    file = folder / "doubling.py"
    file.write_text(source)
    module: Any = sys.modules.setdefault("doubling", ModuleType("doubling"))
    namespace = {"__name__": "doubling", "FACTOR": 2, **constants}
    exec(compile(source, str(file), "exec"), namespace)
    module.double = namespace["double"]
    function: Double = module.double
    return function


@pytest.fixture
def double(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Double:
    monkeypatch.delenv("NUMBA_CACHE_DIR", raising=False)
    monkeypatch.setenv("SNN_DELAYS_CACHE", str(tmp_path))
    return made(tmp_path)


def test_kernels_are_kept_in_a_folder_of_ours(double: Double, messages: list[str], tmp_path: Path) -> None:
    assert cached_njit()(double)(3) == 6
    assert len(messages) == 1
    assert "compiling kernels, once" in messages[0]
    (kernel,) = compiling.kernel_folder().iterdir()
    assert kernel.parent == tmp_path / "kernels"
    compiling.reported.clear()
    again = cached_njit()(double)
    assert again(3) == 6
    assert len(messages) == 1
    assert sum(again.stats.cache_hits.values()) == 1


def test_a_kernel_is_found_again_from_another_checkout_alone_if_all_that_decides_it_is_the_same(
    double: Double, messages: list[str], tmp_path: Path
) -> None:
    """Sources, constants, what is called, and options: where one differs, the kernel is another."""
    helper = numba.njit(lambda x: x + 1)
    other = numba.njit(lambda x: x + 2)
    calling = "def double(x):\n    return FACTOR * helper(x)\n"
    folders = [tmp_path / f"checkout{number}" for number in range(2)]
    for folder in folders:
        folder.mkdir()
    variants: list[tuple[dict[str, Any], dict[str, Any], int]] = [
        ({}, {}, 6), ({"FACTOR": 3}, {}, 9), ({"FACTOR": 3}, {"fastmath": True}, 9),
        ({"source": calling, "helper": helper}, {}, 8), ({"source": calling, "helper": other}, {}, 10),
        ({"source": "def double(x):\n    return FACTOR * x * x\n"}, {}, 18),
    ]  # fmt: skip
    for hits, folder in enumerate(folders):
        for constants, options, expected in variants:
            kernel = cached_njit(**options)(made(folder, **constants))
            assert kernel(3) == expected
            assert sum(kernel.stats.cache_hits.values()) == hits
    assert len(list(compiling.kernel_folder().iterdir())) == len(variants)


def test_the_folder_of_another_user_is_not_used(
    double: Double, messages: list[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("os.geteuid", lambda: tmp_path.stat().st_uid + 1)
    tmp_path.chmod(0o777)
    kernels = tmp_path / "kernels"
    kernels.mkdir()
    kernels.chmod(0o777)
    with pytest.warns(UserWarning, match="belongs to another user"):
        assert cached_njit()(double)(3) == 6
    assert not list(kernels.iterdir())


def test_where_nothing_can_be_written_kernels_run_and_one_warning_says_so(
    double: Double, messages: list[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "file").touch()
    monkeypatch.setenv("SNN_DELAYS_CACHE", str(tmp_path / "file"))
    with pytest.warns(UserWarning, match="SNN_DELAYS_CACHE") as warned:
        assert [cached_njit()(double)(3), cached_njit(nogil=True)(double)(4)] == [6, 8]
    assert len(warned) == len(messages) == 1


def test_a_damaged_cache_is_compiled_anew_and_mended(double: Double, messages: list[str]) -> None:
    cached_njit()(double)(3)
    (kernel,) = compiling.kernel_folder().iterdir()
    whole = kernel.read_bytes()
    for damaged in (b"", whole[:40], whole[:-40], whole[:2000] + b"?" + whole[2001:]):
        kernel.write_bytes(damaged)
        assert cached_njit()(double)(3) == 6
        mended = cached_njit()(double)
        assert mended(3) == 6
        assert sum(mended.stats.cache_hits.values()) == 1


def test_a_full_disk_costs_the_cache_not_the_call(
    double: Double, messages: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(*_: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("os.replace", full)
    with pytest.warns(UserWarning, match="No space left"):
        assert cached_njit()(double)(3) == 6


def test_every_kernel_of_the_package_is_compiled_through_it() -> None:
    package = Path(compiling.__file__).parent
    for path in package.rglob("*.py"):
        if path.name != "compiling.py":
            assert "cache=True" not in path.read_text(encoding="utf-8"), f"{path}: use cached_njit"


def test_a_home_that_does_not_exist_is_no_error(tmp_path: Path) -> None:
    script = """
        import os, pathlib, warnings
        def nowhere(*_):
            raise RuntimeError("Could not determine home directory.")
        pathlib.Path.home = classmethod(nowhere)
        from snn_delays.files import cache_folder
        print(cache_folder())
    """
    done = subprocess.run(
        [sys.executable, "-c", dedent(script)], capture_output=True, text=True, timeout=900, check=True,
        env={"PATH": "", "TMPDIR": str(tmp_path), "PYTHONPATH": str(Path(compiling.__file__).parents[1])},
    )  # fmt: skip
    assert done.stdout.startswith(str(tmp_path))


def test_lines_go_to_a_terminal_only(capsys: pytest.CaptureFixture[str]) -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        compiling._to_terminal("a line")
    assert capsys.readouterr().err == ""


def test_options_that_are_sets_name_one_kernel_in_every_process(tmp_path: Path) -> None:
    (tmp_path / "doubling.py").write_text(
        "from snn_delays.compiling import cached_njit\n\n\n"
        '@cached_njit(fastmath={"contract", "reassoc", "nsz", "arcp"})\ndef double(x):\n    return 2 * x\n'
    )
    for seed in ("1", "2", "3"):
        environment = {
            **os.environ, "PYTHONHASHSEED": seed, "NUMBA_CACHE_DIR": str(tmp_path / "kernels"),
            "PYTHONPATH": f"{tmp_path}{os.pathsep}{os.environ.get('PYTHONPATH', '')}",
        }  # fmt: skip
        subprocess.run([sys.executable, "-c", "import doubling; doubling.double(2)"], env=environment, check=True)
    assert len(list((tmp_path / "kernels").iterdir())) == 1


def test_an_attribute_that_is_called_like_a_global_decides_nothing(double: Double, messages: list[str]) -> None:
    source = "import numpy\nempty = {}\n\n\ndef double(x):\n    return 2 * x + len(numpy.empty(0))\n"
    folder = Path(double.__code__.co_filename).parent
    state: dict[str, int] = {}
    assert cached_njit()(made(folder, source, numpy=np, empty=state))(3) == 6
    state["changed"] = 1
    compiling.reported.clear()
    assert cached_njit()(made(folder, source, numpy=np, empty=state))(3) == 6
    assert len(messages) == 1
