"""Meaning: delays planted in a teacher are found again from its input and output alone."""

import pytest
import torch

from snn_delays.nn import DelayedLinear
from snn_delays.ops import delayed_linear
from tests.support.networks import poisson

LONGEST = 12


def recover(planted: torch.Tensor, weight: torch.Tensor, learn_delay: bool, epochs: int = 200) -> tuple:
    x = (poisson(80, 6, planted.shape[1], rate=0.15, seed=4) > 0).float()
    target, _ = delayed_linear(x, weight, planted, max_delay_steps=LONGEST, taps="linear")
    torch.manual_seed(2)
    layer = DelayedLinear(planted.shape[1], planted.shape[0], max_delay_steps=LONGEST, learn_delay=learn_delay)
    with torch.no_grad():
        layer.weight.abs_()  # the teacher's signs are given, its delays are not
    groups = [{"params": [layer.weight], "lr": 0.03}]
    if learn_delay:
        groups.append({"params": [layer.delay], "lr": 0.2})
    optimiser = torch.optim.Adam(groups)
    for epoch in range(epochs):
        layer.set_sigma(max(0.5, 6.0 * 0.98**epoch))
        loss = (layer(x)[0] - target).square().mean()
        optimiser.zero_grad()
        loss.backward()
        optimiser.step()
        layer.clamp_delays_()
    return layer, loss.item() / float(target.var())


@pytest.mark.parametrize("seed", [0, 1])
def test_planted_delays_are_learnt(seed: int) -> None:
    draw = torch.Generator().manual_seed(seed)
    planted = torch.randint(0, LONGEST + 1, (3, 4, 1), generator=draw).float()
    weight = torch.rand(3, 4, 1, generator=draw) + 0.5
    layer, unexplained = recover(planted, weight, learn_delay=True)
    assert torch.equal(layer.delay.detach().round(), planted), (layer.delay - planted).abs().max()
    assert unexplained < 0.3
    _, without = recover(planted, weight, learn_delay=False)
    assert without > 2 * unexplained, "delays that are not learnt do as well: nothing was shown"
