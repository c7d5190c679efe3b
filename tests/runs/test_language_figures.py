"""Pictures of language models' runs, and clear words where there is nothing to draw."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from snn_delays import plot
from snn_delays.errors import CheckpointError, ConfigError
from snn_delays.runs.evaluate import evaluate
from snn_delays.runs.figures import LANGUAGE, Source, draw, spikes_of
from snn_delays.training.activity import Activity
from snn_delays.training.runlog import Run
from snn_delays.training.tasks.text import corpus_of
from tests.support import tiny_texts
from tests.support.tiny_texts import fitted, language_recipe, sentence_recipe, text_file, trained_language_network

SHORT = {"epochs": 2, "steps_per_epoch": 5}


@pytest.fixture(scope="module")
def corpus(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return text_file(tmp_path_factory.mktemp("text"))


@pytest.fixture(scope="module")
def evaluated(corpus: Path, tmp_path_factory: pytest.TempPathFactory) -> Run:
    """A run that has everything to show."""
    model, data = {"neuron_delays": "dendritic"}, {"vocabulary": "characters"}
    run = fitted(
        tmp_path_factory.mktemp("run") / "run", language_recipe(corpus, model=model, data=data, training=SHORT)
    )
    evaluate(run)
    return run


def plain(corpus: Path, folder: Path, **model: Any) -> Run:
    training = {"epochs": 1, "steps_per_epoch": 1, "warmup_steps": 0}
    return fitted(folder / "run", language_recipe(corpus, model={"shift": "token", **model}, training=training))


def is_picture(path: Path) -> bool:
    return path.read_bytes()[:4] == b"\x89PNG" and path.stat().st_size > 3000


def test_all_pictures_are_drawn(evaluated: Run) -> None:
    drawn = draw(evaluated)
    assert [path.name for path in drawn] == [f"{name}.png" for name in LANGUAGE]
    assert all(path.parent == evaluated.figures and is_picture(path) for path in drawn)


def test_a_picture_by_name(evaluated: Run) -> None:
    (evaluated.figures / "tokens.png").unlink(missing_ok=True)
    assert [path.name for path in draw(evaluated, ["positions", "curves"])] == ["positions.png", "curves.png"]
    assert not (evaluated.figures / "tokens.png").exists()


def test_an_unknown_picture_lists_those_there_are(evaluated: Run) -> None:
    message = "no picture 'raster' of this run; did you mean 'rates'[?] choose from tokens, rates, shift_delays, posi"
    with pytest.raises(ConfigError, match=message):
        draw(evaluated, ["curves", "raster"])


def test_a_run_that_was_not_evaluated_says_so(corpus: Path, tmp_path: Path) -> None:
    run = plain(corpus, tmp_path)
    for name in ("rates", "positions"):
        with pytest.raises(CheckpointError, match="was not evaluated yet: snn-delays evaluate"):
            draw(run, [name])
    assert [path.name for path in draw(run, ["curves", "tokens"])] == ["curves.png", "tokens.png"]
    assert [path.name for path in draw(run)] == ["tokens.png", "curves.png"]  # all that it has


@pytest.mark.parametrize("unit", ["byte", "character"])
def test_positions_are_of_what_was_predicted(unit: str, evaluated: Run) -> None:
    recipe = evaluated.recipe
    if unit == "byte":
        recipe = recipe.model_copy(update={"data": recipe.data.model_copy(update={"vocabulary": "bytes"})})
    ax = LANGUAGE["positions"].draw(Source(Run(evaluated.folder, recipe)))
    assert ax.get_ylabel() == f"bits per {unit}"


def test_curves_have_bits_per_byte(evaluated: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    figures = []
    monkeypatch.setattr(plot, "save_figure", lambda figure, path: figures.append(figure) or path)
    draw(evaluated, ["curves"])
    panels = {ax.get_ylabel(): ax for ax in figures[0].axes}
    assert list(panels) == ["loss", "bits per byte", "firing rate", "sigma (steps)"]
    history = evaluated.progress()["history"]
    for name, key in (("bits per byte", "valid_bits_per_byte"), ("firing rate", "firing_rate")):
        np.testing.assert_array_equal(panels[name].lines[0].get_ydata(), [row[key] for row in history])


def test_a_network_without_delays_has_none_to_show(corpus: Path, tmp_path: Path) -> None:
    run = plain(corpus, tmp_path)
    evaluate(run)
    with pytest.raises(ConfigError, match="nothing to show in the picture 'shift_delays': its network has no delays"):
        draw(run, ["shift_delays"])
    assert [path.name for path in draw(run)] == ["tokens.png", "rates.png", "positions.png", "curves.png"]


def test_a_network_of_real_numbers_has_no_spikes_to_show(corpus: Path, tmp_path: Path) -> None:
    run = plain(corpus, tmp_path, spiking="none")
    evaluate(run)
    for name in ("tokens", "rates"):
        with pytest.raises(ConfigError, match=f"nothing to show in the picture '{name}': its network does not spike"):
            draw(run, [name])
    assert [path.name for path in draw(run)] == ["positions.png", "curves.png"]


def test_pictures_of_a_classifier_of_sentences(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    tiny_texts.use_made_up_sentences(monkeypatch)
    run = fitted(tmp_path / "run", sentence_recipe(training={"epochs": 2}))
    assert [path.name for path in draw(run)] == ["curves.png"]
    evaluate(run)
    drawn = draw(run)
    assert sorted(path.name for path in drawn) == ["curves.png", "rates.png"]
    assert all(map(is_picture, drawn))
    with pytest.raises(ConfigError, match="no picture 'tokens' of this run; choose from curves, rates"):
        draw(run, ["tokens"])


def test_the_raster_shows_what_the_network_did(evaluated: Run) -> None:
    network, vocabulary = trained_language_network(evaluated)
    tokens = torch.from_numpy(corpus_of(evaluated.recipe).valid[:41]).long()
    spikes, bits = spikes_of(network, tokens)
    with torch.inference_mode(), Activity(network) as activity:
        logits = network(tokens[:-1, None])[0][:, 0].double()
    rates = activity.rates()
    assert list(spikes) == [name for name in rates if name != "embedding"]
    for name, fired in spikes.items():
        assert fired.shape == (40, 16)
        assert fired.mean() == pytest.approx(rates[name], abs=1e-6)
    chances = torch.log_softmax(logits, -1)
    by_hand = [-float(chances[t, tokens[t + 1]]) / np.log(2) for t in range(39)]
    assert bits[0] == 0  # the first is given
    np.testing.assert_allclose(bits[1:], by_hand, rtol=1e-6)
    assert not any(module._forward_hooks for module in network.modules())
    assert vocabulary.kind == "characters"
