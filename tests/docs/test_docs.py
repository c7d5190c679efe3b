"""The documents keep their word: code runs, links lead somewhere, commands and files exist, nothing comes from afar."""

import importlib
import importlib.util
import os
import re
import subprocess
import sys
import traceback
from collections.abc import Iterator
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path

import numba
import pytest
from typer.testing import CliRunner

from snn_delays.cli import app
from snn_delays.training.config import find_recipe, load_recipe

ROOT = Path(__file__).resolve().parents[2]
SITE_PAGES = sorted((ROOT / "docs").glob("*.md"))
PAGES = [ROOT / "README.md", *SITE_PAGES]
DOCUMENTS = [*PAGES, ROOT / "experiments" / "README.md", ROOT / "datasets" / "README.md"]
FENCE = re.compile(r"^(?P<indent>\s*)(?P<mark>`{3,}|~{3,})\s*(?P<language>\S*)\s*$")
NEEDS = re.compile(r"^<!-- needs: (?P<packages>[\w, ]+) -->$")

every_document = pytest.mark.parametrize("page", DOCUMENTS, ids=lambda p: str(p.relative_to(ROOT)))


# Reading a page


@dataclass(frozen=True)
class Block:
    """A fenced block: the line its code begins at (from 1), its language, and the packages it cannot run without."""

    line: int
    language: str
    code: str
    needs: tuple[str, ...]

    @property
    def missing(self) -> list[str]:
        return [package for package in self.needs if importlib.util.find_spec(package) is None]


def blocks(text: str) -> list[Block]:
    """Every fenced block of a page. Raises ValueError at a fence that would be shown as code but not be run."""
    found, lines = [], text.splitlines()
    opened, start, code = None, 0, []
    for number, line in enumerate(lines, 1):
        fence = FENCE.match(line)
        if opened is not None:
            if fence and not fence["language"] and fence["mark"].startswith(opened["mark"]):
                before = NEEDS.match(lines[start - 2]) if start > 1 else None
                needs = tuple(name.strip() for name in before["packages"].split(",")) if before else ()
                found.append(Block(start + 1, opened["language"], "\n".join(code) + "\n", needs))
                opened = None
            else:
                code.append(line)
        elif fence:
            if fence["language"] != "python" and re.match(r"\W*py", fence["language"], re.IGNORECASE):
                raise ValueError(f"line {number}: write ```python, not {line.strip()!r}")
            if fence["indent"]:
                raise ValueError(f"line {number}: an indented fence is not run; move it to the margin")
            opened, start, code = fence, number, []
        elif line.lstrip().startswith(("```", "~~~")):
            raise ValueError(f"line {number}: unreadable fence {line.strip()!r}")
        elif line.startswith("<!-- needs") and not (NEEDS.match(line) and FENCE.match(lines[number])):
            raise ValueError(f"line {number}: {line!r} must name packages and stand right above a block")
    if opened is not None:
        raise ValueError(f"line {start}: this fence is never closed")
    return found


def run_page(page: Path) -> tuple[int, list[Block]]:
    """Run a page's Python blocks in order, in one namespace; how many ran, and which lack a package."""
    namespace: dict[str, object] = {"__name__": "__main__"}
    python = [block for block in blocks(page.read_text(encoding="utf-8")) if block.language == "python"]
    for block in python:
        if not block.missing:
            # Empty lines before the code, so that a traceback names the line of the page.
            exec(compile("\n" * (block.line - 1) + block.code, str(page), "exec"), namespace)
    left_out = [block for block in python if block.missing]
    return len(python) - len(left_out), left_out


def prose(text: str) -> str:
    """The page without its fenced blocks."""
    fenced = {n for block in blocks(text) for n in range(block.line - 1, block.line + block.code.count("\n") + 1)}
    return "\n".join(line for n, line in enumerate(text.splitlines(), 1) if n not in fenced)


def spans(text: str) -> list[str]:
    """Code within a line, joined where it is wrapped."""
    return [" ".join(span.split()) for span in re.findall(r"(?<!`)`([^`]+)`(?!`)", prose(text))]


def shell_lines(text: str) -> list[str]:
    """Lines of blocks that are not Python, fenced or indented, without their comments."""
    fenced = [line for block in blocks(text) if block.language != "python" for line in block.code.splitlines()]
    indented = [line for line in prose(text).splitlines() if line.startswith("    ")]
    return [line.partition("#")[0].strip() for line in [*fenced, *indented]]


def commands(text: str) -> list[list[str]]:
    """The words after ``snn-delays`` wherever it is called."""
    calls = (re.search(r"(?<![\w/.-])snn-delays( .*)?$", code) for code in [*spans(text), *shell_lines(text)])
    return [(call[1] or "").split() for call in calls if call]


def links(text: str) -> list[str]:
    """Targets of links and pictures."""
    plain = prose(text)
    return re.findall(r"\]\(\s*<?([^)\s>]+)", plain) + re.findall(r"(?:src|href)=[\"']([^\"']+)", plain)


def anchors(text: str) -> set[str]:
    """What a ``#fragment`` can name on a page."""
    titles = re.findall(r"^#+\s+(.*?)\s*#*$", prose(text), re.MULTILINE)
    return {re.sub(r"\s+", "-", re.sub(r"[^\w\s-]", "", title).strip().lower()) for title in titles}


# What can be wrong with a page


def broken_links(page: Path) -> list[str]:
    """Relative links that lead to no file or no heading."""
    wrong = []
    for link in links(page.read_text(encoding="utf-8")):
        path, _, fragment = link.partition("#")
        if re.match(r"[a-z]+:", link):
            continue
        target = (page.parent / path) if path else page
        heading_missing = fragment and target.suffix == ".md" and target.is_file() and fragment not in anchors(
            target.read_text(encoding="utf-8")
        )  # fmt: skip
        if not target.exists() or heading_missing:
            wrong.append(link)
    return wrong


def help_of(subcommand: tuple[str, ...]) -> str | None:
    """What ``snn-delays SUBCOMMAND --help`` prints; None if there is no such subcommand."""
    result = CliRunner().invoke(app, [*subcommand, "--help"], env={"COLUMNS": "200", "TERM": "dumb"})
    return result.output if result.exit_code == 0 else None


def offers(help_text: str, word: str) -> bool:
    """Whether a help text lists a subcommand or an option, at the beginning of a line."""
    return re.search(rf"^  (?:-\w, )?{re.escape(word)}(?![\w-])", help_text, re.MULTILINE) is not None


def unknown_words(call: list[str]) -> list[str]:
    """Words of a call that ``--help`` does not know: subcommands, options, recipes, recipe keys."""
    subcommand: tuple[str, ...] = ()
    here = help_of(())
    assert here is not None
    words = list(call)
    while words and "Commands:" in here:
        if words[0].startswith("-"):
            break
        if not offers(here, words[0]):
            return [words[0]]
        subcommand = (*subcommand, words.pop(0))
        deeper = help_of(subcommand)
        assert deeper is not None
        here = deeper
    options = [word.partition("=")[0] for word in words if word.startswith("-")]
    wrong = [option for option in options if not offers(here, option)]
    if subcommand == ("train",) and words and re.fullmatch(r"[a-z][\w.]*", words[0]):
        changes = tuple(b for a, b in pairwise(words) if a == "--set")
        if not find_recipe(words[0]).exists():
            wrong.append(words[0])
        elif not wrong:
            load_recipe(words[0], changes)
    return wrong


def stray_options(text: str) -> list[str]:
    """Options named by themselves, as in ``--resume``, that no subcommand has."""
    top = help_of(()) or ""
    names = [(word,) for word in re.findall(r"^  (\w+)  ", top.partition("Commands:")[2], re.MULTILINE)]
    names += [("data", word) for word in ("list", "verify", "convert")]
    everything = "".join(help_of(name) or "" for name in names)
    named = [span.split()[0] for span in spans(text) if re.match(r"--[a-z]", span)]
    return [option for option in named if not offers(everything, option.partition("=")[0])]


def missing_paths(text: str) -> list[str]:
    """Files of the repository that are named and are not there, and dotted names that cannot be imported."""
    wrong = []
    for span in spans(text):
        if re.fullmatch(r"(snn_delays|docs|tests|datasets|experiments)/[\w./*-]*", span):
            if not list(ROOT.glob(span.rstrip("/"))):
                wrong.append(span)
        elif name := re.fullmatch(r"(snn_delays(?:\.\w+)+)(?:\(.*\))?", span):
            if not importable(name[1]):
                wrong.append(span)
        elif (target := re.fullmatch(r"make ([a-z-]+)", span)) and not re.search(
            rf"^{target[1]}:", (ROOT / "Makefile").read_text(), re.MULTILINE
        ):
            wrong.append(span)
    return wrong


def importable(dotted: str) -> bool:
    module, _, attribute = dotted.rpartition(".")
    try:
        importlib.import_module(dotted)
    except ImportError:
        return importable_attribute(module, attribute)
    return True


def importable_attribute(module: str, attribute: str) -> bool:
    try:
        return hasattr(importlib.import_module(module), attribute)
    except ImportError:
        return False


def external_loads(text: str) -> list[str]:
    """What a page would fetch from elsewhere when opened: scripts, pictures, style sheets, frames, fonts."""
    url = r"[\"']?(?:https?:)?//"
    patterns = (
        rf"<script\b[^>]*\bsrc={url}[^>]*>",
        rf"<(?:img|iframe|source|video|audio|embed|object)\b[^>]*\b(?:src|data)={url}[^>]*>",
        rf"<link\b(?=[^>]*\brel=[\"']?(?:stylesheet|pre|icon|shortcut|module))[^>]*\bhref={url}[^>]*>",
        r"!\[[^\]]*\]\((?:https?:)?//[^)]*\)",
        rf"url\(\s*{url}[^)]*\)",
        rf"@import\s+{url}[^;]*",
    )
    return [match[0] for pattern in patterns for match in re.finditer(pattern, text, re.IGNORECASE)]


def ragged_tables(text: str) -> list[str]:
    """Rows of tables with another number of cells than the row above them."""
    wrong, width = [], None
    for line in prose(text).splitlines():
        cells = len(re.findall(r"(?<!\\)\|", line)) if line.startswith("|") else None
        if cells is not None and width is not None and cells != width:
            wrong.append(line)
        width = cells
    return wrong


# The pages


@pytest.fixture(scope="module")
def cache(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("cache")


@pytest.fixture
def elsewhere(tmp_path: Path, cache: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """A working folder and caches of the tests' own, and one thread: several would only wait for each other here."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("SNN_DELAYS_CACHE", str(cache))
    monkeypatch.delenv("SNN_DELAYS_DATA", raising=False)
    threads = numba.get_num_threads()
    numba.set_num_threads(1)
    yield
    numba.set_num_threads(threads)


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
    build = subprocess.run(
        [sys.executable, "-m", "mkdocs", "build", "--strict", "-f", ROOT / "mkdocs.yml", "-d", tmp_path],
        capture_output=True, text=True, timeout=60, check=False, env={**os.environ, "NO_MKDOCS_2_WARNING": "1"},
    )  # fmt: skip
    assert build.returncode == 0, build.stderr
    assert {page.stem for page in SITE_PAGES} <= {page.stem for page in tmp_path.glob("*.html")}
    for file in [*tmp_path.rglob("*.html"), *tmp_path.rglob("*.css")]:
        assert external_loads(file.read_text(encoding="utf-8")) == [], file


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
