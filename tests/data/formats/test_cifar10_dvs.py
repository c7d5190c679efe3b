import importlib.util
import pickle
import shutil
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from snn_delays.data.catalogue.locate import find_data
from snn_delays.data.catalogue.lookup import card
from snn_delays.data.formats import cifar10_dvs
from snn_delays.data.formats.cifar10_dvs import CLASS_NAMES, Cifar10DvsRecordings, open_cifar10_dvs
from snn_delays.errors import BackendUnavailableError, DataError
from tests.support.event_fixtures import AEDAT2_HEADER, FIXTURES, aedat2_bytes, moving_bar

needs_tonic = pytest.mark.skipif(importlib.util.find_spec("tonic") is None, reason="tonic is not installed")
needs_aedat = pytest.mark.skipif(importlib.util.find_spec("aedat") is None, reason="aedat is not installed")
SHARED = Path(__file__).resolve().parents[4] / "shared" / "data"
FOLDER = FIXTURES / "CIFAR10DVS"


def opened(split="train", path=FOLDER, reader="own"):
    known = card("cifar10-dvs")
    part = replace(known.split(split), samples={"train": 18, "test": 2}[split])
    return open_cifar10_dvs(replace(known, splits={split: part}), split, path, reader)


@pytest.fixture
def copy(tmp_path) -> Path:
    return Path(shutil.copytree(FOLDER, tmp_path / "CIFAR10DVS"))


def test_recordings_are_what_was_written_from_the_first_event_on():
    train, test = opened("train"), opened("test")
    assert [sample.label for sample in train] == [0] * 9 + [6] * 9
    assert [sample.label for sample in test] == [0, 6]
    assert (train.sensor, train.class_names) == ((2, 128, 128), CLASS_NAMES)
    for i, sample in [*enumerate(train), (18, test[0]), (19, test[1])]:
        seed = {18: 9, 19: 19}.get(i, i if i < 9 else i + 1)
        t_us, x, y, p = moving_bar(seed, 40, 128, 1_300_000, first_us=1_000)
        assert np.array_equal(sample.events.t_us, t_us - t_us[0])
        assert np.array_equal(sample.events.channel, (p * 128 + y) * 128 + x)
    assert pickle.loads(pickle.dumps(train))[3] == train[3]


def test_addresses_are_decoded_as_the_published_converter_does(copy):
    """dat2mat.m: bit 0 is 0 for ON, bits 1 to 7 count x from the right, bits 8 to 14 are y, bit 15 says nothing."""
    file = copy / "frog" / "cifar10_frog_0.aedat"
    pairs = np.array([[0, 100], [1, 100], [3 << 1, 105], [5 << 8, 107], [1 << 15, 109]], dtype=">u4")
    file.write_bytes(AEDAT2_HEADER + pairs.tobytes())
    events = opened(path=copy)[9].events
    p, y, x = np.unravel_index(events.channel, (2, 128, 128))
    assert (p.tolist(), y.tolist(), x.tolist()) == ([1, 0, 1, 1, 1], [0, 0, 0, 5, 0], [127, 127, 124, 127, 127])
    assert events.t_us.tolist() == [0, 0, 5, 7, 9]


def test_the_first_nine_tenths_of_each_class_train_and_no_file_is_in_both():
    train, test = opened("train"), opened("test")
    assert not set(train.files) & set(test.files)
    assert sorted([*train.files, *test.files]) == sorted(FOLDER.rglob("*.aedat"))
    assert [file.name for file in test.files] == ["cifar10_airplane_9.aedat", "cifar10_frog_9.aedat"]


@pytest.mark.parametrize(("n", "n_train"), [(1, 1), (9, 9), (10, 9), (11, 10), (19, 18), (20, 18), (1000, 900)])
def test_the_split_rounds_up(tmp_path, n, n_train):
    (tmp_path / "cat").mkdir()
    for i in range(n):
        (tmp_path / "cat" / f"cifar10_cat_{i}.aedat").touch()
    assert len(Cifar10DvsRecordings(tmp_path, "train")) == n_train == -(-9 * n // 10)
    names = [file.stem for split in ("train", "test") for file in Cifar10DvsRecordings(tmp_path, split).files]
    assert names == sorted(f"cifar10_cat_{i}" for i in range(n))  # as text: 10 comes before 2


def _event(i, **changed):
    t_us, x, y, p = moving_bar(0, 40, 128, 3_300_000, first_us=2_000_000)
    columns = {"t_us": t_us, "x": x, "y": y, "p": p}
    for name, value in changed.items():
        columns[name][i] = value
    return aedat2_bytes(*columns.values())


GOOD = _event(0)


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (GOOD[:-3], "has 317 bytes of events, no multiple of 8: it is cut short"),
        (GOOD[:50], "is cut short within its header"),
        (AEDAT2_HEADER, "holds no events"),
        (b"", r"starts with b'', expected #!AER-DAT2.0"),
        (b"#!AER-DAT4.0\r\n" + GOOD, "starts with b'#!AER-DAT4.0.*AEDAT 4 files are named .aedat4"),
        (_event(7, y=600), r"event 7 has address \d+; a camera of 128 x 128 has 16 bits of address"),
        (_event(39, t_us=10), r"event 39 at 10 us follows one at \d+ us: the clock was set back"),
    ],
)
def test_a_damaged_recording_is_named_and_the_others_stay_usable(copy, content, message):
    (copy / "airplane" / "cifar10_airplane_1.aedat").write_bytes(content)
    recordings = opened(path=copy)
    with pytest.raises(DataError, match=rf"airplane/cifar10_airplane_1.aedat \(sample 1\): {message}.*on_bad='skip'"):
        recordings[1]
    assert len(recordings[0].events) == len(recordings[17].events) == 40


def test_packets_out_of_order_are_sorted(copy):
    t_us, x, y, p = moving_bar(0, 40, 128, 1_300_000, first_us=1_000)
    order = np.r_[0:10, 20:30, 10:20, 30:40]
    t_us[10:30] = np.sort(np.random.default_rng(0).integers(t_us[9], t_us[9] + 500, 20))
    expected = aedat2_bytes(t_us, x, y, p), aedat2_bytes(t_us[order], x[order], y[order], p[order])
    file = copy / "airplane" / "cifar10_airplane_0.aedat"
    read = []
    for content in expected:
        file.write_bytes(content)
        read.append(opened(path=copy)[0].events.t_us.tolist())
    assert read[0] == read[1] == sorted(read[0])


def test_a_folder_that_is_not_in_the_layout_is_refused(copy, tmp_path):
    with pytest.raises(DataError, match=r"has 18 recordings of the split train; CIFAR10-DVS has 9,000"):
        open_cifar10_dvs(card("cifar10-dvs"), "train", FOLDER, "own")
    with pytest.raises(DataError, match=r"holds no .aedat or .aedat4 files"):
        Cifar10DvsRecordings(tmp_path / "absent", "train")
    shutil.copytree(copy / "frog", copy / "toad")
    with pytest.raises(
        DataError, match=r"toad/cifar10_frog_0.aedat is in no folder of a class; .*airplane, automobile"
    ):
        opened(path=copy)


def aedat4(copy):
    """The fixture under the names that Tonic distributes, headers alone: a stand-in decodes what is in it."""
    for file in copy.rglob("*.aedat"):
        header = b'<dv version="2.0"></dv>'
        file.with_suffix(".aedat4").write_bytes(b"#!AER-DAT4.0\r\n" + len(header).to_bytes(4, "little") + header)
        file.unlink()
    return copy


def test_what_is_not_installed_or_cannot_serve_is_named(copy, monkeypatch):
    monkeypatch.setattr(cifar10_dvs, "find_spec", lambda name: None)
    if importlib.util.find_spec("tonic"):
        with pytest.raises(
            BackendUnavailableError, match=r"holds .aedat files, which Tonic cannot read; use reader='auto'"
        ):
            opened(reader="tonic")
    assert opened(reader="auto")[0] == opened(reader="own")[0]
    for reader in ("auto", "own"):
        with pytest.raises(BackendUnavailableError, match=r"aedat4 files, .*pip install 'snn-delays\[tonic\]'"):
            opened(path=aedat4(copy), reader=reader)


@needs_tonic
def test_aedat4_goes_through_tonic(copy, monkeypatch):
    import tonic.io

    dtype = [("t", "<u8"), ("x", "<u2"), ("y", "<u2"), (("p", "on"), "?")]
    rows = [(1605537493718345, 3, 4, True), (1605537493718349, 127, 0, False)]
    monkeypatch.setattr(tonic.io, "read_aedat4", lambda path: np.array(rows, dtype=dtype))
    monkeypatch.setattr(cifar10_dvs, "find_spec", lambda name: True)
    sample = opened(path=aedat4(copy), reader="tonic")[17]
    assert sample.label == 6
    assert sample.events.t_us.tolist() == [0, 4]
    assert sample.events.channel.tolist() == [(128 + 4) * 128 + 3, 127]

    class Panic(BaseException):
        """What a panic in the decoder becomes."""

    raised: list[BaseException] = []

    def broken(path):
        raise raised.pop()

    monkeypatch.setattr(tonic.io, "read_aedat4", broken)
    message = r"frog_8.aedat4 \(sample 17\): cannot be decoded as AEDAT 4 \(there are no events\)"
    for kind in (Exception, RuntimeError, Panic):
        raised.append(kind("there are no events"))
        with pytest.raises(DataError, match=message):
            opened(path=copy, reader="auto")[17]
    raised.append(KeyboardInterrupt())
    with pytest.raises(KeyboardInterrupt):
        opened(path=copy, reader="auto")[17]


@needs_tonic
def test_the_card_says_what_tonic_and_others_say_and_missing_files_are_named():
    from tonic.datasets import CIFAR10DVS

    known = card("cifar10-dvs")
    for split in ("train", "test"):
        part = known.split(split)
        assert (part.archive, part.archive_md5) == (CIFAR10DVS.filename, CIFAR10DVS.file_md5)
        with pytest.raises(
            DataError, match=r"/CIFAR10DVS is missing; place .*CIFAR10DVS.zip \(md5 ce3a4a06.*airplane.zip"
        ):
            find_data(card("cifar10-dvs"), split)
    assert CIFAR10DVS.url in known.source
    assert {name: i for i, name in enumerate(CLASS_NAMES)} == CIFAR10DVS.classes
    assert sorted(known.settings["archives"]) == sorted(CIFAR10DVS.data_filename)


@pytest.mark.shared
@pytest.mark.skipif(not SHARED.is_dir(), reason="the recordings are not at hand")
@needs_tonic
@needs_aedat
def test_a_real_aedat4_file_and_its_damaged_parts(real_events, tmp_path):
    """Of another camera: 320 x 240, 111,954 events, 0.59 s."""
    (tmp_path / "cat").mkdir()
    file = tmp_path / "cat" / "cifar10_cat_0.aedat4"
    shutil.copy(real_events("tonic_test_data/sample.aedat4"), file)
    (sample,) = Cifar10DvsRecordings(tmp_path, "train", (2, 240, 320))
    assert len(sample.events) == 111_954
    assert sample.events.t_us[0] == 0
    assert 580_000 < sample.events.t_us[-1] < 600_000
    with pytest.raises(DataError, match=r"event \d+ has y = \d+; the sensor has y from 0 to 127"):
        Cifar10DvsRecordings(tmp_path, "train")[0]
    content = file.read_bytes()
    for size in (0, 10, 50_000):
        file.write_bytes(content[:size])
        with pytest.raises(DataError, match=r"cifar10_cat_0.aedat4 \(sample 0\): cannot be decoded as AEDAT 4"):
            Cifar10DvsRecordings(tmp_path, "train")[0]
    at = content.index(b"<dv") + 600  # here a byte that is no text ends the whole process in aedat 2.3
    file.write_bytes(content[:at] + b"\xec" + content[at + 1 :])
    with pytest.raises(DataError, match="its header is damaged"):
        Cifar10DvsRecordings(tmp_path, "train")[0]


@pytest.mark.shared
@pytest.mark.skipif(not SHARED.is_dir(), reason="the recordings are not at hand")
def test_a_real_aedat2_header_is_passed_over(real_events, tmp_path):
    (tmp_path / "cat").mkdir()
    header = real_events("tonic_test_data/sample_aedat_header.aedat").read_bytes()
    t_us, x, y, p = moving_bar(0, 40, 128, 1_300_000)
    content = header + aedat2_bytes(t_us, x, y, p)[len(AEDAT2_HEADER) :]
    (tmp_path / "cat" / "cifar10_cat_0.aedat").write_bytes(content)
    (sample,) = Cifar10DvsRecordings(tmp_path, "train")
    assert np.array_equal(sample.events.t_us, t_us - t_us[0])
