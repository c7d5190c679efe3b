"""Each kind of NIR node, run by the interpreter, against equations written out again and against torch."""

from typing import Any

import nir
import numpy as np
import pytest
import torch
import torch.nn.functional as F

from snn_delays.export.nir.interpret import interpret
from tests.support.nir_nodes import DT, RNG, STEPS, N, alone, drive, each, neurons


@pytest.mark.parametrize("reset", ["hard", "soft", "soft_late"])
@pytest.mark.parametrize("kind", ["LIF", "LI", "IF", "I", "CubaLIF", "CubaLI"])
def test_neurons_follow_the_equations_of_nir(kind: str, reset: str) -> None:
    node, x = neurons(kind), drive()
    expected = np.zeros((STEPS, N))
    for i in range(N):  # one number at a time
        tau = (node.tau if hasattr(node, "tau") else getattr(node, "tau_mem", [None] * N))[i]
        leak = node.v_leak[i] if tau else 0.0
        v = leak if tau else getattr(node, "v_reset", np.zeros(N))[i]
        current, fired = 0.0, False
        for t in range(STEPS):
            given = x[t, i]
            if "Cuba" in kind:
                current = current + DT / node.tau_syn[i] * (-current + node.w_in[i] * given)
                given = current
            v = v + DT * ((leak - v) + node.r[i] * given) / tau if tau else v + DT * node.r[i] * given
            if reset == "soft_late" and fired:
                v -= node.v_threshold[i]
            expected[t, i] = v
            if hasattr(node, "v_threshold"):
                fired = v > node.v_threshold[i]
                expected[t, i] = fired
                if fired and reset != "soft_late":
                    v = node.v_reset[i] if reset == "hard" else v - node.v_threshold[i]
    got = interpret(alone(node), x, dt=DT, reset=reset)["node"]
    if hasattr(node, "v_threshold"):
        assert 0.02 < expected.mean() < 0.98
        assert np.array_equal(got, expected)
    else:
        assert np.abs(expected).max() > 0.3
        np.testing.assert_allclose(got, expected, rtol=1e-12, atol=1e-12)
    many = interpret(alone(node), np.stack([x, x[::-1]], 1), dt=DT, reset=reset)["node"]
    assert np.array_equal(many[:, 0], got)


@pytest.mark.parametrize(
    ("stride", "padding", "dilation", "groups"),
    [(1, 0, 1, 1), ((2, 1), (1, 2), (1, 2), 1), (2, 1, 1, 2), (1, "same", (2, 1), 1), (3, "valid", 1, 2)],
)
def test_convolutions_are_those_of_torch(stride: Any, padding: Any, dilation: Any, groups: int) -> None:
    weight, bias = RNG(1).normal(size=(4, 2 // groups, 3, 2)), RNG(2).normal(size=4)
    x = drive(3, 2, 9, 8)
    node = nir.Conv2d(None, weight, stride, padding, dilation, groups, bias)
    want = F.conv2d(*map(torch.from_numpy, (x, weight, bias)), stride, padding, dilation, groups).numpy()
    got = interpret(alone(node, 2, 9, 8), x, dt=DT)
    np.testing.assert_allclose(got["node"], want, atol=1e-12)
    assert got["output"].shape == want.shape
    if not isinstance(stride, tuple) and not isinstance(dilation, tuple):
        flat = nir.Conv1d(None, weight[:, :, 0], stride, padding, dilation, groups, bias)
        want = F.conv1d(*map(torch.from_numpy, (x[:, :, 0], weight[:, :, 0], bias)), stride, padding, dilation, groups)
        np.testing.assert_allclose(interpret(alone(flat, 2, 8), x[:, :, 0], dt=DT)["node"], want.numpy(), atol=1e-12)


@pytest.mark.parametrize("kernel", [(2, 3), (3, 2)])
def test_pooling_is_that_of_torch(kernel: tuple[int, int]) -> None:
    x, stride, padding = drive(4, 2, 7, 8), (2, 1), (1, 1)
    options = {"kernel_size": np.array(kernel), "stride": np.array(stride), "padding": np.array(padding)}
    want = F.avg_pool2d(torch.from_numpy(x), kernel, stride, padding).numpy()
    np.testing.assert_allclose(interpret(alone(nir.AvgPool2d(**options), 2, 7, 8), x, dt=DT)["node"], want, atol=1e-12)
    want = want * kernel[0] * kernel[1]
    np.testing.assert_allclose(interpret(alone(nir.SumPool2d(**options), 2, 7, 8), x, dt=DT)["node"], want, atol=1e-12)


def test_flatten_scale_and_threshold() -> None:
    x = drive(5, 2, 3, 4)
    for start, end, shape in ((0, -1, (24,)), (1, 2, (2, 12)), (0, 1, (6, 4)), (-2, -1, (2, 12))):
        got = interpret(alone(nir.Flatten({"input": np.array([2, 3, 4])}, start, end), 2, 3, 4), x, dt=DT)["node"]
        assert np.array_equal(got, x.reshape(STEPS, *shape))
    scale = each(-1, 1)
    assert np.array_equal(interpret(alone(nir.Scale(scale)), drive(), dt=DT)["node"], drive() * scale)
    assert np.array_equal(interpret(alone(nir.Threshold(np.ones(N))), drive(), dt=DT)["node"], drive() > 1)
