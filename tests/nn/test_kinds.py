"""What counts as a layer of the package where its arithmetic is copied, and what does not."""

import pytest
import torch
from torch import nn
from torch.nn.utils import parametrize, prune

from snn_delays.errors import ConfigError
from snn_delays.nn import LIF, BatchNorm, BatchNorm2d, DelayedLinear, Recurrent, Sequential, layers_of
from snn_delays.nn.kinds import alteration, apply_pruning, kind_of, stranger
from snn_delays.nn.quantize import grid_of, quantize_weights


class Own(LIF):
    """Says nothing, so it may compute anything."""


class Declared(LIF):
    computes_as = LIF


class Below(Declared):
    """Inherits no declaration: it may have a forward of its own again."""


class Twice(Declared):
    computes_as = Declared


def synapse(inputs: int = 4, outputs: int = 4, least: int = 1) -> DelayedLinear:
    return DelayedLinear(inputs, outputs, max_delay_steps=2, min_delay_steps=least)


def test_a_layer_is_of_its_own_class_or_of_the_one_that_it_declares() -> None:
    assert kind_of(LIF(2.0)) is kind_of(Declared(2.0)) is kind_of(Twice(2.0)) is LIF
    assert kind_of(Own(2.0)) is Own
    assert kind_of(Below(2.0)) is Below
    layer = synapse()
    parametrize.register_parametrization(layer, "weight", nn.ReLU())
    assert type(layer) is not DelayedLinear
    assert kind_of(layer) is DelayedLinear


@pytest.mark.parametrize("base", [BatchNorm, "LIF", None.__class__])
def test_what_is_declared_must_be_a_base_class(base: object) -> None:
    wrong = type("Wrong", (LIF,), {"computes_as": base})
    with pytest.raises(ConfigError, match=r"Wrong\.computes_as must be a base class"):
        kind_of(wrong(2.0))


def test_strangers_are_named_with_the_nearest_kind() -> None:
    assert stranger(Own(2.0), (LIF,)) is not None
    assert "`computes_as = LIF`" in str(stranger(Below(2.0), (LIF, nn.Module)))
    assert stranger(BatchNorm2d(3), (BatchNorm, BatchNorm2d)) is None
    assert stranger(Declared(2.0), (LIF,)) is stranger(BatchNorm(3), (LIF,)) is None


def test_hooks_and_forwards_of_its_own_alter_a_layer_but_masks_do_not() -> None:
    layer = synapse()
    assert alteration(layer) is None
    prune.random_unstructured(layer, "weight", 0.5)
    assert alteration(layer) is None
    handle = layer.register_forward_hook(lambda *_: None)
    assert "has a forward hook (<lambda>)" in str(alteration(layer))
    handle.remove()
    layer.register_forward_pre_hook(lambda *_: None)
    assert "remove it" in str(alteration(layer))
    neuron = LIF(2.0)
    neuron.forward = lambda x, *_: (x, None)  # type: ignore[method-assign, assignment]
    assert alteration(neuron) == "has a forward of its own"


def test_masks_are_put_on_the_parameter_as_it_is_now() -> None:
    layer = synapse()
    prune.l1_unstructured(layer, "weight", 0.5)
    prune.l1_unstructured(layer, "weight", 0.5)  # one within another
    with torch.no_grad():
        layer.weight_orig.fill_(3.0)
    assert not (layer.weight == 3).any()
    apply_pruning(layer)
    assert torch.equal(layer.weight, 3 * layer.weight_mask)
    assert int((layer.weight == 0).sum()) == 12


class Residual(Sequential):
    def forward(self, x, state=None):
        y, state = super().forward(x, state)
        return x + y, state


def test_a_chain_with_a_forward_of_its_own_is_one_layer() -> None:
    inner = Sequential(LIF(2.0))
    network = Sequential(a=Residual(LIF(2.0)), b=inner)
    assert [name for name, _ in layers_of(network)] == ["a", "b.0"]
    inner.register_forward_hook(lambda *_: None)
    assert [name for name, _ in layers_of(network)] == ["a", "b"]


def test_recurrence_takes_no_synapse_whose_forward_it_would_ignore() -> None:
    class Doubled(DelayedLinear):
        def forward(self, x, state=None):
            return super().forward(2 * x, state)

    with pytest.raises(ConfigError, match="got Doubled and LIF"):
        Recurrent(Doubled(4, 4, max_delay_steps=2, min_delay_steps=1), LIF(2.0))


def test_a_grid_is_put_on_plain_weights_alone() -> None:
    pruned, parametrised = synapse(), synapse()
    prune.random_unstructured(pruned, "weight", 0.5)
    parametrize.register_parametrization(parametrised, "weight", nn.ReLU())
    for layer in (pruned, parametrised):
        with pytest.raises(ConfigError, match="is pruned or parametrised; make that permanent first"):
            quantize_weights(layer, bits=4)
    quantize_weights(gridded := synapse(), bits=4)
    assert grid_of(gridded) is not None
    parametrize.register_parametrization(gridded, "weight", nn.ReLU())
    assert grid_of(gridded) is None, "what comes after the grid may leave it"
