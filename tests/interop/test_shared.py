"""What is said where a package is not installed; each name of the room is found; wrappers are modules."""

import copy
import importlib
import pickle
import subprocess
import sys

import pytest
import torch

from snn_delays import interop
from snn_delays.errors import MissingPackageError
from snn_delays.interop.shared import require
from snn_delays.nn import DelayedLinear, Sequential
from tests.support.peers import currents, fires

PACKAGES = {"spikingjelly": "FromSpikingJelly", "norse": "ToNorse", "snntorch": "FromSnnTorch"}


@pytest.mark.parametrize("package", PACKAGES)
def test_a_missing_package_is_named_with_the_line_that_installs_it(package: str, monkeypatch) -> None:
    monkeypatch.setitem(sys.modules, package, None)
    monkeypatch.delitem(sys.modules, f"snn_delays.interop.{package}", raising=False)
    line = rf"the package {package} is not installed \(pip install 'snn-delays\[{package}\]'\)"
    with pytest.raises(MissingPackageError, match=line) as caught:
        getattr(interop, PACKAGES[package])
    assert isinstance(caught.value, ImportError)
    require("torch")


@pytest.mark.parametrize("name", interop.__all__)
def test_every_name_of_the_room_is_found(name: str) -> None:
    module = name.lower().replace("_", "").removeprefix("from").removeprefix("to")
    module = "lightning" if name == "DelayCallback" else module
    pytest.importorskip(module.replace("dcls", "DCLS").replace("lightning", "pytorch_lightning"))
    assert getattr(interop, name) is getattr(importlib.import_module(f"snn_delays.interop.{module}"), name)
    with pytest.raises(AttributeError, match="no attribute 'FromNothing'"):
        interop.FromNothing  # noqa: B018


def test_the_room_alone_imports_none_of_the_packages() -> None:
    code = f"import sys, snn_delays.interop; sys.exit(not set({sorted(PACKAGES)}).isdisjoint(sys.modules))"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0


def recurrent(package: str):
    """A neuron of the package with a weight that is learned, in a network of ours, which is in one of theirs."""
    pytest.importorskip(package)
    if package == "spikingjelly":
        from spikingjelly.activation_based import neuron

        wrap, back = interop.FromSpikingJelly(neuron.ParametricLIFNode(v_threshold=0.3)), interop.ToSpikingJelly
    elif package == "norse":
        from norse.torch import LIFRecurrentCell

        wrap, back = interop.FromNorse(LIFRecurrentCell(8, 8)), interop.ToNorse
    else:
        from snntorch import RLeaky

        wrap, back = interop.FromSnnTorch(RLeaky(0.8, linear_features=8)), interop.ToSnnTorch
    return back(Sequential(DelayedLinear(6, 8, max_delay_steps=4), wrap))


@pytest.mark.parametrize("package", PACKAGES)
def test_wrapped_layers_are_copied_pickled_and_loaded_as_modules(package: str) -> None:
    module, x = recurrent(package), 3 * currents().float()
    want, _ = module.layer(x)
    want.sum().backward()
    assert fires(want.detach(), least=0.01)
    other = recurrent(package)
    other.load_state_dict(module.state_dict())
    twins = [other, copy.deepcopy(module)]
    if package == "spikingjelly":  # parameters of Norse and surrogates of snnTorch are not pickled by pickle
        twins.append(pickle.loads(pickle.dumps(module)))
    for twin in twins:
        assert torch.equal(twin.layer(x)[0], want)
    with torch.no_grad():
        next(iter(other.layer)).weight.mul_(0.5)
    assert not torch.equal(other.layer(x)[0], want)
    assert {n for n, _ in module.named_parameters()} == {n for n, p in module.named_parameters() if p.grad is not None}
