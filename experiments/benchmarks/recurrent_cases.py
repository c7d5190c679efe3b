"""The cases of a recurrent population with delays: in one kernel, in our loop, and in a loop of torch's operations."""

from collections.abc import Callable
from functools import partial

import torch
import torch.nn.functional as F
from torch import Tensor

from experiments.benchmarks.run import Case, Side
from experiments.benchmarks.sides import assert_active, assert_close, forward_backward, gradients
from experiments.benchmarks.sizes import Sizes
from snn_delays.nn import LIF, DelayedLinear, Recurrent
from snn_delays.ops.backends import use_backend
from snn_delays.ops.surrogate import spike

WINDOW = 42  # DelRec on SHD: delays of up to 30 steps, and a triangle of width 11 around them at first


def recurrent_step(sharing: str, sigma_steps: float, sizes: Sizes, device: torch.device) -> Case:
    """A training step of a population: forward, and the gradients of current, weights and delays."""
    layer = _layer(sharing, sigma_steps, sizes).to(device)
    x = _currents(sizes).to(device).requires_grad_()
    leaves = (x, layer.synapse.weight, layer.synapse.delay)
    runs = _runs(layer)
    what = (
        f"T={len(x)}, B={x.shape[1]}, N={x.shape[2]}, window 1..{WINDOW}, DelRec's taps, sigma {sigma_steps:g}, float32"
    )
    sides = tuple(
        Side(name, f"{what}; {how}", forward_backward(partial(run, x), *leaves)) for name, (how, run) in runs.items()
    )
    return Case(
        f"recurrent population, a delay for each {sharing}, sigma {sigma_steps:g}, forward + backward", sides,
        partial(_check, sharing, sigma_steps, sizes),
    )  # fmt: skip


def _layer(sharing: str, sigma_steps: float, sizes: Sizes) -> Recurrent:
    torch.manual_seed(0)
    synapse = DelayedLinear(
        sizes.neurons, sizes.neurons, max_delay_steps=WINDOW, min_delay_steps=1, sharing=sharing, taps="delrec",
        sigma_steps=sigma_steps, delay_range_steps=(1, 31),
    )  # fmt: skip
    torch.nn.init.orthogonal_(synapse.weight[..., 0], gain=0.3)
    return Recurrent(synapse, LIF(2.0))


def _currents(sizes: Sizes) -> Tensor:
    shape = (sizes.steps, sizes.lif_batch, sizes.neurons)
    return torch.randn(shape, generator=torch.Generator().manual_seed(0)) * 0.6 + 0.1


def _runs(layer: Recurrent) -> dict[str, tuple[str, Callable[[Tensor], Tensor]]]:
    def forced(x: Tensor) -> Tensor:
        with use_backend(recurrent_lif="reference"):
            return layer(x)[0]

    runs: dict[str, tuple[str, Callable[[Tensor], Tensor]]] = {
        "snn_delays": ("all steps in a kernel", lambda x: layer(x)[0]),
        "snn_delays reference": ("the loop in Python, one replay for the gradients", forced),
        "torch, currents scheduled": ("as DelRec's code: weights times spikes at each lag", partial(torch_loop, layer)),
    }
    if layer.synapse.sharing == "axon":
        how = "better than DelRec's code: spikes spread over lags, weights times those that arrive"
        runs["torch, spikes scheduled"] = (how, partial(torch_loop, layer, spikes_scheduled=True))
    return runs


def torch_loop(layer: Recurrent, x: Tensor, spikes_scheduled: bool = False) -> Tensor:
    """Written from DelRec's equations in torch's operations, every step by autograd.

    A spike is spread over the lags of a buffer, of the currents that it will cause, or of itself.
    """
    s, n = layer.synapse, layer.neuron
    assert isinstance(n, LIF)
    width = 1 + s.sigma
    lags = torch.arange(1, WINDOW + 1, dtype=x.dtype, device=x.device).view(-1, 1, 1)
    taps = torch.relu(width - (lags - s.delay[..., 0]).abs()) / width**2
    weight, v, spikes = s.weight[..., 0], torch.zeros_like(x[0]), []
    line, kernel = x.new_zeros(WINDOW, *x.shape[1:]), (taps * weight).flatten(0, 1)
    for current in x:
        h = n.decay * v + current + (F.linear(line[0], weight) if spikes_scheduled else line[0])
        fired = spike(h - n.threshold, n.surrogate)
        v = h * (1 - fired.detach())
        spikes.append(fired)
        if spikes_scheduled:
            coming = taps * fired
        elif s.sharing == "axon":
            coming = F.linear(taps * fired, weight)
        else:
            coming = F.linear(fired, kernel).unflatten(1, (WINDOW, -1)).transpose(0, 1)
        line = torch.cat([line[1:], torch.zeros_like(line[:1])]) + coming
    return torch.stack(spikes)


def _check(sharing: str, sigma_steps: float, sizes: Sizes) -> None:
    """Same spikes and gradients in float64."""
    layer = _layer(sharing, sigma_steps, sizes).double()
    few = _currents(sizes)[:, : sizes.check_batch].double().requires_grad_()
    leaves, runs = [few, layer.synapse.weight, layer.synapse.delay], _runs(layer)
    want = runs["snn_delays reference"][1](few)
    assert_active(want, "recurrent population")
    of_want = gradients(want, leaves)
    for name, (_, run) in runs.items():
        got = run(few)
        assert torch.equal(got, want), f"{name}: other spikes"
        for what, a, b in zip(("current", "weight", "delay"), gradients(got, leaves), of_want):
            assert_close(a, b, 1e-9, f"{name}, gradient of the {what}")
