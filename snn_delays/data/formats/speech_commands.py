"""Google Speech Commands: one folder a word, official lists of the validation and test files.

Warden, "Speech Commands: A Dataset for Limited-Vocabulary Speech Recognition", arXiv 1804.03209.
"""

import wave
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from snn_delays.errors import DataError
from snn_delays.reading import as_data_error, read_text

# The 35 words of v0.02 in the order of the alphabet, which is that of the labels. v0.01 has 30 of them.
WORDS = (
    *("backward", "bed", "bird", "cat", "dog", "down", "eight", "five", "follow", "forward", "four", "go"),
    *("happy", "house", "learn", "left", "marvin", "nine", "no", "off", "on", "one", "right", "seven"),
    *("sheila", "six", "stop", "three", "tree", "two", "up", "visual", "wow", "yes", "zero"),
)
LISTS = {"valid": "validation_list.txt", "test": "testing_list.txt"}


def split_files(folder: Path, *, partial: bool = False) -> dict[str, list[str]]:
    """Paths ``<word>/<file>`` of each split, sorted: every wav file of the folder is in exactly one.

    ``partial``: the folder holds a part of the data set, so that the lists may name files that are not there.

    Raises DataError if a list is missing or empty, if both name a file, if one names a file that is not there, or if a
    folder is no word: what a list fails to name would be trained on.
    """
    listed = {split: _listed(folder / name) for split, name in LISTS.items()}
    if both := listed["valid"] & listed["test"]:
        raise DataError(f"{folder}: {min(both)} is in both {' and '.join(LISTS.values())}; unpack the archive again")
    there = sorted(f"{file.parent.name}/{file.name}" for file in folder.glob("[!_.]*/*.wav"))
    if strange := sorted({name.split("/")[0] for name in there} - set(WORDS)):
        raise DataError(
            f"{folder / strange[0]} is none of the {len(WORDS)} words of Speech Commands; move it elsewhere"
        )
    for split, names in listed.items():
        if not partial and (missing := sorted(names.difference(there))):
            raise DataError(
                f"{folder}: {LISTS[split]} names {len(missing):,} files that are not there, the first {missing[0]}; "
                "unpack the archive again, or read a part of the data set with partial=True"
            )
    splits: dict[str, list[str]] = {"train": [], "valid": [], "test": []}
    for name in there:
        splits[next((split for split, names in listed.items() if name in names), "train")].append(name)
    return splits


def _listed(path: Path) -> set[str]:
    remedy = "without the official lists the splits are unknown: unpack the archive again"
    with as_data_error(f"cannot read {path}", remedy, ValueError):
        names = set(read_text(path).split())
    if not names:
        raise DataError(f"{path} is empty; {remedy}")
    return names


def read_wav(path: Path, rate_hz: int) -> NDArray[np.float32]:
    """The samples of a 16-bit mono WAV, float32 ``[sample]`` in -1..1: integers over 32,768.

    Raises DataError naming the file if it is damaged, truncated, empty or of another kind.
    """
    try:
        with wave.open(str(path), "rb") as file:
            kind = (file.getnchannels(), 8 * file.getsampwidth(), file.getframerate())
            announced, content = file.getnframes(), file.readframes(file.getnframes())
    except (OSError, EOFError, RuntimeError, wave.Error) as error:  # RuntimeError: sizes that lead out of the file
        why = str(error) or "it ends within its header"
        raise DataError(f"{path} is damaged or not a WAV file of 16-bit PCM ({why}); unpack it again") from error
    if kind != (1, 16, rate_hz):
        raise DataError(
            f"{path} has {kind[0]} channel(s) of {kind[1]} bits at {kind[2]} Hz; expected 1 of 16 at {rate_hz} Hz"
        )
    if announced == 0:
        raise DataError(f"{path} holds no samples; unpack it again")
    if len(content) != 2 * announced:
        raise DataError(
            f"{path} is truncated: its header announces {announced} samples, {len(content) // 2} follow; "
            "unpack it again"
        )
    return np.frombuffer(content, dtype="<i2").astype(np.float32) / np.float32(32_768)
