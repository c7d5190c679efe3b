"""Where arithmetic is copied, a layer is what its class says or is refused by name."""

import pytest
import torch
from torch.nn.utils import parametrize, prune

from snn_delays.discrete import DiscreteNetwork, discretize
from snn_delays.discrete.conversion import canonical
from snn_delays.discrete.streaming import StreamingEngine
from snn_delays.errors import ExportError
from snn_delays.ir.canonical import to_bytes
from snn_delays.nn import (
    LIF,
    BatchNorm,
    DelayedLinear,
    Dropout,
    LeakyIntegrator,
    Recurrent,
    Sequential,
    SpikingModule,
    SumPool2d,
    record,
)
from tests.support.networks import assert_active, poisson


class _Silent(LIF):
    def forward(self, x, state=None):
        return super().forward(x * 0, state)


class _Named(LIF):
    computes_as = LIF

    def __init__(self) -> None:
        super().__init__(2.5)


class _Weaker(DelayedLinear):
    def forward(self, x, state=None):
        return super().forward(x / 2, state)


class _Shifted(BatchNorm):
    def scale_and_shift(self):
        scale, shift = super().scale_and_shift()
        return scale, shift + 1


class _Noisy(Dropout):
    def forward(self, x, state=None):
        return x + 1, None


class _Halved(SumPool2d):
    def forward(self, x, state=None):
        return super().forward(x / 2, state)


class _Residual(Sequential):
    def forward(self, x, state=None):
        y, state = super().forward(x, state)
        return x + y, state


def _chain(**changed: SpikingModule) -> Sequential:
    torch.manual_seed(0)
    layers = {
        "a": DelayedLinear(6, 8, max_delay_steps=4), "norm": BatchNorm(8), "n": LIF(2.5), "drop": Dropout(0.1),
        "b": DelayedLinear(8, 2, max_delay_steps=4), "r": LeakyIntegrator(2.0),
    }  # fmt: skip
    network = Sequential(**{**layers, **changed}).double().eval()
    with torch.no_grad():
        network.get_submodule("a").weight.abs_()
    return network


@pytest.mark.parametrize(
    ("name", "layer", "kind"),
    [
        ("n", lambda: _Silent(2.0), "LIF"),
        ("a", lambda: _Weaker(6, 8, max_delay_steps=4), "DelayedLinear"),
        ("norm", lambda: _Shifted(8), "BatchNorm"),
        ("drop", lambda: _Noisy(0.1), "Dropout"),
        ("drop", lambda: _Halved(1), "SumPool2d"),
        ("n", lambda: Recurrent(DelayedLinear(8, 8, max_delay_steps=2, min_delay_steps=1), _Silent(2.0)), "LIF"),
        ("n", lambda: _Residual(LIF(2.0)), "Sequential"),
    ],
)
def test_a_subclass_is_not_taken_for_its_parent(name: str, layer, kind: str) -> None:
    with pytest.raises(ExportError, match=rf"layer '{name}' .* is a subclass of {kind}.*computes_as = {kind}"):
        discretize(_chain(**{name: layer()}))


def test_a_chain_that_is_a_subclass_is_not_taken_for_a_chain() -> None:
    class Mine(DiscreteNetwork):
        pass

    with pytest.raises(ExportError, match=r"layer '0' \(_Residual\) is a subclass of Sequential"):
        discretize(_Residual(DelayedLinear(3, 3, max_delay_steps=1), LIF(2.0)))
    made = discretize(_chain())
    mine = Mine(made.report, **dict(made.named_children()))
    for take in (StreamingEngine, lambda network: canonical(network, dt_ms=1.0)):
        with pytest.raises(ExportError, match=r"\(Mine\) is a subclass of Sequential"):
            take(mine)


def test_a_subclass_that_declares_what_it_computes_is_taken() -> None:
    x = poisson(40, 2, 6)
    mine, plain = discretize(_chain(n=_Named())), discretize(_chain())
    assert_active(plain, x)
    assert torch.equal(mine(x)[0], plain(x)[0])
    assert to_bytes(canonical(mine, dt_ms=1.0)) == to_bytes(canonical(plain, dt_ms=1.0))


@pytest.mark.parametrize("name", ["", "a", "n", "norm"])
def test_hooks_are_refused_before_and_after(name: str) -> None:
    network = _chain()
    made = discretize(network)
    takers = [(network, discretize)]
    if name != "norm":
        takers += [(made, StreamingEngine), (made, lambda network: canonical(network, dt_ms=1.0))]
    for given, take in takers:
        handle = given.get_submodule(name).register_forward_hook(lambda _, __, out: (out[0] * 0, out[1]))
        with pytest.raises(ExportError, match=r"has a forward hook \(<lambda>\), whose effect would be lost"):
            take(given)
        handle.remove()
        take(given)


def test_a_time_constant_that_was_changed_is_the_one_computed_with_and_exported() -> None:
    network, x = _chain(), poisson(40, 2, 6)
    before = network(x)[0]
    network.get_submodule("n").tau_steps = 5.0
    after = network(x)[0]
    assert not torch.equal(before, after)
    made = canonical(discretize(network), dt_ms=1.0)
    assert made.populations[0].arithmetic.decay == network.get_submodule("n").decay == 0.8


@pytest.mark.parametrize("what", ["weight", "delay"])
def test_parametrised_and_pruned_parameters_are_folded(what: str) -> None:
    class Half(torch.nn.Module):
        def forward(self, value):
            return value / 2 if what == "weight" else (value / 2).round()

    x = poisson(40, 2, 6)
    for change in (
        lambda layer: parametrize.register_parametrization(layer, what, Half()),
        lambda layer: prune.l1_unstructured(layer, what, 0.5),
    ):
        network = _chain()
        with torch.no_grad():
            layer = network.get_submodule("a")
            layer.delay.round_()
            layer.sigma.fill_(0.01)
            change(layer)
            for name, values in layer.named_parameters():  # a mask follows the weights as they are now
                if "weight" in name:
                    values.mul_(1.5)
        with torch.no_grad():
            want = record(network, x)
        made = discretize(network)
        assert 0.02 < float(want["n"].mean()) < 0.9
        assert torch.equal(record(made, x)["n"], want["n"])
