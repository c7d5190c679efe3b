"""What is kept in a byte comes back to the bit, and what does not fit a byte is kept as it was."""

import pytest
import torch

from snn_delays.ops.packed import pack

SPIKES = (torch.rand(40, 30, 50, generator=torch.Generator().manual_seed(0)) < 0.1).float()
KEPT = 1 / (1 - 0.4)  # what dropout multiplies by


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
@pytest.mark.parametrize(
    "x",
    [SPIKES, SPIKES * KEPT, SPIKES * 3 + SPIKES.roll(1, 0), SPIKES * 0, SPIKES * 255, SPIKES[:, :, ::2], SPIKES[:0]],
    ids=["spikes", "dropout", "counts", "silence", "full byte", "strided", "nothing"],
)
def test_spikes_and_counts_take_a_byte_and_come_back(x: torch.Tensor, dtype: torch.dtype) -> None:
    x = x.to(dtype)
    packed = pack(x)
    assert packed.numbers.dtype == torch.uint8
    assert torch.equal(packed.unpack(dtype), x)


def spoilt(value: float) -> torch.Tensor:
    x = SPIKES.clone()
    x[7, 3, 2] = value
    return x


@pytest.mark.parametrize("value", [-1.0, 0.5000001, 256.0, float("nan"), float("inf"), 1e-30])
def test_anything_else_is_kept_as_it_was(value: float) -> None:
    x = spoilt(value)
    packed = pack(x)
    assert packed.numbers.dtype == torch.float32
    assert packed.scale == 1
    assert torch.equal(packed.unpack(torch.float32).nan_to_num(nan=7), x.nan_to_num(nan=7))


def test_canary_dividing_would_lose_it() -> None:
    x = spoilt(0.7)
    assert not torch.equal((x / 0.7).to(torch.uint8) * 0.7, x)
