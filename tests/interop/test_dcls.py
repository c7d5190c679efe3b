"""A ``Dcls1d`` as a layer with delays: outputs and gradients, and what is refused."""

import pytest
import torch
import torch.nn.functional as F

from snn_delays.errors import ConfigError
from tests.support.peers import currents, measured, same

pytest.importorskip("DCLS", reason="dcls is not installed")
from DCLS.construct.modules import Dcls1d

from snn_delays.interop import from_dcls

WINDOW = 9


def convolution(version: str = "gauss", count: int = 2, sig: float = 1.3, window: int = WINDOW, **options) -> Dcls1d:
    layer = Dcls1d(6, 4, kernel_count=count, dilated_kernel_size=window, version=version, **options).double()
    with torch.no_grad():
        layer.P.uniform_(-(window // 2), window - 1 - window // 2)
        if layer.SIG is not None:
            layer.SIG.fill_(sig)
    return layer


def over_time(layer):
    def run(x):
        return layer(F.pad(x.permute(1, 2, 0), (layer.dilated_kernel_size[0] - 1, 0))).permute(2, 0, 1)

    return run


@pytest.mark.parametrize("bias", [False, True])
@pytest.mark.parametrize("window", [8, 9])
@pytest.mark.parametrize("version", ["gauss", "max", "v1", "v0"])
def test_it_computes_what_the_convolution_does(version: str, window: int, bias: bool) -> None:
    theirs, x = convolution(version, window=window, bias=bias), currents()
    ours = from_dcls(theirs)
    pick = ["weight", *(["bias"] if bias else [])]
    want = measured(over_time(theirs), [theirs.P, *(getattr(theirs, n) for n in pick)], x)
    got = measured(lambda x: ours(x)[0], [ours.delay, *(getattr(ours, n) for n in pick)], x)
    want[2] = -want[2]  # a later position is a shorter delay
    assert float(want[0].abs().max()) > 0.1
    assert same(got, want, 1e-6)
    with torch.no_grad():
        ours.delay.copy_(window - 1 - ours.delay)
    assert not same([ours(x)[0]], want[:1], 1e-3), "not mirrored"


def test_integer_delays_as_the_published_evaluation_has_them() -> None:
    theirs, x = convolution("max", sig=0.0), currents()
    with torch.no_grad():
        theirs.P.round_()
    assert float(from_dcls(theirs).sigma) == 0
    assert same([from_dcls(theirs)(x)[0]], [over_time(theirs)(x)], 1e-6)


def test_the_floor_of_sigma_counts() -> None:
    theirs, x = convolution(sig=0.0), currents()
    ours = from_dcls(theirs)
    assert float(ours.sigma) == 0.27
    assert same([ours(x)[0]], [over_time(theirs)(x)], 1e-6)
    ours.sigma.fill_(0.5)
    assert not same([ours(x)[0]], [over_time(theirs)(x)], 1e-3)


@pytest.mark.parametrize(
    ("options", "message"),
    [({"stride": 2}, "stride"), ({"padding": 4}, "padding"), ({"groups": 2}, "groups"), ({"sig": 1.0}, "SIG for each")],
)
def test_what_would_change_a_number_is_refused(options: dict, message: str) -> None:
    layer = convolution(**options)
    if "sig" in options:
        with torch.no_grad():
            layer.SIG[0, 0, 0, 0] = 3.0
    with pytest.raises(ConfigError, match=message):
        from_dcls(layer)


def test_positions_outside_the_window_and_other_layers_are_refused() -> None:
    layer = convolution()
    with torch.no_grad():
        layer.P[0, 0, 0, 0] = 5.0
    with pytest.raises(ConfigError, match="outside its window"):
        from_dcls(layer)
    with pytest.raises(ConfigError, match="takes a Dcls1d"):
        from_dcls(torch.nn.Conv1d(6, 4, 9))
