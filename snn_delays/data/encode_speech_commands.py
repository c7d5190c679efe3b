"""Speech Commands through the cochlea, split by split: the files of the card ``gsc-35-cochlea``."""

import csv
import tempfile
from pathlib import Path

from snn_delays.data.cochlea import BatchReport, Cochlea, encode_files
from snn_delays.data.cochlea.listing import nameable, read_report
from snn_delays.data.files import Progress
from snn_delays.data.speech_commands import WORDS, split_files
from snn_delays.data.writing import writing


def encode_speech_commands(
    folder: Path,
    out_folder: Path,
    cochlea: Cochlea | None = None,
    *,
    seed: int = 0,
    workers: int | None = None,
    progress: Progress | None = None,
) -> dict[Path, BatchReport]:
    """Write ``gsc_train.h5``, ``gsc_valid.h5`` and ``gsc_test.h5`` from the recordings in ``folder``.

    Labels are those of the 35 words, and a speaker has one number in all three files. A file that is there is kept,
    whatever seed it was made with; a run that was stopped goes on. Returns what each file holds and which recordings
    were left out of it, also of files made earlier; see :func:`encode_files`.

    Raises DataError as :func:`split_files` and :func:`encode_files` do.
    """
    splits, reports = split_files(folder), {}
    hashes = sorted({name.split("/")[1].split("_")[0] for names in splits.values() for name in names})
    number = {speaker: i for i, speaker in enumerate(hashes)}
    for split, names in splits.items():
        out = out_folder / f"gsc_{split}.h5"
        if out.exists():
            reports[out] = read_report(out)
            continue
        if not names:
            continue
        with tempfile.TemporaryDirectory() as temporary:
            # A table with every word, so that labels do not depend on which words are there.
            table = Path(temporary, "labels.csv")
            with writing(table), table.open("w", newline="", encoding="utf-8") as file:
                writer = csv.writer(file)
                writer.writerow(["file", "label", "speaker"])
                writer.writerows([f"no recording/{word}", word, "0"] for word in WORDS)
                for name in names:
                    word, recording = name.split("/")
                    if nameable(folder / name):
                        writer.writerow([str(folder / name), word, number[recording.split("_")[0]]])
            reports[out] = encode_files(
                [folder / name for name in names], out, cochlea,
                labels=table, seed=seed, workers=workers, progress=progress,
            )  # fmt: skip
    return reports
