"""HDF5 files of others, and disks that fill up beneath our own."""

import subprocess
import sys
from pathlib import Path

import h5py
import nir
import numpy as np
import pytest

from snn_delays.data.events import Events, Sample
from snn_delays.data.formats.ntidigits import NtidigitsRecordings
from snn_delays.data.formats.shd import shd_recordings, write_shd_hdf5
from snn_delays.errors import DataError
from snn_delays.export.nir.file import read_nir
from snn_delays.hdf5 import check_all_stored, check_stored, opened_hdf5, written_hdf5

SAMPLE = Sample(Events([1000], [3], 700), 0, 0)


def test_what_is_stored_passes(tmp_path: Path) -> None:
    path = tmp_path / "a.h5"
    with h5py.File(path, "w") as file:
        file["a"] = np.arange(10)
        file.create_dataset("packed", data=np.zeros(10**6), compression="gzip")
        file.create_dataset("unwritten", (100,), dtype="f8")
        file.create_dataset("empty", data=h5py.Empty("f4"))
        file["group/scalar"] = 3.0
    with opened_hdf5(path) as file:
        check_all_stored(file, path.stat().st_size)


@pytest.mark.parametrize("n", [10**9, 10**13])
def test_declared_sizes_are_not_believed(tmp_path: Path, n: int) -> None:
    """Refused before anything is allocated: 10^13 entries would not fit, 10^9 would, and fill the memory."""
    path, timit = tmp_path / "a.h5", tmp_path / "n.hdf5"
    write_shd_hdf5(path, [SAMPLE], 1)
    with h5py.File(path, "r+") as file:
        del file["extra/keys"]
        file.create_dataset("extra/keys", (n,), dtype="S4", chunks=(1024,))
    with pytest.raises(DataError, match=r"a\.h5 cannot be read .*extra/keys declares"):
        shd_recordings(path, "own")
    with h5py.File(timit, "w") as file:
        file.create_dataset("train_labels", (n,), dtype="S20", chunks=(1024,))
        file.create_group("train_timestamps")
        file.create_group("train_addresses")
    with pytest.raises(DataError, match=r"n\.hdf5 cannot be read .*train_labels declares"):
        NtidigitsRecordings(timit, "train")


def test_recordings_of_declared_sizes_are_not_believed(tmp_path: Path) -> None:
    path = tmp_path / "n.hdf5"
    with h5py.File(path, "w") as file:
        file["train_labels"] = np.array([b"man-aa-a-1"])
        for group in ("timestamps", "addresses"):
            file.create_dataset(f"train_{group}/man-aa-a-1", (10**9,), chunks=(1024,), dtype="f8")
    with pytest.raises(DataError, match=r"timestamps/man-aa-a-1 .*declares"):
        NtidigitsRecordings(path, "train")[0]


def test_matrices_of_a_graph_are_not_believed(tmp_path: Path) -> None:
    path = tmp_path / "a.nir"
    nodes = {
        "input": nir.Input({"input": np.array([2])}),
        "w": nir.Linear(np.eye(2)),
        "out": nir.Output({"output": np.array([2])}),
    }
    nir.write(path, nir.NIRGraph(nodes, [("input", "w"), ("w", "out")]))
    assert set(read_nir(path).nodes) == set(nodes)
    with h5py.File(path, "r+") as file:
        del file["node/nodes/w/weight"]
        file.create_dataset("node/nodes/w/weight", (40_000, 40_000), chunks=(64, 64), dtype="f4", compression="gzip")
    with pytest.raises(DataError, match="weight declares"):
        read_nir(path)


@pytest.mark.parametrize("kind", ["external", "soft", "virtual", "elsewhere", "cycle", "deep"])
def test_data_that_lie_elsewhere_are_refused(tmp_path: Path, kind: str) -> None:
    path, other = tmp_path / "a.h5", tmp_path / "other.h5"
    with h5py.File(other, "w") as file:
        file["a"] = np.arange(4)
    with h5py.File(path, "w") as file:
        if kind == "external":
            file["a"] = h5py.ExternalLink(str(other), "/a")
        elif kind == "soft":
            file["a"] = h5py.SoftLink("/a")
        elif kind == "virtual":
            layout = h5py.VirtualLayout((4,), dtype="i8")
            layout[:] = h5py.VirtualSource(str(other), "a", (4,))
            file.create_virtual_dataset("a", layout)
        elif kind == "elsewhere":
            file.create_dataset("a", (4,), dtype="i8", external=[("/dev/zero", 0, 32)])
        elif kind == "cycle":
            file["a"] = file["/"]
        else:
            file.create_group("/".join("a" * 100))
    with opened_hdf5(path) as file:
        with pytest.raises(ValueError, match=r"other files|is a link|within itself|nested"):
            check_all_stored(file, path.stat().st_size)
        if kind in ("external", "virtual", "elsewhere"):
            with pytest.raises(ValueError, match="lies in other files"):
                check_stored(file["a"], file)


@pytest.mark.parametrize("room", [None, 100])
def test_a_file_is_there_whole_or_not_at_all(tmp_path: Path, room: int | None) -> None:
    path = tmp_path / "a.h5"
    with written_hdf5(path, room) as file:
        file["a"] = np.arange(3)
    with opened_hdf5(path) as file:
        assert file["a"][()].tolist() == [0, 1, 2]
    with pytest.raises(KeyboardInterrupt), written_hdf5(path, room) as file:
        raise KeyboardInterrupt
    assert [one.name for one in tmp_path.iterdir()] == ["a.h5"]
    with opened_hdf5(path) as file:
        assert "a" in file


@pytest.mark.skipif(sys.platform == "win32", reason="no limits on files there")
@pytest.mark.parametrize("spikes", [None, 200_000])
def test_a_full_disk_is_an_error_and_no_crash(tmp_path: Path, spikes: int | None) -> None:
    """A limit on files stands in for the disk. HDF5 alone ends the process by a signal here."""
    code = (
        "import resource, sys\n"
        "from pathlib import Path\n"
        "import numpy as np\n"
        "from snn_delays.data.events import Events, Sample\n"
        "from snn_delays.data.formats.shd import write_shd_hdf5\n"
        "resource.setrlimit(resource.RLIMIT_FSIZE, (1 << 17, 1 << 17))\n"
        "sample = Sample(Events(np.arange(2000), np.zeros(2000, int), 700), 0, 0)\n"
        "try:\n"
        f"    write_shd_hdf5(Path(sys.argv[1]), [sample] * 100, 100, n_spikes={spikes})\n"
        "except OSError as error:\n"
        "    print(error.strerror)\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", code, str(tmp_path / "a.h5")], capture_output=True, text=True, check=False
    )
    assert (done.returncode, done.stdout.strip(), done.stderr) == (0, "File too large", "")
    assert not list(tmp_path.iterdir())
