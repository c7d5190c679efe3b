"""Batch norm over time and batch: padding does not count, folding needs only scale and shift."""

from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
import torch
import torch.distributed as dist
from hypothesis import given
from hypothesis import strategies as st
from safetensors.torch import load_file, save_file
from torch.nn.utils import parametrize, prune

from snn_delays import DelayClassifier
from snn_delays.errors import ShapeError
from snn_delays.nn import LIF, BatchNorm, BatchNorm2d, Sequential, synchronise_batch_norm


def test_training_normalises_over_time_and_batch() -> None:
    norm = BatchNorm(5).double().train()
    x = torch.randn(40, 6, 5, dtype=torch.float64) * 3 + torch.arange(5.0)
    y, state = norm(x)
    assert state is None
    torch.testing.assert_close(y.mean((0, 1)), torch.zeros(5, dtype=torch.float64), atol=1e-12, rtol=0)
    torch.testing.assert_close(y.var((0, 1), unbiased=False), torch.ones(5, dtype=torch.float64), atol=1e-4, rtol=0)
    torch.testing.assert_close(norm.running_mean, 0.1 * x.mean((0, 1)))
    torch.testing.assert_close(norm.running_var, 0.9 + 0.1 * x.var((0, 1)))


@pytest.fixture
def one_process() -> Iterator[None]:
    dist.init_process_group("gloo", store=dist.HashStore(), rank=0, world_size=1)
    yield
    dist.destroy_process_group()


@pytest.mark.usefixtures("one_process")
@pytest.mark.parametrize("padded", [False, True])
@pytest.mark.parametrize("shape", [(20, 3, 4), (20, 3, 4, 2, 5)])
def test_synchronised_over_one_process_it_is_the_same(shape: tuple[int, ...], padded: bool) -> None:
    kind = BatchNorm if len(shape) == 3 else BatchNorm2d
    plain, together = kind(4).double(), kind(4).double()
    synchronise_batch_norm(torch.nn.Sequential(together))
    x = 3 + 2 * torch.randn(shape, dtype=torch.float64, requires_grad=True)
    valid = torch.arange(20).unsqueeze(1) < torch.tensor([20, 15, 9]) if padded else None
    outcomes = []
    for norm in (plain, together):
        y, _ = norm(x, None, valid)
        outcomes.append(
            [y, *torch.autograd.grad((y * torch.arange(y.numel()).view_as(y)).sum(), [x, *norm.parameters()])]
        )
    for a, b in zip(*outcomes, strict=True):
        torch.testing.assert_close(b, a)
    torch.testing.assert_close(together.state_dict(), plain.state_dict())
    with pytest.raises(ShapeError, match="at least two valid steps"):
        together(x[:1, :1] if len(shape) == 3 else x[:1, :1, :, :1, :1])
    chain = Sequential(together, LIF(2.0))
    if len(shape) == 3:
        assert 0.02 < chain(x)[0].detach().mean() < 0.9  # neurons run by themselves


def test_equals_torchs_norm_with_gradients() -> None:
    x = torch.randn(20, 3, 4, dtype=torch.float64, requires_grad=True)
    norm, theirs = BatchNorm(4).double(), torch.nn.BatchNorm1d(4).double()
    with torch.no_grad():
        for parameter, their in ((norm.weight, theirs.weight), (norm.bias, theirs.bias)):
            their.copy_(parameter.uniform_(0.5, 1.5))
    for training in (True, False):
        got = norm.train(training)(x)[0]
        want = theirs.train(training)(x.flatten(0, 1)).view_as(x)
        torch.testing.assert_close(got, want)
        cotangent = torch.randn_like(x)
        ours = torch.autograd.grad(got, (x, norm.weight, norm.bias), cotangent)
        others = torch.autograd.grad(want, (x, theirs.weight, theirs.bias), cotangent)
        for a, b in zip(ours, others):
            torch.testing.assert_close(a, b)


@given(seed=st.integers(0, 10**6), lengths=st.lists(st.integers(2, 12), min_size=1, max_size=5))
def test_padding_does_not_matter_in_training(seed: int, lengths: list[int]) -> None:
    torch.manual_seed(seed)
    steps = max(lengths)
    valid = torch.arange(steps)[:, None] < torch.tensor(lengths)
    outcomes = []
    for padding, extra in ((0.0, 0), (100.0, 0), (-7.0, 4)):
        torch.manual_seed(seed)
        x = torch.randn(steps, len(lengths), 3, dtype=torch.float64)
        x = torch.where(valid[..., None], x, torch.tensor(padding, dtype=x.dtype))
        x = torch.cat([x, torch.full((extra, len(lengths), 3), padding, dtype=x.dtype)])
        mask = torch.cat([valid, valid.new_zeros(extra, len(lengths))])
        norm = BatchNorm(3).double().train()
        y, _ = norm(x, None, mask)
        assert not y[~mask].any()
        outcomes.append((y[:steps], norm.running_mean, norm.running_var))
        alone = BatchNorm(3).double().train()(x[mask].view(-1, 1, 3))[0][:, 0]
        torch.testing.assert_close(y[mask], alone)
    for other in outcomes[1:]:
        for got, want in zip(other, outcomes[0]):
            torch.testing.assert_close(got, want)


def test_without_the_mask_padding_does_matter() -> None:
    x = torch.randn(10, 2, 3)
    padded = torch.cat([x, torch.zeros(10, 2, 3)])
    assert not torch.allclose(BatchNorm(3).train()(padded)[0][:10], BatchNorm(3).train()(x)[0])


def test_evaluation_is_scale_and_shift() -> None:
    norm = BatchNorm(4).double()
    for tensor, low, high in ((norm.running_mean, -1, 1), (norm.running_var, 0.1, 3), (norm.weight, -2, 2)):
        torch.nn.init.uniform_(tensor, low, high)
    x = torch.randn(7, 2, 4, dtype=torch.float64)
    scale, shift = norm.scale_and_shift()
    before = norm.running_mean.clone()
    assert torch.equal(norm.eval()(x)[0], x * scale + shift)
    want = (x - norm.running_mean) / (norm.running_var + 1e-5).sqrt() * norm.weight + norm.bias
    torch.testing.assert_close(norm(x)[0], want)
    assert torch.equal(norm.running_mean, before)


def test_refusals() -> None:
    with pytest.raises(ShapeError, match="batch norm of 4 neurons got a current of shape"):
        BatchNorm(4)(torch.zeros(2, 1, 5))
    with pytest.raises(ShapeError, match="at least two valid steps"):
        BatchNorm(4).train()(torch.zeros(1, 1, 4))


def under_old_names(network: torch.nn.Module) -> dict[str, torch.Tensor]:
    """The state of a network as versions up to 0.1 saved it."""
    found = {}
    for name, value in network.state_dict().items():
        layer = name.rpartition(".")[0]
        owner = layer.partition(".parametrizations")[0]
        if isinstance(network.get_submodule(owner), BatchNorm):
            name = name.replace("weight", "gamma").replace("bias", "beta")
        found[name] = value
    return found


def plain(network: DelayClassifier) -> None:
    pass


def pruned(network: DelayClassifier) -> None:
    prune.custom_from_mask(network.hidden1.norm, "weight", (torch.arange(9) < 5).float())


def parametrised(network: DelayClassifier) -> None:
    parametrize.register_parametrization(network.hidden1.norm, "weight", torch.nn.Softplus())


@pytest.mark.parametrize("change", [plain, pruned, parametrised])
def test_states_saved_under_gamma_and_beta_are_loaded(change: Callable, tmp_path: Path) -> None:
    saved, loaded = (DelayClassifier(6, (9, 7), 4, max_delay_steps=5) for _ in range(2))
    for network in (saved, loaded):
        change(network)
    for value in saved.parameters():
        torch.nn.init.uniform_(value, 0.2, 1.0)
    old = under_old_names(saved)
    assert any("gamma" in name for name in old)
    assert "hidden2.norm.beta" in old
    assert not any(name.endswith("norm.weight") for name in old)
    save_file(old, tmp_path / "old.safetensors")
    loaded.load_state_dict(load_file(tmp_path / "old.safetensors"))
    for name, value in saved.state_dict().items():
        assert torch.equal(loaded.state_dict()[name], value), name


def test_a_state_without_a_norms_numbers_is_refused() -> None:
    network = DelayClassifier(6, (9,), 4, max_delay_steps=5)
    old = under_old_names(network)
    del old["hidden1.norm.gamma"]
    with pytest.raises(RuntimeError, match=r"Missing key.*hidden1\.norm\.weight"):
        network.load_state_dict(old)


def test_old_attributes_serve_with_a_warning() -> None:
    norm = BatchNorm(3)
    for old, new in (("gamma", "weight"), ("beta", "bias"), ("features", "num_features")):
        with pytest.warns(DeprecationWarning, match=rf"BatchNorm\.{old} is now \.{new}"):
            assert getattr(norm, old) is getattr(norm, new)
