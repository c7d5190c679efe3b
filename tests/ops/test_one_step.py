"""One step without gradients: equal to the reference, whatever has been changed since the step before, and how."""

from collections.abc import Callable, Iterator
from itertools import product

import pytest
import torch
from torch import Tensor

from snn_delays import LIF, DelayedLinear
from snn_delays.errors import ConfigError
from snn_delays.ops import delayed_linear, lif
from snn_delays.ops.backends import BackendUnavailableError, use_backend
from snn_delays.ops.delay import OPERATION, one_step
from snn_delays.ops.lif import OPERATION as NEURONS


@pytest.fixture(autouse=True)
def without_gradients() -> Iterator[None]:
    with torch.no_grad():
        yield


def stepped(layer: DelayedLinear, x: Tensor, state: object = None) -> Tensor:
    """A step of a layer, found to be that of the reference."""
    y, after = layer(x, state)
    with use_backend("reference"):
        expected, same = layer(x, state)
    torch.testing.assert_close(y, expected)
    assert torch.equal(after.history, same.history)
    return y  # type: ignore[no-any-return]


def drawn(taps: str = "gaussian", batch: int = 2, **options: object) -> tuple[DelayedLinear, Tensor, object]:
    layer = DelayedLinear(6, 5, max_delay_steps=7, taps=taps, **options)  # type: ignore[arg-type]
    signal = torch.rand(12, batch, 6, dtype=layer.weight.dtype)
    return layer, signal[-1:], layer(signal[:-1])[1]


@pytest.mark.parametrize(
    ("taps", "sharing"), product(("gaussian", "triangle", "linear"), ("synapse", "axon", "dendrite"))
)
def test_a_step_is_that_of_the_reference(taps: str, sharing: str) -> None:
    for batch, count, dtype in ((1, 1, torch.float32), (3, 2, torch.float64)):
        layer, x, state = drawn(taps, batch, sharing=sharing, delay_count=count, dtype=dtype)
        assert stepped(layer, x, state).abs().sum() > 0
        stepped(layer, x)
        synapses = {"weight": layer.weight, "delay": layer.delay, "sigma": layer.sigma}
        call = {"x": x, "history": None, **synapses, "max_delay_steps": 7, "taps": taps}
        assert OPERATION.choose(call).name == "one_step"


def by_optimiser(layer: DelayedLinear) -> None:
    for parameter in layer.parameters():
        parameter.grad = torch.full_like(parameter, 0.1)
    torch.optim.SGD(layer.parameters(), lr=1.0).step()
    layer.clamp_delays_()


CHANGES: dict[str, Callable[[DelayedLinear], object]] = {
    "in place": lambda layer: layer.weight.mul_(2),
    "by data": lambda layer: layer.weight.data.mul_(2),
    "delay by data": lambda layer: layer.delay.data.sub_(layer.delay / 2),
    "an array of the same memory": lambda layer: layer.weight.detach().numpy().fill(1),
    "other data": lambda layer: setattr(layer.weight, "data", torch.ones_like(layer.weight)),
    "sigma": lambda layer: layer.set_sigma(0.7),
    "state dict": lambda layer: layer.load_state_dict(drawn()[0].state_dict()),
    "optimiser": by_optimiser,
    "half the delays": lambda layer: layer.delay[0].zero_(),
}


@pytest.mark.parametrize("change", CHANGES)
def test_every_change_is_seen(change: str) -> None:
    layer, x, state = drawn()
    before = stepped(layer, x, state)
    CHANGES[change](layer)
    assert not torch.allclose(stepped(layer, x, state), before)


def test_the_kernel_is_kept_while_nothing_changes_and_memory_is_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    layer, *_ = drawn()
    synapses = (layer.weight, layer.delay, layer.sigma, 7, "gaussian")
    kept = one_step.kernel(*synapses)
    assert one_step.kernel(*synapses) is kept
    monkeypatch.setattr(one_step, "MOST", 3 * kept.nbytes)
    others = [drawn()[0] for _ in range(5)]
    first = [one_step.kernel(o.weight, o.delay, o.sigma, 7, "gaussian") for o in others]
    again = [one_step.kernel(o.weight, o.delay, o.sigma, 7, "gaussian") for o in others[::-1]]
    assert [a is b for a, b in zip(again[::-1], first)] == [False, False, True, True, True]


def test_delays_outside_the_window_are_refused_and_nothing_but_a_step_is_served() -> None:
    layer, x, state = drawn()
    layer(x, state)
    layer.delay.data[0, 0] = 8
    with pytest.raises(ConfigError, match=r"outside 0\.\.7"):
        layer(x, state)
    with pytest.raises(BackendUnavailableError, match="one step on the CPU without gradients"):
        delayed_linear(torch.cat([x, x]), *layer.parameters(), layer.sigma, max_delay_steps=7, backend="one_step")
    layer.delay.data[0, 0] = 7
    with torch.enable_grad():
        assert layer(x, state)[0].requires_grad


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_a_step_of_neurons_is_that_of_the_reference(dtype: torch.dtype) -> None:
    current = torch.rand(1, 3, 20, dtype=dtype) * 3
    current[0, 0, :4] = torch.tensor([torch.nan, torch.inf, -torch.inf, 1.0])
    v0 = torch.rand(3, 20, dtype=dtype)
    v0[0, 3] = 0
    for reset, gain, strict, v_reset in product(("hard", "soft"), (False, True), (False, True), (0.0, -0.5)):
        for constants in ({"decay": 0.9}, {"decay": torch.rand(20), "threshold": torch.rand(20) + 0.5}):
            options = {"reset": reset, "decay_input": gain, "strict": strict, "v_reset": v_reset, **constants}
            served = lif(current, v0, **options, backend="one_step")  # type: ignore[arg-type]
            expected = lif(current, v0, **options, backend="reference")  # type: ignore[arg-type]
            assert 0 < expected[0].nansum() < current.numel()
            for a, b in zip(served, expected):
                torch.testing.assert_close(a, b, rtol=0, atol=0, equal_nan=True)
    assert NEURONS.backends[0].name == "one_step"
    assert torch.equal(*(LIF(4.0)(current[:, 1:])[0], lif(current[:, 1:], decay=0.75, backend="one_step")[0]))
