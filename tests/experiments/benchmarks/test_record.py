"""The record of a benchmark: complete, written whole, read back, turned into tables."""

import json
from pathlib import Path

import pytest
import torch
from rich.console import Console

from experiments.benchmarks import Benchmark, Case, Entry, Side, by_importance, read_record, run_case, select
from experiments.benchmarks.report import markdown, summary, table
from experiments.benchmarks.sizes import TINY
from snn_delays.errors import ConfigError, DataError


def entry(name: str, fails: bool | Exception = False, long: bool = False) -> Entry:
    def check() -> None:
        if isinstance(fails, Exception):
            raise fails
        if fails:
            raise AssertionError("peer: the output differs")

    sides = (Side("snn_delays", "T=1", lambda: None), Side("peer", "T=1, padded", lambda: None))
    return Entry(name, lambda sizes, device: Case(f"case {name}", sides, check, ("left out: norse",)), long)


def test_record_holds_everything_and_survives_the_disk(tmp_path: Path) -> None:
    benchmark = Benchmark(select(["delay-integer-inference"]), repeats=2, sizes=TINY)
    (case,) = benchmark.run()
    path = benchmark.save(tmp_path / "bench.json")
    assert path.parent == tmp_path / "bench"
    assert sorted(p.name for p in tmp_path.rglob("*.json")) == sorted([path.name, "bench.json"])
    record = read_record(tmp_path / "bench.json")
    assert record == read_record(path) == benchmark.record
    assert record["cases"] == [case]
    assert not case["failed"]
    for side in case["sides"]:
        assert len(side["seconds"]) == 2
        assert side["median"] == pytest.approx(sum(side["seconds"]) / 2)
        assert side["quartiles"][0] <= side["median"] <= side["quartiles"][1]
        assert side["configuration"]
    found = record["machine"]
    assert found["processor"]
    assert found["threads"] == torch.get_num_threads()
    assert found["packages"]["torch"] == torch.__version__


def test_a_case_that_fails_is_recorded_and_the_others_go_on(tmp_path: Path) -> None:
    lost = RuntimeError("CUDA error: an illegal memory access")
    benchmark = Benchmark([entry("wrong", fails=True), entry("lost", fails=lost), entry("right")], repeats=2)
    wrong, broken, right = benchmark.run()
    assert broken["failed"] == "RuntimeError: CUDA error: an illegal memory access"
    assert (wrong["failed"], wrong["sides"]) == ("peer: the output differs", [])
    assert right["failed"] is None
    assert len(right["sides"]) == 2
    text = markdown(benchmark.record)
    assert "Not timed: peer: the output differs" in text
    assert text.count("left out: norse") == 1


def test_long_cases_run_three_rounds() -> None:
    short, long = Benchmark([entry("a"), entry("b", long=True)], repeats=5).run()
    assert [len(case["sides"][0]["seconds"]) for case in (short, long)] == [5, 3]


def test_what_there_was_no_time_for_is_named(tmp_path: Path) -> None:
    benchmark = Benchmark([entry("slow"), entry("late")], minutes=0.0)
    assert list(benchmark.run()) == []
    benchmark.save(tmp_path / "bench.json")
    record = read_record(tmp_path / "bench.json")
    assert record["left_out"] == ["slow", "late"]
    for text in (markdown(record), *summary(record)[-1:]):
        assert "left out since the time was over: slow, late" in text


def test_a_round_that_is_late_is_left_out_but_never_the_first() -> None:
    timings = run_case(entry("a").make(TINY, torch.device("cpu")), repeats=5, end=0.0)
    assert [len(timing.seconds) for timing in timings] == [1, 1]


def test_the_most_telling_cases_come_first_and_those_of_the_host_last() -> None:
    entries = by_importance(select(long=True))
    assert sorted(each.name for each in entries) == sorted(each.name for each in select(long=True))
    assert [each.name for each in entries[:2]] == ["shd-epoch", "long-training-k512"]
    hosts = [each.host for each in entries]
    assert hosts == sorted(hosts)


def test_tables_give_ratios_to_our_side() -> None:
    side = {"configuration": "T=1", "quartiles": [0.001, 0.003], "seconds": [0.002], "median": 0.002, "peak_mib": 10.0}
    slow = {**side, "side": "peer", "median": 0.009, "peak_mib": 25.0}
    unknown = {**side, "side": "other", "peak_mib": None}
    case = {
        "name": "toy",
        "title": "a toy",
        "device": "cpu",
        "notes": [],
        "failed": None,
        "sides": [{**side, "side": "snn_delays"}, slow, unknown],
    }
    console = Console(width=150, record=True, file=open("/dev/null", "w"))  # noqa: SIM115
    console.print(table(case))
    rows = [line for line in console.export_text().splitlines() if "ms" in line]
    assert [cell.strip() for cell in rows[1].split("│")[4:7]] == ["4.50", "25.0 MiB", "2.50"]
    record = {**Benchmark([]).record, "cases": [case]}
    lines = markdown(record).splitlines()
    assert "| peer | 9.0 ms | 1.0-3.0 | 4.50 | 25.0 MiB | 2.50 |" in lines
    assert "| other | 2.0 ms | 1.0-3.0 | 1.00 | - | - |" in lines
    assert "- peer: T=1" in lines
    assert all(len(line.split("|")) == 8 for line in lines if line.startswith("|"))
    assert any("turns" in line for line in summary(record))


@pytest.mark.parametrize("text", ["", "[]", json.dumps({"timings": []})])
def test_a_file_that_is_no_record_is_refused(text: str, tmp_path: Path) -> None:
    path = tmp_path / "bench.json"
    path.write_text(text)
    with pytest.raises(DataError, match="is no record of a benchmark"):
        read_record(path)
    with pytest.raises(DataError, match="cannot read"):
        read_record(tmp_path / "none.json")


@pytest.mark.parametrize(("options", "message"), [
    ({"repeats": 0}, "at least one round, got 0"),
    ({"devices": ["tpu"]}, "cpu or cuda, got 'tpu'"),
])  # fmt: skip
def test_wrong_settings_are_refused(options: dict, message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        Benchmark([], **options)


@pytest.mark.skipif(torch.cuda.is_available(), reason="there is a GPU")
def test_a_gpu_that_is_not_there_is_refused() -> None:
    with pytest.raises(ConfigError, match="finds no CUDA GPU"):
        Benchmark([], devices=["cpu", "cuda"])
