"""Neurons in integers refuse what no integer is."""

import pytest
import torch

from snn_delays.errors import ExportError
from snn_delays.fixed_point import FixedPoint
from snn_delays.nn import MembraneState
from snn_delays.nn.neuron import FixedPointIntegrator, FixedPointLIF

NUMBERS = FixedPoint(decay_code=2048, threshold=128, scale=0.01)


@pytest.mark.parametrize("kind", [FixedPointLIF, FixedPointIntegrator])
@pytest.mark.parametrize("bad", [torch.nan, torch.inf, -torch.inf])
def test_a_current_or_a_membrane_that_is_no_number_is_refused(kind: type, bad: float) -> None:
    neurons = kind(NUMBERS, torch.zeros(3))
    x = torch.tensor([1.0, 2.0, 3.0]).expand(5, 2, 3).clone()
    y, state = neurons(x)
    assert y.isfinite().all()
    assert y.any()
    x[2, 1, 0] = bad
    with pytest.raises(ExportError, match=r"NaN|overflows"):
        neurons(x)
    with pytest.raises(ExportError, match=r"NaN|overflows"):
        neurons(torch.ones(5, 2, 3), MembraneState(torch.full_like(state.v, bad)))
