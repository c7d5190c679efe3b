"""`data show`, `data list` and `data verify` on files of every kind."""

import shutil
import struct
import zlib
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from click.testing import Result

from snn_delays.data.catalogue import lookup as catalogue
from snn_delays.data.catalogue.locate import data_path
from snn_delays.data.catalogue.lookup import card
from snn_delays.data.events import Events, Sample
from snn_delays.data.formats.shd import write_shd_hdf5
from snn_delays.plot.recording import events_figure

Ok = Callable[..., Result]
Bad = Callable[..., str]
SUBSET = "shd-regenerated-subset"
FIXTURE = Path(__file__).parents[1] / "data" / "fixtures" / "speech_commands"


@pytest.fixture
def data(tmp_path: Path) -> Path:
    return tmp_path / "data"


@pytest.fixture
def spoken(data: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The fixture of Speech Commands where its card looks for it; the card lets a part pass."""
    known = catalogue.cards()
    known["gsc-35"] = replace(known["gsc-35"], settings={**known["gsc-35"].settings, "any_number": True})
    monkeypatch.setattr(catalogue, "cards", lambda: known)
    return Path(shutil.copytree(FIXTURE, data_path(card("gsc-35"), card("gsc-35").split("train"))))


def row(text: str, name: str) -> str:
    """What a table says beside a name."""
    line = next(line for line in text.splitlines() if line.startswith(f"│ {name}"))
    return line.split("│")[2].strip()


def picture(path: Path) -> np.ndarray:
    """Pixels of an 8-bit PNG with its filters left on: enough to see that something is drawn."""
    content = path.read_bytes()
    assert content[:8] == b"\x89PNG\r\n\x1a\n"
    at, packed = 8, b""
    while at < len(content):
        size, kind = struct.unpack(">I4s", content[at : at + 8])
        packed += content[at + 8 : at + 8 + size] if kind == b"IDAT" else b""
        at += 12 + size
    return np.frombuffer(zlib.decompress(packed), dtype=np.uint8)


def test_spikes_of_a_cochlea(snn: Ok, tmp_path: Path) -> None:
    out = tmp_path / "three.png"
    shown = snn("data", "show", SUBSET, "--split", "test", "--sample", 3, "--limit", 60, "--out", out).stdout
    assert "SHD-regenerated (bundled subset), test" in shown
    assert row(shown, "recordings") == "300, of which 60 were looked at for what follows"
    assert " of 20, " in row(shown, "classes")
    assert row(shown, "channels") == "700"
    assert row(shown, "speakers") == "2"
    assert row(shown, "sha256") == card(SUBSET).split("test").sha256
    for name in ("events a recording", "duration", "frames of 10 ms"):
        assert all(word in row(shown, name) for word in ("least", "median", "mean", "most"))
    assert f"written: {out}" in shown
    other = tmp_path / "four.png"
    snn("data", "show", SUBSET, "--split", "test", "--sample", 4, "--limit", 1, "--out", other)
    assert picture(out).std() > 5
    assert out.read_bytes() != other.read_bytes()


def test_the_picture_goes_here_and_all_recordings_are_looked_at(
    snn: Ok, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    shown = snn("data", "show", SUBSET, "--split", "test", "--limit", 0, "--dt-ms", 20).stdout
    assert row(shown, "recordings") == "300"
    assert row(shown, "classes") == "20 of 20, 15 to 15 recordings each"
    assert "frames of 20 ms" in shown
    assert (tmp_path / f"{SUBSET}_test_0.png").exists()


def test_features(snn: Ok, spoken: Path, tmp_path: Path) -> None:
    shown = snn("data", "show", "gsc-35", "--sample", 5, "--out", tmp_path / "five.png").stdout
    assert "unidentified, train" in shown
    assert row(shown, "recordings") == "6"
    assert row(shown, "classes") == "3 of 35, 2 to 2 recordings each"
    assert row(shown, "constant channels") == "53"
    assert row(shown, "values").startswith("least -100.0, ")
    assert row(shown, "frames of 10 ms") == "least 101, median 101, mean 101, most 101"
    assert "events a recording" not in shown
    assert picture(tmp_path / "five.png").std() > 5


def test_a_damaged_recording_is_named_beside_the_numbers(snn: Ok, spoken: Path, tmp_path: Path) -> None:
    bad = sorted((spoken / "bed").iterdir())[0]
    bad.write_bytes(b"RIFF")
    shown = snn("data", "show", "gsc-35", "--sample", 5, "--out", tmp_path / "five.png").stdout
    assert f"cannot be used: 1, the first because: {bad}" in shown
    assert row(shown, "recordings") == "6, of which 5 were looked at for what follows"


def test_a_camera_is_drawn_in_slices_of_time(tmp_path: Path) -> None:
    random = np.random.default_rng(0)
    t_us, channel = np.sort(random.integers(0, 300_000, 2_000)), random.integers(0, 2 * 5 * 7, 2_000)
    figure = events_figure(t_us, channel, (2, 5, 7), title="a digit")
    images = [ax.get_images()[0].get_array() for ax in figure.axes]
    assert len(images) == 12  # two polarities by six slices
    assert sum(int(image.sum()) for image in images) == 2_000
    slices = np.stack(images).reshape(2, 6, 5, 7)
    end = int(t_us[-1]) + 1
    for polarity, y, x in ((0, 2, 4), (1, 0, 6)):
        mine = t_us[channel == (polarity * 5 + y) * 7 + x]
        assert np.array_equal(slices[polarity, :, y, x], np.bincount(mine * 6 // end, minlength=6))
    assert "off" in figure.axes[0].get_ylabel()
    assert figure.axes[0].get_title() == "0 to 50 ms"


def test_the_histogram_of_channels_has_a_whole_step_for_each() -> None:
    counts = np.array([5, 0, 2, 7])  # the first and the last channel matter
    channel = np.repeat(np.arange(4), counts)
    figure = events_figure(np.arange(channel.size) * 1000, channel, (4,))
    steps = figure.axes[1].patches[0].get_path()
    x, y = steps.vertices.T
    area = 0.5 * abs((x[:-1] * y[1:] - x[1:] * y[:-1]).sum())
    assert area == counts.sum()
    assert steps.vertices[:, 1].min() == -0.5
    assert steps.vertices[:, 1].max() == 3.5


def test_what_cannot_be_shown_is_refused(snn: Ok, refused: Bad, data: Path, tmp_path: Path) -> None:
    out = tmp_path / "none.png"
    assert "has 300 recordings in test, 0 to 299" in refused("data", "show", SUBSET, "--split", "test", "--sample", 300)
    assert "unknown data set 'mnist'; did you mean 's-mnist'" in refused("data", "show", "mnist")
    assert "no split 'valid'; choose train or test" in refused("data", "show", SUBSET, "--split", "valid")
    message = refused("data", "show", "ssc", "--split", "valid", "--out", out)
    assert "ssc_valid.h5 is missing; get ssc_valid.h5.zip (md5 b4eee3516a4a90dd0c71a6ac23a8ae43)" in message
    path = data_path(card("shd"), card("shd").split("train"))
    write_shd_hdf5(path, [Sample(Events([], [], 700), 0, 0), Sample(Events([5], [6], 700), 1, 0)], 2)
    assert "shd, train 0 has no events to draw; choose another --sample" in refused("data", "show", "shd", "--out", out)
    assert not out.exists()
    snn("data", "show", "shd", "--sample", 1, "--out", out)
    assert out.exists()


def test_a_data_set_of_ones_own_is_shown_listed_and_verified(
    snn: Ok, refused: Bad, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    mine = tmp_path / "mine" / "words_train.h5"
    samples = [Sample(Events([0, 5_000, 9_000], [0, 3, 6], 7), i % 2) for i in range(4)]
    write_shd_hdf5(mine, samples, class_names=("go", "stop"))
    monkeypatch.chdir(tmp_path)
    shown = snn("data", "show", mine).stdout
    assert "words (own data), train" in shown
    assert row(shown, "classes") == "2 of 2, 2 to 2 recordings each"
    assert row(shown, "speakers") == "not known"
    assert row(shown, "channels") == "7"
    assert (tmp_path / "words_train_0.png").exists()
    assert "has no split 'test'; choose train; put the missing" in refused("data", "show", mine, "--split", "test")
    assert "is a data set of your own, so that its card has no checksum" in snn("data", "verify", mine).stdout
    (mine.parent / "card.toml").write_text(
        'name = "my-words"\nsensor = [7]\nn_classes = 2\n[splits.train]\nfile = "words_train.h5"\nsamples = 4\n'
    )
    assert "my-words" not in snn("data", "list").stdout
    monkeypatch.setenv("SNN_DELAYS_CARDS", str(mine.parent))
    assert "my-words" in snn("data", "list").stdout
    assert "my-words (own data), train" in snn("data", "show", "my-words").stdout


def test_list_says_what_each_is_and_which_splits_are_there(snn: Ok, data: Path) -> None:
    write_shd_hdf5(data_path(card("ssc"), card("ssc").split("valid")), [Sample(Events([5], [6], 700), 0, 0)], 1)
    (data / "MNIST").mkdir(parents=True)
    for name in card("s-mnist").split("test").parts:
        (data / "MNIST" / f"{name}.gz").touch()
    lines = snn("data", "list").stdout.splitlines()

    def at_hand(name: str) -> str:
        return next(line for line in lines if line.startswith(f"│ {name} ")).split("│")[-2].strip()

    assert at_hand("ssc") == "valid"
    assert at_hand("shd") == at_hand("gsc-35") == "no"
    assert at_hand(SUBSET) == "yes"
    assert at_hand("ps-mnist") == at_hand("s-mnist") == "test"
    text = " ".join("\n".join(lines).split())
    assert "700 channels, 35 classes, CC BY 4.0, Tonic's SSC" in text
    assert "140 channels, 35 classes, CC BY 4.0, not in Tonic" in text
    assert "train 75,466" in text


def test_verify_names_what_is_missing_and_what_it_cannot_know(snn: Ok, refused: Bad, data: Path, spoken: Path) -> None:
    assert refused("data", "verify", "gsc-35") == (
        f"error: {spoken} should be the split train of GSC-35 (log-mel), but by its checksum it is unidentified; "
        "fetch or unpack it again\n"
    )
    shutil.rmtree(spoken)
    assert refused("data", "verify", "gsc-35") == (
        f"error: GSC-35 (log-mel), split train: {spoken} is missing; get speech_commands_v0.02.tar.gz (md5 "
        "6b74f3901214cb2c2934e98196829835) from http://download.tensorflow.org/data/speech_commands_v0.02.tar.gz and "
        "run: snn-delays data unpack speech_commands_v0.02.tar.gz. SNN_DELAYS_DATA moves the folder\n"
    )
    assert refused("data", "verify", "s-mnist") == (
        f"error: sMNIST: {data / 'MNIST' / 'train-images-idx3-ubyte'} is missing, with and without .gz; get it from "
        f"{card('s-mnist').source} and place it there (md5 6bbc9ace898e44ae57da46a324031adb when unpacked). "
        "SNN_DELAYS_DATA moves the folder\n"
    )
    assert "make it from the recordings of gsc-35 with: snn-delays data" in refused("data", "verify", "gsc-35-cochlea")
    for split, part in card("gsc-35-cochlea").splits.items():
        path = data_path(card("gsc-35-cochlea"), part)
        write_shd_hdf5(path, [Sample(Events([5], [6], 700), 0, 0)], 1)
        assert path.name == f"gsc_{split}.h5"
    shown = snn("data", "verify", "gsc-35-cochlea").stdout
    assert shown.count("is made on this machine, so that its card has no checksum to compare with") == 3


def test_a_generated_set_is_shown_and_has_nothing_to_verify(snn: Ok, tmp_path: Path) -> None:
    out = tmp_path / "lags.png"
    shown = snn("data", "show", "synthetic-pattern", "--split", "test", "--limit", 20, "--out", out).stdout
    assert row(shown, "channels") == "8"
    assert out.exists()
    shown = snn("data", "verify", "synthetic-pattern").stdout
    assert shown.count("is generated from its card; there is no file to compare") == 3
