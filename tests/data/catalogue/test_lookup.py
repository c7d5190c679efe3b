import hashlib
import lzma
from dataclasses import replace

import h5py
import numpy as np
import pytest

from snn_delays.data.card import datasets_folder, read_card
from snn_delays.data.catalogue import identity, locate
from snn_delays.data.catalogue import lookup as catalogue
from snn_delays.data.catalogue.identity import identify, recognise
from snn_delays.data.catalogue.locate import data_path, find_data, unpack, verify
from snn_delays.data.catalogue.lookup import card, cards
from snn_delays.data.events import Events, Sample
from snn_delays.data.formats import hdf5, shd
from snn_delays.data.formats.shd import write_shd_hdf5
from snn_delays.data.opening import READERS, open_recordings
from snn_delays.errors import ConfigError, DataError

SUBSET = "shd-regenerated-subset"


def test_every_card_is_complete():
    assert {"shd", "shd-regenerated", SUBSET, "ssc", "gsc-35", "n-mnist", "dvs128-gesture", "n-tidigits"} <= set(
        cards()
    )
    assert len({c.display_name for c in cards().values()}) == len(cards())
    for known in cards().values():
        assert known.reader in READERS
        assert known.licence
        assert known.attribution
        assert known.validation["rule"] in ("speakers", "fraction", "official")
        assert (known.validation["rule"] == "official") == ("valid" in known.splits)
        for part in known.splits.values():
            known_by_checksum = part.md5 or part.sha256 or part.archive_md5 or part.archive_sha256 or part.parts
            assert known_by_checksum or part.remedy or not part.file
    assert card("shd").split("train").md5 == "8e9877c85f29a28dd353ea6a54402667"
    with pytest.raises(
        ConfigError, match=r"unknown data set .shd2.; did you mean .shd.. the catalogue has autonomous-localization, "
    ):
        card("shd2")
    with pytest.raises(ConfigError, match="no split 'valid'; choose train or test"):
        card("shd").split("valid")


@pytest.mark.parametrize(
    ("old", "new", "message"),
    [
        ('licence = "CC BY 4.0"', 'license = "CC BY 4.0"', "unknown key 'license'"),
        ('licence = "CC BY 4.0"', "", "missing 1 required positional argument: 'licence'"),
        ("samples = 8156", "sample = 8156", "splits.train: unknown key 'sample'"),
        ("samples = 8156", "samples = ", "cannot read the card"),
    ],
)
def test_a_wrong_card_is_refused(tmp_path, old, new, message):
    text = (datasets_folder() / "shd.toml").read_text()
    assert old in text
    (tmp_path / "shd.toml").write_text(text.replace(old, new))
    with pytest.raises(DataError, match=message):
        read_card(tmp_path / "shd.toml")


def test_the_bundled_subset_is_small_balanced_and_its_speakers_are_apart():
    folder = datasets_folder() / card(SUBSET).folder
    assert sum(path.stat().st_size for path in folder.iterdir()) <= 10_300_000
    assert "Derived from the Heidelberg Digits" in (folder / "LICENSE").read_text()
    train, test = (shd.ShdRecordings(find_data(card(SUBSET), s)) for s in ("train", "test"))
    assert (len(train), len(test)) == (1000, 300)
    assert np.bincount(train.labels).tolist() == [50] * 20
    assert np.bincount(test.labels).tolist() == [15] * 20
    assert sorted(set(train.speakers)) == [0, 1, 2, 3, 6, 7, 8, 9, 10, 11]
    assert sorted(set(test.speakers)) == [4, 5]
    cells = np.zeros((20, 12), dtype=int)
    np.add.at(cells, (train.labels, train.speakers), 1)
    assert set(np.delete(cells, [4, 5], axis=1).flat) == {5}
    assert np.bincount(test.speakers).tolist() == [0] * 4 + [150] * 2
    assert min(len(sample.events) for recordings in (train, test) for sample in recordings) > 2000


def test_the_bundled_subset_is_expanded_once_and_known_by_checksum(own_folders):
    path = find_data(card(SUBSET), "test")
    assert path.is_relative_to(own_folders / "cache")
    assert identify(path) == "SHD-regenerated (bundled subset)"
    before = path.stat().st_mtime_ns
    assert find_data(card(SUBSET), "test").stat().st_mtime_ns == before
    assert verify(card(SUBSET), "test") == path

    content = path.read_bytes()
    path.write_bytes(content[: len(content) // 2])  # a damaged expansion is made again
    assert find_data(card(SUBSET), "test").read_bytes() == content

    path.write_bytes(content[:-1] + bytes([content[-1] ^ 1]))
    assert hashlib.sha256(find_data(card(SUBSET), "test").read_bytes()).hexdigest() == card(SUBSET).split("test").sha256


def test_content_identifies_a_file_that_another_hdf5_laid_out(tmp_path):
    path = find_data(card(SUBSET), "test")
    with h5py.File(path) as old, h5py.File(tmp_path / "new.h5", "w", libver="latest") as new:
        for key in ("labels", "extra/speaker", "extra/keys", "spikes/times", "spikes/units"):
            new.create_dataset(key, data=old[key][()], dtype=old[key].dtype)
    assert identify(tmp_path / "new.h5") == "SHD-regenerated (bundled subset)"
    with h5py.File(tmp_path / "new.h5", "r+") as file:
        file["labels"][0] = (file["labels"][0] + 1) % 20
    assert identify(tmp_path / "new.h5") == "unidentified"


def test_an_unknown_file_is_called_unidentified_wherever_it_lies(samples):
    path = data_path(card("shd"), card("shd").split("train"))
    write_shd_hdf5(path, samples, len(samples))
    assert identify(path) == "unidentified"
    with pytest.raises(DataError, match=r"should be the split train of SHD, but by its checksum it is unidentified"):
        verify(card("shd"), "train")
    path.write_text("not HDF5")
    assert identify(path) == "unidentified"


def test_a_file_of_the_published_checksum_is_shd(tmp_path, monkeypatch):
    path = tmp_path / "some.h5"
    path.write_text("stands for the published file")
    md5 = card("shd").split("test").md5
    monkeypatch.setattr(identity, "checksums", lambda path, remember: catalogue_checksums(md5))
    assert identify(path) == "SHD"


def catalogue_checksums(md5):
    from snn_delays.data.files import Checksums

    return Checksums(md5, "0" * 64)


def test_missing_files_are_named_with_place_checksum_and_remedy(own_folders):
    with pytest.raises(DataError, match=r"SHD/shd_train.h5 is missing; get it .* unpacked \(md5 8e9877c85f29"):
        find_data(card("shd"), "train")
    with pytest.raises(
        DataError, match=r"shd_test.h5 is missing; these files are not published: encode the like .*docs/data.md"
    ):
        find_data(card("shd-regenerated"), "test")
    with pytest.raises(ConfigError):
        find_data(card(SUBSET), "valid")


def copy_of_datasets(monkeypatch, tmp_path, change):
    """The package's folder of data sets, but with one archive changed."""
    folder = tmp_path / "datasets"
    (folder / card(SUBSET).folder).mkdir(parents=True)
    for path in datasets_folder().glob("*.toml"):
        (folder / path.name).write_bytes(path.read_bytes())
    name = str(card(SUBSET).split("test").archive)
    change(folder / card(SUBSET).folder / name, (datasets_folder() / card(SUBSET).folder / name).read_bytes())
    for module in (catalogue, locate):
        monkeypatch.setattr(module, "datasets_folder", lambda: folder)


def test_a_corrupt_bundled_archive_is_refused(tmp_path, monkeypatch):
    def damage(path, content):
        path.write_bytes(content[:1000] + bytes([content[1000] ^ 4]) + content[1001:])

    copy_of_datasets(monkeypatch, tmp_path, damage)
    with pytest.raises(DataError, match=r"sha256 [0-9a-f]{64}, expected 0d2f0642.*install the package again"):
        find_data(card(SUBSET), "test")
    assert not data_path(card(SUBSET), card(SUBSET).split("test")).exists()


def test_an_absent_bundled_archive_is_refused(tmp_path, monkeypatch):
    copy_of_datasets(monkeypatch, tmp_path, lambda path, content: None)
    with pytest.raises(DataError, match="is missing, though it comes with the package"):
        find_data(card(SUBSET), "test")


def test_an_archive_that_does_not_give_what_the_card_promises_is_refused(tmp_path, monkeypatch):
    """The last check: the archive passes, what it expands to does not."""

    def other(path, content):
        path.write_bytes(lzma.compress(b"another file"))
        known = card(SUBSET)
        part = replace(known.split("test"), archive_sha256=hashlib.sha256(path.read_bytes()).hexdigest())
        monkeypatch.setattr(catalogue, "cards", lambda: {SUBSET: replace(known, splits={"test": part})})

    copy_of_datasets(monkeypatch, tmp_path, other)
    with pytest.raises(DataError, match=r"is unidentified, not that of SHD-regenerated \(bundled subset\)"):
        find_data(card(SUBSET), "test")


def test_a_disk_that_cannot_be_written_is_one_clear_error(tmp_path, monkeypatch):
    monkeypatch.setenv("SNN_DELAYS_CACHE", str(tmp_path / "blocked"))
    (tmp_path / "blocked").write_text("a file where a folder should be")
    with pytest.raises(DataError, match="cannot write"):
        find_data(card(SUBSET), "test")


def test_an_archive_that_no_card_knows_is_not_unpacked(tmp_path):
    (tmp_path / "damaged.tar.gz").write_bytes(b"half")
    with pytest.raises(DataError, match=r"damaged.tar.gz has sha256 .* no card"):
        unpack(tmp_path / "damaged.tar.gz")
    with pytest.raises(DataError, match="absent"):
        unpack(tmp_path / "absent.zip")


def test_splits_in_each_others_place_are_refused():
    train, test = (find_data(card(SUBSET), split) for split in ("train", "test"))
    train.write_bytes(test.read_bytes())
    with pytest.raises(DataError, match=r"should be the split train of SHD-.* by its checksum it is the split test"):
        verify(card(SUBSET), "train")
    with pytest.raises(DataError, match=r"shd_train.h5 should be the split train .* the split test of SHD-regenerated"):
        open_recordings(SUBSET, "train", reader="own")
    assert len(open_recordings(SUBSET, "test", reader="own")) == 300


@pytest.fixture
def large(tmp_path, monkeypatch):
    """A file in SHD's layout that no card knows, and that counts as large; opening it in this process is an error."""
    path = tmp_path / "shd_train.h5"
    write_shd_hdf5(path, [Sample(Events([1000], [3], 700), 0, 0)], 1)
    monkeypatch.setattr(hdf5, "SMALL", 0)
    return path


@pytest.mark.parametrize(
    ("does", "expected_message"),
    [("import time; time.sleep(600)", "loops"), ("import os; os.kill(os.getpid(), 9)", "crashes")],
)
def test_a_file_that_hdf5_does_not_survive_is_not_opened(large, monkeypatch, does, expected_message):
    monkeypatch.setattr(hdf5, "READ", does)
    monkeypatch.setattr(hdf5, "SECONDS", 3.0 if expected_message == "loops" else 600.0)  # a crash may come late
    monkeypatch.setattr(hdf5, "opened_hdf5", lambda path: pytest.fail("it was opened"))
    assert recognise(large) == []
    with pytest.raises(DataError, match=f"is damaged: HDF5 {expected_message} on it"):
        shd.shd_recordings(large, "own")


def test_a_whole_file_is_probed_once(large, monkeypatch):
    assert len(shd.shd_recordings(large, "own")) == 1
    monkeypatch.setattr(hdf5, "READ", "import os; os.kill(os.getpid(), 9)")
    assert len(shd.shd_recordings(large, "own")) == 1


def test_a_file_that_a_card_knows_is_not_probed(monkeypatch, tmp_path):
    monkeypatch.setattr(hdf5, "READ", "import os; os.kill(os.getpid(), 9)")
    path = find_data(card("shd-regenerated-subset"), "test")
    assert path.stat().st_size > hdf5.SMALL
    assert len(shd.shd_recordings(path, "own")) == 300
