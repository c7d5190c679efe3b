"""What of a row of results is compared with a run made again."""

import pytest

from snn_delays.errors import ConfigError
from snn_delays.runs.reproduce import compare
from snn_delays.runs.results import COLUMNS


def row(**values: str) -> dict[str, str]:
    return dict.fromkeys(COLUMNS, "") | values


@pytest.mark.parametrize(("now", "agrees"), [(0.025, True), (0.0275, True), (0.031, False), (None, False)])
def test_an_nmse_is_compared_within_a_share_of_it(now: float | None, agrees: bool) -> None:
    found = compare(row(run="mackey_glass", test_nmse="0.0250"), {"test_nmse": now})
    assert [(each.key, each.agrees) for each in found] == [("test_nmse", agrees)]


def test_a_row_without_a_test_number_does_not_agree_for_want_of_one() -> None:
    with pytest.raises(ConfigError, match="has no test number to compare"):
        compare(row(run="unfinished", hidden="32"), {"hidden": "32"})
