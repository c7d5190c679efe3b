"""Reading a page of the documents, and what can be wrong with it."""

import importlib
import importlib.util
import re
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path

from typer.testing import CliRunner

from experiments.benchmarks.__main__ import app as benchmarks
from snn_delays.cli import app
from snn_delays.recipes.files import find_recipe, load_recipe

ROOT = Path(__file__).resolve().parents[2]
FENCE = re.compile(r"^(?P<indent>\s*)(?P<mark>`{3,}|~{3,})\s*(?P<language>\S*)\s*$")
NEEDS = re.compile(r"^<!-- needs: (?P<packages>[\w, ]+) -->$")


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


def benchmark_calls(text: str) -> list[list[str]]:
    """The words after ``python -m experiments.benchmarks`` wherever it is called."""
    command = r"python -m experiments\.benchmarks( .*)?$"
    calls = (re.search(command, code) for code in [*spans(text), *shell_lines(text)])
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


def help_of_the_benchmarks() -> str:
    """What ``python -m experiments.benchmarks --help`` prints."""
    return CliRunner().invoke(benchmarks, ["--help"], env={"COLUMNS": "200", "TERM": "dumb"}).output


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
    of_data = ("list", "download", "verify", "convert", "show", "encode", "encode-check", "encode-speech-commands")
    names += [("data", word) for word in (*of_data, "simulate-nmnist")]
    everything = "".join([help_of_the_benchmarks(), *(help_of(name) or "" for name in names)])
    named = [span.split()[0] for span in spans(text) if re.match(r"--[a-z]", span)]
    return [option for option in named if not offers(everything, option.partition("=")[0])]


def missing_paths(text: str) -> list[str]:
    """Files of the repository that are named and are not there, and dotted names that cannot be imported."""
    wrong = []
    for span in spans(text):
        if re.fullmatch(r"(snn_delays|docs|tests|datasets|experiments)/[\w./*-]*", span):
            if not list(ROOT.glob(span.rstrip("/"))):
                wrong.append(span)
        elif name := re.fullmatch(r"((?:snn_delays|experiments)(?:\.\w+)+)(?:\(.*\))?", span):
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
