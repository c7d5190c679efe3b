"""Google Speech Commands as log-mel features."""

import hashlib
import json
import re
from dataclasses import asdict
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from snn_delays.data.card import Card
from snn_delays.data.encoders.log_mel import PUBLISHED, VARIANTS, LogMel, log_mel
from snn_delays.data.files import checksums
from snn_delays.data.formats.speech_commands import WORDS, read_wav, split_files
from snn_delays.data.recordings import FeatureRecordings, Reader, check_complete
from snn_delays.errors import BackendUnavailableError, DataError

_NAME = re.compile(r"([0-9a-f]{8})_nohash_\d+\.wav")


class SpeechCommands(FeatureRecordings):
    """A split of Speech Commands in the order of its paths ``<word>/<speaker>_nohash_<k>.wav``.

    ``"valid"`` and ``"test"`` are the files in ``validation_list.txt`` and ``testing_list.txt``, ``"train"`` all
    others; the lists put every speaker into one of the three. Labels are those of :data:`WORDS` whichever words are
    there, and the number of a speaker is the hash in the file names.

    ``partial``: the folder holds a part of the data set. Raises DataError as :func:`split_files` does, or for no files.
    """

    def __init__(self, path: Path, split: str, features: LogMel = PUBLISHED, *, partial: bool = False) -> None:
        self.path, self.split, self.features = path, split, features
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
        parts = [checksums(self.path).sha256, self.split, asdict(self.features)]
        return hashlib.sha256(json.dumps(parts, sort_keys=True).encode()).hexdigest()


def open_speech_commands(card: Card, split: str, path: Path, reader: Reader) -> SpeechCommands:
    """The split of a card, whose settings name the features: ``log_mel`` is one of :data:`log_mel.VARIANTS`.

    Raises DataError if the folder is not the whole data set, unless the card's settings have ``any_number``.
    """
    if reader == "tonic":
        raise BackendUnavailableError(f"Tonic has no class for {card.display_name}; read it with reader='own'")
    if (name := card.settings.get("log_mel", "published")) not in VARIANTS:
        raise DataError(f"card {card.name!r}: settings.log_mel is {name!r}; choose {' or '.join(VARIANTS)}")
    partial = bool(card.settings.get("any_number"))
    recordings = SpeechCommands(path, split, VARIANTS[name], partial=partial)
    check_complete(recordings, card, split)
    return recordings
