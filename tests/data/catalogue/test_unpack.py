import hashlib
import io
import tarfile
import zipfile
from dataclasses import replace
from pathlib import Path

import pytest

from snn_delays.data.catalogue.identity import identify
from snn_delays.data.catalogue.locate import unpack
from snn_delays.data.catalogue.lookup import card
from snn_delays.data.catalogue.unpack import holds, unpack_archive
from snn_delays.errors import DataError
from tests.support.event_fixtures import FIXTURES

NMNIST = FIXTURES / "NMNIST"
PARTS = [replace(part, sha256=None) for part in card("n-mnist-subset").splits.values()]


def tar_of(path: Path, members: dict[str, bytes], **link) -> Path:
    with tarfile.open(path, "w:xz") as tar:
        for name, content in members.items():
            member = tarfile.TarInfo(name)
            member.size = len(content)
            tar.addfile(member, io.BytesIO(content))
        for name, target in link.items():
            member = tarfile.TarInfo(name)
            member.type, member.linkname = tarfile.SYMTYPE, target
            tar.addfile(member)
    return path


def zip_of(path: Path, folder: Path, below: str = "") -> Path:
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as packed:
        for file in sorted(folder.rglob("*")):
            packed.write(file, below + file.relative_to(folder).as_posix())
    return path


@pytest.fixture
def known(monkeypatch, tmp_path):
    """Let the catalogue know an archive made here as that of a data set; the data folder is a new one."""
    monkeypatch.setenv("SNN_DELAYS_DATA", str(tmp_path / "data"))

    def tell(name: str, **archives: Path):
        splits = dict(card(name).splits)
        for split, path in archives.items():
            md5 = hashlib.md5(path.read_bytes()).hexdigest()
            splits[split] = replace(splits[split], archive=path.name, archive_md5=md5)
        changed = replace(card(name), splits=splits)
        monkeypatch.setattr("snn_delays.data.catalogue.lookup.cards", lambda: {name: changed})
        return changed

    return tell


def test_both_parts_of_a_tar_go_to_their_places(tmp_path):
    members = {f"NMNIST/{file.relative_to(NMNIST)}": file.read_bytes() for file in NMNIST.rglob("*.bin")}
    archive = tar_of(tmp_path / "small.tar.xz", members)
    calls = []
    folder = tmp_path / "data"
    paths = unpack_archive(archive, card("n-mnist-subset"), PARTS, folder, lambda *done: calls.append(done))
    assert paths == [folder / "Train", folder / "Test"]
    for file in NMNIST.rglob("*.bin"):
        assert (folder / file.relative_to(NMNIST)).read_bytes() == file.read_bytes()
    assert calls[-1] == (archive.stat().st_size,) * 2
    assert all(done < total for done, total in calls[:-1])
    assert sorted(path.name for path in folder.iterdir()) == ["Test", "Train"]  # nothing temporary is left
    assert unpack_archive(archive, card("n-mnist-subset"), PARTS, folder) == paths  # again changes nothing
    (folder / "Test" / "3" / "00001.bin").write_bytes(b"mine")
    with pytest.raises(DataError, match=r"data/Test is there already and differs .* move it away"):
        unpack_archive(archive, card("n-mnist-subset"), PARTS, folder)
    assert (folder / "Test" / "3" / "00001.bin").read_bytes() == b"mine"


def test_what_the_card_does_not_promise_is_not_put_in_place(tmp_path):
    archive = tar_of(tmp_path / "small.tar.xz", {"NMNIST/Train/0/00001.bin": b"12345"})
    with pytest.raises(
        DataError, match=r"an archive of N-MNIST \(subset\), holds a Train with sha256 [0-9a-f]{64}, exp"
    ):
        unpack_archive(archive, card("n-mnist-subset"), [card("n-mnist-subset").split("train")], tmp_path / "data")
    assert list((tmp_path / "data").iterdir()) == []


@pytest.mark.parametrize("name", ["../evil.bin", "/evil.bin", "Train/../../../evil.bin", "C:\\evil.bin", "C:evil.bin"])
def test_a_path_that_leads_out_of_the_archive_is_refused(tmp_path, name):
    for archive in (tar_of(tmp_path / "a.tar.xz", {"Train/0/1.bin": b"12345", name: b"x"}), tmp_path / "a.zip"):
        if archive.suffix == ".zip":
            with zipfile.ZipFile(archive, "w") as packed:
                packed.writestr(name, b"x")
        with pytest.raises(DataError, match=r"which leads out of it; it is not unpacked"):
            unpack_archive(archive, card("n-mnist-subset"), PARTS, tmp_path / "data")
    assert not list(tmp_path.rglob("*evil*"))
    assert not Path("/evil.bin").exists()
    assert list((tmp_path / "data").iterdir()) == []


def test_links_are_refused(tmp_path):
    archive = tar_of(tmp_path / "a.tar.xz", {"Train/0/1.bin": b"12345"}, Train_2="/etc/passwd")
    with pytest.raises(DataError, match="Train_2 is a link or a device"):
        unpack_archive(archive, card("n-mnist-subset"), PARTS, tmp_path / "data")


def test_a_damaged_archive_and_a_folder_that_cannot_be_written_are_clear_errors(tmp_path):
    good = tar_of(tmp_path / "a.tar.xz", {"Train/0/1.bin": bytes(range(256)) * 50})
    for content in (good.read_bytes()[:60], b"", b"no archive at all"):
        (tmp_path / "bad").write_bytes(content)
        with pytest.raises(DataError, match=r"bad is damaged or no tar or zip archive .*fetch it again"):
            unpack_archive(tmp_path / "bad", card("n-mnist-subset"), PARTS, tmp_path / "data")
    (tmp_path / "blocked").write_text("a file where a folder should be")
    with pytest.raises(DataError, match=r"cannot unpack .*choose a folder that can be written"):
        unpack_archive(good, card("n-mnist-subset"), PARTS[:1], tmp_path / "blocked" / "data")


def test_an_archive_known_by_its_md5_stays_beside_what_it_is_known_by(tmp_path, known):
    train, test = (zip_of(tmp_path / f"{s.lower()}.zip", NMNIST / s, f"{s}/") for s in ("Train", "Test"))
    known("n-mnist", train=train, test=test)
    assert unpack(train) == tmp_path / "data" / "NMNIST" / "Train"
    placed = unpack(test)
    assert (placed / "9" / "00004.bin").read_bytes() == (NMNIST / "Test" / "9" / "00004.bin").read_bytes()
    assert (placed.parent / "test.zip").read_bytes() == test.read_bytes()
    assert identify(placed) == identify(placed.parent / "Train") == "N-MNIST"
    (placed.parent / "test.zip").unlink()
    assert identify(placed) == "unidentified"
    assert unpack(train, tmp_path / "elsewhere") == tmp_path / "elsewhere" / "Train"


def test_zips_inside_a_zip_are_unpacked_into_the_folder_of_the_set(tmp_path, known):
    inner = tmp_path / "inner"
    inner.mkdir()
    for name in ("airplane", "frog"):
        zip_of(inner / f"{name}.zip", FIXTURES / "CIFAR10DVS" / name, f"{name}/")
    archive = zip_of(tmp_path / "CIFAR10DVS.zip", inner)
    known("cifar10-dvs", train=archive, test=archive)
    placed = unpack(archive)
    assert placed == tmp_path / "data" / "CIFAR10DVS"
    assert sorted(path.name for path in placed.iterdir()) == ["airplane", "frog"]
    assert len(list(placed.rglob("*.aedat"))) == 20
    assert identify(placed) == "CIFAR10-DVS"


@pytest.mark.parametrize("kind", ["zip", "tar", "nested"])
def test_a_folder_is_what_its_archive_holds_or_is_not(tmp_path, kind):
    folder = tmp_path / "made" / "Train"
    for label in "01":
        (folder / label).mkdir(parents=True)
        (folder / label / "a.bin").write_bytes(label.encode() * 10)
    archive = tmp_path / f"train.{kind}"
    if kind == "tar":
        with tarfile.open(archive, "w") as packed:
            packed.add(folder, "Train")
    else:
        inner = tmp_path / "inner.zip"
        with zipfile.ZipFile(inner, "w") as packed:
            for file in sorted(folder.rglob("*.bin")):
                packed.write(file, Path("Train", file.relative_to(folder)))
        if kind == "zip":
            inner.rename(archive)
        else:
            with zipfile.ZipFile(archive, "w") as packed:
                packed.write(inner, "inner.zip")
    assert holds(archive, folder)
    a, b = (folder / label / "a.bin" for label in "01")
    a.write_bytes(b.read_bytes())  # same names and sizes
    assert not holds(archive, folder)
    a.write_bytes(b"0" * 10)
    assert holds(archive, folder)
    a.rename(a.with_name("b.bin"))
    assert not holds(archive, folder)
    archive.write_bytes(archive.read_bytes()[:-30])
    assert not holds(archive, folder)


@pytest.mark.parametrize("pack", [tarfile, zipfile])
def test_an_archive_that_unpacks_to_absurdly_much_is_refused(tmp_path, pack):
    path, content = tmp_path / "bomb", bytes(80 << 20)
    if pack is tarfile:
        tar_of(path, {"Train/0/1.bin": content})
    else:
        with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as packed:
            packed.writestr("Train/0/1.bin", content)
    assert path.stat().st_size < 200_000
    with pytest.raises(DataError, match=r"1\.bin unpacks to far more"):
        unpack_archive(path, card("n-mnist-subset"), PARTS, tmp_path / "data")
    assert not [file for file in (tmp_path / "data").rglob("*") if file.is_file()]
