"""Speech Commands through the cochlea, split by split: the files of the card ``gsc-35-cochlea``."""

import csv
import sys
import tempfile
from pathlib import Path

from snn_delays.data.cochlea import Cochlea, encode_files
from snn_delays.data.files import Progress, data_folder
from snn_delays.data.speech_commands import WORDS, split_files
from snn_delays.errors import ConfigError


def encode_speech_commands(
    folder: Path,
    out_folder: Path,
    cochlea: Cochlea | None = None,
    *,
    seed: int = 0,
    workers: int | None = None,
    progress: Progress | None = None,
) -> dict[str, tuple[str, ...]]:
    """Write ``gsc_train.h5``, ``gsc_valid.h5`` and ``gsc_test.h5`` from the recordings in ``folder``.

    Labels are those of the 35 words, and a speaker has one number in all three files. What was written before is kept:
    a run that was stopped goes on. Returns the reasons of the recordings left out, by split; see :func:`encode_files`.

    Raises DataError as :func:`split_files` and :func:`encode_files` do.
    """
    splits, left_out = split_files(folder), {}
    hashes = sorted({name.split("/")[1].split("_")[0] for names in splits.values() for name in names})
    number = {speaker: i for i, speaker in enumerate(hashes)}
    for split, names in splits.items():
        out = out_folder / f"gsc_{split}.h5"
        if out.exists() or not names:
            continue
        with tempfile.TemporaryDirectory() as temporary:
            # A table with every word, so that labels do not depend on which words are there.
            table = Path(temporary, "labels.csv")
            with table.open("w", newline="", encoding="utf-8") as file:
                writer = csv.writer(file)
                writer.writerow(["file", "label", "speaker"])
                writer.writerows([f"no recording/{word}", word, "0"] for word in WORDS)
                for name in names:
                    word, recording = name.split("/")
                    writer.writerow([str((folder / name).resolve()), word, number[recording.split("_")[0]]])
            report = encode_files(
                [folder / name for name in names], out, cochlea,
                labels=table, seed=seed, workers=workers, progress=progress,
            )  # fmt: skip
        left_out[split] = tuple(reason for _, reason in report.failed)
    return left_out


if __name__ == "__main__":
    if len(sys.argv) not in (2, 3):
        raise ConfigError("usage: python -m snn_delays.data.encode_speech_commands FOLDER [OUT_FOLDER]")
    target = Path(sys.argv[2]) if len(sys.argv) == 3 else data_folder() / "gsc-35-cochlea"
    for name_of_split, reasons in encode_speech_commands(Path(sys.argv[1]), target).items():
        print(f"{target / f'gsc_{name_of_split}.h5'} written, {len(reasons)} recordings left out", *reasons, sep="\n")
