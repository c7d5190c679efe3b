"""Layers that run together give what they give one after the other, and hooks still see every layer."""

import pytest
import torch
from torch.nn.modules import module as torch_module
from torch.nn.utils import parametrize, prune

from snn_delays.nn import LIF, BatchNorm, DelayedLinear, Dropout, Sequential, norm


def network(dropout: bool) -> Sequential:
    torch.manual_seed(0)
    first = [DelayedLinear(6, 9, max_delay_steps=4), BatchNorm(9), LIF(3.0)]
    second = [DelayedLinear(9, 5, max_delay_steps=2), BatchNorm(5), LIF(2.0)]
    return Sequential(Sequential(*first, *([Dropout(0.3)] if dropout else [])), Sequential(*second)).double()


def run(made: Sequential, apart: bool) -> tuple:
    torch.manual_seed(3)
    if apart:  # a hook has to see what goes in and out
        for layer in made.modules():
            layer.register_forward_hook(lambda *_: None)
    draw = torch.Generator().manual_seed(1)
    x = ((torch.rand(30, 4, 6, generator=draw) < 0.5).double() * 3).requires_grad_()
    valid = torch.arange(30).unsqueeze(1) < torch.tensor([30, 12, 25, 30])
    y, state = made(x, None, valid)
    weights = torch.rand(y.shape, generator=draw, dtype=y.dtype)
    grads = torch.autograd.grad((y * weights).sum(), [x, *made.parameters()])
    return y, state, grads, [b.clone() for b in made.buffers()]


@pytest.mark.parametrize("dropout", [False, True])
def test_together_equals_apart(dropout: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    together, apart = network(dropout), network(dropout)
    ran = []
    plain = norm.norm_lif
    monkeypatch.setattr(norm, "norm_lif", lambda *a, **options: ran.append(a) or plain(*a, **options))
    ours = run(together, apart=False)
    assert len(ran) == 2
    want = run(apart, apart=True)
    assert len(ran) == 2
    assert 0.02 < ours[0].mean() < 0.9
    assert torch.equal(ours[0] > 0, want[0] > 0)
    for a, b in zip([*ours[2], *ours[3]], [*want[2], *want[3]], strict=True):
        torch.testing.assert_close(a, b, rtol=1e-9, atol=1e-11)
    torch.testing.assert_close(ours[1][0][2].v, want[1][0][2].v)
    with torch.no_grad():  # and so do the states that they hand on
        next_chunk = torch.rand(9, 4, 6).double() * 3
        assert torch.equal(together(next_chunk, ours[1])[0], apart(next_chunk, want[1])[0])


def test_nobody_keeps_the_spikes_of_a_block_while_the_next_one_runs(monkeypatch: pytest.MonkeyPatch) -> None:
    import weakref

    made, held = network(dropout=True), []
    plain = norm.norm_lif

    def watched(*arguments, **options):
        held.append([ref() is not None for ref in seen])
        y, *rest = plain(*arguments, **options)
        seen.append(weakref.ref(y))
        return y, *rest

    seen: list = []
    monkeypatch.setattr(norm, "norm_lif", watched)
    with torch.no_grad():
        made(torch.rand(20, 3, 6).double() * 3)
    assert held == [[], [False]]


def test_evaluation_runs_layer_by_layer() -> None:
    made = network(dropout=True).eval()
    y, _ = made(torch.rand(20, 3, 6).double() * 3)
    assert y.shape == (20, 3, 5)


@pytest.mark.parametrize("place", [1, 2, 3])
def test_a_layer_whose_forward_is_its_own_is_called(place: int) -> None:
    made = network(dropout=True)
    layer = list(next(iter(made)))[place]
    plain, calls = layer.forward, []
    layer.forward = lambda *a, **k: calls.append(a) or plain(*a, **k)
    made(torch.rand(20, 3, 6).double() * 3)
    assert len(calls) == 1


WATCHED = {"0.1", "0.2", "1.1", "1.2"}


@pytest.mark.parametrize("training", [True, False])
@pytest.mark.parametrize(
    "register",
    ["register_forward_hook", "register_forward_pre_hook", "register_full_backward_hook",
     "register_full_backward_pre_hook"],
)  # fmt: skip
def test_hooks_of_every_kind_fire(register: str, training: bool) -> None:
    made, seen = network(dropout=False).train(training), set()
    for name, layer in made.named_modules():
        if isinstance(layer, BatchNorm | LIF):
            getattr(layer, register)(lambda *_, name=name: seen.add(name))
    made((torch.rand(30, 4, 6) < 0.5).double() * 3)[0].sum().backward()
    assert seen == WATCHED


@pytest.mark.parametrize("training", [True, False])
@pytest.mark.parametrize(
    "register",
    [torch_module.register_module_forward_hook, torch_module.register_module_forward_pre_hook,
     torch_module.register_module_full_backward_hook, torch_module.register_module_full_backward_pre_hook],
)  # fmt: skip
def test_hooks_on_all_modules_see_every_layer(register, training: bool) -> None:
    made, seen = network(dropout=False).train(training), []
    handle = register(lambda module, *_: seen.append(module))
    try:
        made(((torch.rand(30, 4, 6) < 0.5).double() * 3).requires_grad_())[0].sum().backward()
    finally:
        handle.remove()
    assert {name for name, layer in made.named_modules() if layer in seen} == WATCHED | {"", "0", "1", "0.0", "1.0"}


class Doubled(torch.nn.Module):
    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return 2 * x


def test_a_replaced_forward_pruning_and_parametrisations_are_heeded_in_training() -> None:
    x = (torch.rand(30, 4, 6) < 0.5).double() * 3

    def spikes(change) -> torch.Tensor:
        made = next(iter(network(dropout=False)))
        change(made)
        return made(x)[0]

    def replaced(layers: Sequential) -> None:
        neuron = list(layers)[2]
        plain = neuron.forward
        neuron.forward = lambda given, *rest: plain(2 * given, *rest)

    def doubled(layers: Sequential) -> None:
        list(layers)[1].weight.data.mul_(2)

    def parametrised(layers: Sequential) -> None:
        parametrize.register_parametrization(list(layers)[1], "weight", Doubled())

    def masked(layers: Sequential) -> None:
        prune.custom_from_mask(list(layers)[1], "weight", (torch.arange(9) < 5).double())
        list(layers)[1].weight_orig.data.mul_(2)  # as an optimiser would, after pruning

    want = spikes(doubled)
    assert 0 < spikes(lambda _: None).sum() < want.sum()
    assert torch.equal(spikes(replaced), want)
    assert torch.equal(spikes(parametrised), want)
    assert torch.equal(spikes(masked)[..., :5], want[..., :5])
    assert not spikes(masked)[..., 5:].any()
