"""Class and speaker of a recording: from the name of the file, its folder, or a table."""

import csv
import io
import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

from snn_delays.data.formats.shd import CLASS_NAMES
from snn_delays.errors import ConfigError, DataError
from snn_delays.reading import read_text

_DIGITS = re.compile(r"lang-(english|german)_speaker-(\d+)_trial-(\d+)_digit-(\d)")
_COMMANDS = re.compile(r"(.+)_nohash_(\d+)")
_SPOKEN = re.compile(r"([^_]+)_([^_]+)_(\d+)")
_COLUMNS, _OPTIONAL = ("file", "label", "speaker"), ("speaker", "split")
_MOST = (1 << 16) - 1  # labels and speakers are uint16 in SHD's layout, and the last number is of speakers not known


@dataclass(frozen=True)
class Labels:
    """Class and speaker of each recording, in their order, and the names of the classes.

    ``speaker``: -1 where nobody says. ``speaker_name``, ``take``: the speaker as the name or the table has it, and the
    number of the recording among those of a speaker and class; empty where nobody says. ``split``: as a table says.
    """

    label: tuple[int, ...]
    speaker: tuple[int, ...]
    class_names: tuple[str, ...]
    speaker_name: tuple[str, ...] = ()
    take: tuple[int, ...] = ()
    split: tuple[str, ...] = ()


def heidelberg_digit(stem: str) -> tuple[int, int, int] | None:
    """Label, speaker and trial from a name such as ``lang-german_speaker-03_trial-0_digit-7``; None for others."""
    match = _DIGITS.fullmatch(stem)
    if match is None:
        return None
    return int(match[4]) + 10 * (match[1] == "german"), int(match[2]), int(match[3])


def label_files(files: Sequence[Path], table: Path | None = None, scheme: str = "auto") -> Labels:
    """Class and speaker of every file: from ``table``, or by a ``scheme`` of names that all of them fit.

    ``table``: a CSV with the columns file, label and, optionally, speaker and split. A file is named by its path, from
    the folder of the table or as given, or by its bare name where that is unique. Labels that are all integers are
    taken as they are; others are numbered in the order of their names; so are speakers.

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
    return _SCHEMES[scheme if scheme != "auto" else _recognised(files)](files)


def _recognised(files: Sequence[Path]) -> str:
    """The scheme that all files fit."""
    stems = [file.stem for file in files]
    fits = {
        "heidelberg": [bool(_DIGITS.fullmatch(stem)) for stem in stems],
        "speech_commands": [bool(_COMMANDS.fullmatch(stem)) for stem in stems],
        "spoken_digits": [bool(_SPOKEN.fullmatch(stem)) for stem in stems],
    }
    for scheme in ("heidelberg", "speech_commands"):
        if all(fits[scheme]):
            return scheme
    folders = [_folder(file) for file in files]
    meant = max(fits, key=lambda scheme: sum(fits[scheme]))  # the first that breaks it is named
    if all(fits["spoken_digits"]):
        words = [stem.split("_")[0] for stem in stems]
        if len(set(folders)) == 1 or words == folders:
            return "spoken_digits"
        if len(set(words)) == 1:
            return "folder"
        raise DataError(
            f"{files[0]}: by its name it is of class {words[0]!r}, by its folder of {folders[0]!r}; say which is meant "
            "with the scheme spoken_digits or folder"
        )
    if len(set(folders)) > 1 and 2 * sum(fits[meant]) <= len(files) and not any(fits["heidelberg"]):
        return "folder"
    odd = files[fits[meant].index(False)]
    raise DataError(
        f"{odd}: no class can be read from this name; expected lang-LANGUAGE_speaker-NN_trial-K_digit-D, "
        "WORD/SPEAKER_nohash_K or LABEL_SPEAKER_K for all files, or a folder for each class; leave it out, or give "
        "labels as a CSV with the columns file,label,speaker"
    )


def _heidelberg(files: Sequence[Path]) -> Labels:
    found = [heidelberg_digit(_match(_DIGITS, file)[0]) or (0, 0, 0) for file in files]
    speakers = [who for _, who, _ in found]
    return Labels(
        tuple(label for label, _, _ in found), _fitting(speakers), CLASS_NAMES,
        tuple(map(str, speakers)), tuple(trial for _, _, trial in found),
    )  # fmt: skip


def _speech_commands(files: Sequence[Path]) -> Labels:
    found = [_match(_COMMANDS, file) for file in files]
    return _named([_folder(file) for file in files], [match[1] for match in found], [int(match[2]) for match in found])


def _spoken_digits(files: Sequence[Path]) -> Labels:
    found = [_match(_SPOKEN, file) for file in files]
    return _named([match[1] for match in found], [match[2] for match in found], [int(match[3]) for match in found])


def _folders(files: Sequence[Path]) -> Labels:
    words, names = _numbered([_folder(file) for file in files])
    return Labels(words, (-1,) * len(files), names)


_SCHEMES: dict[str, Callable[[Sequence[Path]], Labels]] = {
    "heidelberg": _heidelberg,
    "speech_commands": _speech_commands,
    "spoken_digits": _spoken_digits,
    "folder": _folders,
}


def _named(words: list[str], speakers: list[str], takes: list[int]) -> Labels:
    labels, names = _numbered(words)
    return Labels(labels, _fitting(_numbered(speakers)[0]), names, tuple(speakers), tuple(takes))


def _folder(file: Path) -> str:
    return file.absolute().parent.name


def _match(pattern: re.Pattern[str], file: Path) -> re.Match[str]:
    match = pattern.fullmatch(file.stem)
    if match is None:
        raise DataError(f"{file}: its name does not fit the scheme requested; leave it out or rename it")
    return match


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
    by_path: dict[Path, int] = {}
    by_name: dict[str, list[int]] = {}
    for i, row in enumerate(rows):
        if not (row["file"] and row["label"]) or any(name in columns and not row[name] for name in _OPTIONAL):
            raise DataError(f"{table}, row {i + 1}: a column is empty; every file needs a label")
        path = (table.parent / row["file"]).resolve()
        if path in by_path:
            raise DataError(f"{table}, row {i + 1}: {row['file']} is named twice")
        by_path[path] = i
        by_path.setdefault(Path(row["file"]).resolve(), i)
        by_name.setdefault(path.name, []).append(i)
    chosen = []
    for recording in files:
        row_number = by_path.get(recording.resolve())
        if row_number is None:
            candidates = by_name.get(recording.name, [])
            if len(candidates) != 1:
                why = "is not in" if not candidates else f"fits {len(candidates)} rows of"
                raise DataError(f"{recording} {why} {table}; name each file by its path from the folder of the table")
            row_number = candidates[0]
        chosen.append(rows[row_number])
    labels = [row["label"] for row in chosen]
    speakers = tuple(row["speaker"] for row in chosen) if "speaker" in columns else ()
    splits = tuple(row["split"] for row in chosen) if "split" in columns else ()
    if all(map(_is_number, labels)):
        label_numbers = tuple(map(int, labels))
        if (largest := max(label_numbers)) >= _MOST:
            raise DataError(f"{table}: label {largest} does not fit SHD's layout, which has numbers up to {_MOST - 1}")
        names = tuple(map(str, range(largest + 1)))
    else:
        # Numbered over the whole table, so that a part of the files keeps the numbers of all.
        names = tuple(sorted({row["label"] for row in rows}))
        label_numbers = tuple(names.index(label) for label in labels)
    if not speakers:
        numbers = [-1] * len(chosen)
    elif all(map(_is_number, speakers)):
        numbers = list(map(int, speakers))
    else:
        order = {name: i for i, name in enumerate(sorted({row["speaker"] for row in rows}))}
        numbers = [order[speaker] for speaker in speakers]
    return Labels(label_numbers, _fitting(numbers), names, speakers, split=splits)


def _is_number(text: str) -> bool:
    return text.isdecimal() and len(text) < 19  # longer ones are names


def _numbered(names: list[str]) -> tuple[tuple[int, ...], tuple[str, ...]]:
    ordered = sorted(set(names))
    number = {name: i for i, name in enumerate(ordered)}
    return tuple(number[name] for name in names), tuple(ordered)


def _fitting(speakers: Sequence[int]) -> tuple[int, ...]:
    if speakers and max(speakers) >= _MOST:
        raise DataError(f"speaker {max(speakers)} does not fit SHD's layout, which has numbers up to {_MOST - 1}")
    return tuple(speakers)
