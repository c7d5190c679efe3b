"""EventProp: times are those of a converging simulation, gradients finite differences, and wrong adjoints fail."""

import inspect
import math
from typing import Any, NamedTuple

import numpy as np
import pytest
import torch
from torch import Tensor

from snn_delays.errors import ConfigError, ShapeError, TrainingError
from snn_delays.ops import eventprop
from snn_delays.ops.eventprop import kernels
from tests.oracles import continuous

CHANNELS, HIDDEN, READOUTS, END = 4, 6, 2, 40.0
OUTPUTS = ("times_ms", "peak", "mean")
NETWORKS = {"two layers": (20.0, 5.0), "recurrent": (10.0, 5.0), "many spikes": (6.0, 8.0)}


class Network(NamedTuple):
    """What :func:`eventprop` is given."""

    times: Tensor
    weight: Tensor
    delay: Tensor
    pre: Tensor
    post: Tensor
    threshold: Tensor
    constants: dict[str, float]

    def run(self, *leaves: Tensor) -> Any:
        times, weight, delay = leaves or self[:3]
        return eventprop(times, weight, delay, *self[3:6], **self.constants)


def network(kind: str, samples: int = 2) -> Network:
    """Layers ``CHANNELS``, two of ``HIDDEN``, ``READOUTS``; the recurrent one has a single, recurrent layer."""
    tau_mem, tau_syn = NETWORKS[kind]
    draw = torch.Generator().manual_seed(11)
    hidden = 2 * HIDDEN
    layers = [(0, CHANNELS), (CHANNELS, HIDDEN), (CHANNELS + HIDDEN, HIDDEN), (CHANNELS + hidden, READOUTS)]
    joins = [(layers[k], layers[k + 1]) for k in range(3)]
    if kind == "recurrent":
        joins.append((layers[2], layers[1]))
    pairs = torch.cat([
        torch.cartesian_prod(torch.arange(a, a + n), torch.arange(b, b + m) - CHANNELS) for (a, n), (b, m) in joins
    ])  # fmt: skip
    pre, post = pairs.T.contiguous()
    mean = {"two layers": 1.7, "recurrent": 1.2, "many spikes": 1.6}[kind]
    weight = torch.randn(len(pre), generator=draw, dtype=torch.float64) + mean
    weight[pre >= CHANNELS + HIDDEN] -= mean
    delay = 0.1 + 6 * torch.rand(len(pre), generator=draw, dtype=torch.float64)
    times = 15 * torch.rand(samples, CHANNELS, 2, generator=draw, dtype=torch.float64)
    times[0, 1, 1] = math.inf
    threshold = torch.tensor([1.0] * hidden + [math.inf] * READOUTS, dtype=torch.float64)
    return Network(
        times, weight, delay, pre, post, threshold, {"tau_mem_ms": tau_mem, "tau_syn_ms": tau_syn, "end_ms": END}
    )


def total(out: Any, which: str) -> Tensor:
    """A loss on one of the outputs, with coefficients of its own."""
    values = getattr(out, which)
    values = torch.where(values.isfinite(), values, 0)
    return (values * torch.randn(values.shape, generator=torch.Generator().manual_seed(3), dtype=values.dtype)).sum()


def differences(net: Network, step: float = 1e-6) -> dict[str, list[Tensor]]:
    """Central differences of each output's loss by times, weights and delays; no spike may come or go."""
    count, result = net.run().times_ms.isfinite(), {which: [torch.zeros_like(x) for x in net[:3]] for which in OUTPUTS}
    for k, leaf in enumerate(net[:3]):
        for place in torch.nonzero(leaf.isfinite().flatten()).flatten():
            for shift in (step, -step):
                leaves = [each.clone() for each in net[:3]]
                leaves[k].view(-1)[place] += shift
                out = net.run(*leaves)
                assert torch.equal(out.times_ms.isfinite(), count)
                for which in OUTPUTS:
                    result[which][k].view(-1)[place] += total(out, which) / (2 * shift)
    return result


def same(got: list[Tensor], want: list[Tensor]) -> bool:
    """Equal to 1e-4 of the greatest, times, weights and delays each by itself."""
    assert all(float(each.abs().max()) > 1e-4 for each in want)
    return all(float((g - w).abs().max() / w.abs().max()) < 1e-4 for g, w in zip(got, want))


@pytest.mark.parametrize("kind", NETWORKS)
def test_spike_times_are_those_of_a_simulation_that_converges(kind: str) -> None:
    net = network(kind, samples=1)
    out = net.run()
    ours = [times[times.isfinite()].numpy() for times in out.times_ms[0]]
    assert sum(len(times) >= 2 for times in ours) >= 4, "several spikes a neuron"
    given = [times[times.isfinite()].numpy() for times in net.times[0]]
    arrays = [each.numpy() for each in net[1:6]]
    errors = []
    for dt in (0.04, 0.01):
        theirs, peak, mean = continuous.spikes(given, *arrays, *NETWORKS[kind], END, dt)
        assert [len(times) for times in theirs] == [len(times) for times in ours]
        errors.append(max(float(np.abs(a - b).max(initial=0)) for a, b in zip(ours, theirs)))
    assert errors[0] < 1e-2
    assert errors[1] < 0.2 * errors[0]
    readouts = slice(2 * HIDDEN, None)
    np.testing.assert_allclose(out.peak[0], np.maximum(peak[readouts], 0), atol=2e-3)
    np.testing.assert_allclose(out.mean[0], mean[readouts], atol=2e-3)


@pytest.mark.parametrize("kind", NETWORKS)
def test_gradients_are_finite_differences(kind: str) -> None:
    net = network(kind)
    leaves = [each.clone().requires_grad_() for each in net[:3]]
    out = net.run(*leaves)
    assert (out.times_ms.isfinite().sum(-1) >= 2).sum() > 6
    for which, want in differences(net).items():
        assert same(list(torch.autograd.grad(total(out, which), leaves, retain_graph=True)), want), which


MUTANTS = {
    "delays of the wrong sign": ("by_delay[j] += to_time", "by_delay[j] -= to_time"),
    "no 1 / (I - V)": (" / drive[spike]", ""),
    "no reset": ("threshold[n] * lv[n] + by_time", "0.0 * lv[n] + by_time"),
    "no current in the adjoint": ("weight[j] * (lv[n] - li[n])", "weight[j] * lv[n]"),
    "time constants swapped": ("tau_mem / (tau_syn - tau_mem) * lv", "tau_syn / (tau_syn - tau_mem) * lv"),
    "later spikes cause nothing": ("by_time[spike] += to_time", "pass"),
    "weights not scaled": ("to_weight = -tau_syn * li[n]", "to_weight = -li[n]"),
}


def gradients_by(source: str, net: Network) -> list[Tensor]:
    """Gradients of the times' loss by an adjoint in plain Python, from its source."""
    names = dict(vars(kernels))
    exec(source[source.index("def ") :], names)
    constants = *(net.constants[f"tau_{name}_ms"] for name in ("mem", "syn")), END
    order = torch.argsort(net.pre, stable=True)
    weight, delay, pre, post = (each[order].numpy() for each in net[1:5])
    first = np.searchsorted(pre, np.arange(CHANNELS + len(net.threshold) + 1))
    theta = net.threshold.numpy()
    record = kernels.simulate(net.times.numpy(), first, post, weight, delay, theta, *constants, 1000)
    sample, node, nth, _, _ = record[2]
    times = net.run().times_ms.requires_grad_()
    (slope,) = torch.autograd.grad(total(net.run()._replace(times_ms=times), "times_ms"), times)
    ours = node >= CHANNELS
    direct = np.zeros(len(node))
    direct[ours] = slope.numpy()[sample[ours], node[ours] - CHANNELS, nth[ours]]
    zeros = np.zeros((len(net.times), len(net.threshold)))
    by_weight, by_delay, by_time = names["adjoint"](
        (*record, CHANNELS), direct, zeros, zeros, post, weight, theta, *constants
    )
    by_given = np.zeros(net.times.shape)
    by_given[sample[~ours], node[~ours], nth[~ours]] = by_time[~ours]
    back = np.argsort(order.numpy())
    return [torch.from_numpy(each) for each in (by_given, by_weight[back], by_delay[back])]


def test_canary_finite_differences_reject_wrong_adjoints() -> None:
    net = network("recurrent")
    want = differences(net)["times_ms"]
    source = inspect.getsource(kernels.adjoint.py_func)
    assert same(gradients_by(source, net), want)
    for name, (right, wrong) in MUTANTS.items():
        assert right in source, name
        assert not same(gradients_by(source.replace(right, wrong), net), want), name


def test_the_closed_form_is_where_newton_goes() -> None:
    rng = np.random.default_rng(0)
    fires = 0
    for v, i in zip(rng.uniform(-2, 0.99, 300), rng.uniform(0, 12, 300)):
        closed, newton = (kernels.crossing(v, i, 1.0, tau, 5.0) for tau in (10.0, 10.0 * (1 + 1e-12)))
        assert closed == pytest.approx(newton, rel=1e-5, abs=1e-9)
        if closed < math.inf:
            fires += 1
            assert kernels.membrane(v, i, closed, 10.0, 5.0) == pytest.approx(1.0, abs=1e-12)
            assert max(kernels.membrane(v, i, s, 10.0, 5.0) for s in np.linspace(0, closed, 50)[:-1]) < 1.0
    assert 50 < fires < 250


def test_a_spike_that_the_highest_membrane_waits_for_moves_it() -> None:
    """An inhibitory spike cuts a rising membrane off: the peak is where it arrives."""
    times = torch.tensor([[[1.0], [4.0]]], dtype=torch.float64, requires_grad=True)
    weight = torch.tensor([1.0, -9.0], dtype=torch.float64)
    joins = torch.tensor([0, 1]), torch.tensor([0, 0]), torch.tensor([math.inf], dtype=torch.float64)
    out = eventprop(times, weight, torch.zeros(2).double(), *joins, tau_mem_ms=20.0, tau_syn_ms=5.0, end_ms=30.0)
    unit = (math.exp(-3 / 20) - math.exp(-3 / 5)) / 3
    assert float(out.peak.detach()) == pytest.approx(unit, abs=1e-14)
    out.peak.sum().backward()
    slope = (math.exp(-3 / 5) - unit) / 20
    np.testing.assert_allclose(times.grad[0, :, 0], [-slope, slope], atol=1e-14)


def test_nothing_to_do_and_float32() -> None:
    net = network("two layers")
    out = net.run(torch.full_like(net.times, math.inf), *net[1:3])
    assert out.times_ms.shape == (2, 14, 1)
    assert out.times_ms.isinf().all()
    assert not out.peak.any()
    weight = net.weight.float().requires_grad_()
    net.run(net.times, weight, net.delay).mean.sum().backward()
    assert weight.grad.dtype == torch.float32
    assert weight.grad.any()


@pytest.mark.usefixtures("own_shape_errors")
@pytest.mark.parametrize(
    ("change", "error", "message"),
    [
        ({"delay": lambda d: d - 9}, ConfigError, "delay_ms must be finite and >= 0; clamp delays"),
        ({"times": lambda t: t * math.nan}, ConfigError, "times_ms must be >= 0, infinite where there is no spike"),
        ({"times": lambda t: t[0]}, ShapeError, r"times_ms is \[sample, channel, nth\]"),
        ({"weight": lambda w: w[1:]}, ShapeError, "of one length"),
        ({"weight": lambda w: w / 0}, ConfigError, "weights must be finite"),
        ({"pre": lambda p: p + 30}, ConfigError, r"pre must lie in 0..17: 4 channels, 14 neurons"),
        ({"threshold": lambda t: t.requires_grad_()}, ConfigError, "no gradient of thresholds"),
        ({"constants": lambda c: {**c, "tau_syn_ms": 20.0}}, ConfigError, "must differ"),
        ({"constants": lambda c: {**c, "max_spikes": 3}}, TrainingError, "more than 3 spikes"),
    ],
)
def test_what_cannot_be(change: dict[str, Any], error: type[Exception], message: str) -> None:
    net = network("two layers")
    with pytest.raises(error, match=message):
        net._replace(**{name: wrong(getattr(net, name)) for name, wrong in change.items()}).run()
