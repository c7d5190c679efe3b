"""Networks on a GPU compute what the reference does on the CPU; without a GPU the CPU's backends are asked the same."""

import copy
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from torch import Tensor, nn

import snn_delays
from snn_delays.models import ConvolutionalClassifier, DelayClassifier
from snn_delays.nn.module import move_state
from snn_delays.ops.backends import use_backend
from snn_delays.training import sources
from tests.support.gpt_networks import lively, text
from tests.support.networks import poisson
from tests.support.tiny_runs import fake_load, tiny_recipe

DEVICES = [
    "cpu",
    pytest.param("cuda", marks=pytest.mark.skipif(not torch.cuda.is_available(), reason="no GPU")),
]
Made = tuple[nn.Module, Tensor]


def dense(**options) -> Made:
    torch.manual_seed(0)
    options = {"max_delay_steps": 9, "sigma_steps": 1.0, "tau_steps": 3.0, **options}
    return DelayClassifier(12, (40, 33), 5, **options).double(), poisson(30, 6, 12)


def convolutional() -> Made:
    torch.manual_seed(0)
    network = ConvolutionalClassifier((2, 8, 8), (4,), (16,), 3, max_delay_steps=4, kernel_size=3, padding=1, pool=2)
    return network.double(), poisson(12, 3, 2 * 8 * 8, rate=0.5).reshape(12, 3, 2, 8, 8)


def language() -> Made:
    return lively(1, "after", "learned", "axonal").train(), text(seed=1)


MAKERS: dict[str, Callable[[], Made]] = {
    "wide taps": lambda: dense(sigma_steps=5.0),
    "narrow taps": lambda: dense(sigma_steps=0.5),
    "fixed delays": lambda: dense(learn_delay=False),
    "no delays": lambda: dense(max_delay_steps=0),
    "recurrent": lambda: dense(recurrent=True),
    "convolutional": convolutional,
    "language": language,
}


def outputs_and_gradients(network: nn.Module, x: Tensor) -> tuple[Tensor, dict[str, Tensor]]:
    network.zero_grad()
    y, _ = network(x)
    (y.float().double().softmax(-1) ** 2).sum().backward()
    return y.detach().cpu(), {name: p.grad.cpu() for name, p in network.named_parameters() if p.grad is not None}


@pytest.mark.parametrize("device", DEVICES)
@pytest.mark.parametrize("name", list(MAKERS))
def test_networks_compute_what_the_reference_does(name: str, device: str) -> None:
    network, x = MAKERS[name]()
    with use_backend("reference"):
        want, want_gradients = outputs_and_gradients(copy.deepcopy(network), x)
    got, gradients = outputs_and_gradients(network.to(device), x.to(device))
    torch.testing.assert_close(got, want, rtol=1e-8, atol=1e-9)
    assert gradients.keys() == want_gradients.keys()
    assert sum(bool(gradient.abs().max() > 0) for gradient in gradients.values()) > len(gradients) / 2
    for parameter, gradient in gradients.items():
        torch.testing.assert_close(gradient, want_gradients[parameter], rtol=1e-6, atol=1e-8, msg=parameter)


@pytest.mark.parametrize("device", DEVICES)
@pytest.mark.parametrize("name", ["narrow taps", "recurrent", "convolutional"])
def test_discretised_networks_in_chunks_on_the_device(name: str, device: str) -> None:
    network, x = MAKERS[name]()
    with torch.no_grad():
        network.train()(x)  # statistics of the norms
        discrete = snn_delays.discretize(network.eval())
        with use_backend("reference"):
            want, _ = discrete(x)
        discrete = discrete.to(device)
        first, state = discrete(x[:7].to(device))
        rest, _ = discrete(x[7:].to(device), move_state(state, device))
    assert want.abs().max() > 0
    torch.testing.assert_close(torch.cat([first, rest]).cpu(), want, rtol=1e-8, atol=1e-9)


@pytest.mark.parametrize("device", DEVICES)
def test_training_on_the_device_learns(device: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sources, "load_binned", fake_load)
    run = snn_delays.train(tiny_recipe(training={"epochs": 12}), out=tmp_path / "run", accelerator=device)
    losses = [row["train_loss"] for row in run.progress()["history"]]
    assert losses[-1] < 0.8 * losses[0]


@pytest.mark.skipif(not torch.cuda.is_available(), reason="no GPU")
def test_training_by_cuda_graphs_is_training(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sources, "load_binned", fake_load)
    losses = []
    for graphs in (False, True):
        training = {"epochs": 4, "precision": "64-true", "cuda_graphs": graphs}
        recipe = tiny_recipe(training=training, model={"dropout": 0.0}, data={"padding": "published"})
        run = snn_delays.train(recipe, out=tmp_path / f"run{graphs}", accelerator="cuda")
        losses.append([row["train_loss"] for row in run.progress()["history"]])
    assert losses[0] == pytest.approx(losses[1], rel=1e-6)
