"""Class and speaker of a recording: from the name of the file, its folder, or a table."""

import csv
import io
import re
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from snn_delays.data.formats.shd import CLASS_NAMES
from snn_delays.errors import ConfigError, DataError
from snn_delays.reading import read_text

_SCHEMES = {
    "heidelberg": re.compile(r"lang-(english|german)_speaker-(?P<speaker>\d+)_trial-(?P<take>\d+)_digit-(\d)"),
    "speech_commands": re.compile(r"(?P<speaker>.+)_nohash_(?P<take>\d+)"),
    "spoken_digits": re.compile(r"(?P<word>[^_]+)_(?P<speaker>[^_]+)_(?P<take>\d+)"),
    "folder": re.compile(r"(?s).*"),
}
_COLUMNS, _OPTIONAL = ("file", "label", "speaker"), ("speaker", "split")
_MOST = (1 << 16) - 1  # labels and speakers are uint16 in SHD's layout, and the last number is of speakers not known


@dataclass(frozen=True)
class Labels:
    """Class and speaker of each recording, in their order, and the names of the classes.

    ``speaker``: -1 where it is not known. ``speaker_name``, ``take``, ``split``: the speaker as the name or the table
    has it, the number of the recording among those of a speaker and class, and the split; empty where not known.

    Raises DataError for speakers that SHD's layout cannot hold.
    """

    label: tuple[int, ...]
    speaker: tuple[int, ...]
    class_names: tuple[str, ...]
    speaker_name: tuple[str, ...] = ()
    take: tuple[int, ...] = ()
    split: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        if (largest := max(self.speaker, default=-1)) >= _MOST:
            raise DataError(f"speaker {largest} does not fit SHD's layout, which has numbers up to {_MOST - 1}")


def heidelberg_digit(stem: str) -> tuple[int, int, int] | None:
    """Label, speaker and trial from a name such as ``lang-german_speaker-03_trial-0_digit-7``; None for others."""
    match = _SCHEMES["heidelberg"].fullmatch(stem)
    return match and (int(match[4]) + 10 * (match[1] == "german"), int(match["speaker"]), int(match["take"]))


def label_files(files: Sequence[Path], table: Path | None = None, scheme: str = "auto") -> Labels:
    """Class and speaker of every file: from ``table``, or by a ``scheme`` of names that all of them fit.

    ``table``: a CSV with the columns file, label and, optionally, speaker and split. A file is named by its path, from
    the folder of the table or as given, or by its bare name where that is unique. Labels and speakers that are all
    integers are taken as they are; others are numbered in the order of their names.

    ``"heidelberg"``: ``lang-german_speaker-03_trial-0_digit-7.flac``, label 17 (digit, + 10 if German), speaker 3.
    ``"speech_commands"``: ``<word>/<speaker>_nohash_<k>.wav``. ``"spoken_digits"``: ``<label>_<speaker>_<k>.wav``, as
    the Free Spoken Digit Dataset. ``"folder"``: the folder of a file is its class, and no speaker is known.
    Classes and speakers that are names are numbered in their order among the files given. ``"auto"`` takes the first
    that all files fit.

    Raises DataError naming the first file that does not fit, or where names and folders say different classes;
    ConfigError for an unknown scheme.
    """
    if scheme not in ("auto", *_SCHEMES):
        raise ConfigError(f"unknown scheme of names {scheme!r}; choose auto, {', '.join(_SCHEMES)}")
    if table is not None:
        if scheme != "auto":
            raise ConfigError(f"a table of labels and the scheme {scheme!r} exclude each other; give one of them")
        return _from_table(files, table)
    return _from_names(files, scheme if scheme != "auto" else _recognised(files))


def _recognised(files: Sequence[Path]) -> str:
    """The scheme that all files fit."""
    fits = {
        scheme: [bool(pattern.fullmatch(file.stem)) for file in files]
        for scheme, pattern in _SCHEMES.items()
        if scheme != "folder"
    }
    for scheme in ("heidelberg", "speech_commands"):
        if all(fits[scheme]):
            return scheme
    folders = [_folder(file) for file in files]
    closest = max(fits, key=lambda scheme: sum(fits[scheme]))  # the first that breaks it is named
    if all(fits["spoken_digits"]):
        words = [file.stem.split("_")[0] for file in files]
        if len(set(folders)) == 1 or words == folders:
            return "spoken_digits"
        if len(set(words)) == 1:
            return "folder"
        raise DataError(
            f"{files[0]}: by its name it is of class {words[0]!r}, by its folder of {folders[0]!r}; say which is meant "
            "with the scheme spoken_digits or folder"
        )
    if len(set(folders)) > 1 and 2 * sum(fits[closest]) <= len(files) and not any(fits["heidelberg"]):
        return "folder"
    raise DataError(
        f"{files[fits[closest].index(False)]}: no class can be read from this name; expected "
        "lang-LANGUAGE_speaker-NN_trial-K_digit-D, WORD/SPEAKER_nohash_K or LABEL_SPEAKER_K for all files, or a folder "
        "for each class; leave it out, or give labels as a CSV with the columns file,label,speaker"
    )


def _from_names(files: Sequence[Path], scheme: str) -> Labels:
    fields = []
    for file in files:
        if (match := _SCHEMES[scheme].fullmatch(file.stem)) is None:
            raise DataError(f"{file}: its name does not fit the scheme requested; leave it out or rename it")
        fields.append(match.groupdict())
    takes = tuple(int(field["take"]) for field in fields if "take" in field)
    if scheme == "heidelberg":
        speakers = tuple(int(field["speaker"]) for field in fields)
        labels = tuple(digit[0] for file in files if (digit := heidelberg_digit(file.stem)))
        return Labels(labels, speakers, CLASS_NAMES, tuple(map(str, speakers)), takes)
    words = [field.get("word", _folder(file)) for field, file in zip(fields, files)]
    labels, class_names = _numbered(words, words)
    names = [field["speaker"] for field in fields if "speaker" in field]
    speakers = _numbered(names, names)[0] or (-1,) * len(files)
    return Labels(labels, speakers, class_names, tuple(names), takes)


def _folder(file: Path) -> str:
    return file.absolute().parent.name


def _from_table(files: Sequence[Path], table: Path) -> Labels:
    try:
        reader = csv.DictReader(io.StringIO(read_text(table)), skipinitialspace=True)
        columns = reader.fieldnames or ()
        rows = list(reader)
    except (OSError, ValueError, csv.Error) as error:
        raise DataError(
            f"cannot read {table} ({error}); expected a CSV with the columns {','.join(_COLUMNS)}"
        ) from error
    if missing := [name for name in _COLUMNS[:2] if name not in columns]:
        raise DataError(f"{table}: no column {missing[0]!r} in its first line; expected {','.join(_COLUMNS)}")
    by_path: dict[Path, dict[str, str]] = {}
    by_name: dict[str, list[dict[str, str]]] = {}
    for i, row in enumerate(rows):
        if not (row["file"] and row["label"]) or any(name in columns and not row[name] for name in _OPTIONAL):
            raise DataError(f"{table}, row {i + 1}: a column is empty; every file needs a label")
        path = (table.parent / row["file"]).resolve()
        if path in by_path:
            raise DataError(f"{table}, row {i + 1}: {row['file']} is named twice")
        by_path[path] = row
        by_path.setdefault(Path(row["file"]).resolve(), row)
        by_name.setdefault(path.name, []).append(row)
    chosen = []
    for recording in files:
        exact = by_path.get(recording.resolve())
        candidates = by_name.get(recording.name, []) if exact is None else [exact]
        if len(candidates) != 1:
            why = "is not in" if not candidates else f"fits {len(candidates)} rows of"
            raise DataError(f"{recording} {why} {table}; name each file by its path from the folder of the table")
        chosen += candidates

    def numbers_and_names(column: str) -> tuple[tuple[int, ...], tuple[str, ...]]:
        """Integers as they are; else in the order of the whole table, so that a part keeps the numbers of all."""
        values = [row[column] for row in chosen]
        if all(value.isdecimal() and len(value) < 19 for value in values):  # longer ones are names
            return tuple(map(int, values)), ()
        return _numbered(values, [row[column] for row in rows])

    labels, class_names = numbers_and_names("label")
    if not class_names:
        if (largest := max(labels)) >= _MOST:
            raise DataError(f"{table}: label {largest} does not fit SHD's layout, which has numbers up to {_MOST - 1}")
        class_names = tuple(map(str, range(largest + 1)))
    speaker_names, splits = (
        tuple(row[column] for row in chosen) if column in columns else () for column in ("speaker", "split")
    )
    speakers = numbers_and_names("speaker")[0] if speaker_names else (-1,) * len(chosen)
    return Labels(labels, speakers, class_names, speaker_names, split=splits)


def _numbered(names: Sequence[str], among: Sequence[str]) -> tuple[tuple[int, ...], tuple[str, ...]]:
    """Numbers of ``names`` in the order of all that are ``among`` them, and these in order."""
    ordered = sorted(set(among))
    number = {name: i for i, name in enumerate(ordered)}
    return tuple(number[name] for name in names), tuple(ordered)
