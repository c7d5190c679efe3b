"""Delay layer: fast backends against the reference, the contract against wrong versions, finite differences, laws."""

import pytest
import torch
import torch.nn.functional as F
from hypothesis import given
from hypothesis import strategies as st

from snn_delays.ops import delayed_linear
from snn_delays.ops.delay import OPERATION, dense, gather, spectral, spectral_fft, spectral_plan
from snn_delays.ops.delay.spectral_plan import SpectralPlan
from snn_delays.ops.delay.taps import TAPS
from tests.support.contracts import (
    NO_NUMBERS,
    DelayCase,
    assert_same,
    case_name,
    delay_cases,
    delay_contract,
    fast_backends,
    implementation,
)
from tests.support.mutants import DELAY_MUTATIONS, mutant_delay

CASES = list(delay_cases())
BACKENDS = fast_backends(OPERATION)
ALL = ["reference", *BACKENDS]


@pytest.mark.parametrize("backend", BACKENDS)
@pytest.mark.parametrize("case", CASES, ids=case_name)
def test_backend_equals_reference(backend: str, case: DelayCase) -> None:
    delay_contract(implementation(delayed_linear, OPERATION.example(), backend), case)


@pytest.mark.usefixtures("all_threads")
@pytest.mark.parametrize("backend", ["spectral", "gather"])
@pytest.mark.parametrize("case", CASES[::6], ids=case_name)
def test_backend_equals_reference_on_all_threads(backend: str, case: DelayCase) -> None:
    delay_contract(implementation(delayed_linear, OPERATION.example(), backend), case)


@pytest.mark.parametrize("sample_bytes", [1, 3000])
@pytest.mark.parametrize("wide", [0.0, 20.0])
def test_spectral_equals_reference_a_few_samples_at_a_time(
    wide: float, sample_bytes: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(spectral_plan, "GROUP_BYTES", sample_bytes)
    run = implementation(delayed_linear, OPERATION.example(), "spectral")
    for outputs, start in ((4, True), (3, False)):  # the spectra of input and output in one place, and apart
        case = DelayCase(
            batch=5, inputs_=4, outputs=outputs, max_delay_steps=40, steps=70, wide=wide, start=start,
            learns=("x", "weight", "delay", "history"),
        )  # fmt: skip
        assert 1 < len(SpectralPlan(70, 40, 0, case.dtype).groups(5, 8)) <= 5
        delay_contract(run, case)


@pytest.mark.parametrize(("steps", "longest", "n"), [(70, 40, 128), (20, 7, 27)])
@pytest.mark.parametrize("wide", [0.0, 20.0])
def test_spectral_equals_reference_a_frequency_at_a_time(
    steps: int, longest: int, n: int, wide: float, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(spectral, "ONE_BY_ONE", 0)
    run = implementation(delayed_linear, OPERATION.example(), "spectral")
    for learns in (("x", "weight", "delay"), ("weight",), ("x",)):
        case = DelayCase(batch=5, inputs_=4, outputs=3, max_delay_steps=longest, steps=steps, wide=wide, learns=learns)
        assert SpectralPlan(steps, longest, 0, case.dtype).n == n
        delay_contract(run, case)


@pytest.mark.parametrize("spoilt", NO_NUMBERS)
@pytest.mark.parametrize("start", [False, True])
def test_spectral_keeps_what_is_not_finite_out_of_the_transform_where_it_cannot_look(
    spoilt: str, start: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As on a GPU, from which nothing is read back."""
    monkeypatch.setattr(spectral_fft, "needs_causal", lambda signal: False)
    run = implementation(delayed_linear, OPERATION.example(), "spectral_fft")
    delay_contract(run, DelayCase(spoilt=spoilt, start=start, steps=90, max_delay_steps=20, wide=9.0))
    delay_contract(run, DelayCase(start=start, steps=90, max_delay_steps=20, wide=9.0))


@pytest.mark.parametrize("backend", ["spectral", "spectral_fft"])
def test_a_transform_is_left_for_a_causal_backend_only_where_it_must(
    backend: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    run = implementation(delayed_linear, OPERATION.example(), backend)
    case = DelayCase(dtype=torch.float32, steps=40)
    plain = case.inputs()
    seen = []
    monkeypatch.setattr(dense, "run", lambda *a, **k: seen.append(1) or plain["x"].new_zeros(40, 2, 4))
    monkeypatch.setattr(gather, "run", lambda *a, **k: seen.append(1) or plain["x"].new_zeros(40, 2, 4))
    for factor, passed_on in ((1.0, False), (255.0, False), (4e3, False), (2e4, True)):
        x = plain["x"].clone()
        x[30] = factor
        x[:, 1] *= 1e6  # another sample may have another scale
        run(**{**plain, "history": None, "x": x}, max_delay_steps=7)
        assert bool(seen) == passed_on
    seen.clear()
    run(**{**plain, "history": None, "x": torch.zeros_like(plain["x"])}, max_delay_steps=7)
    assert not seen


def hold_to_all(run) -> None:
    for case in CASES:
        delay_contract(run, case)


def test_contract_accepts_a_right_version() -> None:
    hold_to_all(mutant_delay())


@pytest.mark.parametrize("mutation", DELAY_MUTATIONS)
def test_contract_rejects(mutation: str) -> None:
    with pytest.raises(AssertionError):
        hold_to_all(mutant_delay(mutation))


@pytest.mark.parametrize("backend", ALL)
@pytest.mark.parametrize("taps", TAPS)
@pytest.mark.parametrize("sharing", ["synapse", "axon", "dendrite"])
def test_gradcheck(backend: str, taps: str, sharing: str) -> None:
    longest, outputs, inputs, count = 4, 3, 2, 2
    draw = torch.Generator().manual_seed(5)
    shape = (1 if sharing == "axon" else outputs, 1 if sharing == "dendrite" else inputs, count)
    # Away from the kinks of the triangles: every fraction of a step lies in 0.15..0.4, and sigma puts the triangle's
    # own kinks, a fraction of sigma away from the delay's, elsewhere too.
    whole = torch.randint(0, longest, shape, generator=draw)
    delay = whole + 0.15 + 0.25 * torch.rand(shape, generator=draw, dtype=torch.float64)
    tensors = (
        torch.randn(3, 2, inputs, generator=draw, dtype=torch.float64),
        torch.randn(outputs, inputs, count, generator=draw, dtype=torch.float64),
        delay,
        torch.tensor(0.5, dtype=torch.float64),
        torch.randn(longest, 2, inputs, generator=draw, dtype=torch.float64),
    )
    for tensor in tensors:
        tensor.requires_grad_()

    def run(*arguments):
        return delayed_linear(*arguments, max_delay_steps=longest, taps=taps, backend=backend)

    assert torch.autograd.gradcheck(run, tensors, eps=1e-6, atol=1e-6)


@pytest.mark.parametrize("backend", ALL)
@given(seed=st.integers(0, 10**6), longest=st.integers(0, 9), steps=st.integers(1, 14))
def test_integer_delay_is_the_input_shifted_exactly(backend: str, seed: int, longest: int, steps: int) -> None:
    draw = torch.Generator().manual_seed(seed)
    x = torch.randn(steps, 2, 3, generator=draw, dtype=torch.float64)
    delay = torch.randint(0, longest + 1, (3, 3, 1), generator=draw).double()
    weight = torch.eye(3, dtype=torch.float64).unsqueeze(-1)
    history = torch.randn(longest, 2, 3, generator=draw, dtype=torch.float64)
    y, _ = delayed_linear(x, weight, delay, None, history, max_delay_steps=longest, taps="linear", backend=backend)
    line = torch.cat([history, x])
    for i in range(3):
        start = longest - int(delay[i, i, 0])
        shifted = line[start : start + steps, :, i]
        if backend.startswith("spectral"):  # to the rounding of its transforms
            torch.testing.assert_close(y[:, :, i], shifted, rtol=0, atol=1e-13)
        else:
            assert torch.equal(y[:, :, i], shifted)


@pytest.mark.parametrize("backend", ALL)
@pytest.mark.parametrize("taps", TAPS)
@pytest.mark.parametrize("longest", [0, 6])
def test_zero_delay_is_a_plain_linear_layer(backend: str, taps: str, longest: int) -> None:
    x = torch.randn(9, 2, 5, dtype=torch.float64)
    weight = torch.randn(4, 5, 1, dtype=torch.float64)
    sigma = torch.tensor(0.05 if taps == "gaussian" else 0.0, dtype=torch.float64)
    delay = torch.zeros(4, 5, 1, dtype=torch.float64)
    y, _ = delayed_linear(x, weight, delay, sigma, max_delay_steps=longest, taps=taps, backend=backend)
    # The normalised taps of DCLS are divided by their sum plus 1e-7.
    torch.testing.assert_close(y, F.linear(x, weight[..., 0]), rtol=2e-7 if TAPS[taps].normalised else 0, atol=1e-13)


@pytest.mark.parametrize("backend", ALL)
def test_a_longer_delay_is_later(backend: str) -> None:
    impulse = torch.zeros(12, 1, 1, dtype=torch.float64)
    impulse[2] = 1
    arrivals = []
    for delay in (0.0, 1.0, 4.3, 9.0):
        tensors = (torch.ones(1, 1, 1).double(), torch.full((1, 1, 1), delay).double(), torch.tensor(0.5).double())
        y, _ = delayed_linear(impulse, *tensors, max_delay_steps=9, taps="linear", backend=backend)
        arrivals.append(float((y.flatten() * torch.arange(12)).sum() / y.sum()) - 2)
    assert arrivals == pytest.approx([0, 1, 4.3, 9])


def test_history_returned_is_the_end_of_the_input() -> None:
    x = torch.randn(3, 2, 4)
    history = torch.randn(5, 2, 4)
    _, after = delayed_linear(
        x, torch.randn(1, 4, 1), torch.zeros(1, 4, 1), None, history, max_delay_steps=5, taps="linear"
    )
    assert torch.equal(after, torch.cat([history, x])[-5:])


def test_axonal_and_dendritic_gradients_are_sums_over_the_synapses() -> None:
    x = torch.randn(10, 2, 3, dtype=torch.float64)
    weight = torch.randn(4, 3, 1, dtype=torch.float64)
    for shape, shared_axis in (((1, 3, 1), 0), ((4, 1, 1), 1)):
        shared = (torch.rand(shape, dtype=torch.float64) * 5).requires_grad_()
        full = shared.detach().expand(4, 3, 1).clone().requires_grad_()
        sigma = torch.tensor(1.0, dtype=torch.float64)
        ys = [delayed_linear(x, weight, delay, sigma, max_delay_steps=5)[0] for delay in (shared, full)]
        assert_same(*ys, "output")
        grads = [torch.autograd.grad((y**2).sum(), delay)[0] for y, delay in zip(ys, (shared, full))]
        assert_same(grads[0], grads[1].sum(shared_axis, keepdim=True), "gradient of delay")
