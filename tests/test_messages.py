"""Commands in messages can be pasted, and near names are found."""

import shlex
from pathlib import Path

import pytest

from snn_delays.messages import command, did_you_mean


@pytest.mark.parametrize("name", ["runs/demo", "mein Lauf é/a b", "it's", "$(rm x)", "a;b", "[c]"])
def test_a_command_is_read_by_a_shell_as_it_was_meant(name: str) -> None:
    assert shlex.split(command("evaluate", Path(name), "--seed", 1)) == ["snn-delays", "evaluate", name, "--seed", "1"]


def test_plain_words_stay_plain_and_no_path_is_an_option() -> None:
    assert command("evaluate", Path("runs/demo")) == "snn-delays evaluate runs/demo"
    assert command("plot", Path("--odd"), "--what", "curves") == "snn-delays plot ./--odd --what curves"


def test_near_names() -> None:
    assert did_you_mean("Loihi", ["generic", "loihi1", "loihi2"]) == "did you mean 'loihi2' or 'loihi1'? "
    assert did_you_mean("n-mnist", ["N-MNIST", "shd"]) == "did you mean 'N-MNIST'? "
    assert did_you_mean("xyz", ["N-MNIST", "shd"]) == ""
