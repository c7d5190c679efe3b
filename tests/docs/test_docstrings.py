"""Docstrings on the API pages: every equation is drawn, every role becomes a link, and no reStructuredText is left."""

import re
import runpy
from typing import Any

import pytest

from tests.support.pages import ROOT

griffe = pytest.importorskip("griffe", reason="mkdocstrings is not installed: it needs Python 3.11")


@pytest.fixture(scope="module")
def docstrings() -> dict[str, Any]:
    return runpy.run_path(str(ROOT / "docs" / "docstrings.py"))


@pytest.fixture(scope="module")
def package(docstrings: dict[str, Any]) -> Any:
    return griffe.load("snn_delays", search_paths=[ROOT], extensions=griffe.load_extensions(docstrings["Docstrings"]))


def test_no_docstring_keeps_markup_that_pages_would_show(package: Any) -> None:
    def look(parent: Any) -> None:
        for each in parent.members.values():
            if not each.is_alias:
                if each.docstring and re.search(r"(?m):\w+:`|^ *\.\. \w+::|\$\$", each.docstring.value):
                    left.append(each.path)
                look(each)

    left: list[str] = []
    look(package)
    assert left == []


def test_a_link_leads_to_where_a_name_is_written(package: Any) -> None:
    text = package["nn.neuron.LIF"].docstring.value
    assert 'identifier="snn_delays.ops.lif.lif"><code>lif</code>' in text  # the function, not its module
    assert "<svg" in package["nn.delayed.DelayedLinear"].docstring.value


def test_an_equation_is_drawn_on_its_line_and_one_that_cannot_be_is_an_error(docstrings: dict[str, Any]) -> None:
    picture = docstrings["picture"]
    below = float(re.search(r"vertical-align:(-?[\d.]+)em", picture(r"\frac{a}{b}"))[1])  # type: ignore[index]
    assert below < -0.2
    assert picture("a \\le b") == picture("a \\leq b") != picture("a < b")
    with pytest.raises(ValueError, match="nonsense"):
        picture(r"\nonsense x")
