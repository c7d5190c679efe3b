import io
import lzma
import zipfile

import numpy as np
import pytest

from experiments.studies.spike_archive import pack, read_archive, write_archive
from snn_delays.data.events import Events, Sample
from snn_delays.errors import DataError


def distinct(samples):
    """The samples without double (time, channel), in the order of the archive's keys."""
    made = []
    for sample in samples:
        key = np.unique(sample.events.t_us * 700 + sample.events.channel)
        made.append(Sample(Events(key // 700, key % 700, 700), sample.label, sample.speaker))
    return made


def rewritten(path, target, **changes):
    with np.load(io.BytesIO(lzma.decompress(path.read_bytes()))) as z:
        arrays = dict(z) | changes
    buffer = io.BytesIO()
    np.savez(buffer, **{key: value for key, value in arrays.items() if value is not None})
    target.write_bytes(lzma.compress(buffer.getvalue()))
    return target


@pytest.fixture
def samples():
    """Six short recordings of 700 channels, with spikes up to 1.3 s."""
    random = np.random.default_rng(0)
    made = []
    for i in range(6):
        t_us = np.sort(random.integers(0, 2600, 200 + 20 * i)) * 500
        made.append(Sample(Events(t_us, random.integers(0, 700, t_us.size), 700), label=3 * i, speaker=i % 3))
    return made


@pytest.fixture
def written(samples, tmp_path):
    samples = distinct(samples)
    path = tmp_path / "a.npz.xz"
    write_archive(path, pack(samples, list(range(len(samples))), tick_us=500))
    return path, samples


def test_what_is_written_is_read_and_bytes_repeat(written, tmp_path):
    path, samples = written
    archive = read_archive(path)
    assert list(archive) == samples
    assert archive.trial.tolist() == list(range(len(samples)))
    write_archive(tmp_path / "b.npz.xz", archive)
    assert (tmp_path / "b.npz.xz").read_bytes() == path.read_bytes()
    assert list(archive.subset(np.array([4, 1]))) == [samples[4], samples[1]]


def test_a_key_beyond_two_bytes_survives(tmp_path):
    sample = Sample(Events([0, 10_000_000], [3, 699], 700), 0, 0)  # a difference of 14,000,696 needs the third plane
    write_archive(tmp_path / "a.npz.xz", pack([sample], [0], tick_us=500))
    assert list(read_archive(tmp_path / "a.npz.xz")) == [sample]
    late = Sample(Events([0, 50_000_000], [3, 699], 700), 0, 0)
    with pytest.raises(DataError, match="step must lie in 0 to 16777215"):
        write_archive(tmp_path / "b.npz.xz", pack([late], [0], tick_us=500))


def test_packing_refuses_what_it_cannot_hold():
    with pytest.raises(DataError, match="multiples of 500 us"):
        pack([Sample(Events([501], [0], 700), 0, 0)], [0], tick_us=500)
    with pytest.raises(DataError, match="two spikes of one channel"):
        pack([Sample(Events([500, 500], [4, 4], 700), 0, 0)], [0], tick_us=500)


def test_damaged_archives_are_refused(written, tmp_path):
    path, _ = written
    content, npy = path.read_bytes(), io.BytesIO()
    np.save(npy, np.arange(3))
    cases = {
        "truncated": content[: len(content) // 2],
        "flipped": content[:200] + bytes([content[200] ^ 255]) + content[201:],
        "empty": b"",
        "text": b"not an archive",
        "bare_npy": lzma.compress(npy.getvalue()),
        "not_npz": lzma.compress(b"not an npz"),
    }
    for name, damaged in cases.items():
        bad = tmp_path / f"{name}.npz.xz"
        bad.write_bytes(damaged)
        with pytest.raises(DataError, match=f"{name}.npz.xz is damaged"):
            read_archive(bad)
    with pytest.raises(DataError, match="does not exist"):
        read_archive(tmp_path / "absent.npz.xz")


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"trial": None}, "no array 'trial'"),
        ({"label": np.zeros(3, np.uint8)}, r"label has shape \(3,\), expected \(6,\)"),
        ({"label": np.array(["a"] * 6)}, r"label holds <U1 of shape \(6,\), expected integers"),
        ({"label": np.full(6, np.nan)}, "label holds float64 of shape"),
        ({"n_spikes": np.uint16(3)}, r"n_spikes holds uint16 of shape \(\)"),
        ({"n_spikes": np.full(6, -1)}, "n_spikes has -1, expected at least 0"),
        ({"tick_us": np.array("500")}, "tick_us holds <U3 of shape"),
        ({"n_units": np.array([700, 700])}, r"n_units holds int64 of shape \(2,\)"),
        ({"n_units": np.int64(0)}, "n_units has 0, expected at least 1"),
        ({"d0": np.array([None])}, "is damaged or not an archive of spikes"),
        ({"d1": np.zeros(9, np.uint8)}, r"d1 has shape \(9,\)"),
    ],
)
def test_arrays_that_contradict_each_other_are_refused(written, tmp_path, changes, message):
    with pytest.raises(DataError, match=message):
        read_archive(rewritten(written[0], tmp_path / "bad.npz.xz", **changes))


def test_an_archive_that_unpacks_to_absurdly_much_is_refused(written, tmp_path):
    path = tmp_path / "bomb.npz.xz"
    path.write_bytes(lzma.compress(bytes(80 << 20), preset=0))
    assert path.stat().st_size < 100_000
    with pytest.raises(DataError, match="unpacks to more than"):
        read_archive(path)
    arrays = dict(np.load(io.BytesIO(lzma.decompress(written[0].read_bytes()))))
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, array in {**arrays, "d0": np.zeros(50 << 20, np.uint8)}.items():
            with archive.open(f"{name}.npy", "w") as file:
                np.lib.format.write_array(file, np.asarray(array))
    path.write_bytes(lzma.compress(buffer.getvalue(), preset=0))
    with pytest.raises(DataError, match=r"d0\.npy in it unpacks to 52,428,928 bytes"):
        read_archive(path)
