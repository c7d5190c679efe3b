"""Files that others wrote: devices, pipes, bombs and endless texts are refused before they cost anything."""

import gzip
import io
import json
import os
import zipfile
from pathlib import Path

import numpy as np
import pytest

from snn_delays.npy import read_npy, read_npz
from snn_delays.printable import printable
from snn_delays.reading import open_regular, parse_json, parse_toml, read_at_most, read_bytes, read_member, read_text


@pytest.mark.parametrize("place", ["/dev/zero", "fifo", "folder", "a\0b", "missing"])
def test_only_regular_files_are_opened(tmp_path: Path, place: str) -> None:
    os.mkfifo(tmp_path / "fifo")
    (tmp_path / "folder").mkdir()
    path = place if place.startswith("/") else f"{tmp_path}/{place}"
    with pytest.raises(OSError, match=r"regular|directory|NUL|No such"):
        open_regular(path)


def test_a_file_beyond_its_bound_is_not_read(tmp_path: Path) -> None:
    path = tmp_path / "a"
    path.write_bytes(b"12345")
    assert read_bytes(path, 5) == b"12345"
    with pytest.raises(OSError, match="larger than 4 bytes"):
        read_bytes(path, 4)
    with path.open("wb") as file:
        file.truncate(1 << 40)  # free on disk
    with pytest.raises(OSError, match="larger"):
        read_text(path)


def test_byte_order_marks(tmp_path: Path) -> None:
    path = tmp_path / "a"
    path.write_bytes("\ufeffa = 1\r\n".encode())
    assert read_text(path) == "a = 1\n"
    path.write_bytes("a = 1".encode("utf-16"))
    with pytest.raises(ValueError, match="UTF-16"):
        read_text(path)


@pytest.mark.parametrize("parse", [parse_json, lambda text: parse_toml(f"a = {text}")])
@pytest.mark.parametrize("text", ["[" * 100_000, "9" * 5000, "\0"])
def test_texts_that_python_gives_up_on_are_value_errors(parse, text: str) -> None:
    with pytest.raises(ValueError):
        parse(text)


def test_bombs_end_at_their_bound() -> None:
    packed = gzip.compress(bytes(1 << 24))
    with gzip.open(io.BytesIO(packed)) as stream, pytest.raises(ValueError, match="more than 1,000,000"):
        read_at_most(stream, 1_000_000)
    with gzip.open(io.BytesIO(packed)) as stream:
        assert read_at_most(stream, 1 << 24) == bytes(1 << 24)
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("a", bytes(1 << 20))
    with zipfile.ZipFile(buffer) as archive, pytest.raises(ValueError, match="a in it unpacks to 1,048,576"):
        read_member(archive, "a", 1000)


def _npy(array: np.ndarray) -> bytes:
    buffer = io.BytesIO()
    np.save(buffer, array)
    return buffer.getvalue()


def _announcing(shape: tuple[int, ...], dtype: str = "<f8") -> bytes:
    buffer = io.BytesIO()
    np.lib.format.write_array_header_1_0(buffer, {"descr": dtype, "fortran_order": False, "shape": shape})
    return buffer.getvalue()


@pytest.mark.parametrize("array", [np.arange(6.0).reshape(2, 3), np.asfortranarray(np.eye(3)), np.int8(3), np.zeros(0)])
def test_arrays_come_back(array: np.ndarray) -> None:
    found = read_npy(_npy(array))
    np.testing.assert_array_equal(found, array)
    assert found.dtype == np.asarray(array).dtype
    assert found.flags.writeable


@pytest.mark.parametrize(
    "content", [_announcing((10**13,)), _npy(np.zeros(4))[:-1], _npy(np.zeros(4)) + b"1", b"", b"ab"]
)
def test_headers_of_arrays_are_not_believed(content: bytes) -> None:
    with pytest.raises(ValueError):
        read_npy(content)


def test_npz_within_its_room(tmp_path: Path) -> None:
    path = tmp_path / "a.npz"
    np.savez_compressed(path, a=np.arange(3), b=np.float32(2))
    assert {name: value.tolist() for name, value in read_npz(path).items()} == {"a": [0, 1, 2], "b": 2.0}
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive, archive.open("a.npy", "w") as file:
        file.write(_announcing((80 << 20,), "|u1"))
        for _ in range(80):
            file.write(bytes(1 << 20))
    assert path.stat().st_size < 100_000
    with pytest.raises(ValueError, match="unpacks to"):
        read_npz(path)


def test_text_on_its_way_to_a_terminal() -> None:
    assert printable("a\x1b[2J\x07\u202eb\tc\n") == "a\ufffd[2J\ufffd\ufffdb\tc\n"
    assert printable("naïve\u00a0µs") == "naïve\u00a0µs"
    name = os.fsdecode(b"caf\xe9.wav")
    assert printable(name) == "caf\\xe9.wav"
    assert json.loads(json.dumps(name)) == name
