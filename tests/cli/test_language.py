"""Commands on spiking language models and classifiers of sentences."""

import csv
import json
import re
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from click.testing import Result
from typer.testing import CliRunner

from snn_delays import cli
from snn_delays.recipes.files import to_toml
from snn_delays.runs import generate as generation
from tests.support import tiny_texts
from tests.support.tiny_texts import language_recipe, sentence_recipe, text_file

Ok = Callable[..., Result]
Bad = Callable[..., str]


@pytest.fixture(autouse=True)
def made_up_sentences(monkeypatch: pytest.MonkeyPatch) -> None:
    tiny_texts.use_made_up_sentences(monkeypatch)


def trained(folder: Path, recipe: str) -> Path:
    path, run = folder / "recipe.toml", folder / "run"
    path.write_text(recipe)
    arguments = ["train", str(path), "--out", str(run), "--accelerator", "cpu"]
    result = CliRunner().invoke(cli.app, arguments)
    assert result.exit_code == 0, result.stderr
    assert "epoch   3" in result.stdout
    assert f"next: snn-delays evaluate {run}" in result.stdout.replace("\n", "")
    (folder / "output.txt").write_text(result.stdout)
    return run


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A trained run on characters."""
    folder = tmp_path_factory.mktemp("language")
    return trained(folder, to_toml(language_recipe(text_file(folder), data={"vocabulary": "characters"})))


@pytest.fixture(scope="module")
def sentences(tmp_path_factory: pytest.TempPathFactory) -> Path:
    with pytest.MonkeyPatch.context() as patch:
        tiny_texts.use_made_up_sentences(patch)
        return trained(tmp_path_factory.mktemp("sentences"), to_toml(sentence_recipe()))


@pytest.fixture(scope="module")
def variants(run: Path, tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """Runs by where their neurons stand."""
    folders, tmp = {"after": run}, tmp_path_factory.mktemp("variants")
    for spiking in ("before", "none"):
        folders[spiking] = tmp / spiking
        changes = [f"model.spiking={spiking}", "model.shift=token", "training.epochs=1"]
        arguments = [part for change in changes for part in ("--set", change)]
        recipe = str(run.parent / "recipe.toml")
        assert not CliRunner().invoke(cli.app, ["train", recipe, "--out", str(folders[spiking]), *arguments]).exit_code
    return folders


@pytest.fixture(scope="module")
def of_bytes(run: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run on bytes of a text that is gone."""
    tmp = tmp_path_factory.mktemp("bytes")
    path = text_file(tmp)
    changes = [f"data.corpus={path}", "data.vocabulary=bytes", "training.epochs=1"]
    arguments = [part for change in changes for part in ("--set", change)]
    result = CliRunner().invoke(
        cli.app, ["train", str(run.parent / "recipe.toml"), "--out", str(tmp / "run"), *arguments]
    )
    assert result.exit_code == 0
    path.unlink()
    return tmp / "run"


def test_train_tells_how_it_goes(run: Path, sentences: Path) -> None:
    printed = (run.parent / "output.txt").read_text()
    assert re.search(
        r"epoch   1  loss \d\.\d{3}  valid \d\.\d{3}, \d\.\d{3} bits per byte  firing \d+\.\d%  "
        r"(silent: [\w. ]+  )?sigma 1\.00",
        printed,
    )
    printed = (sentences.parent / "output.txt").read_text()
    assert re.search(r"epoch   1  loss \d\.\d{3}  train +\d+\.\d%  valid +\d+\.\d%  firing \d+\.\d%", printed)


def test_train_twice_and_with_other_numbers(snn: Ok, refused: Bad, run: Path) -> None:
    recipe = run.parent / "recipe.toml"
    assert "holds a run already; continue it with --resume" in refused("train", recipe, "--out", run)
    before = (run / "metrics.csv").read_text()
    snn("train", recipe, "--out", run, "--resume")  # nothing is left to do
    assert (run / "metrics.csv").read_text() == before
    message = refused("train", recipe, "--out", run, "--resume", "--set", "model.shift=token")
    assert "was started with model.shift = 'learned', the recipe now says 'token'" in message


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ("training.warmup=3", "unknown key 'training.warmup'; did you mean 'warmup_steps'?"),
        ("task=poetry", "task must be 'events' or 'language' or 'regression' or 'sentences'"),
        ("training.warmup_steps=9", "training.warmup_steps (9) must be below all steps (9)"),
        ("training.batch_size=5", "batch_size (5) must be a multiple of accumulate (2)"),
        ("training.final_lr=1.0", "final_lr (1) must not exceed lr (0.06)"),
        ("training.context=400", "tokens, too few for a context of 400, which needs 401"),
        ("training.sigma_start_steps=0.1", "sigma_start_steps (0.1) must not be below sigma_end_steps (0.4)"),
        ("data.corpus=gone.txt", "gone.txt"),
    ],
)
def test_train_refuses_in_a_line(change: str, message: str, refused: Bad, run: Path, tmp_path: Path) -> None:
    assert message in refused("train", run.parent / "recipe.toml", "--out", tmp_path / "new", "--set", change)


def test_a_first_start_that_failed_may_be_repeated(snn: Ok, refused: Bad, run: Path, tmp_path: Path) -> None:
    arguments = ["train", run.parent / "recipe.toml", "--out", tmp_path / "run", "--set"]
    refused(*arguments, f"data.corpus={tmp_path}/words.txt")
    text_file(tmp_path)
    last = [f"data.corpus={tmp_path}/words.txt", "--set", "training.epochs=1"]
    snn(*arguments, *last)
    assert "holds a run already" in refused(*arguments, *last)


def test_a_warm_up_too_long_for_the_sentences(refused: Bad, sentences: Path, tmp_path: Path) -> None:
    arguments = [
        "train",
        sentences.parent / "recipe.toml",
        "--out",
        tmp_path / "run",
        "--set",
        "training.warmup_steps=9",
    ]
    assert "training.warmup_steps (9) must be below all steps (9)" in refused(*arguments)


def test_evaluate_prints_writes_and_appends(snn: Ok, run: Path, tmp_path: Path) -> None:
    table = tmp_path / "sub" / "results.csv"
    shown = snn("evaluate", run, "--append", "--table", table).stdout
    snn("evaluate", run, "--append", "--table", table)
    result = json.loads((run / "evaluation.json").read_text())
    assert f"{result['test_bits_per_byte']:.4f} (valid {result['valid_bits_per_byte']:.4f})" in shown
    assert f"{result['test_bits_per_byte_carried']:.4f}" in shown
    assert f"{result['test_perplexity']:.3f}" in shown
    assert f"{result['test_samples']:,} tokens, all but the first; characters (15)" in shown
    for place in ("protocol", "protocol_carried"):
        assert result[place] in shown
    assert result["protocol"] == "windows of 16 tokens, each from rest"
    assert f"with real-valued delays │ {result['test_bits_per_byte_real_delays']:.4f}" in re.sub(" +", " ", shown)
    assert f"2x16 after, shift learned, {result['parameters']:,} parameters" in shown
    for name, rate in result["firing_rates"].items():
        assert re.search(rf"{re.escape(name)} +│ {rate:.1%}", shown), name
    with table.open() as f:
        rows = list(csv.DictReader(f))
    assert rows[0] == rows[1]
    assert (rows[0]["run"], rows[0]["test_accuracy"]) == ("tiny-text", "")
    assert rows[0]["test_bits_per_byte"] == f"{result['test_bits_per_byte']:.4f}"
    shown = snn("results", table).stdout
    assert shown.splitlines()[0].startswith("| network | delays | trainable | seeds | test, bits per byte |")
    assert f"| 2x16 after | learned | {result['parameters']:,} | 1 | {result['test_bits_per_byte']:.3f} |" in shown


@pytest.mark.parametrize("spiking", ["after", "before", "none"])
def test_what_it_would_cost_is_never_said_without_what_it_costs(
    spiking: str, snn: Ok, variants: dict[str, Path]
) -> None:
    folder = variants[spiking]
    shown = snn("evaluate", folder).stdout
    done = json.loads((folder / "evaluation.json").read_text())["operations_per_token"]
    lines = shown.splitlines()
    (built,) = (i for i, line in enumerate(lines) if "as built, per token" in line)
    (wished,) = (i for i, line in enumerate(lines) if "if it were spike-driven" in line)
    assert wished == built + 1
    assert sum("accumulates" in line for line in lines) == (2 if spiking == "after" else 1)
    assert f"{done['macs_as_built']:,.0f} MACs and {done['accumulates_as_built']:,.0f} accumulates" in lines[built]
    if spiking == "before":
        assert "the same: every matrix of the blocks reads spikes" in lines[wished]
    elif spiking == "none":
        assert done["macs_if_spike_driven"] is done["accumulates_if_spike_driven"] is None
        assert re.search("the network does not spike: there is no firing rate *│$", lines[wished])
    else:
        assert f"{done['macs_if_spike_driven']:,.0f} MACs" in lines[wished]
        assert f"{done['accumulates_if_spike_driven']:,.0f} accumulates: not what this network does" in lines[wished]
    assert f"{done['spike_fed_share']:.1%} of {done['macs_dense']:,.0f} dense MACs" in shown
    assert done["shift_macs"] > 0
    assert f"{done['shift_macs']:,.0f} MACs of the shifts; WKV, norms and gates are not counted" in shown
    assert ("ones in the embedding" in shown) == (spiking != "none")
    assert ("with real-valued delays" in shown) == (spiking == "after")  # the others have none


def test_the_mean_firing_rate_is_of_neurons(snn: Ok, variants: dict[str, Path]) -> None:
    folders = [variants["before"], variants["none"]]
    for folder in folders:
        snn("evaluate", folder)
    results = [json.loads((folder / "evaluation.json").read_text()) for folder in folders]
    weighted, unweighted = tiny_texts.mean_rates(results[0]["firing_rates"], 16)
    assert results[0]["firing_rate"] == pytest.approx(weighted, rel=1e-9)
    assert f"{unweighted:.1%}" != f"{weighted:.1%}"  # canary: every population the same would be seen
    first, second = (line for line in snn("compare", *folders).stdout.splitlines() if "tiny-text" in line)
    assert [cell.strip() for cell in first.split("│")][7] == f"{weighted:.1%}"
    assert [cell.strip() for cell in second.split("│")][7] == "-"


def test_evaluate_sentences(snn: Ok, sentences: Path, tmp_path: Path) -> None:
    table = tmp_path / "results.csv"
    shown = snn("evaluate", sentences, "--append", "--table", table).stdout
    result = json.loads((sentences / "evaluation.json").read_text())
    assert f"{result['test_accuracy']:.1%} of 22 (valid {result['valid_accuracy']:.1%})" in shown
    assert "made up" in shown  # how they were split
    assert "words (9)" in shown
    assert "block1.channel" in shown
    done = result["operations_per_token"]
    assert f"{done['macs_as_built']:,.0f} MACs and {done['accumulates_as_built']:,.0f} accumulates" in shown
    assert f"{done['accumulates_if_spike_driven']:,.0f} accumulates: not what this network does" in shown
    assert f"{done['shift_macs']:,.0f} MACs of the shifts" in shown
    line = snn("results", table).stdout.splitlines()[2]
    assert line.startswith(
        f"| learned | 2x16 after | {result['parameters']:,} | 3 | 1 | {result['test_accuracy']:.1%} |"
    )


def test_a_table_of_both_kinds_is_two_tables(snn: Ok, run: Path, sentences: Path, tmp_path: Path) -> None:
    table = tmp_path / "results.csv"
    for folder in (run, sentences):
        snn("evaluate", folder, "--append", "--table", table)
    first, second = snn("results", table).stdout.split("\n\n")
    assert "made-up sentences" in first
    assert "file words.txt" not in first
    assert "file words.txt" in second


def test_generate_writes_the_prompt_and_goes_on(snn: Ok, run: Path) -> None:
    def text(*arguments: object) -> str:
        return snn("generate", run, "--prompt", "der kürbis ", "--tokens", 20, *arguments).stdout

    first = text("--seed", 1)
    assert first.startswith("der kürbis ")
    assert len(first) == len("der kürbis ") + 20 + 1  # and a line's end
    assert set(first) <= set("der kürbis läuft, \nu")
    assert text("--seed", 1) == first
    assert text("--seed", 2) != first
    assert text("--temperature", 0, "--seed", 1) == text("--temperature", 0, "--seed", 2)


def test_generate_needs_no_text(snn: Ok, refused: Bad, of_bytes: Path) -> None:
    assert snn("generate", of_bytes, "--prompt", "Ω ", "--tokens", 5).stdout.startswith("Ω ")
    assert "there is no file" in refused("evaluate", of_bytes)


def test_generate_steers_no_terminal(snn: Ok, of_bytes: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def dictated(*_: Any, **__: Any) -> Iterator[str]:
        yield from ("", "a", "\x1b", "[2J", "é\n\t", "\x9b\x7f\x00\r", "€\u202e")

    monkeypatch.setattr(generation, "generate", dictated)
    shown = snn("generate", of_bytes, "--prompt", "\x1b[31mrot\x07\n").stdout
    assert shown == "\ufffd[31mrot\ufffd\na\ufffd[2Jé\n\t\ufffd\ufffd\ufffd\ufffd€\ufffd\n"
    shown = snn("generate", of_bytes, "--prompt", "\udce9t").stdout  # a byte of the command line that is no UTF-8
    assert shown.startswith("\\xe9ta")


def test_generate_where_a_character_cannot_be_written(run: Path) -> None:
    result = CliRunner(charset="ascii").invoke(cli.app, ["generate", str(run), "--prompt", "kürbis", "--tokens", "3"])
    assert result.exit_code == 0, result.stderr
    assert re.fullmatch(r"k\?rbis[derkubislft, ?]{3}\n", result.stdout)


def test_generate_stops_when_nobody_reads(run: Path) -> None:
    options = ["generate", str(run), "--prompt", "der ", "--tokens", "100000"]
    command = [sys.executable, "-c", "from snn_delays import cli; cli.main()", *options]
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE) as process:
        assert process.stdout is not None
        assert process.stderr is not None
        assert process.stdout.read(1) == b"d"
        process.stdout.close()  # as head -c 1 does
        printed = process.stderr.read()
    assert (process.returncode, printed) == (0, b"")


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (["--prompt", ""], "the prompt is empty; give at least one character"),
        (["--prompt", "der Ω"], "character 'Ω' (U+03A9) at position 4 is not among the 15 characters"),
        (["--prompt", "der", "--temperature", "-1"], "temperature must be a finite number >= 0"),
        (["--prompt", "der", "--top-p", "2"], "top_p must be above 0 and at most 1"),
        (["--prompt", "der", "--temperature", "nan"], "temperature must be a finite number >= 0"),
        (["--prompt", "der", "--device", "abacus"], "cannot run on device 'abacus'"),
    ],
)
def test_generate_refuses_in_a_line(options: list[str], message: str, run: Path) -> None:
    result = CliRunner().invoke(cli.app, ["generate", str(run), *options])
    assert result.exit_code == 2
    assert message in result.stderr
    assert result.stdout == ""  # not even the prompt
    assert result.stderr.count("\n") == 1
    assert "Traceback" not in result.output


def test_generate_asks_for_a_language_model(
    refused: Bad, sentences: Path, tmp_path: Path, recipe: Path, snn: Ok
) -> None:
    assert "of task 'sentences'; this is for runs of language" in refused("generate", sentences, "--prompt", "so")
    snn("train", recipe, "--out", tmp_path / "events")
    message = refused("generate", tmp_path / "events", "--prompt", "so")
    assert "of task 'events'; this is for runs of language" in message
    assert "is no run folder" in refused("generate", tmp_path, "--prompt", "so")


def test_plot_draws_what_there_is(snn: Ok, refused: Bad, run: Path, sentences: Path) -> None:
    for folder, names in (
        (run, ["tokens", "rates", "shift_delays", "positions", "curves"]),
        (sentences, ["curves", "rates"]),
    ):
        snn("evaluate", folder)
        shown = snn("plot", folder).stdout.replace("\n", "")
        for name in names:
            assert str(folder / "figures" / f"{name}.png") in shown
        assert "pictures of the test results" not in shown
    assert "choose from tokens, rates" in refused("plot", run, "--what", "confusion")


def test_plot_before_evaluate_draws_what_it_can(snn: Ok, refused: Bad, of_bytes: Path, tmp_path: Path) -> None:
    path = text_file(of_bytes.parent)  # for the raster
    shown = snn("plot", of_bytes).stdout
    path.unlink()
    drawn = [line.rpartition("/")[2] for line in shown.splitlines() if line.startswith("drawn: ")]
    assert drawn == ["tokens.png", "shift_delays.png", "curves.png"]
    assert sorted(path.name for path in (of_bytes / "figures").iterdir()) == sorted(drawn)
    assert f"pictures of the test results need: snn-delays evaluate {of_bytes}" in shown
    assert "was not evaluated yet" in refused("plot", of_bytes, "--what", "rates")
    assert (
        "pictures of the test results" not in snn("plot", of_bytes, "--what", "curves").stdout
    )  # they were not requested


@pytest.mark.parametrize(
    "command",
    [["export"], ["export", "--to", "c99"], ["stream"], ["sweep"], ["targets"]],
)
def test_commands_of_event_networks_refuse_in_a_line(
    command: list[str], refused: Bad, run: Path, tmp_path: Path
) -> None:
    before = sorted(run.rglob("*"))
    options = ["--table", tmp_path / "table.csv"] if command == ["sweep"] else []
    message = refused(command[0], run, *command[1:], *options)
    assert "holds a run of task 'language'; this is for runs of events" in message
    assert sorted(run.rglob("*")) == before


def test_compare_has_a_table_for_each_kind(
    snn: Ok, refused: Bad, run: Path, sentences: Path, recipe: Path, tmp_path: Path
) -> None:
    events, table = tmp_path / "events", tmp_path / "results.csv"
    snn("train", recipe, "--out", events)
    assert "was not evaluated yet" in refused("compare", events, run)
    results = []
    for folder in (events, run, sentences):
        snn("evaluate", folder)
        results.append(json.loads((folder / "evaluation.json").read_text()))
    shown = snn("compare", run, events, sentences, "--append", "--table", table).stdout
    assert [shown.count(name) for name in ("tiny-text", "tiny-sentences")] == [1, 1]
    assert f"{results[0]['test_accuracy']:.1%}" in shown
    assert f"{results[1]['test_bits_per_byte']:.4f}" in shown
    assert f"{results[2]['test_accuracy']:.1%}" in shown
    with table.open() as f:
        assert sorted(row["run"] for row in csv.DictReader(f)) == ["tiny", "tiny-sentences", "tiny-text"]


def test_evaluate_on_other_events_is_refused(refused: Bad, run: Path) -> None:
    assert "--on takes the test samples of another event data set" in refused("evaluate", run, "--on", "shd")


def test_help_names_the_command(snn: Ok) -> None:
    assert "generate" in snn("--help").stdout
    assert "--top-p" in snn("generate", "--help").stdout
