"""Every public layer with every misuse: a sentence of ours, or the right result; never torch's or Numba's own words."""

import inspect
from collections.abc import Callable, Iterator
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor, nn

import snn_delays.nn as layers
from snn_delays import models, move_state, use_backend
from snn_delays.errors import ShapeError, SnnDelaysError
from snn_delays.models import ConvolutionalClassifier, DelayClassifier, SpikeGPT, SpikeGPTClassifier
from snn_delays.models.spikegpt import SpikingBranch
from snn_delays.nn import (
    BRF,
    LIF,
    PLIF,
    AvgPool2d,
    BatchNorm,
    BatchNorm2d,
    CAdLIF,
    CSiLIF,
    CubaLIF,
    DelayedConv2d,
    DelayedLinear,
    DelayShift,
    Dropout,
    EFAdLIF,
    FixedPoint,
    FixedPointIntegrator,
    FixedPointLIF,
    Flatten,
    LeakyIntegrator,
    Linear,
    MaxPool2d,
    NeuronDelays,
    Recurrent,
    SEAdLIF,
    Sequential,
    SiLIF,
    SpikingChannelMix,
    SpikingEmbedding,
    SpikingModule,
    SpikingTimeMix,
    SumPool2d,
)
from snn_delays.nn.delayed import DelayLineState
from snn_delays.nn.neuron import MembraneState
from snn_delays.nn.norm import DropoutState
from snn_delays.nn.recurrent import RecurrentState
from snn_delays.nn.specs import ShiftSpec
from snn_delays.ops import leaky_integrator, lif
from snn_delays.ops.delay import delayed_linear

# The runtime checks of types in the operations, switched on in the tests, would come first.
pytestmark = pytest.mark.usefixtures("own_shape_errors", "plain_cells")


@pytest.fixture
def plain_cells() -> Iterator[None]:
    """Their kernels are compared in tests/ops; here they need not be compiled."""
    with use_backend(cells="reference"):
        yield


STEPS, BATCH, N = 7, 3, 6
NUMBERS = FixedPoint(2048, 60, 0.01)


def counts(*shape: int) -> Tensor:
    return torch.poisson(torch.full(shape, 0.5), generator=torch.Generator().manual_seed(1))


FLAT, MAPS, TOKENS = counts(STEPS, BATCH, N), counts(STEPS, BATCH, 2, 8, 8), torch.randint(9, (STEPS, BATCH))

LAYERS: dict[str, tuple[Callable[[], nn.Module], Tensor]] = {
    "DelayedLinear": (lambda: DelayedLinear(N, 5, max_delay_steps=4), FLAT),
    "DelayedLinear, many steps": (lambda: DelayedLinear(N, 5, max_delay_steps=60, bias=True), FLAT),
    "DelayedLinear, no delay": (lambda: DelayedLinear(N, 5, max_delay_steps=0), FLAT),
    "DelayedLinear, not at once": (lambda: DelayedLinear(N, 5, max_delay_steps=4, min_delay_steps=2), FLAT),
    "DelayedConv2d": (lambda: DelayedConv2d(2, 3, 3, max_delay_steps=3), MAPS),
    "DelayedConv2d, axon": (lambda: DelayedConv2d(2, 3, 3, max_delay_steps=3, sharing="axon"), MAPS),
    "DelayShift": (lambda: DelayShift(torch.full((2, N), 0.5), max_delay_steps=4), FLAT),
    "NeuronDelays": (lambda: NeuronDelays(N, max_delay_steps=4), FLAT),
    "LIF": (lambda: LIF(2.0, threshold=0.7), FLAT),
    "LIF, soft, scaled": (lambda: LIF(20.0, decay_input=True, threshold=0.1, reset="soft"), FLAT),
    "LIF, per neuron": (lambda: LIF(torch.linspace(1, 9, N), threshold=torch.linspace(0.5, 2, N)), FLAT),
    "LIF on maps": (lambda: LIF(2.0, threshold=0.7), MAPS),
    "PLIF": (lambda: PLIF(2.0, threshold=0.7, learn_threshold=True), FLAT),
    "PLIF, per neuron": (lambda: PLIF(torch.linspace(2, 9, N)), FLAT),
    "CubaLIF": (lambda: CubaLIF(3.0, 2.0, learn_tau=True), FLAT),
    "CubaLIF on maps": (lambda: CubaLIF(3.0, 2.0), MAPS),
    "SEAdLIF": (lambda: SEAdLIF(N, threshold=0.05), FLAT),
    "SEAdLIF on maps": (lambda: SEAdLIF(128, threshold=0.05), MAPS),
    "EFAdLIF": (lambda: EFAdLIF(N, threshold=0.05), FLAT),
    "CAdLIF": (lambda: CAdLIF(N, threshold=0.1), FLAT),
    "SiLIF": (lambda: SiLIF(N, threshold=0.1), FLAT),
    "CSiLIF": (lambda: CSiLIF(N, threshold=0.1), FLAT),
    "BRF": (lambda: BRF(N, threshold=0.01), FLAT),
    "LeakyIntegrator": (lambda: LeakyIntegrator(3.0), FLAT),
    "LeakyIntegrator, per neuron": (lambda: LeakyIntegrator(torch.linspace(1, 9, N)), FLAT),
    "FixedPointLIF": (lambda: FixedPointLIF(NUMBERS, torch.zeros(N)), FLAT),
    "FixedPointIntegrator": (lambda: FixedPointIntegrator(NUMBERS, torch.zeros(N)), FLAT),
    "Recurrent": (lambda: Recurrent(DelayedLinear(N, N, max_delay_steps=3, min_delay_steps=1), LIF(2.0)), FLAT),
    "BatchNorm": (lambda: BatchNorm(N), FLAT),
    "BatchNorm2d": (lambda: BatchNorm2d(2), MAPS),
    "Dropout": (lambda: Dropout(0.5), FLAT),
    "SumPool2d": (lambda: SumPool2d(2), MAPS),
    "AvgPool2d": (lambda: AvgPool2d(2), MAPS),
    "MaxPool2d": (lambda: MaxPool2d(2), MAPS),
    "Flatten": (lambda: Flatten(), MAPS),
    "SpikingEmbedding": (lambda: SpikingEmbedding(9, N), TOKENS),
    "SpikingTimeMix": (lambda: SpikingTimeMix(N, shift={"kind": "learned", "max_delay_steps": 4}), FLAT),
    "SpikingTimeMix, before": (lambda: SpikingTimeMix(N, spiking="before"), FLAT),
    "SpikingChannelMix": (lambda: SpikingChannelMix(N, spiking="before"), FLAT),
    "SpikingBranch": (lambda: SpikingBranch(N, SpikingTimeMix(N), "after", "axonal", ShiftSpec(), {}), FLAT),
    "Sequential": (lambda: Sequential(BatchNorm(N), LIF(2.0), Dropout(0.5)), FLAT),
    "Sequential, nested": (lambda: Sequential(Sequential(DelayedLinear(N, 5, max_delay_steps=3), LIF(2.0))), FLAT),
    "DelayClassifier": (lambda: DelayClassifier(N, (8,), 4, max_delay_steps=4, dropout=0.2), FLAT),
    "DelayClassifier, recurrent": (lambda: DelayClassifier(N, (8,), 4, max_delay_steps=4, recurrent=True), FLAT),
    "ConvolutionalClassifier": (
        lambda: ConvolutionalClassifier((2, 8, 8), (3,), (5,), 4, max_delay_steps=3, kernel_size=3), MAPS,
    ),
    "SpikeGPT": (lambda: SpikeGPT(9, N, 1, spiking="before"), TOKENS),
    "SpikeGPTClassifier": (lambda: SpikeGPTClassifier(2, 9, N, 1, neuron_delays="axonal"), TOKENS),
}  # fmt: skip
OTHER_STATES = [
    MembraneState(torch.zeros(1)), DelayLineState(torch.zeros(1)), DropoutState(torch.zeros(1)),
    RecurrentState(None, torch.zeros(1)), MembraneState(None), DelayLineState([1]), (None,), (None, None, None),
    (1,), (), torch.zeros(BATCH, N), FLAT, 0, "state", {}, [None] * 9, np.zeros(3),
]  # fmt: skip


def misuses(x: Tensor, state: Any, takes_valid: bool = False) -> dict[str, tuple]:
    """Arguments of a call that are not what the layer takes, or that it may take after all."""
    n, bad_valid = STEPS, torch.ones(STEPS, BATCH)
    inputs = {
        "no batch axis": x[:, 0], "one axis": x[:, 0].flatten(), "a number": x.sum(), "one axis more": x[..., None],
        "None": None, "list": x.tolist(), "tuple": (x, state), "text": "x", "array": x.numpy(), "int": 3,
        "uint8": x.to(torch.uint8), "int64": x.long(), "bool": x > 0, "float64": x.double(), "float16": x.half(),
        "bfloat16": x.bfloat16(), "complex": x.to(torch.complex64), "sparse": x.to_sparse(), "meta": x.to("meta"),
        "no steps": x[:0], "no samples": x[:, :0], "neither": x[:0, :0], "dict": {"x": x},
    }  # fmt: skip
    if x.ndim > 2:
        inputs |= {"more features": torch.cat([x, x], 2), "one feature": x[:, :, :1], "no features": x[:, :, :0]}
    calls: dict[str, tuple] = {f"input: {name}": (value,) for name, value in inputs.items()}
    for i, other in enumerate(OTHER_STATES):
        calls[f"state {i}: {type(other).__name__}"] = (x, other)
    if state is not None:
        calls["state of another batch"] = (x[:, :2], state)
        calls["state in float64"] = (x, move_state(state, dtype=torch.float64))
        calls["state in bfloat16"] = (x, move_state(state, dtype=torch.bfloat16))
        calls["state on meta"] = (x, move_state(state, "meta"))
        calls["state, no steps"] = (x[:0], state)
    valid = {
        "list": bad_valid.tolist(), "float": bad_valid, "int64": bad_valid.long(), "short": bad_valid[: n - 1] > 0,
        "turned": bad_valid.T > 0, "text": "valid", "meta": (bad_valid > 0).to("meta"), "one axis": bad_valid[:, 0] > 0,
        "array": bad_valid.numpy(),
    }  # fmt: skip
    for name, value in valid.items() if takes_valid else ():
        calls[f"valid: {name}"] = (x, None, value)
    return calls


def attempt(layer: nn.Module, arguments: tuple) -> tuple[Any, Exception | None]:
    try:
        return layer(*arguments), None
    except Exception as error:
        return None, error


def lively(layer: nn.Module) -> nn.Module:
    """With weights so large that its neurons fire."""
    with torch.no_grad():
        for name, parameter in layer.named_parameters():
            if name.endswith(("weight", "mix")) and (parameter.ndim > 1 or "norm" in name):
                parameter.mul_(6)
    return layer


def finite(result: Any) -> bool:
    y, _ = result
    return isinstance(y, Tensor) and y.is_floating_point() and (y.is_meta or bool(y.isfinite().all()))


def test_the_matrix_has_every_public_layer() -> None:
    public = {
        name for room in (layers, models) for name in room.__all__
        if inspect.isclass(found := getattr(room, name)) and issubclass(found, nn.Module)
    }  # fmt: skip
    abstract = {"SpikingModule", "DelayedLayer", "Neuron", "CellNeuron", "Pool2d"}
    covered = {type(make()).__name__ for make, _ in LAYERS.values()} | {
        "Linear",
        "EventPropNetwork",
    }  # have their tests
    assert public - abstract <= covered


@pytest.mark.parametrize("training", [True, False])
@pytest.mark.parametrize("name", LAYERS)
def test_misuse_ends_in_a_sentence_or_a_right_result(name: str, training: bool) -> None:
    make, x = LAYERS[name]
    layer = make().train(training)
    first = layer(x)
    assert finite(first)
    for what, arguments in misuses(x, first[1], getattr(layer, "takes_valid", False)).items():
        result, error = attempt(layer, arguments)
        if error is not None:
            assert isinstance(error, SnnDelaysError), f"{what}: {type(error).__name__}: {str(error)[:200]}"
            assert "\n" not in str(error), (what, str(error))
            assert len(str(error)) < 400, (what, str(error))
            continue
        assert finite(result), what
        shape = tuple(arguments[0].shape[:2])
        got = result[0].shape if name != "SpikeGPTClassifier" else (shape[0], *result[0].shape)
        assert tuple(got[1:3] if name == "DelayShift" else got[:2]) == shape, what


@pytest.mark.parametrize("name", [name for name, (_, x) in LAYERS.items() if x is not TOKENS])
def test_integers_and_bools_are_computed_in_the_layer_s_type(name: str) -> None:
    make, x = LAYERS[name]
    for dtype in (torch.float32, torch.float64):
        if dtype is torch.float64 and not list(make().parameters()):
            continue  # nothing says which type; torch's default one it is
        layer = lively(make()).to(dtype).eval()
        for given in (x.to(torch.uint8), x.long(), x > 0):
            want, state = layer(given.to(dtype))
            got, found = layer(given)
            assert got.dtype == want.dtype
            assert torch.equal(got, want)
            assert str(found) == str(state)
        assert want.any(), "silent layers are alike whatever they do"


@pytest.mark.parametrize("name", [name for name, (_, x) in LAYERS.items() if x is not TOKENS])
def test_less_precise_numbers_are_converted_and_more_precise_ones_refused(name: str) -> None:
    make, x = LAYERS[name]
    layer = make().eval()
    if not any(parameter.dtype is torch.float32 for parameter in layer.parameters()):
        pytest.skip("without parameters a layer computes in the type of its input")
    want, _ = layer(x)
    for dtype in (torch.float16, torch.bfloat16):  # counts: exact in both
        assert torch.equal(layer(x.to(dtype))[0], want)
    with pytest.raises(
        ShapeError, match=r"computes in float32, the input is float64: convert it with .to\(torch.float32"
    ):
        layer(x.double())


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
@pytest.mark.parametrize("name", [name for name in LAYERS if "Conv" not in name])
def test_half_precision_networks_train(name: str, dtype: torch.dtype) -> None:
    make, x = LAYERS[name]
    layer = make().to(dtype).train()
    y, state = layer(x if x is TOKENS else x.to(dtype))
    assert y.isfinite().all()
    if y.requires_grad:
        y.float().sum().backward()
        assert all(one.grad is None or one.grad.isfinite().all() for one in layer.parameters())
    if name != "SpikeGPTClassifier":
        layer(x if x is TOKENS else x.to(dtype), state)  # its own state is one it takes


def test_states_of_less_precision_are_converted_and_of_more_refused() -> None:
    layer = DelayedLinear(N, 5, max_delay_steps=4)
    _, state = layer(FLAT)
    assert torch.equal(layer(FLAT, move_state(state, dtype=torch.float16))[0], layer(FLAT, state)[0])
    with pytest.raises(ShapeError, match="its state is float64"):
        layer(FLAT, move_state(state, dtype=torch.float64))
    layer.double()
    assert layer(FLAT.double(), state)[1].history.dtype is torch.float64


def test_a_tuple_from_torch_s_sequential_is_told_of_ours() -> None:
    with pytest.raises(
        ShapeError, match=r"LIF takes a tensor .*, got a tuple: .*torch.nn.Sequential.*snn_delays.Sequential"
    ):
        nn.Sequential(DelayedLinear(N, 8, max_delay_steps=4), LIF(2.0))(FLAT)


def test_a_recording_without_its_batch_axis_is_told_of_it() -> None:
    with pytest.raises(
        ShapeError, match=r"takes a tensor \[time, batch, feature\], got .*shape \(7, 6\).*x\[:, None\]"
    ):
        DelayedLinear(N, 8, max_delay_steps=0)(FLAT[:, 0])


def test_a_membrane_of_other_axes_is_not_taken_for_its_numbers() -> None:
    _, state = LIF(2.0)(MAPS)
    with pytest.raises(ShapeError, match="membrane state has shape"):
        LIF(2.0)(MAPS.flatten(2).view(STEPS, BATCH, 8, 8, 2), state)


def test_linear_layers_take_rows_of_their_width() -> None:
    layer = Linear(4, 3)
    assert torch.equal(layer(torch.ones(2, 4, dtype=torch.uint8)), layer(torch.ones(2, 4)))
    for wrong in (torch.ones(2, 5), torch.tensor(1.0), None, [1.0] * 4, torch.ones(4).double(), (torch.ones(4),)):
        with pytest.raises(ShapeError):
            layer(wrong)


@pytest.mark.parametrize(
    "call",
    [
        lambda x: lif(x, decay=0.5),
        lambda x: leaky_integrator(x, decay=0.5),
        lambda x: delayed_linear(x, torch.ones(5, N, 1), torch.ones(5, N, 1), max_delay_steps=2, taps="linear"),
    ],
)
def test_operations_refuse_integers(call: Callable[[Tensor], Any]) -> None:
    with pytest.raises(ShapeError, match=r"floating-point numbers, got torch.uint8; convert it with .float\(\)"):
        call(FLAT.to(torch.uint8))


class Doubling(SpikingModule):
    """A layer of a user's own, without a door."""

    def forward(self, x: Tensor, state: None = None) -> tuple[Tensor, None]:
        return 2 * x, None


def test_layers_of_one_s_own_need_no_door() -> None:
    y, state = Sequential(Doubling(), LIF(2.0))(FLAT)
    assert state[0] is None
    assert torch.equal(y, LIF(2.0)(2 * FLAT)[0])
