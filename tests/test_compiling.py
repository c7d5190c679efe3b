"""Kernels are kept where something can be written, work where nothing can, and say when they are compiled."""

import subprocess
import sys
import warnings
from collections.abc import Callable
from pathlib import Path
from textwrap import dedent
from typing import Any

import numba
import pytest
from numba.core import caching

from snn_delays import compiling
from snn_delays.compiling import cached_njit

Double = Callable[[int], int]


@pytest.fixture
def messages(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    lines: list[str] = []
    monkeypatch.setattr(compiling, "announce", lines.append)
    monkeypatch.setattr(compiling, "reported", set())
    return lines


@pytest.fixture
def double(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Double:
    """A function whose kernel Numba has no place for, as where the package is read-only and so is the home."""
    file, in_the_way = tmp_path / "doubling.py", tmp_path / "__pycache__"
    file.write_text("def double(x):\n    return 2 * x\n")
    in_the_way.touch()
    monkeypatch.setenv("XDG_CACHE_HOME", str(in_the_way))
    namespace: dict[str, Any] = {"__name__": "doubling"}
    exec(compile(file.read_text(), str(file), "exec"), namespace)
    function: Double = namespace["double"]
    return function


def test_where_numba_finds_no_place_kernels_are_kept_in_our_own(
    double: Double, messages: list[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("SNN_DELAYS_CACHE", str(tmp_path))
    with pytest.raises(RuntimeError, match="no locator"):
        numba.njit(cache=True)(double)
    assert cached_njit()(double)(3) == 6
    assert len(messages) == 1
    assert "compiling kernels, once" in messages[0]
    compiling.reported.clear()
    again = cached_njit()(double)
    assert again(3) == 6
    assert len(messages) == 1
    assert sum(again.stats.cache_hits.values()) == 1
    assert not numba.config.CACHE_DIR


def test_where_nothing_can_be_written_kernels_run_and_one_warning_says_so(
    double: Double, messages: list[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "file").touch()
    monkeypatch.setenv("SNN_DELAYS_CACHE", str(tmp_path / "file"))
    with pytest.warns(UserWarning, match="SNN_DELAYS_CACHE") as warned:
        assert [cached_njit()(double)(3), cached_njit(nogil=True)(double)(4)] == [6, 8]
    assert len(warned) == len(messages) == 1


def test_a_damaged_cache_is_compiled_anew_and_mended(
    double: Double, messages: list[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("SNN_DELAYS_CACHE", str(tmp_path))
    cached_njit()(double)(3)
    for kind in ("*.nbi", "*.nbc"):
        (damaged,) = tmp_path.rglob(kind)
        damaged.write_bytes(damaged.read_bytes()[:40] if kind == "*.nbc" else b"")
        assert cached_njit()(double)(3) == 6
        mended = cached_njit()(double)
        assert mended(3) == 6
        assert sum(mended.stats.cache_hits.values()) == 1


def test_a_full_disk_costs_the_cache_not_the_call(
    double: Double, messages: list[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(*_: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setenv("SNN_DELAYS_CACHE", str(tmp_path))
    monkeypatch.setattr(caching.IndexDataCacheFile, "save", full)
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
