"""Networks of other tools, exported by those tools: the interpreter and the networks read from them spike alike."""

import contextlib
import io
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from snn_delays.discrete.conversion import network_of
from snn_delays.export.nir.interpret import interpret
from snn_delays.export.nir.read import from_nir
from snn_delays.export.nir.write import read_nir
from snn_delays.ir.simulator import simulate

STEPS, INPUTS = 300, 10
DT = 1e-4  # snnTorch writes its files for steps of a tenth of a millisecond


def drive(rate: float = 0.3) -> torch.Tensor:
    return (torch.rand(STEPS, 1, INPUTS, generator=torch.Generator().manual_seed(5)) < rate).double()


def exported(network: torch.nn.Module) -> tuple[Any, np.ndarray]:
    """A network of snnTorch as its own export writes it, and what it does."""
    pytest.importorskip("snntorch", reason="snntorch is not installed")
    pytest.importorskip("nirtorch", reason="nirtorch is not installed")
    from snntorch import utils
    from snntorch.export_nir import export_to_nir

    with contextlib.redirect_stdout(io.StringIO()):
        graph = export_to_nir(network, torch.zeros(INPUTS))
    utils.reset(network)
    outputs = [network(now)[0].detach().numpy()[0] for now in drive().float()]
    return graph, np.stack(outputs)


def layers(kind: str, **options: Any) -> torch.nn.Sequential:
    snn = pytest.importorskip("snntorch", reason="snntorch is not installed")
    torch.manual_seed(1)
    made = []
    for inputs, outputs, scale in ((INPUTS, 20, 0.9), (20, 6, 0.9)):
        linear = torch.nn.Linear(inputs, outputs)
        with torch.no_grad():
            linear.weight.abs_().mul_(scale if kind == "Leaky" else scale / 4)
            linear.weight[:, ::3] *= -0.5
        constants = {"beta": torch.linspace(0.7, 0.7, outputs), "threshold": torch.full((outputs,), 1.0)}
        if kind == "Synaptic":
            constants["alpha"] = torch.linspace(0.6, 0.8, outputs)
            constants["beta"] = torch.linspace(0.5, 0.9, outputs)
        made += [linear, getattr(snn, kind)(**constants, init_hidden=True, output=outputs == 6, **options)]
    return torch.nn.Sequential(*made)


@pytest.mark.parametrize(("mechanism", "reset"), [("zero", None), ("zero", "hard"), ("subtract", "soft_late")])
def test_leaky_neurons_of_snntorch(mechanism: str, reset: str | None) -> None:
    graph, theirs = exported(layers("Leaky", reset_mechanism=mechanism))
    x = drive()[:, 0].numpy()
    assert 0.02 < theirs.mean() < 0.6
    assert np.array_equal(interpret(graph, x, dt=DT, reset=reset)["output"], theirs)
    network = from_nir(graph, dt_ms=0.1, time_unit="s", reset=reset)
    assert simulate(network, x).margin > 1e-6
    assert np.array_equal(list(simulate(network, x).outputs.values())[-1], theirs)
    with torch.no_grad():
        assert np.array_equal(network_of(network)(drive())[0][:, 0].numpy(), theirs)


def test_the_default_reset_of_snntorch_is_neither_hard_nor_soft() -> None:
    graph, theirs = exported(layers("Leaky"))
    for reset in ("hard", "soft"):
        assert not np.array_equal(interpret(graph, drive()[:, 0].numpy(), dt=DT, reset=reset)["output"], theirs)


def test_current_based_neurons_of_snntorch() -> None:
    """With its default reset; its reset to zero also forgets the current that arrives in the step after a spike."""
    graph, theirs = exported(layers("Synaptic"))
    assert {type(node).__name__ for node in graph.nodes.values()} >= {"CubaLIF"}
    assert 0.02 < theirs.mean() < 0.6
    assert np.array_equal(interpret(graph, drive()[:, 0].numpy(), dt=DT, reset="soft_late")["output"], theirs)


def test_integrate_and_fire_neurons_of_spikingjelly() -> None:
    neuron = pytest.importorskip("spikingjelly.activation_based.neuron", reason="spikingjelly is not installed")
    exchange = pytest.importorskip("spikingjelly.activation_based.nir_exchange", reason="nirtorch is not installed")
    torch.manual_seed(0)
    network = torch.nn.Sequential(
        torch.nn.Linear(INPUTS, 20), neuron.IFNode(v_threshold=1.001), torch.nn.Linear(20, 6), neuron.IFNode()
    ).double()
    with torch.no_grad():
        network[0].weight.add_(0.05)
        network[2].weight.add_(0.1)
    graph = exchange.export_to_nir(network, drive()[0], dt=1e-3)
    for module in network:
        if hasattr(module, "reset"):
            module.reset()
    theirs = torch.cat([network(now) for now in drive()]).detach().numpy()
    assert 0.02 < theirs.mean() < 0.6
    assert np.array_equal(interpret(graph, drive()[:, 0].numpy(), dt=1e-3)["output"], theirs)


def test_current_based_neurons_in_norse() -> None:
    nir = pytest.importorskip("nir")
    norse = pytest.importorskip("norse.torch", reason="norse is not installed")
    rng = np.random.default_rng(0)
    one, dt = np.ones(6), 1e-3
    cuba = nir.CubaLIF(
        tau_syn=one * 5e-3, tau_mem=one * 8e-3, r=one, v_leak=one * 0, v_threshold=one * 0.6, v_reset=one * 0,
        w_in=one * 5,
    )  # fmt: skip
    graph = nir.NIRGraph.from_list(nir.Linear(rng.normal(0.15, 0.3, (6, INPUTS)).astype(np.float32)), cuba)
    with contextlib.redirect_stdout(io.StringIO()):
        network = norse.from_nir(graph, dt=dt)
        state, theirs = None, []
        for now in drive().float():
            y, state = network(now, state)
            theirs.append(y.detach().numpy()[0])
    assert 0.02 < np.mean(theirs) < 0.6
    ours = interpret(graph, drive()[:, 0].numpy(), dt=dt)["cubalif"]
    assert np.array_equal(ours, np.stack(theirs))


def test_the_published_graph_for_braille_is_read_and_run() -> None:
    """From the NIR paper, as it comes with Norse: recurrent current-based neurons, a loop without a Delay."""
    norse = pytest.importorskip("norse", reason="norse is not installed")
    path = Path(norse.__file__).parent / "torch" / "utils" / "test" / "braille.nir"
    if not path.is_file():
        pytest.skip("this norse comes without it")
    graph = read_nir(path)
    nodes = graph.nodes
    x = (np.random.default_rng(0).random((STEPS, 12)) < 0.2) * 1.0
    back, spikes = np.zeros(38), []
    current, v = {"lif1.lif": np.zeros(38), "lif2": np.zeros(7)}, {"lif1.lif": np.zeros(38), "lif2": np.zeros(7)}

    def cuba(name: str, given: np.ndarray) -> np.ndarray:
        node = nodes[name]
        current[name] = current[name] + DT / node.tau_syn * (node.w_in * given - current[name])
        h = v[name] + DT / node.tau_mem * (node.v_leak - v[name] + node.r * current[name])
        v[name] = np.where(h > node.v_threshold, node.v_reset, h)
        return (h > node.v_threshold) * 1.0

    for now in x:
        given = nodes["fc1"].weight @ now + nodes["fc1"].bias
        back = cuba("lif1.lif", given + nodes["lif1.w_rec"].weight @ back + nodes["lif1.w_rec"].bias)
        spikes.append(cuba("lif2", nodes["fc2"].weight @ back + nodes["fc2"].bias))
    assert 0.02 < np.mean(spikes) < 0.6
    assert np.array_equal(interpret(graph, x, dt=DT)["output"], spikes)
