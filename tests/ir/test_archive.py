"""Our own .npz files: whatever is missing, unknown, of another type or contradicts the rest is named with the file."""

import json
import re
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from snn_delays.errors import DataError
from snn_delays.ir.canonical import read_network, to_bytes
from snn_delays.ir.trace import read_trace, trace_bytes
from tests.support.canonical_networks import random_network, random_trace

Change = Callable[[dict[str, Any], dict[str, Any]], None]


def parts(content: bytes, outline: str, tmp_path: Path) -> tuple[dict[str, Any], dict[str, Any]]:
    (tmp_path / "sound.npz").write_bytes(content)
    with np.load(tmp_path / "sound.npz") as archive:
        arrays = dict(archive)
    return arrays, json.loads(str(arrays.pop(outline)))


def refused(read: Callable[[Path], Any], outline: str, parts: tuple[Any, Any], tmp_path: Path) -> str:
    arrays, text = parts
    path = tmp_path / "changed.npz"
    np.savez(path, **arrays, **{outline: np.array(json.dumps(text))})
    with pytest.raises(DataError) as error:
        read(path)
    message = str(error.value)
    assert message.startswith(f"{path}: "), message
    assert "\n" not in message
    return message


def places(text: Any, path: tuple[Any, ...] = ()) -> Iterator[tuple[Any, ...]]:
    """Every place in a JSON text."""
    inside = text.items() if isinstance(text, dict) else enumerate(text) if isinstance(text, list) else ()
    for key, value in inside:
        yield (*path, key)
        yield from places(value, (*path, key))


def at(text: Any, path: tuple[Any, ...]) -> Any:
    for key in path:
        text = text[key]
    return text


@pytest.mark.parametrize("whole", [False, True])
def test_whatever_is_missing_from_a_network_or_of_another_type_is_named(whole: bool, tmp_path: Path) -> None:
    content = to_bytes(random_network(whole=whole, recurrent=True))
    keys = list(places(parts(content, "network", tmp_path)[1]))
    assert len(keys) > 40
    for path in keys:
        if path[0] != "notes":
            for wrong in (None, [], {}, "x" if path[-1] != "name" else 3, -1, 2**70):
                arrays, text = parts(content, "network", tmp_path)
                was = at(text, path)
                if path == ("format",) or (path[-1] == "recurrent" and wrong is None):
                    continue  # tested below
                number = not whole or path[-1] not in ("decay_bits", "weight_shift", "state_bits")
                if wrong in (-1, 2**70) and (isinstance(was, float) or not number):
                    continue  # a number like another
                at(text, path[:-1])[path[-1]] = wrong
                message = refused(read_network, "network", (arrays, text), tmp_path)
                assert wrong == -1 or isinstance(was, list) or str(path[-1]) in message
        arrays, text = parts(content, "network", tmp_path)
        del at(text, path[:-1])[path[-1]]
        if path not in (("notes", "source"), ("format",)):
            refused(read_network, "network", (arrays, text), tmp_path)
    for name in parts(content, "network", tmp_path)[0]:
        for change in (
            lambda a: a[:-1], lambda a: a[None], lambda a: a.astype(complex), lambda a: a.astype("U9"),
            lambda a: a.astype(float) * np.nan,
        ):  # fmt: skip
            arrays, text = parts(content, "network", tmp_path)
            arrays[name] = change(arrays[name])
            refused(read_network, "network", (arrays, text), tmp_path)
        arrays, text = parts(content, "network", tmp_path)
        del arrays[name]
        assert f"there is no array {name}" in refused(read_network, "network", (arrays, text), tmp_path)


CONTRADICTIONS: list[tuple[Change, str]] = [
    (lambda arrays, text: arrays.update(extra=np.zeros(2)), "nothing says what its array 'extra' is"),
    (lambda arrays, text: text.update(extra=1), r"network: extra: Extra inputs"),
    (lambda arrays, text: text["populations"][0].update(recurrent=None), "array 'hidden1.recurrent."),
    (lambda arrays, text: text["populations"][0].update(size=23), r"hidden1.target must lie in 0\.\.22"),
    (lambda arrays, text: text.update(inputs=19), r"hidden1.source must lie in 0\.\.18"),
    (lambda arrays, text: text.update(inputs=2**60), "network: inputs: Input should be less"),
    (lambda arrays, text: text["populations"][1].update(name="hidden1"), r"no array hidden1\.weight"),
    (lambda arrays, text: text["populations"].reverse(), "must lie in 0"),
    (lambda arrays, text: text["populations"][0].update(arithmetic="whole"), "numbers should have the keys decay_code"),
    (lambda arrays, text: arrays["hidden1.delay_steps"].__setitem__(3, -1), r"hidden1.delay_steps must lie in 0\.\."),
    (
        lambda arrays, text: arrays.update({"hidden1.source": arrays["hidden1.source"].astype(int) + 2**32}),
        "hidden1.source must",
    ),
    (lambda arrays, text: arrays["hidden1.recurrent.delay_steps"].__setitem__(0, 0), "delays are below 1"),
    (lambda arrays, text: text["populations"][0]["numbers"].update(tau_steps=0.5), "tau_steps >= 1"),
]


@pytest.mark.parametrize(("change", "match"), CONTRADICTIONS)
def test_arrays_that_contradict_each_other_are_no_network(change: Change, match: str, tmp_path: Path) -> None:
    arrays, text = parts(to_bytes(random_network(recurrent=True)), "network", tmp_path)
    change(arrays, text)
    message = refused(read_network, "network", (arrays, text), tmp_path)
    assert re.search(match, message), message


def test_integer_arithmetic_has_integer_weights_and_biases(tmp_path: Path) -> None:
    for name in ("hidden1.bias", "hidden2.weight"):
        arrays, text = parts(to_bytes(random_network(whole=True)), "network", tmp_path)
        arrays[name][2] += 0.5
        message = refused(read_network, "network", (arrays, text), tmp_path)
        assert f"{name.split('.')[0]} computes in integers" in message


def test_other_orders_and_widths_of_integers_are_the_same_network(tmp_path: Path) -> None:
    content = to_bytes(random_network(recurrent=True))
    arrays, text = parts(content, "network", tmp_path)
    for what in ("source", "target", "delay_steps", "weight"):
        arrays[f"hidden1.{what}"] = arrays[f"hidden1.{what}"][::-1].astype(float if what == "weight" else np.int64)
    np.savez(tmp_path / "n.npz", **arrays, network=np.array(json.dumps(text)))
    assert to_bytes(read_network(tmp_path / "n.npz")) == content


@pytest.mark.parametrize(
    ("change", "match"),
    [
        (lambda arrays, text: arrays.update(input=arrays["input"][:-1]), "must be numbers of shape"),
        (lambda arrays, text: arrays.update(input=arrays["input"].astype(float)), "input must be integers"),
        (lambda arrays, text: arrays.update(input=arrays["input"].astype(int) - 1), "none below 0"),
        (lambda arrays, text: arrays.pop("input"), "no array input"),
        (lambda arrays, text: arrays.update(hidden1=arrays["hidden1"][:, :2]), "hidden1 must be numbers of shape"),
        (lambda arrays, text: arrays.update(readout=arrays["readout"] * np.nan), "readout: .* values are not finite"),
        (lambda arrays, text: arrays.pop("hidden1"), "margins are of hidden1, which has no array"),
        (lambda arrays, text: text.pop("margins"), "trace: margins: Field required"),
        (lambda arrays, text: text["margins"].update(hidden1=None), r"trace: margins\.hidden1: "),
        (lambda arrays, text: text.update(notes=[]), "trace: notes: "),
    ],
)
def test_traces_are_checked_too(change: Change, match: str, tmp_path: Path) -> None:
    content = trace_bytes(random_trace(random_network()))
    arrays, text = parts(content, "trace", tmp_path)
    change(arrays, text)
    message = refused(read_trace, "trace", (arrays, text), tmp_path)
    assert re.search(match, message), message
