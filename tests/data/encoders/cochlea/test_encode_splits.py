"""Recordings of a whole data set: schemes of names, splits by list, speaker, number or draw, runs that were stopped."""

import fcntl
import os
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

pytest.importorskip("soundfile")
from snn_delays.data import Binning, load_binned
from snn_delays.data.encoders.cochlea import Cochlea, encode_files, encode_splits, label_files
from snn_delays.data.encoders.cochlea import batch as batch_module
from snn_delays.data.encoders.cochlea.splitting import split_recordings
from snn_delays.data.formats.shd import read_shd_hdf5
from snn_delays.errors import ConfigError, DataError
from tests.support.recordings_made_up import vowel, write

FEW = Cochlea(channels=12)
SPOKEN = [Path("in", f"{word}_{who}_{k}.wav") for word in ("go", "stop") for who in ("eva", "adam") for k in range(5)]


# Names


def test_names_of_the_free_spoken_digits() -> None:
    labels = label_files([Path("r/7_jackson_32.wav"), Path("r/0_theo_1.wav"), Path("r/7_theo_0.wav")])
    assert (labels.label, labels.speaker, labels.class_names) == ((1, 0, 1), (0, 1, 1), ("0", "7"))
    assert (labels.speaker_name, labels.take) == (("jackson", "theo", "theo"), (32, 1, 0))


def test_a_folder_for_each_class() -> None:
    labels = label_files([Path("in/go/a.wav"), Path("in/stop/a.wav"), Path("in/go/b b.flac")])
    assert (labels.label, labels.speaker, labels.class_names) == ((0, 1, 0), (-1, -1, -1), ("go", "stop"))
    assert (labels.speaker_name, labels.take) == ((), ())


def test_names_and_folders_that_disagree_are_refused_until_one_is_chosen() -> None:
    files = [Path("train/go_eva_0.wav"), Path("test/stop_eva_1.wav")]
    with pytest.raises(DataError, match=r"go_eva_0\.wav: by its name it is of class 'go', by its folder of 'train'"):
        label_files(files)
    assert label_files(files, scheme="spoken_digits").class_names == ("go", "stop")
    assert label_files(files, scheme="folder").class_names == ("test", "train")
    assert label_files([Path("go/go_eva_0.wav"), Path("stop/stop_eva_1.wav")]).speaker == (0, 0)
    assert label_files([Path("go/take_eva_0.wav"), Path("stop/take_eva_1.wav")]).class_names == ("go", "stop")


@pytest.mark.parametrize(
    ("names", "odd"),
    [
        (["a/go_eva_0.wav", "a/go_eva_1.wav", "b/hello.wav"], "hello"),
        (["a/lang-german_speaker-03_trial-0_digit-7.wav", "b/c.wav", "d/e.wav"], "c"),
        (["in/a.wav", "in/b.wav"], "a"),
    ],
)
def test_an_odd_name_is_named(names: list[str], odd: str) -> None:
    with pytest.raises(DataError, match=rf"{odd}\.wav: no class can be read"):
        label_files([Path(name) for name in names])


def test_schemes_are_refused_by_name(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="unknown scheme of names 'fsdd'; choose auto, heidelberg"):
        label_files(SPOKEN, scheme="fsdd")
    with pytest.raises(DataError, match=r"go_eva_0\.wav: its name does not fit"):
        label_files(SPOKEN, scheme="heidelberg")
    with pytest.raises(ConfigError, match="exclude each other"):
        label_files(SPOKEN, tmp_path / "labels.csv", "folder")


# Splits


def chosen_by(rule: str, name: str = "test", files: list[Path] = SPOKEN, seed: int = 0) -> set[str]:
    split = split_recordings(files, label_files(files), {name: rule}, seed)
    assert set(split) == {"train", name}
    return {file.name for file, each in zip(files, split) if each == name}


def test_rules_choose_what_they_say(tmp_path: Path) -> None:
    assert chosen_by("speakers:eva") == {f.name for f in SPOKEN if "_eva_" in f.name}
    assert chosen_by("takes:0-1, 4", "valid") == {f.name for f in SPOKEN if f.stem[-1] in "014"}
    (tmp_path / "list.txt").write_text("go_eva_0.wav\n\nin/stop_adam_3.wav\n")
    assert chosen_by(f"list:{tmp_path / 'list.txt'}") == {"go_eva_0.wav", "stop_adam_3.wav"}
    digits = [Path(f"lang-german_speaker-{who:02}_trial-0_digit-{d}.wav") for who in (0, 3, 11) for d in range(3)]
    for who in ("03", "3"):
        assert chosen_by(f"speakers:{who}", files=digits) == {f.name for f in digits if "speaker-03" in f.name}


def test_a_draw_is_of_every_class_repeatable_and_independent_of_the_order() -> None:
    drawn = chosen_by("fraction:0.2")
    assert sorted(name.split("_")[0] for name in drawn) == ["go", "go", "stop", "stop"]
    assert chosen_by("fraction:0.2", files=SPOKEN[::-1]) == drawn != chosen_by("fraction:0.2", seed=1)
    split = split_recordings(SPOKEN, label_files(SPOKEN), {"test": "speakers:eva", "valid": "fraction:0.4"})
    assert {file.stem.split("_")[1] for file, each in zip(SPOKEN, split) if each == "valid"} == {"adam"}
    assert [split.count(name) for name in ("train", "valid", "test")] == [6, 4, 10]


def test_a_column_of_the_table_says_the_split(tmp_path: Path) -> None:
    table = tmp_path / "labels.csv"
    table.write_text("file,label,split\n" + "".join(f"{f},x,{s}\n" for f, s in zip(SPOKEN, ["train", "test"] * 10)))
    labels = label_files(SPOKEN, table)
    assert split_recordings(SPOKEN, labels, {}) == ("train", "test") * 10
    with pytest.raises(ConfigError, match="has a column split"):
        split_recordings(SPOKEN, labels, {"test": "fraction:0.1"})
    table.write_text(table.read_text().replace("test", "tset"))
    with pytest.raises(DataError, match=r"its split in the table is 'tset'; choose train, valid, test"):
        split_recordings(SPOKEN, label_files(SPOKEN, table), {})


@pytest.mark.parametrize(
    ("rules", "message"),
    [
        ({"test": "speakers:bob"}, "no recording is of speaker 'bob'; there are adam, eva"),
        ({"test": "speakers:"}, "the rule of the split test is list:FILE"),
        (
            {"test": "0.2"},
            "the rule of the split test is list:FILE, speakers:A,B, .* got '0.2'",
        ),
        ({"test": "fraction:20"}, "between 0 and 1"),
        ({"test": "fraction:x"}, "between 0 and 1"),
        ({"test": "takes:9"}, "no recording has a number in 9; there are 0 to 4"),
        ({"test": "takes:a-b"}, "written as 0-4"),
        ({"test": "list:/no/such/list"}, "cannot read the list /no/such/list"),
        ({"tset": "takes:0"}, "for the splits test and valid, got 'tset'"),
        ({"test": "takes:0-9"}, "leave no recordings for train"),
        ({"test": "speakers:eva", "valid": "takes:0"}, r"go_eva_0\.wav is in both test and valid"),
    ],
)
def test_rules_that_choose_nothing_or_twice_are_refused(rules: dict[str, str], message: str) -> None:
    with pytest.raises((ConfigError, DataError), match=message):
        split_recordings(SPOKEN, label_files(SPOKEN), rules)


def test_lists_name_every_recording_or_are_refused(tmp_path: Path) -> None:
    (tmp_path / "list.txt").write_text("go_eva_9.wav\n")
    with pytest.raises(DataError, match=r"list\.txt: go_eva_9\.wav is none of the recordings given"):
        chosen_by(f"list:{tmp_path / 'list.txt'}")
    alike = [Path("a/go_eva_0.wav"), Path("b/go_eva_0.wav")]
    (tmp_path / "list.txt").write_text("go_eva_0.wav\n")
    with pytest.raises(DataError, match="fits 2 recordings"):
        split_recordings(alike, label_files(alike), {"test": f"list:{tmp_path / 'list.txt'}"})
    folder = [Path("go/a.wav"), Path("stop/a.wav")]
    for rule in ("speakers:eva", "takes:0"):
        with pytest.raises(DataError, match="choose another rule"):
            split_recordings(folder, label_files(folder), {"test": rule})


# Files


@contextmanager
def another_in(folder: Path) -> Iterator[None]:
    """As if another process had the folder to itself: its handle is not ours."""
    handle = os.open(folder, os.O_RDONLY)
    fcntl.flock(handle, fcntl.LOCK_EX)
    yield
    os.close(handle)


@pytest.fixture
def files(tmp_path: Path) -> list[Path]:
    return [
        write(tmp_path / "in" / f"{word}_{who}_{k}.wav", vowel(0.1, seed=9 * k + len(word + who)), 16_000)
        for word in ("go", "stop") for who in ("adam", "eva") for k in range(2)
    ]  # fmt: skip


def test_a_data_set_is_written_whole_and_loads_by_its_path(tmp_path: Path, files: list[Path]) -> None:
    rules = {"test": "speakers:eva", "valid": "takes:1"}
    with pytest.raises(DataError, match="is in both"):
        encode_splits(files, tmp_path / "words.h5", rules, FEW, workers=1)
    assert not list(tmp_path.glob("words*"))
    reports = encode_splits(files, tmp_path / "words.h5", {"test": "speakers:eva"}, FEW, workers=1)
    assert {path.name: report.written for path, report in reports.items()} == {"words_train.h5": 4, "words_test.h5": 4}
    assert sorted(p.name for p in tmp_path.glob("words*")) == [
        "words_test.h5", "words_test.h5.csv", "words_train.h5", "words_train.h5.csv",
    ]  # fmt: skip
    for split, who in (("train", 0), ("test", 1)):
        data = load_binned(str(tmp_path / "words_train.h5"), split, Binning("fixed", 10.0, 4))
        assert (data.class_names, data.sensor, set(data.speakers)) == (("go", "stop"), (3,), {who})
    with pytest.raises(DataError, match=r"words_train\.h5 exists already"):
        encode_splits(files, tmp_path / "words.h5", {"valid": "takes:1"}, FEW, workers=1)


def test_a_run_stopped_between_two_files_goes_on(
    tmp_path: Path, files: list[Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    out, rules = tmp_path / "words.h5", {"test": "speakers:eva"}
    encode_splits(files, tmp_path / "whole.h5", rules, FEW, workers=1)
    real: Callable[..., None] = batch_module.write_shd_hdf5

    def stop_at_the_second(path: Path, *arguments: object, **options: object) -> None:
        if path.name == "words_test.h5":
            raise KeyboardInterrupt
        real(path, *arguments, **options)

    with monkeypatch.context() as stopped:
        stopped.setattr(batch_module, "write_shd_hdf5", stop_at_the_second)
        with pytest.raises(KeyboardInterrupt):
            encode_splits(files, out, rules, FEW, workers=1)
    assert (tmp_path / "words_train.h5").exists()
    with another_in(tmp_path / "words.h5.parts"), pytest.raises(DataError, match="another process is encoding into"):
        encode_splits(files, out, rules, FEW, workers=1)
    assert (tmp_path / "words_train.h5").exists()
    reports = encode_splits(files, out, {"test": "speakers:adam"}, FEW, workers=1)  # other splits, the same recordings
    assert [report.reused for report in reports.values()] == [4, 4]
    assert read_shd_hdf5(tmp_path / "words_test.h5", "own") == read_shd_hdf5(tmp_path / "whole_train.h5", "own")
    assert not (tmp_path / "words.h5.parts").exists()


def test_parts_are_kept_outside_the_call_where_requested(tmp_path: Path, files: list[Path]) -> None:
    parts = tmp_path / "parts"
    first = encode_files(files[:5], tmp_path / "some.h5", FEW, parts=parts, workers=1)
    assert (first.written, first.reused, len(list(parts.iterdir()))) == (5, 0, 5)
    more = encode_splits(files, tmp_path / "words.h5", {"test": "speakers:eva"}, FEW, parts=parts, workers=1)
    assert sum(report.reused for report in more.values()) == 5
    assert len(list(parts.iterdir())) == 8
    other = encode_files(files, tmp_path / "seed.h5", FEW, parts=parts, seed=1, workers=1)
    assert other.reused == 0


def test_what_cannot_be_used_is_reported_with_the_set(tmp_path: Path, files: list[Path]) -> None:
    files[0].write_bytes(b"")
    odd = tmp_path / "in" / "go_b\udcff_0.wav"
    reports = encode_splits([*files, odd], tmp_path / "words.h5", {"test": "speakers:eva"}, FEW, workers=1)
    train, test = reports.values()
    assert (train.written, test.written, [file for file, _ in train.failed], test.failed) == (3, 4, [files[0], odd], ())
    with pytest.raises(DataError, match="none of the 1 recordings can be used"):
        encode_splits([odd], tmp_path / "none.h5", {}, FEW)
