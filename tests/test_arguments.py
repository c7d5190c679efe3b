"""Numbers as arguments: what counts as an integer or a real number, and the sentence for what does not."""

import numpy as np
import pytest
import torch

from snn_delays.arguments import integer, real, shown
from snn_delays.errors import ConfigError


@pytest.mark.parametrize("value", [8, np.int64(8), np.uint8(8)])
def test_what_is_an_integer(value) -> None:
    found = integer("steps", value)
    assert (found, type(found)) == (8, int)


@pytest.mark.parametrize("value", [8, 8.0, np.float32(8), np.int16(8)])
def test_what_is_a_real_number(value) -> None:
    found = real("tau", value)
    assert (found, type(found)) == (8.0, float)


@pytest.mark.parametrize(
    ("value", "says"),
    [
        (7.5, "steps must be an integer, got 7.5$"),
        (24.0, "steps must be an integer, got 24.0; write steps=24"),
        (np.float64(24), "steps must be an integer, got .*; write steps=24"),
        (float("nan"), "got nan"),
        ("8", "got '8'"),
        (None, "got None"),
        (True, "got True"),
        (np.True_, "must be an integer"),
        ([8], r"got \[8\]"),
        (torch.tensor(8), r"got tensor\(8\)"),
        (torch.ones(3, 4), r"got a Tensor of shape \(3, 4\)$"),
        (0, "steps must be at least 1, got 0"),
        (2**20 + 1, "steps must be at most 1,048,576, got 1048577; is it in another unit"),
        pytest.param(10**5000, "thousands of digits", id="huge"),
    ],
)
def test_what_is_no_integer(value, says: str) -> None:
    with pytest.raises(ConfigError, match=says) as caught:
        integer("steps", value, 1, 2**20)
    assert len(str(caught.value)) < 120
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("value", ["2.0", None, True, np.False_, [2.0], 1j, torch.tensor(2.0), torch.ones(2)])
def test_what_is_no_real_number(value) -> None:
    with pytest.raises(ConfigError, match="tau must be a number, got"):
        real("tau", value)


def test_long_values_are_shortened() -> None:
    with pytest.raises(ConfigError, match="tau must be a number, got an integer of thousands of digits"):
        real("tau", 10**5000)
    assert len(shown("x" * 1000)) == 60
    assert shown(np.zeros((2, 3))) == "a ndarray of shape (2, 3)"
