"""The catalogue: data sets by name, or a user's own by path: a file in SHD's layout, a folder of its splits, or a card.

A file ``words_train.h5``, ``words_valid.h5`` or ``words_test.h5`` is that split of the set, with the others beside
it; a folder is searched for such files of one set. A file of any other name is a set whose samples are all training
samples.
"""

import hashlib
import json
import os
import re
from functools import lru_cache
from pathlib import Path
from typing import Any

import numpy as np

from snn_delays.data.card import Card, SplitFile, datasets_folder, own_card, read_card, read_own_card
from snn_delays.data.files import remembered
from snn_delays.data.formats.shd import ShdRecordings
from snn_delays.errors import ConfigError, DataError
from snn_delays.messages import did_you_mean

SPLITS = ("train", "valid", "test")
_SUFFIXES = (".h5", ".hdf5")
_NAME = re.compile(rf"(?:(.*)_)?({'|'.join(SPLITS)})")


@lru_cache(maxsize=4)
def _cards(folder: Path) -> dict[str, Card]:
    listed = sorted((read_card(path) for path in folder.glob("*.toml")), key=lambda card: card.name)
    return {card.name: card for card in listed}


def cards() -> dict[str, Card]:
    """All data sets by name: the catalogue's, and those with cards in the folders ``SNN_DELAYS_CARDS``.

    Several folders are set apart as in ``PATH``. Raises DataError for a folder that is not there, a card that cannot be
    read, or a name that is taken, for display too.
    """
    known = dict(_cards(datasets_folder()))
    for folder in filter(None, os.environ.get("SNN_DELAYS_CARDS", "").split(os.pathsep)):
        if not Path(folder).is_dir():
            raise DataError(f"SNN_DELAYS_CARDS names the folder {folder}, which is not there")
        for path in sorted(Path(folder).glob("*.toml")):
            added = read_own_card(path)
            for other in known.values():
                if added.name == other.name or added.display_name == other.display_name:
                    raise DataError(f"{path}: there is a data set {other.name!r} already; give it another name")
            known[added.name] = added
    return known


def card(name: str | Path) -> Card:
    """The card of a data set: by its name in the catalogue, or by the path of one's own (:func:`card_at`).

    Raises ConfigError for a name that is neither.
    """
    name, known = str(name), cards()
    if name in known:
        return known[name]
    if is_path(name):
        return card_at(Path(name).expanduser())
    raise ConfigError(f"unknown data set {name!r}; {_names_there_are(name)}")


def lasting_name(name: str | Path) -> str:
    """The name of a data set as it holds wherever a program is started: a path becomes absolute.

    Whether anything is there is seen when it is opened. Raises ConfigError for what is neither a name nor a path.
    """
    name = str(name)
    if name in cards():
        return name
    if is_path(name):
        return str(Path(os.path.abspath(Path(name).expanduser())))
    raise ConfigError(f"there is no such data set; {_names_there_are(name)}")


def _names_there_are(name: str) -> str:
    return f"{did_you_mean(name, cards())}the catalogue has {', '.join(cards())}, and a path may name one's own"


def file_name_of(name: str) -> str:
    """A data set's name as a part of a file's: that of a path is its last part and a digest of the whole."""
    if name in cards():
        return name
    path = lasting_name(name)
    return f"{slug(Path(path).stem)}-{hashlib.sha256(path.encode(errors='surrogateescape')).hexdigest()[:8]}"


def is_path(name: str) -> bool:
    """Whether a data set is named by a path: by a separator, a suffix, or as something that is there."""
    return "/" in name or "\\" in name or name.lower().endswith((*_SUFFIXES, ".toml")) or os.path.exists(name)


def card_at(path: Path) -> Card:
    """The card of the data set at a path; its classes and channels are read from the files.

    Raises DataError if there is none, if a folder holds several, or if its splits contradict each other.
    """
    if path.suffix.lower() == ".toml":
        return read_own_card(path)
    if path.is_dir():
        files, where = _in_folder(path), path
    elif path.suffix.lower() in _SUFFIXES:
        if not path.is_file():
            raise DataError(f"there is no file {path}; give the path of an HDF5 file in SHD's layout, or of its folder")
        split = _NAME.fullmatch(path.stem)
        files = _beside(path.parent, split[1]) if split else {"train": path}
        where = path if split is None else path.parent
    else:
        raise DataError(
            f"{path} is no data set: expected a file in SHD's layout ({' or '.join(_SUFFIXES)}), a folder of such "
            "files named NAME_train.h5, NAME_test.h5, or a card (.toml)"
        )
    return _card(files, where)


def split_path(out: Path, split: str) -> Path:
    """The path of a split of the set that is written to ``out``: ``words_test.h5`` for ``words.h5``."""
    return out.with_name(f"{out.stem}_{split}{out.suffix}")


def _in_folder(folder: Path) -> dict[str, Path]:
    files = sorted(f for f in folder.iterdir() if f.suffix.lower() in _SUFFIXES and not f.name.startswith("."))
    named = {split[1] for file in files if (split := _NAME.fullmatch(file.stem))}
    if len(named) == 1:
        return _beside(folder, named.pop())
    if not named and len(files) == 1:
        return {"train": files[0]}
    if not files:
        raise DataError(f"{folder} holds no files in SHD's layout ({' or '.join(_SUFFIXES)}) and is no data set")
    raise DataError(
        f"{folder} holds {', '.join(file.name for file in files[:4])}{', ...' if len(files) > 4 else ''}, which is not "
        "one data set: name its parts NAME_train.h5, NAME_valid.h5 and NAME_test.h5, or give the path of one file"
    )


def _beside(folder: Path, name: str | None) -> dict[str, Path]:
    files: dict[str, Path] = {}
    for split in SPLITS:
        stem = split if name is None else f"{name}_{split}"
        there = [file for suffix in _SUFFIXES if (file := folder / f"{stem}{suffix}").is_file()]
        if len(there) > 1:
            raise DataError(f"{there[0]} and {there[1]} are both the split {split}; remove one of them")
        if there:
            files[split] = there[0]
    return files


def _card(files: dict[str, Path], where: Path) -> Card:
    headers = {split: _header(file) for split, file in files.items()}
    first_split, *others = files
    first, header = files[first_split], headers[first_split]
    for other in others:
        if any(headers[other][key] != header[key] for key in ("class_names", "sensor")):
            raise DataError(
                f"{first} and {files[other]} name other classes or have other channels, so they are not splits of one "
                "data set"
            )
    split = _NAME.fullmatch(first.stem)
    stored = np.dtype(header["stored"])
    values: dict[str, Any] = {
        "name": slug(first.stem if split is None else split[1] or first.resolve().parent.name),
        "title": f"data set of the user's own at {where}",
        "folder": str(first.parent.resolve()),
        "sensor": header["sensor"],
        "n_classes": len(header["class_names"]),
        "time_unit": f"{stored} seconds",
        "finest_dt_ms": 1.0 if stored.itemsize == 2 else 0.001,
        "splits": {split: SplitFile(file.name, headers[split]["samples"]) for split, file in files.items()},
        "missing_split": (
            f"all samples of {first} are for training: name its parts NAME_train.h5 and NAME_test.h5 "
            "(snn-delays data encode --test writes them so)"
            if split is None
            else f"put the missing one beside them, named as they are ({', '.join(f.name for f in files.values())})"
        ),
    }
    return own_card(values, str(where))


def _header(file: Path) -> dict[str, Any]:
    """Classes, channels and size of a file, remembered until it changes. Raises DataError for another layout."""

    def read() -> str:
        opened = ShdRecordings(file)
        if opened.stored.kind != "f":
            raise DataError(
                f"{file}: spikes/times holds {opened.stored}; SHD's layout has seconds, as float16 or longer"
            )
        about = {"class_names": opened.class_names, "sensor": opened.sensor}
        return json.dumps({**about, "stored": str(opened.stored), "samples": len(opened)})

    header: dict[str, Any] = json.loads(remembered(file, "header", read))
    return header


def slug(name: str) -> str:
    """A name that is fit for a file's."""
    return re.sub(r"[^\w.-]+", "-", name).strip("-.") or "own"
