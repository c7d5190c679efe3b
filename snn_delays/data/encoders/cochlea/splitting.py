"""Which recordings are for validation and for test: by a list, by speaker, by number, or by a draw."""

import re
from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np

from snn_delays.data.encoders.cochlea.labels import Labels
from snn_delays.errors import ConfigError, DataError
from snn_delays.reading import read_text

SPLITS = ("train", "valid", "test")
_RULES = "list:FILE, speakers:A,B, takes:0-4 or fraction:0.2"


def split_recordings(files: Sequence[Path], labels: Labels, rules: Mapping[str, str], seed: int = 0) -> tuple[str, ...]:
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
        for file, name in zip(files, labels.split):
            if name not in SPLITS:
                raise DataError(f"{file}: its split in the table is {name!r}; choose {', '.join(SPLITS)}")
        return labels.split
    if labels.split:
        raise ConfigError("the table of labels has a column split: leave the rules of splits out, or the column")
    if unknown := sorted(set(rules) - {"test", "valid"}):
        raise ConfigError(f"rules are for the splits test and valid, got {unknown[0]!r}")
    split = ["train"] * len(files)
    for name in sorted(rules):  # test before valid, which is drawn from what is left
        kind, _, text = rules[name].partition(":")
        if kind == "fraction":
            chosen = _drawn(files, labels, [i for i, other in enumerate(split) if other == "train"], text, seed)
        elif kind == "list" and text:
            chosen = _listed(files, Path(text))
        elif kind == "speakers" and text:
            chosen = _of_speakers(labels.speaker_name, text)
        elif kind == "takes" and text:
            chosen = _of_takes(labels.take, text)
        else:
            raise ConfigError(f"the rule of the split {name} is {_RULES}, got {rules[name]!r}")
        for i in sorted(chosen):
            if split[i] != "train":
                raise DataError(f"{files[i]} is in both {split[i]} and {name}; a recording is in one split")
            split[i] = name
    for name in ("train", *rules):
        if name not in split:
            raise DataError(f"the rules {dict(rules)} leave no recordings for {name}")
    return tuple(split)


def _listed(files: Sequence[Path], path: Path) -> set[int]:
    try:
        names = read_text(path).split("\n")
    except (OSError, ValueError) as error:
        raise DataError(f"cannot read the list {path} ({error}); expected one recording a line") from error
    by_path = {file.resolve(): i for i, file in enumerate(files)}
    by_name: dict[str, list[int]] = {}
    for i, file in enumerate(files):
        by_name.setdefault(file.name, []).append(i)
    chosen: set[int] = set()
    for name in filter(None, map(str.strip, names)):
        places = [by_path.get((folder / name).resolve()) for folder in (path.parent, Path())]
        alike = [place for place in places if place is not None][:1] or by_name.get(name, [])
        if len(alike) != 1:
            why = f"fits {len(alike)} recordings" if alike else "is none of the recordings given"
            raise DataError(f"{path}: {name} {why}; name each by its path from the folder of the list")
        chosen.update(alike)
    return chosen


def _of_speakers(speakers: Sequence[str], text: str) -> set[int]:
    if not speakers:
        raise DataError("speakers are not known from these names; choose another rule, or give a table of labels")
    chosen: set[int] = set()
    for who in map(str.strip, text.split(",")):
        number = who.lstrip("0") if who.isdecimal() else None  # 3 is 03
        of_speaker = {
            i for i, name in enumerate(speakers) if name == who or (name.isdecimal() and name.lstrip("0") == number)
        }
        if not of_speaker:
            raise DataError(f"no recording is of speaker {who!r}; there are {', '.join(sorted(set(speakers)))}")
        chosen |= of_speaker
    return chosen


def _of_takes(takes: Sequence[int], text: str) -> set[int]:
    if not takes:
        raise DataError("recordings have no numbers in these names; choose another rule")
    chosen: set[int] = set()
    for part in text.split(","):
        match = re.fullmatch(r"\s*(\d{1,9})(?:-(\d{1,9}))?\s*", part)
        if not match:
            raise ConfigError(f"numbers of recordings are written as 0-4 or 0,2,5, got {text!r}")
        first, last = int(match[1]), int(match[2] or match[1])
        in_range = {i for i, take in enumerate(takes) if first <= take <= last}
        if not in_range:
            raise DataError(f"no recording has a number in {part.strip()}; there are {min(takes)} to {max(takes)}")
        chosen |= in_range
    return chosen


def _drawn(files: Sequence[Path], labels: Labels, among: list[int], text: str, seed: int) -> set[int]:
    try:
        fraction = float(text)
    except ValueError:
        fraction = 0.0
    if not 0 < fraction < 1:
        raise ConfigError(f"a fraction lies between 0 and 1, as fraction:0.2, got {text!r}")
    random, chosen = np.random.default_rng(seed), set[int]()
    for label in sorted({labels.label[i] for i in among}):
        members = sorted((i for i in among if labels.label[i] == label), key=lambda i: files[i].as_posix())
        count = min(max(1, round(fraction * len(members))), len(members) - 1)  # a class keeps one to be trained on
        chosen.update(members[k] for k in random.permutation(len(members))[:count])
    return chosen
