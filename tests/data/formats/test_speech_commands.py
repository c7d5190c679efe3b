"""Speech Commands: words, speakers and official splits; recordings that are damaged, and nobody in two splits."""

import re
import shutil
import tarfile
import wave
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from snn_delays.data.binning import Binning, bin_events
from snn_delays.data.catalogue import identity
from snn_delays.data.catalogue import lookup as catalogue
from snn_delays.data.catalogue.locate import verify
from snn_delays.data.catalogue.lookup import card
from snn_delays.data.encoders.encode_speech_commands import encode_speech_commands
from snn_delays.data.encoders.log_mel import WITHIN_NYQUIST, log_mel
from snn_delays.data.encoders.speech_commands import SpeechCommands, open_speech_commands
from snn_delays.data.events import Events
from snn_delays.data.formats.shd import shd_recordings
from snn_delays.data.formats.speech_commands import WORDS, read_wav, split_files
from snn_delays.data.loaders import bin_recordings, load_binned
from snn_delays.data.opening import open_recordings
from snn_delays.errors import BackendUnavailableError, ConfigError, DataError
from tests.support import speech_commands_fixture

FIXTURE = Path(__file__).parents[1] / "fixtures" / "speech_commands"
SHARED = Path(__file__).resolve().parents[4] / "shared" / "data" / "speech_commands_mini"
HERE = {"train": 6, "valid": 3, "test": 3}
LOG_MEL = Binning("log_mel", dt_ms=10.0, channel_group=1)


@pytest.fixture
def folder(own_folders, monkeypatch) -> Path:
    """The fixture where the card looks for it, free to be damaged, and cards that promise as many recordings."""
    monkeypatch.setenv("SNN_DELAYS_DATA", str(own_folders / "data"))
    known = catalogue.cards()
    for name in ("gsc-35", "gsc-35-within-nyquist"):
        splits = {split: replace(known[name].split(split), samples=n) for split, n in HERE.items()}
        known[name] = replace(known[name], splits=splits)
    monkeypatch.setattr(catalogue, "cards", lambda: known)
    part = card("gsc-35").split("train")
    return Path(shutil.copytree(FIXTURE, own_folders / "data" / card("gsc-35").folder / part.file))


def nobody_twice(folder, partial=False):
    """Files and speakers of each split; fails if one is in two."""
    splits = split_files(folder, partial=partial)
    files = [name for names in splits.values() for name in names]
    assert len(files) == len(set(files)) == len(list(folder.glob("*/*.wav")))
    speakers = {split: {name.split("/")[1][:8] for name in names} for split, names in splits.items()}
    for a in speakers:
        for b in speakers:
            assert a == b or not speakers[a] & speakers[b], (a, b)
    return splits


def test_the_fixture_is_what_the_program_writes(tmp_path):
    speech_commands_fixture.write(tmp_path)
    made = sorted(path.relative_to(tmp_path) for path in tmp_path.rglob("*.*"))
    assert made == sorted(path.relative_to(FIXTURE) for path in FIXTURE.rglob("*.*"))
    assert all((tmp_path / path).read_bytes() == (FIXTURE / path).read_bytes() for path in made)


def test_the_card_is_that_of_version_2():
    for name in ("gsc-35", "gsc-35-within-nyquist", "gsc-35-cochlea"):
        splits = card(name).splits
        assert [splits[s].samples for s in ("train", "valid", "test")] == [84_843, 9_981, 11_005]
        assert sum(part.samples for part in splits.values()) == 105_829
        assert (card(name).n_classes, card(name).tonic_class) == (35, "")
        assert card(name).validation == {"rule": "official"}
    assert len(WORDS) == len(set(WORDS)) == 35
    assert list(WORDS) == sorted(WORDS)


def test_splits_words_and_speakers(folder):
    splits = nobody_twice(folder)
    assert {split: len(names) for split, names in splits.items()} == HERE
    train = open_recordings("gsc-35", "train")
    assert train.files == splits["train"] == sorted(splits["train"])
    assert (train.class_names, train.sensor, train.frame_ms) == (WORDS, (140,), 10.0)
    for i, name in enumerate(train.files):
        frames, label, speaker = train.frames(i)
        assert WORDS[label] == name.split("/")[0]
        assert f"{speaker:08x}" == name.split("/")[1][:8]
        assert np.array_equal(frames, log_mel(read_wav(folder / name, 16_000)))
    with pytest.raises(DataError, match=r"holds features, not events: call frames\(0\)"):
        train[0]
    with pytest.raises(IndexError, match="samples 0 to 5, not 6"):
        train.frames(6)


def test_canary_a_speaker_in_two_splits_is_noticed(folder):
    listed = folder / "testing_list.txt"
    listed.write_text("\n".join(listed.read_text().split()[1:]))
    with pytest.raises(AssertionError, match=r"'train', 'test'"):
        nobody_twice(folder)


def test_features_through_loader_and_cache(folder):
    binned = load_binned("gsc-35", "train", LOG_MEL)
    assert (binned.counts.shape, binned.counts.dtype) == ((6 * 101, 140), np.float32)
    assert np.array_equal(binned.sample(4), open_recordings("gsc-35", "train").frames(4)[0])
    assert np.array_equal(load_binned("gsc-35", "train", LOG_MEL).counts, binned.counts)
    assert np.array_equal(load_binned("gsc-35", "train", LOG_MEL, memory="mapped").counts, binned.counts)
    assert set(binned.speakers.tolist()) == {int(s, 16) for s in speech_commands_fixture.TRAIN}
    assert binned.source == "unidentified"
    batch = binned.batch([0, 5], tail_steps=2)
    assert (batch.counts.shape, str(batch.counts.dtype)) == ((103, 2, 140), "torch.float32")
    other = load_binned("gsc-35-within-nyquist", "train", LOG_MEL)
    assert np.array_equal(other.sample(0), log_mel(read_wav(folder / binned_files(folder)[0], 16_000), WITHIN_NYQUIST))
    assert not np.array_equal(other.counts, binned.counts)
    assert len({data.checksum for data in (binned, other, load_binned("gsc-35", "test", LOG_MEL))}) == 3


def binned_files(folder):
    return split_files(folder)["train"]


@pytest.mark.parametrize("binning", [Binning(), Binning(dt_ms=10.0, channel_group=1), Binning("log_mel", 5.0, 1)])
def test_features_take_their_own_binning_only(folder, binning):
    with pytest.raises(ConfigError, match="a frame every 10 ms: use binning 'log_mel' with dt_ms 10"):
        bin_recordings(SpeechCommands(folder, "train"), binning)


def test_events_refuse_the_binning_of_features():
    with pytest.raises(ConfigError, match="'log_mel' is for sound"):
        bin_events(Events([1], [0], 2), LOG_MEL)
    with pytest.raises(ConfigError, match="holds events, not sound: choose binning 'fixed'"):
        load_binned("shd-regenerated-subset", "test", LOG_MEL)
    with pytest.raises(ConfigError, match="'log_mel' needs channel_group 1, got 5"):
        Binning("log_mel")


def wav(path, samples=1_600, channels=1, width=2, rate=16_000):
    with wave.open(str(path), "wb") as file:
        file.setnchannels(channels)
        file.setsampwidth(width)
        file.setframerate(rate)
        file.writeframes(bytes(samples * channels * width))


def cut(path, keep):
    path.write_bytes(path.read_bytes()[:keep])


def floats(path):
    wav(path)
    patch(path, 20, b"\x03")  # the number of the format: IEEE floats, which could be NaN


def patch(path, at, new):
    content = path.read_bytes()
    path.write_bytes(content[:at] + new + content[at + len(new) :])


@pytest.mark.parametrize(
    ("damage", "message"),
    [
        (lambda path: wav(path, rate=8_000), r"1 channel\(s\) of 16 bits at 8000 Hz; expected 1 of 16 at 16000 Hz"),
        (lambda path: wav(path, channels=2), r"2 channel\(s\) of 16 bits"),
        (lambda path: wav(path, width=1), r"1 channel\(s\) of 8 bits"),
        (lambda path: wav(path, samples=0), "holds no samples"),
        (lambda path: cut(path, 1_000), r"is truncated: its header announces \d+ samples, 478 follow"),
        (lambda path: cut(path, 20), "damaged or not a WAV file"),
        (lambda path: cut(path, 0), "damaged or not a WAV file"),
        (lambda path: path.write_bytes(b"not a sound" * 100), "damaged or not a WAV file"),
        (lambda path: patch(path, 16, b"\xff\xff\xff\x7f"), "damaged or not a WAV file"),
        (floats, "damaged or not a WAV file of 16-bit PCM .*unknown format: 3"),
    ],
    ids=["rate", "stereo", "width", "silent", "truncated", "header", "empty", "text", "chunk", "floats"],
)
def test_a_damaged_recording_is_named_and_the_others_are_read(folder, damage, message):
    bad = SpeechCommands(folder, "train").files[2]
    damage(folder / bad)
    recordings = SpeechCommands(folder, "train")
    with pytest.raises(DataError, match=rf"{re.escape(bad)}.*{message}"):
        recordings.frames(2)
    kept = bin_recordings(recordings, LOG_MEL, on_bad="skip")
    assert len(kept) == 5
    assert bad in kept.skipped[0]
    with pytest.raises(DataError, match=re.escape(bad)):
        bin_recordings(recordings, LOG_MEL)


def test_a_name_without_a_speaker_is_refused_when_it_is_read(folder):
    shutil.copy(next((folder / "bed").iterdir()), folder / "bed" / "me.wav")
    recordings = SpeechCommands(folder, "train")
    with pytest.raises(DataError, match=r"me\.wav is not named <8 hexadecimal digits>_nohash_<number>\.wav"):
        recordings.frames(recordings.files.index("bed/me.wav"))


def test_a_folder_that_is_not_speech_commands_is_refused(folder):
    (folder / "_background_noise_").mkdir()  # comes with the archive, and is no word
    wav(folder / "_background_noise_" / "pink_noise.wav")
    assert sum(map(len, split_files(folder).values())) == 12
    (folder / "hello").mkdir()
    wav(folder / "hello" / "0a7c2a8d_nohash_0.wav")
    with pytest.raises(DataError, match="hello is none of the 35 words"):
        split_files(folder)
    shutil.rmtree(folder / "hello")
    with (folder / "testing_list.txt").open("a") as file:
        file.write((folder / "validation_list.txt").read_text().split()[0])
    with pytest.raises(
        DataError, match=r"2aca1e72_nohash_0\.wav is in both validation_list\.txt and testing_list\.txt"
    ):
        split_files(folder)
    (folder / "testing_list.txt").unlink()
    with pytest.raises(DataError, match=r"testing_list\.txt .*without the official lists the splits are unknown"):
        split_files(folder)
    (folder / "testing_list.txt").write_text("yes/00000000_nohash_0.wav")
    with pytest.raises(DataError, match="holds no files of the split test"):
        SpeechCommands(folder, "test", partial=True)


@pytest.mark.parametrize("name", ["testing_list.txt", "validation_list.txt"])
@pytest.mark.parametrize("partial", [False, True])
@pytest.mark.parametrize("content", [b"", b" \n", b"\xef\xbb\xbf"])
def test_an_empty_list_lets_nothing_into_train(folder, name, partial, content):
    (folder / name).write_bytes(content)
    with pytest.raises(DataError, match=rf"{name} is empty; without the official lists"):
        split_files(folder, partial=partial)


@pytest.mark.parametrize("partial", [False, True])
def test_a_mark_of_the_encoding_is_no_part_of_the_first_name(folder, partial):
    before = split_files(folder)
    for name in ("testing_list.txt", "validation_list.txt"):
        (folder / name).write_bytes(b"\xef\xbb\xbf" + (folder / name).read_bytes())
    assert split_files(folder, partial=partial) == before


def test_a_list_that_names_absent_files_is_refused_unless_a_part_is_read(folder):
    (folder / "yes" / "3c257192_nohash_0.wav").unlink()
    message = r"testing_list\.txt names 1 files that are not there, the first yes/3c257192_nohash_0\.wav; unpack"
    with pytest.raises(DataError, match=message):
        split_files(folder)
    with pytest.raises(DataError, match=message):
        open_recordings("gsc-35", "train")
    assert [len(names) for names in split_files(folder, partial=True).values()] == [6, 3, 2]


def test_a_card_has_its_number_of_recordings_in_each_split(folder, own_folders):
    (folder / "bed" / "0a7c2a8d_nohash_0.wav").unlink()  # no list names what is trained on
    with pytest.raises(DataError, match=r"has 5 recordings of the split train; GSC-35 \(log-mel\) has 6: unpack"):
        open_recordings("gsc-35", "train")
    listed = folder / "testing_list.txt"
    listed.write_text("\n".join(listed.read_text().split()[1:]))  # a file of the test set would be trained on
    with pytest.raises(DataError, match="has 2 recordings of the split test"):
        open_recordings("gsc-35", "test")
    any_number = replace(card("gsc-35"), settings={"any_number": True})
    assert len(open_speech_commands(any_number, "test", folder, "own")) == 2


def test_tonic_is_refused_as_it_has_no_class(folder):
    with pytest.raises(BackendUnavailableError, match="Tonic has no class for GSC-35"):
        open_recordings("gsc-35", "train", reader="tonic")


def test_the_archive_beside_the_folder_says_what_it_is(folder, monkeypatch):
    from snn_delays.data.files import Checksums, checksums

    with pytest.raises(DataError, match=r"GSC-35 \(log-mel\), but by its checksum it is unidentified"):
        verify(card("gsc-35"), "train")
    archive = folder.with_name("speech_commands_v0.02.tar.gz")
    with tarfile.open(archive, "w:gz") as packed:  # stands for the published archive
        packed.add(folder, ".")
    known = card("gsc-35").split("test").archive_md5
    monkeypatch.setattr(
        identity, "checksums",
        lambda path, remember=True: Checksums(known, "0") if path == archive else checksums(path, remember=remember),
    )  # fmt: skip
    assert verify(card("gsc-35"), "train") == folder
    for name in ("gsc-35", "gsc-35-within-nyquist"):  # two cards for the same files, distinguished by the request
        assert verify(card(name), "test") == folder
        assert open_recordings(name, "test").source() == card(name).display_name


def test_the_cochlea_keeps_words_and_splits(folder, own_folders):
    """The path through HDF5: labels of all 35 words, a speaker's number the same in every file."""
    pytest.importorskip("soundfile")
    shutil.rmtree(folder / "five")
    for path in folder.glob("*_list.txt"):
        path.write_text("\n".join(name for name in path.read_text().split() if not name.startswith("five/")))
    from snn_delays.data.encoders.cochlea import Cochlea

    out = own_folders / "data" / "gsc-35-cochlea"
    small = Cochlea(channels=20)
    made = encode_speech_commands(folder, out, small, workers=1)
    assert [path.name for path in made] == ["gsc_train.h5", "gsc_valid.h5", "gsc_test.h5"]
    assert all(report.written and not report.reused and not report.failed for report in made.values())
    again = encode_speech_commands(folder, out, small, workers=1)  # nothing is made twice
    assert all(again[path].reused == made[path].written for path in made)
    speakers = {}
    for split, names in split_files(folder).items():
        with pytest.raises(DataError, match="has 20 channels; the data set has 700"):
            open_recordings("gsc-35-cochlea", split, reader="own")
        opened = shd_recordings(out / f"gsc_{split}.h5", "own")
        assert opened.class_names == WORDS
        samples = list(opened)
        assert [WORDS[sample.label] for sample in samples] == [name.split("/")[0] for name in names]
        assert min(len(sample.events) for sample in samples) > 0
        speakers[split] = {sample.speaker for sample in samples}
    assert speakers == {"train": {0, 1}, "valid": {2}, "test": {3}}


@pytest.mark.shared
@pytest.mark.skipif(not SHARED.is_dir(), reason="the recordings are not at hand")
def test_300_real_recordings(tmp_path):
    with tarfile.open(SHARED / "gsc_v0.01_300wav.tar.xz") as archive:
        archive.extractall(tmp_path, filter="data")
    folder = tmp_path / "speech_commands_v0.01"
    splits = nobody_twice(folder, partial=True)
    assert {split: len(names) for split, names in splits.items()} == {"train": 205, "valid": 44, "test": 51}
    counts = np.zeros(35, dtype=int)
    for split in splits:
        binned = bin_recordings(SpeechCommands(folder, split, partial=True), LOG_MEL)
        assert binned.lengths().tolist() == [101] * len(binned)
        counts += np.bincount(binned.labels, minlength=35)
        assert (binned.counts == -100).all(0).sum() == 53
        assert binned.counts.max() < 60
    absent = [word for word, count in zip(WORDS, counts) if count == 0]
    assert absent == ["backward", "follow", "forward", "learn", "visual"]  # what version 2 added
    assert set(counts.tolist()) == {0, 10}
