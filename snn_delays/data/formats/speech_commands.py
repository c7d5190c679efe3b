"""Google Speech Commands: one folder a word, official lists of the validation and test files, log-mel features.

Warden, "Speech Commands: A Dataset for Limited-Vocabulary Speech Recognition", arXiv 1804.03209.
"""

import hashlib
import json
import re
import wave
from dataclasses import asdict
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from snn_delays.data.catalogue.lookup import Card, identify
from snn_delays.data.encoders.log_mel import PUBLISHED, VARIANTS, LogMel, log_mel
from snn_delays.data.files import checksums
from snn_delays.data.formats.event_files import check_complete
from snn_delays.data.recordings import FeatureRecordings, Reader
from snn_delays.errors import BackendUnavailableError, DataError
from snn_delays.reading import read_text

# The 35 words of v0.02 in the order of the alphabet, which is that of the labels. v0.01 has 30 of them.
WORDS = (
    *("backward", "bed", "bird", "cat", "dog", "down", "eight", "five", "follow", "forward", "four", "go"),
    *("happy", "house", "learn", "left", "marvin", "nine", "no", "off", "on", "one", "right", "seven"),
    *("sheila", "six", "stop", "three", "tree", "two", "up", "visual", "wow", "yes", "zero"),
)
LISTS = {"valid": "validation_list.txt", "test": "testing_list.txt"}
_NAME = re.compile(r"([0-9a-f]{8})_nohash_\d+\.wav")


class SpeechCommands(FeatureRecordings):
    """A split of Speech Commands in the order of its paths ``<word>/<speaker>_nohash_<k>.wav``.

    ``"valid"`` and ``"test"`` are the files in ``validation_list.txt`` and ``testing_list.txt``, ``"train"`` all
    others; the lists put every speaker into one of the three. Labels are those of :data:`WORDS` whichever words are
    there, and the number of a speaker is the hash in the file names.

    ``partial``: the folder holds a part of the data set. Raises DataError as :func:`split_files` does, or for no files.
    """

    def __init__(
        self,
        path: Path,
        split: str,
        features: LogMel = PUBLISHED,
        card: Card | None = None,
        *,
        partial: bool = False,
    ) -> None:
        self.path, self.split, self.features, self._card = path, split, features, card
        self.class_names, self.sensor, self.frame_ms = WORDS, (features.n_mels,), features.frame_ms
        self.files = split_files(path, partial=partial)[split]
        if not self.files:
            raise DataError(f"{path} holds no files of the split {split}; unpack the archive again")

    def __len__(self) -> int:
        return len(self.files)

    def frames(self, i: int) -> tuple[NDArray[np.float32], int, int]:
        """Log-mel features float32 ``[frame, mel]``, label and speaker of a recording.

        Raises DataError naming the file if it is damaged or not 16-bit mono PCM at the rate of the features.
        """
        i = self.number(i)
        file = self.path / self.files[i]
        if not (name := _NAME.fullmatch(file.name)):
            raise DataError(
                f"{file} is not named <8 hexadecimal digits>_nohash_<number>.wav, so its speaker is unknown"
            )
        waveform = read_wav(file, self.features.rate_hz)
        return log_mel(waveform, self.features), WORDS.index(file.parent.name), int(name[1], 16)

    def checksum(self) -> str:
        """sha256 of the folder's, the split and the features."""
        made_of = [checksums(self.path).sha256, self.split, asdict(self.features)]
        return hashlib.sha256(json.dumps(made_of, sort_keys=True).encode()).hexdigest()

    def source(self) -> str:
        """Display name of the data set, by the archive's checksum, as the folder has none; see :func:`identify`."""
        return identify(self.path, first=self._card.name if self._card else "")


def open_speech_commands(card: Card, split: str, path: Path, reader: Reader) -> SpeechCommands:
    """The split of a card, whose settings name the features: ``log_mel`` is one of :data:`log_mel.VARIANTS`.

    Raises DataError if the folder is not the whole data set, unless the card's settings have ``any_number``.
    """
    if reader == "tonic":
        raise BackendUnavailableError(f"Tonic has no class for {card.display_name}; read it with reader='own'")
    if (name := card.settings.get("log_mel", "published")) not in VARIANTS:
        raise DataError(f"card {card.name!r}: settings.log_mel is {name!r}; choose {' or '.join(VARIANTS)}")
    partial = bool(card.settings.get("any_number"))
    recordings = SpeechCommands(path, split, VARIANTS[name], card, partial=partial)
    check_complete(recordings, card, split)
    return recordings


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
    try:
        names = set(read_text(path).split())
    except (OSError, ValueError) as error:
        raise DataError(
            f"cannot read {path} ({error}); without the official lists the splits are unknown: unpack the archive again"
        ) from error
    if not names:
        raise DataError(f"{path} is empty; without the official lists the splits are unknown: unpack the archive again")
    return names


def read_wav(path: Path, rate_hz: int) -> NDArray[np.float32]:
    """The samples of a 16-bit mono WAV, float32 ``[sample]`` in -1..1: whole numbers over 32,768.

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
