"""Text from a trained network: repeatable, whole characters, every token at the same cost, no training text needed."""

import json
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors import safe_open
from safetensors.torch import load_file, save_file
from torch import Tensor, nn

from snn_delays.data.text import ByteVocabulary, CharacterVocabulary, vocabulary_from_json
from snn_delays.errors import CheckpointError, ConfigError, DataError
from snn_delays.models import SpikeGPT
from snn_delays.runs.generate import following, generate
from snn_delays.training import checkpoint
from snn_delays.training.runlog import Run, open_run
from tests.support.tiny_texts import fitted, language_recipe, text_file, trained_language_network


@pytest.fixture(scope="module", params=["bytes", "characters"])
def trained(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Run:
    """A run on a text that is gone by now."""
    folder = tmp_path_factory.mktemp(request.param)
    path = text_file(folder)
    model = {"neuron_delays": "axonal"} if request.param == "characters" else {}
    run = fitted(folder / "run", language_recipe(path, model=model, data={"vocabulary": request.param}))
    path.unlink()
    return run


def written(run: Run, prompt: str = "kürbis ", **options: Any) -> str:
    network, vocabulary = trained_language_network(run)
    return "".join(generate(network, vocabulary, prompt, **{"tokens": 24, **options}))


def test_the_same_seed_writes_the_same_and_another_seed_another(trained: Run) -> None:
    torch.manual_seed(99)  # what the generator did before does not matter
    first = written(trained, seed=1)
    network, vocabulary = trained_language_network(trained)
    chance = torch.get_rng_state()
    assert "".join(generate(network, vocabulary, "kürbis ", tokens=24, seed=1)) == first
    assert torch.equal(torch.get_rng_state(), chance)
    assert written(trained, seed=2) != first
    assert first.startswith(written(trained, seed=1, tokens=9).rstrip("\ufffd"))


def test_without_temperature_there_is_no_chance(trained: Run) -> None:
    assert written(trained, temperature=0, seed=1) == written(trained, temperature=0, seed=2)
    assert written(trained, temperature=0) == written(trained, temperature=1, top_p=1e-9, seed=3)  # one token is kept


def test_the_prompt_matters(trained: Run) -> None:
    assert written(trained, "läuft, ", seed=1, temperature=0.1) != written(trained, "de", seed=1, temperature=0.1)


@pytest.mark.parametrize("cut", [1, 3])
def test_a_prompt_at_once_is_a_prompt_bit_by_bit(cut: int, trained: Run) -> None:
    network, vocabulary = trained_language_network(trained)
    prompt = torch.from_numpy(vocabulary.encode("der kürbis läuft, der")).long()[:, None]
    with torch.inference_mode():
        at_once, after = network(prompt)
        parts, state = [], None
        for chunk in prompt.split(cut):
            logits, state = network(chunk, state)
            parts.append(logits)
        torch.testing.assert_close(torch.cat(parts), at_once, rtol=1e-4, atol=1e-5)
        ours, theirs = (network(prompt[:1], s)[0] for s in (after, state))
        torch.testing.assert_close(ours, theirs, rtol=1e-4, atol=1e-5)
        forgot = network(prompt[:1])[0]  # canary
    assert not torch.allclose(forgot, ours, rtol=1e-2)


def test_generation_is_the_network_on_its_own_words(trained: Run) -> None:
    """Each token is the likeliest after all before it, read at once from rest."""
    network, vocabulary = trained_language_network(trained)
    tokens = vocabulary.encode("der ").tolist()
    with torch.inference_mode():
        for _ in range(12):
            logits = network(torch.tensor(tokens)[:, None])[0][-1, 0]
            tokens.append(int(logits.argmax()))
    text = "".join(generate(network, vocabulary, "der ", tokens=12, temperature=0))
    assert text == vocabulary.decode(tokens[4:])


def sizes(state: Any) -> list[tuple[int, ...]]:
    if isinstance(state, Tensor):
        return [tuple(state.shape)]
    return [] if state is None else [shape for part in state for shape in sizes(part)]


def test_the_state_does_not_grow_and_steps_are_of_one_token(trained: Run) -> None:
    network, vocabulary = trained_language_network(trained)
    calls, states = [], []

    def seen(module: nn.Module, args: Any, output: Any) -> None:
        calls.append(len(args[0]))
        states.append(sizes(output[1]))

    network.register_forward_hook(seen)
    list(generate(network, vocabulary, "läuft, ", tokens=50, seed=1))
    prompt = len(vocabulary.encode("läuft, "))
    assert calls[0] == prompt
    assert set(calls[1:]) == {1}
    assert len(calls) <= 1 + 50
    assert {str(shapes) for shapes in states} == {str(states[0])}


def test_text_comes_while_it_is_made(trained: Run) -> None:
    network, vocabulary = trained_language_network(trained)
    calls: list[int] = []
    network.register_forward_hook(lambda *_: calls.append(1))
    pieces = generate(network, vocabulary, "der ", tokens=50, temperature=0)
    assert not calls
    next(pieces)
    assert len(calls) == 1  # the prompt's


def test_the_compiled_step_writes_what_the_network_writes(trained: Run) -> None:
    network, vocabulary = trained_language_network(trained)
    prompt = torch.from_numpy(vocabulary.encode("läuft, ")).long()[:, None]
    calls: list[int] = []
    with torch.inference_mode():
        _, state = network(prompt)
        honest, compiled = following(network, state, compiled=False), following(network, state)
        for token in prompt.repeat(4, 1):
            torch.testing.assert_close(compiled(token), honest(token), rtol=1e-4, atol=1e-4)
        forward = network.stream
        network.stream = lambda *args: calls.append(len(args[0])) or forward(*args)
        list(generate(network, vocabulary, "läuft, ", tokens=20, seed=1))
    assert calls == [len(prompt), 0]  # the prompt, and the state at rest: the engine has written all of it


class Dictated(SpikeGPT):
    """Says given tokens one after the other, whatever it reads."""

    def __init__(self, size: int, tokens: list[int], prompt: int) -> None:
        nn.Module.__init__(self)
        self.head = nn.Linear(1, 1)
        self.size, self.tokens, self.begin = size, tokens, prompt

    def forward(self, x: Tensor, state: Any = None, valid: Any = None) -> tuple[Tensor, Any]:
        read = (state or 0) + len(x)
        last = self.tokens[min(read - self.begin, len(self.tokens) - 1)]
        return torch.nn.functional.one_hot(torch.full((len(x), 1), last), self.size).float() * 50, read


def pieces(text: bytes, tokens: int | None = None) -> list[str]:
    network = Dictated(256, list(text), 1)
    made: Iterator[str] = generate(network, ByteVocabulary(), "x", tokens=tokens or len(text), temperature=0)
    return list(made)


def test_only_whole_characters_come_out() -> None:
    text = "aé€😀 ü\u0301z"
    found = pieces(text.encode())
    assert "".join(found) == text
    assert "\ufffd" not in "".join(found)
    assert [piece for piece in found if piece] == list(text)
    assert found[:3] == ["a", "", "é"]  # é is whole with its second byte


def test_half_a_character_at_the_end_is_marked() -> None:
    assert "".join(pieces("a€".encode(), tokens=3)) == "a\ufffd"
    assert "".join(pieces(b"a\xffb")) == "a\ufffdb"  # no character at all


def test_as_many_tokens_as_asked() -> None:
    characters = CharacterVocabulary("abx")
    network = Dictated(3, [0, 1, 1, 0], 1)
    assert "".join(generate(network, characters, "x", tokens=3, temperature=0)) == "abb"
    assert "".join(generate(network, characters, "x", tokens=1, temperature=0)) == "a"


def test_an_unknown_character_in_the_prompt(trained: Run) -> None:
    if trained.recipe.data.vocabulary == "bytes":
        assert len(written(trained, "Ω", tokens=8, seed=1)) > 0  # bytes can write every text
        return
    with pytest.raises(DataError, match=r"character 'Ω' \(U\+03A9\) at position 4 is not among the 15 characters"):
        written(trained, "der Ω")


@pytest.mark.parametrize(
    ("prompt", "options", "message"),
    [
        ("", {}, "the prompt is empty"),
        ("der", {"tokens": 0}, "the number of tokens must be at least 1, got 0"),
        ("der", {"temperature": -1.0}, "temperature must be a finite number >= 0"),
        ("der", {"temperature": float("nan")}, "temperature must be a finite number >= 0"),
        ("der", {"top_p": 0.0}, "top_p must be above 0 and at most 1"),
        ("der", {"top_p": 1.5}, "top_p must be above 0 and at most 1"),
    ],
)
def test_what_cannot_be_asked(prompt: str, options: dict[str, Any], message: str, trained: Run) -> None:
    with pytest.raises(ConfigError, match=message):
        written(trained, prompt, **options)


def changed(trained: Run, folder: Path, vocabulary: Any) -> Run:
    """A copy of the run whose records say another vocabulary."""
    shutil.copytree(trained.folder, folder)
    for path in folder.glob("checkpoints/*/progress.json"):
        progress = json.loads(path.read_text())
        progress.pop("vocabulary")
        path.write_text(json.dumps({**progress, **({} if vocabulary is None else {"vocabulary": vocabulary})}))
    return open_run(folder, "language")


def of_format_1(run: Run, **metadata: str) -> Run:
    """The run as one from before checkpoints held their vocabulary, which was in progress.json."""
    for path in run.folder.glob("checkpoints/*/model.safetensors"):
        with safe_open(path, framework="pt") as file:
            kept = {key: value for key, value in file.metadata().items() if key in ("epoch", "recipe")}
        save_file(load_file(path), path, {**kept, "format": "1", **metadata})
    return run


def fingerprint(run: Run) -> str:
    return trained_language_network(run)[1].fingerprint


@pytest.mark.parametrize(
    ("vocabulary", "error", "message"),
    [
        ({"kind": "characters", "characters": "abc"}, CheckpointError, "holds [0-9a-f]{12} of 3 tokens; put the run's"),
        (None, CheckpointError, "has no vocabulary in its checkpoint; train it anew"),
        ({"kind": "runes"}, DataError, "a saved vocabulary is of kind bytes, characters or words, got 'runes'"),
        ({"kind": "characters", "characters": "ba"}, DataError, "ascending and without repetition"),
    ],
)
def test_an_old_checkpoint_of_another_vocabulary(
    vocabulary: Any, error: type[Exception], message: str, trained: Run, tmp_path: Path
) -> None:
    run = of_format_1(changed(trained, tmp_path / "run", vocabulary), vocabulary=fingerprint(trained))
    with pytest.raises(error, match=message):
        trained_language_network(run)


@pytest.mark.parametrize("more", [0, 1])
def test_another_vocabulary_is_seen_whatever_its_size(more: int, trained: Run, tmp_path: Path) -> None:
    size = {"bytes": 256, "characters": 15}[trained.recipe.data.vocabulary]
    other = {"kind": "characters", "characters": "".join(map(chr, range(500, 500 + size + more)))}
    ours, theirs = fingerprint(trained), vocabulary_from_json(other).fingerprint
    run = of_format_1(changed(trained, tmp_path / "run", other), vocabulary=ours)
    assert ours != theirs
    with pytest.raises(CheckpointError) as caught:
        trained_language_network(run)
    path = checkpoint.network_file(run.checkpoints, run.best_epoch())
    assert str(caught.value) == (
        f"the network in {path} was trained with the vocabulary {ours}, progress.json beside it holds {theirs} of "
        f"{size + more} tokens; put the run's own progress.json back"
    )
    if not more:  # canary: of the same size, only the fingerprint differs
        assert fingerprint(of_format_1(run)) == theirs


def test_an_old_checkpoint_without_fingerprint_is_read(trained: Run, tmp_path: Path) -> None:
    run = changed(trained, tmp_path / "run", trained.progress()["vocabulary"])
    assert written(of_format_1(run), seed=1) == written(trained, seed=1)


def test_the_vocabulary_is_in_the_file_of_the_weights(trained: Run, tmp_path: Path) -> None:
    run = changed(trained, tmp_path / "run", None)  # progress.json has none
    assert written(run, seed=1) == written(trained, seed=1)


@pytest.mark.parametrize("options", [{"temperature": -1.0}, {"top_p": 0.0}, {"tokens": 0}])
def test_what_cannot_be_is_refused_before_the_network_reads(options: dict[str, Any], trained: Run) -> None:
    network, vocabulary = trained_language_network(trained)
    calls: list[int] = []
    network.register_forward_hook(lambda *_: calls.append(1))
    with pytest.raises(ConfigError):
        generate(network, vocabulary, "der", **{"tokens": 5, **options})  # nothing is drawn from it yet
    assert not calls


def test_what_generates_has_integer_delays_and_no_gradients(trained: Run) -> None:
    network, _ = trained_language_network(trained)
    assert not network.training
    delays = [p for name, p in network.named_parameters() if name.endswith(".delay")]
    assert delays
    assert all(torch.equal(delay, delay.round()) and not delay.requires_grad for delay in delays)
    real, _ = trained_language_network(trained, whole=False)
    assert any(not torch.equal(p, p.round()) for name, p in real.named_parameters() if name.endswith(".delay"))
