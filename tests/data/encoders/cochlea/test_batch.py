"""Many recordings to one file: order and workers change nothing, a bad file costs itself, a killed run goes on."""

import csv
import fcntl
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, nullcontext
from pathlib import Path

import pytest

pytest.importorskip("soundfile")
from snn_delays.data.encoders.cochlea import Cochlea, encode_files, encode_splits, find_audio
from snn_delays.data.encoders.cochlea import batch as batch_module
from snn_delays.data.encoders.cochlea.listing import read_report
from snn_delays.data.formats.shd import content_sha256, read_shd_hdf5, shd_recordings
from snn_delays.errors import ConfigError, DataError
from tests.support.recordings_made_up import vowel, write

FEW = Cochlea(channels=12)


def name(speaker: int, digit: int) -> str:
    return f"lang-german_speaker-{speaker:02}_trial-0_digit-{digit}.wav"


@pytest.fixture
def files(tmp_path: Path) -> list[Path]:
    return [write(tmp_path / "in" / name(1, i), vowel(0.12 + 0.03 * (i % 3), seed=i)) for i in range(6)]


@contextmanager
def another_in(folder: Path) -> Iterator[None]:
    """As if another process had the folder to itself: its handle is not ours."""
    handle = os.open(folder, os.O_RDONLY)
    fcntl.flock(handle, fcntl.LOCK_EX)
    yield
    os.close(handle)


def rows(out: Path) -> list[dict[str, str]]:
    with out.with_name(out.name + ".csv").open() as file:
        return list(csv.DictReader(file))


def test_order_and_workers_change_no_spike(tmp_path: Path, files: list[Path]) -> None:
    calls: list[tuple[int, int]] = []
    report = encode_files(files, tmp_path / "one.h5", FEW, workers=1, progress=lambda *done: calls.append(done))
    assert (report.written, report.reused, report.failed) == (6, 0, ())
    assert calls == [(i, 6) for i in range(1, 7)]
    encode_files(files, tmp_path / "two.h5", FEW, workers=2)
    assert (tmp_path / "two.h5").read_bytes() == (tmp_path / "one.h5").read_bytes()
    encode_files(files[::-1], tmp_path / "back.h5", FEW, workers=1)
    samples, back = read_shd_hdf5(tmp_path / "one.h5", "own"), read_shd_hdf5(tmp_path / "back.h5", "own")
    assert samples == back[::-1]
    assert [s.label for s in samples] == [10, 11, 12, 13, 14, 15]
    assert all(len(s.events) > 5 for s in samples)
    assert len({s.events.t_us.tobytes() for s in samples}) == 6
    encode_files(files, tmp_path / "seed.h5", FEW, seed=1, workers=1)
    assert content_sha256(tmp_path / "seed.h5") != content_sha256(tmp_path / "one.h5")
    assert sorted(p.name for p in tmp_path.glob("*.parts")) == []


def test_a_cluster_encodes_the_same(tmp_path: Path, files: list[Path], monkeypatch: pytest.MonkeyPatch) -> None:
    distributed = pytest.importorskip("distributed")
    encode_files(files, tmp_path / "here.h5", FEW, workers=1)
    monkeypatch.chdir(tmp_path)
    calls: list[tuple[int, int]] = []
    with distributed.LocalCluster(
        n_workers=1, threads_per_worker=2, processes=False, dashboard_address=None
    ) as cluster:
        report = encode_splits(
            [file.relative_to(tmp_path) for file in files], Path("there.h5"), None, FEW,
            scheduler=cluster.scheduler_address, progress=lambda *done: calls.append(done),
        )[Path("there.h5")]  # fmt: skip
    assert (report.written, calls[-1]) == (6, (6, 6))
    assert (tmp_path / "there.h5").read_bytes() == (tmp_path / "here.h5").read_bytes()
    with pytest.raises(ConfigError, match="no Dask scheduler answers at 'nonsense://x'"):
        encode_splits(files, tmp_path / "none.h5", None, FEW, scheduler="nonsense://x")


def test_a_bad_recording_costs_itself(tmp_path: Path, files: list[Path]) -> None:
    encode_files([*files[:2], *files[3:]], tmp_path / "without.h5", FEW, workers=1)
    files[2].write_bytes(files[2].read_bytes()[:3000])
    missing = tmp_path / name(2, 0)
    out = tmp_path / "out.h5"
    report = encode_files([*files, missing], out, FEW, workers=1)
    assert report.written == 5
    assert [file for file, _ in report.failed] == [files[2], missing]
    assert "half-written" in report.failed[0][1]
    assert "No such file or directory; check its path" in report.failed[1][1]
    assert out.read_bytes() == (tmp_path / "without.h5").read_bytes()
    listed = rows(out)
    assert [row["sample"] for row in listed] == ["0", "1", "", "2", "3", "4", ""]
    assert [row["class"] for row in listed[:2]] == ["null", "eins"]
    assert listed[2]["error"] == report.failed[0][1]
    assert listed[5] == {
        "sample": "4", "file": str(files[5]), "label": "15", "class": "fuenf", "speaker": "1", "error": ""
    }  # fmt: skip


def test_a_recording_that_may_not_be_read_costs_itself(
    tmp_path: Path, files: list[Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    def fingerprint(path: Path) -> bytes:
        if path == files[0]:
            raise PermissionError(13, "Permission denied", str(path))
        return real(path)

    real = batch_module.fingerprint
    monkeypatch.setattr(batch_module, "fingerprint", fingerprint)
    report = encode_files(files[:2], tmp_path / "out.h5", FEW, workers=1)
    assert report.failed == ((files[0], f"cannot read {files[0]}: Permission denied; check its path and permissions"),)


@pytest.mark.parametrize("damage", [b"damaged", b"", b"PK\x03\x04 and no archive"])
def test_a_stopped_run_goes_on(tmp_path: Path, files: list[Path], damage: bytes) -> None:
    encode_files(files, tmp_path / "whole.h5", FEW, workers=1)

    def stop(done: int, total: int) -> None:
        if done == 2:
            raise KeyboardInterrupt

    out = tmp_path / "out.h5"
    with pytest.raises(KeyboardInterrupt):
        encode_files(files, out, FEW, workers=1, progress=stop)
    assert not out.exists()
    parts = sorted((tmp_path / "out.h5.parts").iterdir())
    assert len(parts) == 2
    parts[0].write_bytes(damage)
    files[5].touch()  # what counts is what is in a file
    report = encode_files(files, out, FEW, workers=1)
    assert (report.written, report.reused) == (6, 1)
    assert out.read_bytes() == (tmp_path / "whole.h5").read_bytes()
    assert not parts[0].parent.exists()


def test_a_run_stopped_between_the_list_and_the_file_goes_on(
    tmp_path: Path, files: list[Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    """The list comes first: whatever moment a run ends at, a file that is there has its list beside it."""
    files[2].write_bytes(b"")
    out = tmp_path / "out.h5"
    for name in ("write_list", "write_shd_hdf5"):
        with monkeypatch.context() as stopped:
            real = getattr(batch_module, name)

            def then_stop(*arguments: object, real: Callable[..., None] = real, **options: object) -> None:
                real(*arguments, **options)
                raise KeyboardInterrupt

            stopped.setattr(batch_module, name, then_stop)
            with pytest.raises(KeyboardInterrupt):
                encode_files(files, out, FEW, workers=1)
        assert out.exists() == (name == "write_shd_hdf5")
        assert "is empty" in rows(out)[2]["error"]
    report = read_report(out)
    assert (report.written, report.reused) == (5, 5)
    assert report.failed == ((files[2], rows(out)[2]["error"]),)
    out.with_name("out.h5.csv").unlink()
    with pytest.raises(DataError, match=r"out\.h5 is there, but not .*out\.h5\.csv.*remove .*out\.h5 to make both"):
        read_report(out)


@contextmanager
def files_of_at_most(size: int) -> Iterator[None]:
    """A disk that is full after so many bytes a file, as near as a process can come to it by itself."""
    resource = pytest.importorskip("resource")
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (size, before[1]))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)


def test_a_full_disk_is_named_with_its_remedy(tmp_path: Path, files: list[Path]) -> None:
    encode_files(files, tmp_path / "whole.h5", FEW, workers=1)
    out, remedy = tmp_path / "out.h5", r": .*; free some space .* start again; finished recordings are kept"
    with files_of_at_most(100), pytest.raises(DataError, match=r"cannot write .*out\.h5\.parts/\w+\.npy" + remedy):
        encode_files(files, out, FEW, workers=1)
    with files_of_at_most(100), pytest.raises(DataError, match=r"cannot write .*\.npy" + remedy):
        encode_files(files, out, FEW, workers=2)
    with files_of_at_most(3000), pytest.raises(DataError, match=r"cannot write .*out\.h5" + remedy):
        encode_files(files, out, FEW, workers=1)
    assert not out.exists()
    report = encode_files(files, out, FEW, workers=1)
    assert (report.written, report.reused) == (6, 6)
    assert out.read_bytes() == (tmp_path / "whole.h5").read_bytes()


@pytest.mark.skipif(sys.platform != "linux", reason="names on disk are text there")
def test_names_that_are_not_utf8_are_left_out(tmp_path: Path, files: list[Path]) -> None:
    odd = Path(os.fsdecode(os.fsencode(files[0].parent) + b"/lang-german_speaker-01_trial-0_digit-9\xff.wav"))
    odd.write_bytes(files[0].read_bytes())
    folder = Path(os.fsdecode(os.fsencode(tmp_path) + b"/\xe9t\xe9"))
    inside = folder / name(3, 3)
    folder.mkdir()
    inside.write_bytes(files[0].read_bytes())
    out = tmp_path / "out.h5"
    report = encode_files([odd, *files[:2], inside], out, FEW, workers=1)
    assert report.written == 2
    assert [file for file, _ in report.failed] == [odd, inside]
    assert all("is not UTF-8, so it cannot be listed; rename" in reason for _, reason in report.failed)
    assert [(row["sample"], row["label"]) for row in rows(out)] == [("", ""), ("0", "10"), ("1", "11"), ("", "")]
    assert rows(out)[0]["file"].endswith(r"digit-9\udcff.wav")
    with pytest.raises(DataError, match=r"none of the 1 recordings can be used; the first: .* is not UTF-8"):
        encode_files([odd], tmp_path / "none.h5", FEW, workers=1)


def test_a_killed_run_goes_on(tmp_path: Path, files: list[Path]) -> None:
    out = tmp_path / "out.h5"
    code = (
        "import os, signal, sys\n"
        "from pathlib import Path\n"
        "from snn_delays.data.encoders.cochlea import Cochlea, encode_files\n"
        "kill = lambda done, total: done == 3 and os.kill(os.getpid(), signal.SIGKILL)\n"
        "out, *files = map(Path, sys.argv[1:])\n"
        "encode_files(files, out, Cochlea(channels=12), workers=1, progress=kill)\n"
    )
    ended = subprocess.run([sys.executable, "-c", code, str(out), *map(str, files)], check=False)
    assert ended.returncode == -signal.SIGKILL
    assert not out.exists()
    report = encode_files(files, out, FEW, workers=1)
    assert (report.written, report.reused) == (6, 3)
    encode_files(files, tmp_path / "whole.h5", FEW, workers=1)
    assert out.read_bytes() == (tmp_path / "whole.h5").read_bytes()


@pytest.mark.skipif(not Path("/proc/self/task").exists(), reason="children are counted in Linux's /proc")
@pytest.mark.parametrize("sent", [signal.SIGTERM, signal.SIGKILL])
def test_workers_end_with_the_process_that_started_them(sent: signal.Signals) -> None:
    code = (
        "import os, time\n"
        "from snn_delays.workers import process_pool\n"
        "if __name__ == '__main__':\n"
        "    pool = process_pool(2)\n"
        "    pids = {pool.submit(os.getpid).result() for _ in range(20)}\n"
        "    print(*pids, flush=True)\n"
        "    pool.submit(time.sleep, 600)\n"
        "    time.sleep(600)\n"
    )
    with subprocess.Popen([sys.executable, "-c", code], stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        workers = [int(pid) for pid in process.stdout.readline().split()]
        assert workers
        process.send_signal(sent)
        process.wait(900)
        until = time.monotonic() + 900
        while any(map(_runs, workers)) and time.monotonic() < until:
            time.sleep(0.1)
        assert not any(map(_runs, workers))


def _runs(pid: int) -> bool:
    """Whether there is such a process; one that has ended and waits to be noticed is none."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(") ")[2][0] != "Z"
    except OSError:
        return False


def test_parts_of_other_settings_are_not_used(tmp_path: Path, files: list[Path]) -> None:
    def stop(done: int, total: int) -> None:
        raise KeyboardInterrupt

    out = tmp_path / "out.h5"
    for others in ({"cochlea": Cochlea(channels=12, window="hann")}, {"cochlea": FEW, "seed": 7}):
        with pytest.raises(KeyboardInterrupt):
            encode_files(files, out, workers=1, progress=stop, **others)  # type: ignore[arg-type]
    assert len(list((tmp_path / "out.h5.parts").iterdir())) == 2
    assert encode_files(files, out, FEW, workers=1).reused == 0


def test_a_worker_that_is_killed_is_explained(
    tmp_path: Path, files: list[Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    class Broken:
        def submit(self, *_: object) -> object:
            from concurrent.futures import Future

            future: Future[None] = Future()
            future.set_exception(batch_module.BrokenExecutor("gone"))
            return future

    monkeypatch.setattr(batch_module, "executor", lambda *_: nullcontext((Broken(), None)))
    with pytest.raises(DataError, match=r"worker process was killed.*fewer workers: the 0 recordings"):
        encode_files(files, tmp_path / "out.h5", FEW, workers=2)


def test_refusals(tmp_path: Path, files: list[Path]) -> None:
    out = tmp_path / "out.h5"
    with pytest.raises(ConfigError, match="workers must be at least 1"):
        encode_files(files, out, FEW, workers=0)
    with pytest.raises(DataError, match="no recordings are given"):
        encode_files([], out, FEW)
    with pytest.raises(DataError, match=r"hello\.wav: no class"):
        encode_files([tmp_path / "hello.wav"], out, FEW)
    assert not (tmp_path / "out.h5.parts").exists()
    with pytest.raises(
        DataError, match=r"none of the 1 recordings can be used; the first: cannot read .*check its path"
    ):
        encode_files([tmp_path / name(0, 0)], out, FEW, workers=1)
    with another_in(tmp_path / "out.h5.parts"), pytest.raises(DataError, match="another process is encoding into"):
        encode_files(files, out, FEW, workers=1)
    out.touch()
    with pytest.raises(DataError, match=r"out\.h5 exists already"):
        encode_files(files, out, FEW, workers=1)


def test_folders_stand_for_the_recordings_inside(tmp_path: Path, files: list[Path]) -> None:
    (tmp_path / "in" / "notes.txt").touch()
    (tmp_path / "in" / "deep").mkdir()
    deep = tmp_path / "in" / "deep" / "A.FLAC"
    deep.touch()
    assert find_audio([files[3], tmp_path / "in"]) == [files[3], deep, *files[:3], *files[4:]]
    (tmp_path / "none").mkdir()
    with pytest.raises(DataError, match=r"holds no \.wav or \.flac"):
        find_audio([tmp_path / "none"])
    with pytest.raises(DataError, match="no recordings are given"):
        find_audio([])


def test_a_link_that_leads_nowhere_is_left_out(tmp_path: Path, files: list[Path]) -> None:
    link, gone = tmp_path / "in" / name(0, 0), tmp_path / "gone.wav"
    link.symlink_to(gone)
    recordings = find_audio([tmp_path / "in"])
    assert recordings == [link, *files]
    report = encode_files(recordings, tmp_path / "out.h5", FEW, workers=1)
    assert report.written == 6
    assert report.failed == ((link, f"{link} is a link to {gone}, which is not there; repair or remove it"),)


def test_speech_commands_become_classes(tmp_path: Path) -> None:
    for word, who in (("yes", "b1"), ("no", "a0"), ("yes", "a0")):
        write(tmp_path / "in" / word / f"{who}_nohash_0.wav", vowel(0.1, seed=len(word + who)), 16_000)
    out = tmp_path / "deeper" / "out.h5"
    encode_files(find_audio([tmp_path / "in"]), out, FEW, workers=1)
    assert shd_recordings(out, "own").class_names == ("no", "yes")
    assert [(s.label, s.speaker) for s in read_shd_hdf5(out, "own")] == [(0, 0), (1, 0), (1, 1)]
