"""Which recordings are held out, for validation and for test: by a list, by speaker, by number, or by a draw."""

import re
from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np

from snn_delays.data.encoders.cochlea.labels import Labels
from snn_delays.errors import ConfigError, DataError
from snn_delays.reading import read_text

SPLITS = ("train", "valid", "test")
_RULES = "list:FILE, speakers:A,B, takes:0-4 or fraction:0.2"


def split_recordings(files: Sequence[Path], found: Labels, rules: Mapping[str, str], seed: int = 0) -> tuple[str, ...]:
    """The split of every recording, ``"train"``, ``"valid"`` or ``"test"``.

    ``rules``: for ``"test"``, ``"valid"`` or both, one of

    - ``"list:FILE"``: the recordings named in a text file, one a line, from the folder of the file, as given, or by a
      bare name that is unique; as the lists of Speech Commands.
    - ``"speakers:A,B"``: all of these speakers, as names or numbers: none is in two splits.
    - ``"takes:0-4"``: those of these numbers, as 0 to 4 are the test set of the Free Spoken Digit Dataset.
    - ``"fraction:0.2"``: that share of each class, rounded, drawn with ``seed`` and independent of the order of files.

    What no rule names is for training. Without rules, a column ``split`` of the table of labels is taken.

    Raises ConfigError for a rule that is none, DataError for a name, speaker or number that no recording has, for a
    recording in two splits, or for a split without recordings.
    """
    if not rules:
        return _of_table(files, found)
    if found.split:
        raise ConfigError("the table of labels has a column split: leave the rules of splits out, or the column")
    split = ["train"] * len(files)
    for name in ("test", "valid"):
        if name not in rules:
            continue
        kind, _, text = rules[name].partition(":")
        if kind == "fraction":
            chosen = _drawn(files, found, [i for i, other in enumerate(split) if other == "train"], text, seed)
        elif kind in _CHOOSE and text:
            chosen = _CHOOSE[kind](files, found, text)
        else:
            raise ConfigError(f"the rule of the split {name} is {_RULES}, got {rules[name]!r}")
        for i in chosen:
            if split[i] != "train":
                raise DataError(f"{files[i]} is in both {split[i]} and {name}; a recording is in one split")
            split[i] = name
    if unknown := sorted(set(rules) - {"test", "valid"}):
        raise ConfigError(f"rules are for the splits test and valid, got {unknown[0]!r}")
    for name in ("train", *rules):
        if name not in split:
            raise DataError(f"the rules {dict(rules)} leave no recordings for {name}")
    return tuple(split)


def _of_table(files: Sequence[Path], found: Labels) -> tuple[str, ...]:
    for file, split in zip(files, found.split):
        if split not in SPLITS:
            raise DataError(f"{file}: its split in the table is {split!r}; choose {', '.join(SPLITS)}")
    return found.split


def _listed(files: Sequence[Path], found: Labels, text: str) -> list[int]:
    path = Path(text)
    try:
        names = read_text(path).split("\n")
    except (OSError, ValueError) as error:
        raise DataError(f"cannot read the list {path} ({error}); expected one recording a line") from error
    by_path = {file.resolve(): i for i, file in enumerate(files)}
    by_name: dict[str, list[int]] = {}
    for i, file in enumerate(files):
        by_name.setdefault(file.name, []).append(i)
    chosen = []
    for name in filter(None, map(str.strip, names)):
        places = [by_path.get((folder / name).resolve()) for folder in (path.parent, Path())]
        alike = [place for place in places if place is not None][:1] or by_name.get(name, [])
        if len(alike) != 1:
            why = f"fits {len(alike)} recordings" if alike else "is none of the recordings given"
            raise DataError(f"{path}: {name} {why}; name each by its path from the folder of the list")
        chosen.append(alike[0])
    return sorted(set(chosen))


def _of_speakers(files: Sequence[Path], found: Labels, text: str) -> list[int]:
    if not found.speaker_name:
        raise DataError("speakers are not known from these names; choose another rule, or give a table of labels")
    chosen: list[int] = []
    for who in map(str.strip, text.split(",")):
        mine = [i for i, name in enumerate(found.speaker_name) if _same(name, who)]
        if not mine:
            raise DataError(
                f"no recording is of speaker {who!r}; there are {', '.join(sorted(set(found.speaker_name)))}"
            )
        chosen += mine
    return sorted(set(chosen))


def _of_takes(files: Sequence[Path], found: Labels, text: str) -> list[int]:
    if not found.take:
        raise DataError("recordings have no numbers in these names; choose another rule")
    chosen: set[int] = set()
    for part in text.split(","):
        match = re.fullmatch(r"\s*(\d{1,9})(?:-(\d{1,9}))?\s*", part)
        if not match:
            raise ConfigError(f"numbers of recordings are written as 0-4 or 0,2,5, got {text!r}")
        first, last = int(match[1]), int(match[2] or match[1])
        mine = {i for i, take in enumerate(found.take) if first <= take <= last}
        if not mine:
            raise DataError(
                f"no recording has a number in {part.strip()}; there are {min(found.take)} to {max(found.take)}"
            )
        chosen |= mine
    return sorted(chosen)


_CHOOSE = {"list": _listed, "speakers": _of_speakers, "takes": _of_takes}


def _drawn(files: Sequence[Path], found: Labels, among: list[int], text: str, seed: int) -> list[int]:
    try:
        fraction = float(text)
    except ValueError:
        fraction = 0.0
    if not 0 < fraction < 1:
        raise ConfigError(f"a fraction lies between 0 and 1, as fraction:0.2, got {text!r}")
    random, chosen = np.random.default_rng(seed), list[int]()
    for label in sorted({found.label[i] for i in among}):
        members = sorted((i for i in among if found.label[i] == label), key=lambda i: files[i].as_posix())
        held_out = min(max(1, round(fraction * len(members))), len(members) - 1)  # a class keeps one to be trained on
        chosen += [members[k] for k in random.permutation(len(members))[:held_out]]
    return chosen


def _same(name: str, other: str) -> bool:
    return name == other or (name.isdecimal() and other.isdecimal() and name.lstrip("0") == other.lstrip("0"))
