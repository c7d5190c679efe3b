"""Speech Commands through the cochlea, split by split: the files of the card ``gsc-35-cochlea``."""

from pathlib import Path

from snn_delays.data.encoders.cochlea import BatchReport, Cochlea, encode_files
from snn_delays.data.encoders.cochlea.labels import Labels
from snn_delays.data.encoders.cochlea.listing import read_report
from snn_delays.data.files import Progress
from snn_delays.data.formats.speech_commands import WORDS, split_files


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
    whatever its seed; a run that was stopped goes on. Returns the report of each file; see :func:`encode_files`.

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
        named = [name.split("/") for name in names]
        labels = Labels(  # of all words, so that labels do not depend on which are there
            tuple(WORDS.index(word) for word, _ in named),
            tuple(number[recording.split("_")[0]] for _, recording in named),
            WORDS,
        )
        files = [folder / name for name in names]
        reports[out] = encode_files(files, out, cochlea, labels=labels, seed=seed, workers=workers, progress=progress)
    return reports
