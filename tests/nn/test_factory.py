"""``device`` and ``dtype`` of every layer and network, as of torch's own."""

from typing import Any

import pytest
import torch
from torch import nn

from snn_delays import DelayClassifier, SpikeGPT
from snn_delays.models import ConvolutionalClassifier, SpikeGPTClassifier
from snn_delays.nn import (
    LIF,
    BatchNorm,
    BatchNorm2d,
    DelayedConv2d,
    DelayedLinear,
    DelayShift,
    LeakyIntegrator,
    Linear,
    NeuronDelays,
    SpikingChannelMix,
    SpikingEmbedding,
    SpikingTimeMix,
)  # fmt: skip

SHIFT = {"kind": "learned", "max_delay_steps": 4}
MAKERS = {
    "DelayedLinear": lambda **f: DelayedLinear(3, 4, max_delay_steps=5, bias=True, **f),
    "DelayedConv2d": lambda **f: DelayedConv2d(2, 3, 3, max_delay_steps=5, bias=True, **f),
    "rounded": lambda **f: DelayedLinear(3, 4, max_delay_steps=5, delay_init="hammouamri_2024_rounded", **f),
    "BatchNorm": lambda **f: BatchNorm(4, **f),
    "BatchNorm2d": lambda **f: BatchNorm2d(4, **f),
    "LIF": lambda **f: LIF(torch.full((4,), 2.0), threshold=torch.ones(4), **f),
    "LeakyIntegrator": lambda **f: LeakyIntegrator(torch.full((4,), 2.0), **f),
    "Linear": lambda **f: Linear(3, 4, **f),
    "SpikingEmbedding": lambda **f: SpikingEmbedding(7, 4, **f),
    "NeuronDelays": lambda **f: NeuronDelays(4, **f),
    **{f"DelayShift {kind}": lambda kind=kind, **f: DelayShift(torch.ones(2, 4), kind=kind, **f)
       for kind in ("token", "learned", "fixed", "dense")},
    "SpikingTimeMix": lambda **f: SpikingTimeMix(4, shift=SHIFT, spiking="before", **f),
    "SpikingChannelMix": lambda **f: SpikingChannelMix(4, shift=SHIFT, spiking="before", **f),
    "DelayClassifier": lambda **f: DelayClassifier(3, (4,), 2, max_delay_steps=5, recurrent=True, **f),
    "ConvolutionalClassifier": lambda **f: ConvolutionalClassifier((2, 9, 9), (3,), (4,), 2, max_delay_steps=5, **f),
    "SpikeGPT": lambda **f: SpikeGPT(7, 4, 2, shift=SHIFT, neuron_delays="axonal", **f),
    "SpikeGPTClassifier": lambda **f: SpikeGPTClassifier(2, 7, 4, 2, shift=SHIFT, **f),
    **{f"init {init}": lambda init=init, **f: SpikeGPT(7, 4, 2, init=init, **f) for init in ("replicated", "torch")},
}  # fmt: skip


def tensors(layer: nn.Module) -> dict[str, torch.Tensor]:
    return {**dict(layer.named_parameters()), **dict(layer.named_buffers())}


@pytest.mark.parametrize("name", MAKERS)
def test_every_tensor_is_on_the_device_and_in_the_dtype(name: str) -> None:
    make: Any = MAKERS[name]
    shapes = {key: value.shape for key, value in tensors(make()).items()}
    for device, dtype in (("cpu", torch.float64), ("meta", torch.float32), ("meta", torch.float64)):
        found = tensors(make(device=device, dtype=dtype))
        assert {key: value.shape for key, value in found.items()} == shapes
        assert {value.device.type for value in found.values()} == {device}
        constants = torch.float64 if name in ("LIF", "LeakyIntegrator") else dtype
        assert {value.dtype for value in found.values()} == {constants}
    assert {value.device.type for value in tensors(make(device="meta")).values()} == {"meta"}


@pytest.mark.parametrize("name", MAKERS)
def test_without_them_numbers_are_as_ever(name: str) -> None:
    make: Any = MAKERS[name]
    torch.manual_seed(0)
    plain = tensors(make())
    torch.manual_seed(0)
    for key, value in tensors(make(device="cpu", dtype=torch.float32)).items():
        assert torch.equal(value, plain[key]), key


def test_a_network_on_meta_is_filled_from_a_state() -> None:
    source = DelayClassifier(3, (4,), 2, max_delay_steps=5).eval()
    target = DelayClassifier(3, (4,), 2, max_delay_steps=5, device="meta").eval()
    target.load_state_dict(source.state_dict(), assign=True)
    x = (torch.rand(9, 2, 3) < 0.5).float() * 3
    assert torch.equal(target(x)[0], source(x)[0])
