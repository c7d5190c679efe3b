"""Class and speaker of a recording: from the name of the file, or from a table."""

import csv
import re
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from snn_delays.data.shd import CLASS_NAMES
from snn_delays.errors import DataError

_DIGITS = re.compile(r"lang-(english|german)_speaker-(\d+)_trial-(\d+)_digit-(\d)")
_COMMANDS = re.compile(r"(.+)_nohash_\d+")
_COLUMNS = ("file", "label", "speaker")
_MOST = 1 << 16  # labels and speakers are uint16 in SHD's layout


@dataclass(frozen=True)
class Labels:
    """Class and speaker of each recording, in their order, and the names of the classes."""

    label: tuple[int, ...]
    speaker: tuple[int, ...]
    class_names: tuple[str, ...]


def heidelberg_digit(stem: str) -> tuple[int, int, int] | None:
    """Label, speaker and trial told by a name such as ``lang-german_speaker-03_trial-0_digit-7``; None for others."""
    match = _DIGITS.fullmatch(stem)
    if match is None:
        return None
    return int(match[4]) + 10 * (match[1] == "german"), int(match[2]), int(match[3])


def label_files(files: Sequence[Path], table: Path | None = None) -> Labels:
    """Class and speaker of every file, by the first of these rules that all of them fit.

    1. ``table``, a CSV with the columns file, label and, if wanted, speaker. A file is named by its path, from the
       folder of the table or as given, or by its bare name where that is unique. Labels that are all whole numbers are
       taken as they are; others are numbered in the order of their names; so are speakers.
    2. Heidelberg Digits, ``lang-german_speaker-03_trial-0_digit-7.flac``: label 17 (digit, + 10 if German), speaker 3.
    3. Speech Commands, ``<word>/<speaker>_nohash_<k>.wav``: words and speakers numbered in the order of their names
       among the files given.

    Raises DataError naming the first file that does not fit.
    """
    if table is not None:
        return _from_table(files, table)
    digits = [heidelberg_digit(file.stem) for file in files]
    if all(digits):
        found = [digit for digit in digits if digit]
        return Labels(tuple(label for label, _, _ in found), _fitting([who for _, who, _ in found]), CLASS_NAMES)
    commands = [_COMMANDS.fullmatch(file.stem) for file in files]
    if all(commands):
        words, names = _numbered([file.absolute().parent.name for file in files])
        return Labels(words, _fitting(_numbered([match[1] for match in commands if match])[0]), names)
    # The rule that most files fit is the one meant; the first that breaks it is named.
    fits = max([list(map(bool, digits)), list(map(bool, commands))], key=sum)
    odd = files[fits.index(False)]
    raise DataError(
        f"{odd}: no class can be read from this name; expected lang-LANGUAGE_speaker-NN_trial-K_digit-D or "
        "WORD/SPEAKER_nohash_K for all files; leave it out, or give labels as a CSV with the columns file,label,speaker"
    )


def _from_table(files: Sequence[Path], table: Path) -> Labels:
    try:
        with table.open(newline="", encoding="utf-8-sig") as file:
            reader = csv.DictReader(file, skipinitialspace=True)
            columns = reader.fieldnames or ()
            rows = list(reader)
    except (OSError, UnicodeDecodeError, csv.Error) as error:
        raise DataError(
            f"cannot read {table} ({error}); expected a CSV with the columns {','.join(_COLUMNS)}"
        ) from error
    if missing := [name for name in _COLUMNS[:2] if name not in columns]:
        raise DataError(f"{table}: no column {missing[0]!r} in its first line; expected {','.join(_COLUMNS)}")
    by_path: dict[Path, int] = {}
    by_name: dict[str, list[int]] = {}
    for i, row in enumerate(rows):
        if not (row["file"] and row["label"]) or ("speaker" in columns and not row["speaker"]):
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
    speakers = [row["speaker"] if "speaker" in columns else "0" for row in chosen]
    if all(label.isdecimal() for label in labels):
        label_numbers = tuple(map(int, labels))
        if (largest := max(label_numbers)) >= _MOST:
            raise DataError(f"{table}: label {largest} does not fit SHD's layout, which has numbers up to {_MOST - 1}")
        names = tuple(map(str, range(largest + 1)))
    else:
        # Numbered over the whole table, so that a part of the files keeps the numbers of all.
        names = tuple(sorted({row["label"] for row in rows}))
        label_numbers = tuple(names.index(label) for label in labels)
    if all(speaker.isdecimal() for speaker in speakers):
        return Labels(label_numbers, _fitting(list(map(int, speakers))), names)
    order = {name: i for i, name in enumerate(sorted({row["speaker"] for row in rows}))}
    return Labels(label_numbers, _fitting([order[speaker] for speaker in speakers]), names)


def _numbered(names: list[str]) -> tuple[tuple[int, ...], tuple[str, ...]]:
    ordered = sorted(set(names))
    number = {name: i for i, name in enumerate(ordered)}
    return tuple(number[name] for name in names), tuple(ordered)


def _fitting(speakers: Sequence[int]) -> tuple[int, ...]:
    if speakers and max(speakers) >= _MOST:
        raise DataError(f"speaker {max(speakers)} does not fit SHD's layout, which has numbers up to {_MOST - 1}")
    return tuple(speakers)
