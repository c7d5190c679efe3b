import contextlib
import errno
import hashlib
import os
import signal
from pathlib import Path

import pytest

import snn_delays.files as whole_files
from snn_delays.data import files
from snn_delays.data.files import checksums, data_folder
from snn_delays.errors import DataError
from snn_delays.files import atomic_folder, atomic_path, cache_folder


def test_folders_follow_the_environment(monkeypatch, tmp_path):
    assert cache_folder() == tmp_path / "cache"
    assert data_folder() == tmp_path / "cache" / "data"
    monkeypatch.setenv("SNN_DELAYS_DATA", str(tmp_path / "mine"))
    assert data_folder() == tmp_path / "mine"
    monkeypatch.delenv("SNN_DELAYS_CACHE")
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "xdg"))
    assert cache_folder() == tmp_path / "xdg" / "snn_delays"
    monkeypatch.delenv("XDG_CACHE_HOME")
    assert cache_folder() == Path.home() / ".cache" / "snn_delays"


def test_a_file_is_written_whole_or_not_at_all(tmp_path, monkeypatch):
    path = tmp_path / "new" / "file"
    with atomic_path(path) as temporary:
        temporary.write_text("first")
        assert not path.exists()
    assert path.read_text() == "first"

    def broken():
        with atomic_path(path) as temporary:
            temporary.write_text("half")
            raise RuntimeError("the writer broke")

    with pytest.raises(RuntimeError, match="the writer broke"):
        broken()

    def full(fd):
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(OSError, match="No space"), atomic_path(path) as temporary:
        temporary.write_text("second")
    assert path.read_text() == "first"
    assert os.listdir(path.parent) == ["file"]


def test_new_files_have_the_usual_permissions(tmp_path):
    (tmp_path / "usual").touch()
    with atomic_path(tmp_path / "ours") as temporary:
        temporary.write_text("x")
    assert (tmp_path / "ours").stat().st_mode == (tmp_path / "usual").stat().st_mode


def test_checksums_are_right_remembered_and_taken_again_when_the_file_changes(tmp_path, monkeypatch):
    path = tmp_path / "data"
    path.write_bytes(b"abc")
    assert checksums(path).sha256 == hashlib.sha256(b"abc").hexdigest()
    assert checksums(path).md5 == hashlib.md5(b"abc").hexdigest()

    monkeypatch.setattr(files.hashlib, "md5", None)  # a second taking would fail
    assert checksums(path).sha256 == hashlib.sha256(b"abc").hexdigest()
    monkeypatch.undo()
    monkeypatch.setenv("SNN_DELAYS_CACHE", str(tmp_path / "cache"))

    path.write_bytes(b"abcd")
    assert checksums(path).sha256 == hashlib.sha256(b"abcd").hexdigest()
    stat = path.stat()
    path.write_bytes(b"dcba")
    os.utime(path, ns=(stat.st_atime_ns, stat.st_mtime_ns))  # same size, same time: only a fresh look sees it
    assert checksums(path, remember=False).sha256 == hashlib.sha256(b"dcba").hexdigest()


def test_a_damaged_note_is_ignored_and_a_cache_that_cannot_be_written_costs_only_time(tmp_path, monkeypatch):
    path = tmp_path / "data"
    path.write_bytes(b"abc")
    checksums(path)
    for note in (tmp_path / "cache" / "checksums").iterdir():
        note.write_text("{")
    assert checksums(path).sha256 == hashlib.sha256(b"abc").hexdigest()
    (tmp_path / "blocked").write_text("a file where a folder should be")
    monkeypatch.setenv("SNN_DELAYS_CACHE", str(tmp_path / "blocked"))
    assert checksums(path).sha256 == hashlib.sha256(b"abc").hexdigest()


def test_a_file_that_is_not_there_is_an_error(tmp_path):
    with pytest.raises(DataError, match="absent"):
        checksums(tmp_path / "absent")


def test_a_folder_is_looked_at_again_when_files_change_places(tmp_path):
    folder = tmp_path / "data"  # the notes of checksums lie beside it
    for name in ("0/a", "1/b"):
        (folder / name).parent.mkdir(parents=True)
        (folder / name).write_bytes(name.encode())
    before = checksums(folder)
    assert checksums(folder) == before
    (folder / "0" / "a").rename(tmp_path / "kept")  # same names in other places, sizes and times as they were
    (folder / "1" / "b").rename(folder / "0" / "a")
    (tmp_path / "kept").rename(folder / "1" / "b")
    assert checksums(folder) != before
    assert checksums(folder) == checksums(folder, remember=False)


def test_a_folder_is_written_whole_or_not_at_all(tmp_path):
    folder = tmp_path / "new" / "folder"

    def write(text, fail=False):
        with atomic_folder(folder, "mark") as temporary:
            (temporary / "text").write_text(text)
            (temporary / "inside").mkdir()
            (temporary / "inside" / "file").write_text(text)
            if fail:
                raise RuntimeError("the writer broke")

    with pytest.raises(RuntimeError, match="the writer broke"):
        write("half", fail=True)
    assert not list(tmp_path.iterdir()), "nothing is left, not even the folder around it"
    write("first")
    with pytest.raises(RuntimeError, match="the writer broke"):
        write("half", fail=True)
    assert (folder / "inside" / "file").read_text() == "first"
    (folder / "old").write_text("")
    write("second")
    # What nobody listed is somebody's: it stays.
    assert sorted(path.name for path in folder.iterdir()) == ["inside", "mark", "old", "text"]
    assert (folder / "text").read_text() == "second"
    assert [path.name for path in folder.parent.iterdir()] == ["folder"]
    assert folder.stat().st_mode & 0o777 == 0o777 & ~_umask()


@pytest.mark.parametrize("exchange", [True, False])
@pytest.mark.parametrize("how", ["killed", "fails"])
@pytest.mark.parametrize("call", [1, 2])
def test_what_somebody_laid_beside_a_folders_files_outlives_a_kill(tmp_path, how, call, exchange):
    """Wherever between the renames the process ends, and where the system cannot exchange two folders."""
    folder = tmp_path / "export"

    def write(text):
        with atomic_folder(folder, "mark") as temporary:
            (temporary / "network").write_text(text)

    write("one")
    (folder / "mine").write_text("results")
    process = os.fork()
    if process == 0:
        replace, calls = os.replace, []

        def broken(source, target):
            calls.append(source)
            if len(calls) == call:
                if how == "killed":
                    os.kill(os.getpid(), signal.SIGKILL)
                raise OSError(28, "No space left on device", str(target))
            replace(source, target)

        os.replace = broken
        if not exchange:
            whole_files._exchange = lambda *_: False
        with contextlib.suppress(OSError):
            write("two")
        os._exit(0)
    os.waitpid(process, 0)
    if how == "fails" and not exchange:
        assert (folder / "network").read_text() == "one"
    write("three")
    assert (folder / "network").read_text() == "three"
    assert (folder / "mine").read_text() == "results"
    if how == "fails" or exchange:
        assert [path.name for path in tmp_path.iterdir()] == ["export"]


def test_a_link_is_not_replaced_by_a_folder(tmp_path):
    (tmp_path / "real").mkdir()
    (tmp_path / "link").symlink_to("real")
    with pytest.raises(OSError, match="is a symbolic link"), atomic_folder(tmp_path / "link", "mark"):
        pass
    assert (tmp_path / "link").is_symlink()


def test_a_folder_of_somebody_else_is_left_alone(tmp_path):
    (tmp_path / "theirs").mkdir()
    (tmp_path / "theirs" / "file").write_text("kept")
    (tmp_path / "theirs" / "mark").write_text("a file of that name")
    (tmp_path / "file").write_text("kept")
    for name in ("theirs", "file"):
        with pytest.raises(OSError, match="not made by this program"), atomic_folder(tmp_path / name, "mark"):
            pass
    assert (tmp_path / "theirs" / "file").read_text() == (tmp_path / "file").read_text() == "kept"
    (tmp_path / "empty").mkdir()
    with atomic_folder(tmp_path / "empty", "mark") as temporary:
        (temporary / "file").write_text("")
    assert (tmp_path / "empty" / "mark").read_text().splitlines()[1:] == ["file"]


def _umask():
    mask = os.umask(0)
    os.umask(mask)
    return mask


def test_names_that_are_no_utf_8_have_checksums(tmp_path):
    folder = tmp_path / os.fsdecode(b"caf\xe9")
    try:
        folder.mkdir()
    except OSError:
        pytest.skip("this disk takes UTF-8 alone")
    (folder / os.fsdecode(b"\xff.bin")).write_bytes(b"abc")
    assert checksums(folder) == checksums(folder)
    assert checksums(folder / os.fsdecode(b"\xff.bin")).md5 == hashlib.md5(b"abc").hexdigest()


def test_devices_have_no_checksum():
    with pytest.raises(DataError, match="no regular file"):
        checksums(Path("/dev/zero"), remember=False)
