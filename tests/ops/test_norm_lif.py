"""Norm and neurons in one operation, against norm and neurons one after the other."""

from functools import partial
from itertools import product

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor

from snn_delays.errors import ConfigError, ShapeError
from snn_delays.ops import ATan, lif, norm_lif
from snn_delays.ops.norm_lif import OPERATION
from tests.support.contracts import SURROGATES, assert_same, fast_backends

BACKENDS = fast_backends(OPERATION)
OPTIONS = {"eps": 1e-5, "decay": 0.6, "threshold": 0.8, "v_reset": -0.1, "surrogate": ATan(3.0)}


def case(steps=13, batch=3, neurons=7, dtype=torch.float64, seed=0):
    """Current, gamma, beta, v0, valid, mask; the current has a mean far from zero, padding holds rubbish."""
    draw = torch.Generator().manual_seed(seed)

    def normal(*shape: int) -> Tensor:
        return torch.randn(*shape, generator=draw, dtype=dtype)

    valid = torch.arange(steps).view(-1, 1) < torch.randint(1, steps + 1, (batch,), generator=draw)
    valid[: min(2, steps)] = True
    current = (normal(steps, batch, neurons) * 2 + 5).masked_fill(~valid.unsqueeze(-1), 1e3)
    mask = (torch.rand(batch, neurons, generator=draw) < 0.7).to(dtype) / 0.7
    return {
        "current": current, "gamma": normal(neurons) + 1.5, "beta": normal(neurons) * 0.3, "v0": normal(batch, neurons),
        "valid": valid, "mask": mask,
    }  # fmt: skip


def compare(run, tensors, options) -> None:
    """Outputs and gradients of a version and of the reference."""
    found = []
    for version in (run, partial(norm_lif, backend="reference")):
        given = {name: t if t is None or t.dtype == torch.bool else t.clone() for name, t in tensors.items()}
        leaves = [given[name] for name in ("current", "gamma", "beta", "v0") if given[name] is not None]
        for leaf in leaves:
            leaf.requires_grad_()
        spikes, v, mean, variance = version(**given, **options)
        draw = torch.Generator().manual_seed(5)
        cotangents = [torch.randn(y.shape, generator=draw, dtype=y.dtype) for y in (spikes, v)]
        grads = torch.autograd.grad((spikes, v), leaves, cotangents)
        found.append((spikes.detach(), v.detach(), mean, variance, *grads))
    got, want = found
    if want[0].numel() > 100:
        assert 0.02 < float((want[0] != 0).double().mean()) < 0.6
    if want[0].dtype == torch.float64:
        assert torch.equal(got[0] != 0, want[0] != 0), "spikes differ"
    names = ("spikes", "v", "mean", "variance", "d current", "d gamma", "d beta", "d v0")
    for name, one, other in zip(names, got, want):
        assert_same(one, other, name)


@pytest.mark.parametrize("backend", BACKENDS)
@pytest.mark.parametrize(
    ("reset", "detach_reset", "decay_input", "strict", "surrogate"),
    list(product(("hard", "soft"), (True, False), (True, False), (True, False), SURROGATES)),
)
def test_equals_norm_then_neurons(backend, reset, detach_reset, decay_input, strict, surrogate) -> None:
    chosen = {"reset": reset, "detach_reset": detach_reset, "decay_input": decay_input, "strict": strict}
    tensors = case()
    if decay_input:
        tensors["gamma"] *= 3
    compare(partial(norm_lif, backend=backend), tensors, {**OPTIONS, **chosen, "surrogate": surrogate})


@pytest.mark.parametrize("backend", BACKENDS)
@pytest.mark.parametrize("dtype", [torch.float64, torch.float32])
@pytest.mark.parametrize(("steps", "batch", "neurons"), [(2, 1, 1), (1, 2, 3), (40, 2, 513), (9, 5, 33), (700, 2, 100)])
@pytest.mark.parametrize("without", [(), ("valid", "mask", "v0")])
def test_equals_norm_then_neurons_at_all_sizes(backend, dtype, steps, batch, neurons, without) -> None:
    tensors = case(steps, batch, neurons, dtype)
    for name in without:
        tensors[name] = None
        if name == "valid":
            tensors["current"] = tensors["current"].clamp(max=20)
    if dtype == torch.float32 and steps > 40:  # a spike that flips in float32 changes all that follow
        steps = 40
        tensors["current"] = tensors["current"][:40]
        tensors["valid"] = None if tensors["valid"] is None else tensors["valid"][:40]
    compare(partial(norm_lif, backend=backend), tensors, OPTIONS)


def test_reference_is_torchs_batch_norm_and_lif() -> None:
    tensors = case()
    rows = tensors["current"][tensors["valid"]]
    y = F.batch_norm(rows, None, None, tensors["gamma"], tensors["beta"], True, 0.1, 1e-5)
    y = torch.zeros_like(tensors["current"]).index_put((tensors["valid"],), y)
    want, v = lif(y, tensors["v0"], decay=0.6, threshold=0.8, v_reset=-0.1, surrogate=ATan(3.0))
    got, v_got, mean, variance = norm_lif(**tensors, **OPTIONS, backend="reference")
    assert torch.equal(got, want * tensors["mask"])
    torch.testing.assert_close(v_got, v)
    torch.testing.assert_close(mean, rows.mean(0))
    torch.testing.assert_close(variance, rows.var(0, correction=0))


def test_variance_of_a_current_far_from_zero_keeps_its_digits() -> None:
    tensors = case(steps=200, batch=4, neurons=5, dtype=torch.float32)
    tensors |= {"valid": None, "current": torch.randn(200, 4, 5) * 0.01 + 300}
    _, _, mean, variance = norm_lif(**tensors, **OPTIONS, backend="numba_cpu")
    exact = tensors["current"].double()
    torch.testing.assert_close(mean.double(), exact.mean((0, 1)), rtol=1e-6, atol=0)
    torch.testing.assert_close(variance.double(), exact.var((0, 1), correction=0), rtol=1e-4, atol=0)


WRONG = {
    "padding counted": lambda t: {**t, "valid": None},
    "mask forgotten": lambda t: {**t, "mask": None},
    "initial membrane ignored": lambda t: {**t, "v0": t["v0"] * 0},
    "scale not learned": lambda t: {**t, "gamma": t["gamma"].detach()},
    "statistics a constant": None,
}


@pytest.mark.parametrize("mutation", WRONG)
def test_comparison_rejects(mutation: str) -> None:
    def run(**arguments):
        if WRONG[mutation] is not None:
            return norm_lif(**WRONG[mutation](arguments), backend="reference")
        spikes, v, mean, variance = norm_lif(**arguments, backend="reference")
        x, valid = arguments["current"], arguments["valid"].unsqueeze(-1)
        y = ((x - mean) * torch.rsqrt(variance + OPTIONS["eps"]) * arguments["gamma"] + arguments["beta"]) * valid
        options = {name: value for name, value in arguments.items() if name in OPTIONS and name != "eps"}
        spikes, v = lif(y, arguments["v0"], **options)
        return spikes * arguments["mask"], v, mean, variance

    with pytest.raises((AssertionError, RuntimeError)):
        compare(run, case(), OPTIONS)


@pytest.mark.usefixtures("own_shape_errors")
def test_bad_input_is_named() -> None:
    tensors = case()
    with pytest.raises(ShapeError, match="gamma has shape"):
        norm_lif(**{**tensors, "gamma": torch.ones(3)}, **OPTIONS)
    with pytest.raises(ShapeError, match="valid has shape"):
        norm_lif(**{**tensors, "valid": tensors["valid"][1:]}, **OPTIONS)
    with pytest.raises(ConfigError, match="reset must be"):
        norm_lif(**tensors, **OPTIONS, reset="medium")


@pytest.mark.parametrize("bad", [torch.nan, torch.inf, -torch.inf])
@pytest.mark.parametrize("reset", ["hard", "soft"])
def test_a_broken_current_breaks_its_neuron_and_no_other(bad: float, reset: str) -> None:
    outcomes = []
    for backend in (*BACKENDS, "reference"):
        tensors = case()
        tensors["valid"][:3, 1], tensors["valid"][3:6, 1] = False, True  # padding before the sample
        tensors["current"][3:6, 1] = 5.0
        tensors["current"][3, 1, 2] = bad
        spikes, v, mean, variance = norm_lif(**tensors, **OPTIONS, reset=reset, backend=backend)
        assert (~mean.isfinite()).nonzero().flatten().tolist() == [2]
        assert (~variance.isfinite()).nonzero().flatten().tolist() == [2]
        assert v[:, 2].isnan().all()
        assert not v[:, [0, 1, 3, 4, 5, 6]].isnan().any()
        assert spikes[-1, :, 2].isnan().all()
        assert not spikes[..., [0, 1, 3, 4, 5, 6]].isnan().any()
        outcomes.append(spikes.isnan())
    assert all(torch.equal(outcomes[0], other) for other in outcomes)


def test_padding_that_is_no_number_changes_nothing() -> None:
    for backend in (*BACKENDS, "reference"):
        tensors = case()
        want = norm_lif(**tensors, **OPTIONS, backend=backend)
        tensors["current"] = torch.where(tensors["valid"].unsqueeze(-1), tensors["current"], torch.nan)
        got = norm_lif(**tensors, **OPTIONS, backend=backend)
        for a, b in zip(got, want, strict=True):
            assert torch.equal(a, b)
