"""The documents keep their word: code runs, links lead somewhere, commands and files exist, nothing comes from afar."""

import os
import subprocess
import sys
import traceback
from pathlib import Path

import pytest

from snn_delays.recipes import registry
from tests.support.pages import (
    ROOT,
    benchmark_calls,
    broken_links,
    commands,
    external_loads,
    help_of_the_benchmarks,
    missing_paths,
    offers,
    ragged_tables,
    run_page,
    stray_options,
    unknown_words,
)

SITE_PAGES = sorted((ROOT / "docs").rglob("*.md"))
PAGES = [ROOT / "README.md", *SITE_PAGES]
DOCUMENTS = [*PAGES, *(ROOT / name for name in ("CONTRIBUTING.md", "experiments/README.md", "datasets/README.md"))]

every_document = pytest.mark.parametrize("page", DOCUMENTS, ids=lambda p: str(p.relative_to(ROOT)))


# The pages


@pytest.fixture(scope="module")
def cache(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("cache")


@pytest.fixture
def elsewhere(tmp_path: Path, cache: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A working folder and caches of the tests' own; tasks that a page registers are gone after it."""
    monkeypatch.setattr(registry, "TASKS", dict(registry.TASKS))
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("SNN_DELAYS_CACHE", str(cache))
    monkeypatch.delenv("SNN_DELAYS_DATA", raising=False)


@pytest.mark.usefixtures("elsewhere")
@pytest.mark.parametrize("page", PAGES, ids=lambda p: str(p.relative_to(ROOT)))
def test_code_of_the_page_runs(page: Path) -> None:
    try:
        ran, left_out = run_page(page)
    except Exception as error:
        # pytest would print the whole page as the source of the frame.
        pytest.fail("".join(traceback.format_exception(error, limit=-4)), pytrace=False)
    assert ran > 0, f"{page.name} has no Python block that ran"
    for block in left_out:
        print(f"{page.name}, line {block.line}: not run, {', '.join(block.missing)} not installed")


@every_document
def test_links_lead_somewhere(page: Path) -> None:
    assert broken_links(page) == []


@every_document
def test_commands_exist(page: Path) -> None:
    text = page.read_text(encoding="utf-8")
    assert {" ".join(call): wrong for call in commands(text) if (wrong := unknown_words(call))} == {}
    for call in benchmark_calls(text):
        assert [word for word in call if word.startswith("-") and not offers(help_of_the_benchmarks(), word)] == []
    assert stray_options(text) == []


def test_commands_are_found_at_all() -> None:
    calls = [call for page in DOCUMENTS for call in commands(page.read_text(encoding="utf-8"))]
    assert {"train", "evaluate", "export", "data"} <= {call[0] for call in calls if call}


@every_document
def test_files_and_names_exist(page: Path) -> None:
    assert missing_paths(page.read_text(encoding="utf-8")) == []


@every_document
def test_tables_are_rectangular(page: Path) -> None:
    assert ragged_tables(page.read_text(encoding="utf-8")) == []


@every_document
def test_nothing_is_fetched_from_elsewhere(page: Path) -> None:
    assert external_loads(page.read_text(encoding="utf-8")) == []


def test_the_site_builds_and_fetches_nothing_from_elsewhere(tmp_path: Path) -> None:
    pytest.importorskip("material", reason="mkdocs-material is not installed")
    pytest.importorskip("mkdocstrings", reason="mkdocstrings is not installed: it needs Python 3.11")
    build = subprocess.run(
        [sys.executable, "-m", "mkdocs", "build", "--strict", "-f", ROOT / "mkdocs.yml", "-d", tmp_path],
        capture_output=True, text=True, timeout=900, check=False, env={**os.environ, "NO_MKDOCS_2_WARNING": "1"},
    )  # fmt: skip
    assert build.returncode == 0, build.stderr
    built = {page.relative_to(tmp_path).with_suffix(".md") for page in tmp_path.rglob("*.html")}
    assert {page.relative_to(ROOT / "docs") for page in SITE_PAGES} <= built
    for file in [*tmp_path.rglob("*.html"), *tmp_path.rglob("*.css")]:
        assert external_loads(file.read_text(encoding="utf-8")) == [], file


def test_help_of_make_names_every_target() -> None:
    text = (ROOT / "Makefile").read_text(encoding="utf-8")
    targets = next(line for line in text.splitlines() if line.startswith(".PHONY:")).split()[1:]
    assert {name for name in targets if f"make {name} " not in text} == {"help"}


# Canaries: each check fails on a page that deserves it


@pytest.fixture
def page(tmp_path: Path) -> Path:
    return tmp_path / "page.md"


def test_canary_a_broken_block_fails_and_names_its_line(page: Path) -> None:
    page.write_text("# Page\n\n```python\nvalue = 1\n```\n\ntext\n\n```python\nassert value == 2\n```\n")
    with pytest.raises(AssertionError) as caught:
        run_page(page)
    assert caught.traceback[-1].lineno + 1 == 10


def test_canary_pages_do_not_share_names(page: Path) -> None:
    page.write_text("```python\nvalue = 1\n```\n\n```python\nassert value == 1\n```\n")
    assert run_page(page) == (2, [])
    page.write_text("```python\nvalue\n```\n")
    with pytest.raises(NameError):
        run_page(page)


def test_canary_a_block_is_left_out_only_for_what_it_needs(page: Path) -> None:
    page.write_text("<!-- needs: no_such_package -->\n```python\n1 / 0\n```\n")
    ran, left_out = run_page(page)
    assert ran == 0
    assert left_out[0].missing == ["no_such_package"]
    page.write_text("<!-- needs: torch -->\n```python\n1 / 0\n```\n")
    with pytest.raises(ZeroDivisionError):
        run_page(page)


@pytest.mark.parametrize(
    "text",
    [
        "```py\n1 / 0\n```\n", "```{.python}\n1 / 0\n```\n", "- item\n\n    ```python\n    1 / 0\n    ```\n",
        "```python\n1 / 0\n", '```python title="x"\n1 / 0\n```\n', "<!-- needs: x -->\n\n```python\n1 / 0\n```\n",
    ],
)  # fmt: skip
def test_canary_no_block_escapes(page: Path, text: str) -> None:
    page.write_text(text)
    with pytest.raises(ValueError, match="line"):
        run_page(page)


def test_canary_links(page: Path) -> None:
    page.write_text(
        "# A title, here\n\n[a](no.md) [b](page.md#a-title-here) [c](#nowhere) ![d](no.png) [e](https://x.org)\n"
    )
    assert broken_links(page) == ["no.md", "#nowhere", "no.png"]


def test_canary_commands() -> None:
    text = (
        "    snn-delays trian demo\n\nThen `snn-delays train RECIPE --resmue`, `snn-delays data fetch`, and\n"
        "`snn-delays train demo --resume`, `snn-delays train no_recipe` or `snn-delays data\nlist`.\n"
        "\n```\n$ snn-delays evaluate RUN --append  # or --not-this\n```\n"
    )
    wrong = [word for call in commands(text) for word in unknown_words(call)]
    assert sorted(wrong) == ["--resmue", "fetch", "no_recipe", "trian"]
    assert len(commands(text)) == 7
    with pytest.raises(ValueError, match="datasat"):
        unknown_words(["train", "demo", "--set", "data.datasat=shd"])
    assert stray_options("`--resume` and `--set a=b` but not `--resmue`") == ["--resmue"]


def test_canary_paths_and_names() -> None:
    text = (
        "`snn_delays/ops` `snn_delays/nope.py` `snn_delays.data.Binning` `snn_delays.data.Nope` `make demo` `make nope`"
    )
    assert missing_paths(text) == ["snn_delays/nope.py", "snn_delays.data.Nope", "make nope"]


@pytest.mark.parametrize(
    "text",
    [
        '<script src="https://cdn.x.org/a.js"></script>', "<script async src=//cdn.x.org/a.js>", "![a](https://x.org/a.png)",
        '<link href="https://fonts.x.org/css" rel="stylesheet">', "a { background: url(https://x.org/a.png) }",
        '<img alt="a" src="http://x.org/a.png">', '@import "https://x.org/a.css";',
    ],
)  # fmt: skip
def test_canary_external(text: str) -> None:
    assert external_loads(text)


def test_a_link_to_elsewhere_is_no_load() -> None:
    assert external_loads('[a](https://x.org) <a href="https://x.org">a</a> <script src="assets/a.js"></script>') == []


def test_canary_tables() -> None:
    assert ragged_tables("| a | b |\n|---|---|\n| 1 | 2 | 3 |\n\n| x |\n|---|\n| \\| |\n") == ["| 1 | 2 | 3 |"]
