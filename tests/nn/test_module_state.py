"""States taken as a whole: detached, moved, written to a file, copied and sent to another process."""

import copy
import inspect
import io
import pickle
import pkgutil
from importlib import import_module

import pytest
import torch
from torch import Tensor

import snn_delays
from snn_delays import DelayClassifier, detach_state, map_state, move_state
from snn_delays.errors import ShapeError
from snn_delays.models.spikegpt import SpikeGPT
from snn_delays.nn import LIF, BatchNorm, DelayedLinear, Dropout, Recurrent, Sequential, SpikingModule


def recurrent() -> SpikingModule:
    torch.manual_seed(1)
    again = DelayedLinear(9, 9, min_delay_steps=1, max_delay_steps=4)
    return Sequential(
        DelayedLinear(6, 9, max_delay_steps=5), BatchNorm(9), LIF(2.0), Dropout(0.2), Recurrent(again, LIF(2.0))
    )


def classifier() -> SpikingModule:
    torch.manual_seed(0)
    return DelayClassifier(6, (9,), 4, max_delay_steps=5)


def language_model() -> SpikingModule:
    torch.manual_seed(0)
    return SpikeGPT(7, 8, 2, shift={"kind": "learned", "max_delay_steps": 4})


NETWORKS = [recurrent, classifier, language_model]


def inputs(network: SpikingModule, steps: int = 20) -> Tensor:
    draw = torch.Generator().manual_seed(2)
    if isinstance(network, SpikeGPT):
        return torch.randint(7, (steps, 3), generator=draw)
    return (torch.rand(steps, 3, 6, generator=draw) < 0.4).float() * 2


def tensors(state: object) -> list[Tensor]:
    found: list[Tensor] = []
    map_state(lambda part: found.append(part) or part, state)
    return found


def same(a: object, b: object) -> bool:
    forms = [repr(map_state(lambda part: torch.zeros(0), state)) for state in (a, b)]
    return forms[0] == forms[1] and all(map(torch.equal, tensors(a), tensors(b)))


@pytest.mark.parametrize("make", NETWORKS)
def test_truncated_backpropagation_takes_a_detached_state(make) -> None:
    network, state = make(), None
    for _ in range(2):
        y, state = network(inputs(network), state)
        y.square().sum().backward()
        assert any(part.requires_grad for part in tensors(state))
        before, state = state, detach_state(state)
        assert same(before, state)
        assert not any(part.requires_grad for part in tensors(state))


def test_without_it_the_second_chunk_has_no_graph_to_go_through() -> None:
    network = recurrent()
    y, state = network(inputs(network))
    y.sum().backward()
    with pytest.raises(RuntimeError, match="second time"):
        network(inputs(network), state)[0].sum().backward()


@pytest.mark.parametrize("make", NETWORKS)
def test_a_state_is_moved_with_its_network(make) -> None:
    network = make().eval()
    with torch.no_grad():
        _, state = network(inputs(network))
        moved = move_state(state, "cpu", torch.float64)
        assert {part.dtype for part in tensors(moved)} == {torch.float64}
        x = inputs(network) if isinstance(network, SpikeGPT) else inputs(network).double()
        assert network.double()(x, moved)[0].isfinite().all()
    assert move_state((torch.arange(3), None), dtype=torch.float64)[0].dtype == torch.int64


@pytest.mark.parametrize("make", NETWORKS)
def test_a_state_survives_files_copies_and_processes(make) -> None:
    network = make().eval()
    with torch.no_grad():
        x = inputs(network)
        _, state = network(x)
        buffer = io.BytesIO()
        torch.save(state, buffer)
        buffer.seek(0)
        want, _ = network(x, state)
        for other in (torch.load(buffer), copy.deepcopy(state), pickle.loads(pickle.dumps(state))):
            assert same(other, state)
            assert torch.equal(network(x, other)[0], want)


@pytest.mark.parametrize("make", NETWORKS)
def test_a_network_can_be_copied_and_pickled(make) -> None:
    network = make().eval()
    with torch.no_grad():
        want, _ = network(inputs(network))
        for other in (copy.deepcopy(network), pickle.loads(pickle.dumps(network))):
            assert torch.equal(other(inputs(network))[0], want)


@pytest.mark.parametrize("make", NETWORKS)
def test_a_state_dict_makes_another_network_the_same(make, tmp_path) -> None:
    network, other = make(), make()
    with torch.no_grad():
        for name, parameter in network.named_parameters():
            parameter.mul_(1.0 if name.endswith("delay") else 0.9)
        torch.save(network.state_dict(), tmp_path / "network.pt")
        want, _ = network.eval()(inputs(network))
        assert not torch.equal(other.eval()(inputs(other))[0], want)
        other.load_state_dict(torch.load(tmp_path / "network.pt", weights_only=True))
        assert torch.equal(other(inputs(other))[0], want)


def test_every_state_can_be_in_a_file_that_is_loaded_safely() -> None:
    safe = torch.serialization.get_safe_globals()
    states = set()
    for room in ("ops", "nn", "models"):
        package = import_module(f"snn_delays.{room}")
        for found in pkgutil.walk_packages(package.__path__, f"{package.__name__}."):
            if "cupy" not in found.name and "numba_cuda" not in found.name:
                module = import_module(found.name)
                states |= {one for name, one in inspect.getmembers(module, inspect.isclass) if name.endswith("State")}
    states = {one for one in states if issubclass(one, tuple)}
    assert len(states) >= 7
    assert states <= set(safe)


def test_what_is_no_state_is_refused() -> None:
    with pytest.raises(ShapeError, match="got a list"):
        detach_state([torch.zeros(3)])
    assert snn_delays.detach_state(None) is None
