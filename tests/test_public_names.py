"""The public names are those of a list: one that a user could rely on goes by decision, not by accident."""

import warnings
from pathlib import Path

import pytest

from tests.support.pages import importable
from tests.support.public_names import listed, named_by, public


@pytest.mark.parametrize("name", listed(), ids=lambda name: name.removeprefix("snn_delays."))
def test_a_public_name_stays(name: str) -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DeprecationWarning)
        assert importable(name), f"{name} is gone: serve it from its old place with snn_delays.moved.forward"


def test_what_is_documented_is_listed() -> None:
    assert public() - set(listed()) == set(), "python -m tests.support.public_names adds them"
    assert listed() == sorted(set(listed()))


def test_canary_names_are_found_in_code_and_text(tmp_path: Path) -> None:
    page = tmp_path / "page.md"
    page.write_text(
        "`snn_delays.a.b(x)` and `snn_delays/c.py`\n\n```python\nimport snn_delays.d\n"
        "from snn_delays.e import f, g as h\n```\n"
    )
    assert named_by(page) == {"snn_delays.a.b", "snn_delays.d", "snn_delays.e.f", "snn_delays.e.g"}
    assert not importable("snn_delays.nn.NoSuchLayer")
