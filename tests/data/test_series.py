"""Series: the generators follow their equations, and windows reach into nothing that they should not."""

import numpy as np
import pytest
import torch

from snn_delays.data.series import load_series, mackey_glass
from snn_delays.errors import ConfigError


def by_the_book(tau, steps, dt, x0, late=lambda k, lag: k - lag):
    """Euler's method with a function for the past, a step at a time, in exact order of operations."""
    past = dict.fromkeys(range(-round(tau / dt), 1), x0)
    for k in range(steps):
        delayed = past[late(k, round(tau / dt))]
        past[k + 1] = past[k] + dt * (0.2 * delayed / (1 + delayed**10) - 0.1 * past[k])
    return past


@pytest.mark.parametrize(("tau", "dt"), [(17.0, 0.1), (30.0, 0.5)])
def test_mackey_glass_is_its_equation(tau, dt):
    every = round(1 / dt)
    past = by_the_book(tau, 80 * every, dt, 1.2)
    expected = [past[(20 + i) * every] for i in range(60)]
    assert mackey_glass(tau, dt=dt, discard=20, samples=60).tolist() == expected
    wrong = by_the_book(tau, 80 * every, dt, 1.2, late=lambda k, lag: k - lag + 1)
    assert [wrong[(20 + i) * every] for i in range(60)] != expected  # canary: a lag that is a step short


def test_the_series_of_the_recipe_is_chaotic_bounded_and_not_at_rest():
    series = mackey_glass(discard=500, samples=1500)
    assert 0.2 < series.min() < 0.6 < 1.1 < series.max() < 1.5
    assert series.std() > 0.2
    apart = np.abs(series - mackey_glass(discard=500, samples=1500, x0=1.2 + 1e-6))
    assert apart[:200].max() < 0.05 < apart[-200:].max()  # what begins close by ends elsewhere
    with pytest.raises(ConfigError, match="multiples of the Euler step"):
        mackey_glass(17.05)


def test_windows_end_before_what_they_predict_and_parts_share_no_sample():
    data = load_series("mackey-glass", tau=17.0, window=150, horizon=20)
    values = mackey_glass(17.0)
    scaled = torch.from_numpy((values - values[:3600].mean()) / values[:3600].std()).float()
    for windows, begin, end in ((data.train, 0, 3600), (data.valid, 3600, 4800), (data.test, 4800, 6000)):
        count = end - begin - 169
        assert windows.x.shape == (150, count, 1)
        assert windows.y.shape == (count, 1)
        for i in (0, count - 1):
            assert torch.equal(windows.x[:, i, 0], scaled[begin + i : begin + i + 150])
            assert windows.y[i, 0] == scaled[begin + i + 149 + 20]
    assert data.source == "Mackey-Glass, tau 17, horizon 20"
    assert data.checksum != load_series("mackey-glass", tau=30.0, window=150, horizon=20).checksum
    with pytest.raises(ConfigError, match="the valid part of 'mackey-glass' has 1200 samples"):
        load_series("mackey-glass", tau=17.0, window=1190, horizon=20)
    with pytest.raises(ConfigError, match="unknown series 'mackey'; did you mean 'mackey-glass'"):
        load_series("mackey", tau=17.0, window=150, horizon=20)
