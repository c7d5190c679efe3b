"""Made-up text and sentences, and recipes for them that train in a second. Also a script, to be killed or shared.

The text is words in any order: all within a word is certain, so a network that reads is far better than the frequencies
of bytes. The class of a sentence is one word of it.
"""

import os
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from snn_delays.data.text import SentenceSet
from snn_delays.models.spikegpt import with_integer_delays
from snn_delays.nn import LIF
from snn_delays.recipes.files import parse_recipe
from snn_delays.recipes.keys import without_overruled
from snn_delays.recipes.text import LanguageRecipe, SentenceRecipe
from snn_delays.runs import language as language_evaluation
from snn_delays.runs.load import trained_network
from snn_delays.training import checkpoint
from snn_delays.training import engine as loop
from snn_delays.training.runlog import Run, create_run, open_run
from snn_delays.training.tasks import text as text_tasks
from tests.support.tiny_runs import Stopper, interrupt, kill, kill_on_call

MODEL: dict[str, Any] = {"features": 16, "layers": 2, "shift": "learned", "max_delay_steps": 6, "dropout": 0.1}
LANGUAGE: dict[str, Any] = {
    "task": "language",
    "name": "tiny-text",
    "seed": 3,
    "data": {"split": [0.8, 0.1, 0.1]},
    "model": MODEL,
    "training": {
        "epochs": 3, "steps_per_epoch": 3, "batch_size": 4, "accumulate": 2, "context": 16, "lr": 6e-2,
        "warmup_steps": 2,
    },
}  # fmt: skip
SENTENCES: dict[str, Any] = {
    "task": "sentences",
    "name": "tiny-sentences",
    "seed": 3,
    "data": {"set": "made-up", "min_count": 1},
    "model": MODEL,
    "training": {"epochs": 3, "batch_size": 16, "accumulate": 2, "lr": 3e-2},
}


def text(words: tuple[str, ...] = ("der ", "kürbis ", "läuft, "), count: int = 400, seed: int = 0) -> str:
    """Words in any order."""
    return "".join(np.random.default_rng(seed).choice(words, count))


def text_file(folder: Path, content: str | bytes | None = None) -> Path:
    """The made-up text, or another, as a file of the folder."""
    path = folder / "words.txt"
    path.write_bytes((text() if content is None else content).encode() if not isinstance(content, bytes) else content)
    return path


def updated(table: dict[str, Any], sections: dict[str, Any]) -> dict[str, Any]:
    return {
        key: {**value, **sections.get(key, {})} if isinstance(value, dict) else sections.get(key, value)
        for key, value in {**sections, **table}.items()
    }


def recipe_of(table: dict[str, Any], sections: dict[str, Any]) -> Any:
    changed = updated(table, sections)
    return parse_recipe(without_overruled(changed, parse_recipe(changed, "tiny"), [table, sections]), "tiny")


def language_recipe(corpus: Path, **sections: Any) -> LanguageRecipe:
    """The tiny recipe on a text with sections updated, as in ``training={"epochs": 1}, seed=4``."""
    data = {**sections.get("data", {}), "corpus": str(corpus)}
    return recipe_of(LANGUAGE, {**sections, "data": data})


def sentence_recipe(**sections: Any) -> SentenceRecipe:
    """The tiny recipe on made-up sentences with sections updated."""
    return recipe_of(SENTENCES, sections)


def made_up_sentences(name: str = "made-up", seed: int = 0) -> SentenceSet:
    """Sentences of 2 to 7 words, one of them "fine" or "poor"; the last word of each test sentence is in no other."""
    random = np.random.default_rng(seed)

    def part(count: int, last: str = "") -> list[tuple[str, int]]:
        found = []
        for i in range(count):
            words = random.choice(["the", "film", "was", "so", "we", "say"], int(random.integers(1, 7))).tolist()
            words.insert(int(random.integers(0, len(words) + 1)), ("poor", "fine")[i % 2])
            found.append((" ".join([*words, last]).strip(), i % 2))
        return found

    return SentenceSet(
        name="made-up sentences", source="nowhere", checksum=f"none-{seed}", class_names=("poor", "fine"),
        train=part(38), valid=part(14), test=part(22, "unheard"), attribution="", split_rule="made up",
    )  # fmt: skip


class Sealed:
    """A corpus or a set of sentences whose test part must stay closed."""

    def __init__(self, real: Any) -> None:
        self.real = real

    def __getattr__(self, name: str) -> Any:
        assert name != "test", "training opened the test data"
        return getattr(self.real, name)


def use_made_up_sentences(patch: Any = None) -> None:
    """Have training and evaluation read made-up sentences; training fails if it opens those of the test part."""
    put = setattr if patch is None else patch.setattr
    put(text_tasks, "load_sentences", lambda *args: Sealed(made_up_sentences(*args)))
    put(language_evaluation, "load_sentences", made_up_sentences)


def trained_language_network(run: Run, epoch: int | None = None, *, whole: bool = True) -> tuple[Any, Any]:
    """The network of a run after an epoch (the best by default), with integer delays if ``whole``, and vocabulary."""
    network = trained_network(run, epoch)
    return (with_integer_delays(network) if whole else network).eval(), network.card.vocabulary


def fitted(folder: Path, recipe: LanguageRecipe | SentenceRecipe) -> Run:
    run = create_run(folder, recipe)
    loop.fit(run, accelerator="cpu")
    return run


def resumed(folder: Path, recipe: LanguageRecipe | SentenceRecipe) -> Run:
    """The recipe trained to the end, interrupted in its second epoch and resumed."""
    run = create_run(folder, recipe)
    with pytest.raises(KeyboardInterrupt):
        loop.fit(run, accelerator="cpu", callbacks=[Stopper(("step", 2, 1), interrupt)])
    loop.fit(run, accelerator="cpu")
    return run


def validated_as(patch: Any, task: Any, **numbers: Sequence[float]) -> None:
    """Have a task's validations report other numbers, one an epoch, as in ``valid_loss=[3.0, 1.0, 2.0]``."""
    real, epochs = task.validate, iter(range(99))

    def validate(self: Any, network: nn.Module, device: torch.device) -> dict[str, Any]:
        epoch = next(epochs)
        return {**real(self, network, device), **{key: values[epoch] for key, values in numbers.items()}}

    patch.setattr(task, "validate", validate)


def mean_rates(rates: dict[str, float], features: int) -> tuple[float, float]:
    """Mean firing rate over neurons, and over populations, of which those before a channel's value have 4 C neurons."""
    found = {name: rate for name, rate in rates.items() if name != "embedding"}
    counts = {name: features * (4 if name.endswith("channel.value") else 1) for name in found}
    weighted = sum(rate * counts[name] for name, rate in found.items()) / sum(counts.values())
    return weighted, sum(found.values()) / len(found)


def counted_by_hand(network: nn.Module, texts: Sequence[Tensor]) -> tuple[list[float], list[int]]:
    """Spikes and places of every population while a network reads texts ``[time, batch]``, each from rest."""
    neurons = [module for module in network.modules() if isinstance(module, LIF)]
    spikes, places = [0.0] * len(neurons), [0] * len(neurons)

    def watch(i: int) -> Any:
        def hook(module: nn.Module, args: Any, output: Any) -> None:
            spikes[i] += float(output[0].sum())
            places[i] += output[0].numel()

        return hook

    hooks = [module.register_forward_hook(watch(i)) for i, module in enumerate(neurons)]
    with torch.inference_mode():
        for read in texts:
            network(read)
    for hook in hooks:
        hook.remove()
    return spikes, places


def tensors(run: Run, epoch: int | None = None) -> dict[str, Tensor]:
    """Parameters and buffers after an epoch, the last by default."""
    from safetensors.torch import load_file

    epoch = checkpoint.latest_epoch(run.checkpoints) if epoch is None else epoch
    assert epoch is not None
    return load_file(checkpoint.network_file(run.checkpoints, epoch))


def assert_ended_alike(run: Run, trained: Run) -> None:
    """The checkpoints and the record of two runs are the same, but for the time they took; nothing is left over."""
    assert checkpoint.epochs_saved(run.checkpoints) == checkpoint.epochs_saved(trained.checkpoints)
    for epoch in checkpoint.epochs_saved(run.checkpoints):
        ours, theirs = tensors(run, epoch), tensors(trained, epoch)
        assert ours.keys() == theirs.keys()
        for name in ours:
            assert torch.equal(ours[name], theirs[name]), f"epoch {epoch}: {name}"
    ours, theirs = (
        [line.rpartition(",")[0] for line in (r.folder / "metrics.csv").read_text().splitlines()]
        for r in (run, trained)
    )
    assert ours == theirs
    assert len(ours) == 1 + trained.recipe.training.epochs
    assert not list(run.folder.rglob(".writing-*"))


def die(folder: Path, moment: str) -> None:
    """Train the run in a folder and be killed at a moment, as in ``tiny_runs.main``."""
    run = open_run(folder, "language", "sentences")
    kind, *numbers = moment.split(":")
    if kind in ("rename", "sync"):
        kill_on_call({"rename": checkpoint.os, "sync": checkpoint}[kind], kind, int(numbers[0]))
    elif kind == "metrics":
        kill_on_call(loop, "write_metrics", int(numbers[0]))
    loop.fit(run, accelerator="cpu", callbacks=[Stopper((kind, *map(int, numbers)), kill)])


def die_each(folder: str, *moments: str) -> None:
    """For each moment, as ``language:step:1:2``, kill a process that trains in a folder of that name.

    Prints the signals that ended them.
    """
    for moment in moments:
        child = os.fork()  # all is imported already, and nothing has run: no threads to lose
        if not child:
            die(Path(folder) / moment, moment.partition(":")[2])
            os._exit(0)
        _, status = os.waitpid(child, 0)
        print(moment, os.WTERMSIG(status), flush=True)


def commands(*arguments: str) -> None:
    """The command line, each process keeping its parameters and gradients at the end of every epoch."""
    from snn_delays import cli

    folder, rank = Path(os.environ["TINY_KEEP"]), os.environ.get("LOCAL_RANK", "0")
    for task in (text_tasks.LanguageTraining, text_tasks.SentencesTraining):
        _keep(task, folder, rank)
    cli.app(list(arguments), prog_name="snn-delays")


def _keep(task: Any, folder: Path, rank: str) -> None:
    real, epochs = task.validate, iter(range(1, 100))

    def validate(self: Any, network: nn.Module, device: torch.device) -> dict[str, Any]:
        held = {name: (p.detach().clone(), p.grad) for name, p in network.named_parameters()}
        torch.save(held, folder / f"process-{rank}-epoch-{next(epochs)}.pt")
        return real(self, network, device)

    task.validate = validate


if __name__ == "__main__":
    torch.set_num_threads(1)  # as in the tests: the number of threads decides the order of sums
    use_made_up_sentences()
    commands(*sys.argv[2:]) if sys.argv[1] == "cli" else die_each(*sys.argv[1:])
