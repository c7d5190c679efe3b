"""The CUDA C kernels, built for the CPU, against the reference: the whole contract, and wrong kernels that fail it."""

from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
import torch

from snn_delays.ops import ATan, delayed_linear, leaky_integrator, lif, recurrent_lif
from snn_delays.ops.cuda import cupy_launch, support
from snn_delays.ops.delay import OPERATION as DELAY
from snn_delays.ops.delay.gather_cuda import MAX_TAPS
from snn_delays.ops.delay.signal import last_steps
from snn_delays.ops.delay.taps import tap_count
from snn_delays.ops.depthwise import cupy as depthwise_cupy
from snn_delays.ops.leaky_integrator import OPERATION as INTEGRATOR
from snn_delays.ops.lif import OPERATION as LIF
from snn_delays.ops.recurrent import OPERATION as RECURRENT
from snn_delays.ops.wkv import WKVState, wkv
from tests.support import cuda_host
from tests.support.contracts import (
    DelayCase,
    IntegratorCase,
    LIFCase,
    case_name,
    delay_cases,
    delay_contract,
    implementation,
    integrator_cases,
    integrator_contract,
    lif_contract,
    lif_edge_cases,
    lif_option_cases,
)
from tests.support.depthwise_contract import DepthwiseCase, depthwise_cases, depthwise_contract
from tests.support.recurrent_contract import RecurrentCase, recurrent_cases, recurrent_contract
from tests.support.wkv_contract import WKVCase, wkv_cases, wkv_contract, wkv_implementation

pytestmark = pytest.mark.skipif(
    cuda_host.COMPILER is None, reason="no C++ compiler: the logic of the CUDA C kernels is NOT tested here"
)


def _few(case: DelayCase) -> bool:
    inputs = case.inputs()
    return tap_count(inputs["delay"], inputs["sigma"], case.max_delay_steps, case.taps) <= MAX_TAPS


LIF_CASES = [*lif_option_cases(), *lif_edge_cases()]
INTEGRATOR_CASES = list(integrator_cases())
DELAY_CASES = [case for case in delay_cases() if _few(case)]
WKV_CASES = list(wkv_cases())
DEPTHWISE_CASES = list(depthwise_cases())
RECURRENT_CASES = list(recurrent_cases())


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("kernels")


@pytest.fixture(scope="module")
def built(folder: Path) -> cuda_host.HostLauncher:
    return cuda_host.HostLauncher(folder)


@pytest.fixture
def on_host(monkeypatch: pytest.MonkeyPatch, built: cuda_host.HostLauncher) -> Iterator[Callable]:
    monkeypatch.setattr(support, "refuses", lambda *_: None)

    def use(launcher: cuda_host.HostLauncher = built) -> cuda_host.HostLauncher:
        monkeypatch.setattr(cupy_launch, "launch", launcher)
        return launcher

    use()
    before = built.launched
    yield use
    assert built.launched >= before


@pytest.mark.usefixtures("on_host")
@pytest.mark.parametrize("case", LIF_CASES, ids=case_name)
def test_lif(case: LIFCase) -> None:
    lif_contract(implementation(lif, LIF.example(), "cupy"), case)


@pytest.mark.usefixtures("on_host")
@pytest.mark.parametrize("case", INTEGRATOR_CASES, ids=case_name)
def test_integrator(case: IntegratorCase) -> None:
    integrator_contract(implementation(leaky_integrator, INTEGRATOR.example(), "cupy"), case)


@pytest.mark.usefixtures("on_host")
@pytest.mark.parametrize("case", DELAY_CASES, ids=case_name)
def test_delay(case: DelayCase) -> None:
    delay_contract(implementation(delayed_linear, DELAY.example(), "gather_cupy"), case)


@pytest.mark.usefixtures("on_host")
@pytest.mark.parametrize("case", WKV_CASES, ids=case_name)
def test_wkv(case: WKVCase) -> None:
    wkv_contract(wkv_implementation("cupy"), case)


@pytest.mark.usefixtures("on_host")
@pytest.mark.parametrize("case", RECURRENT_CASES, ids=case_name)
def test_recurrent(case: RecurrentCase) -> None:
    recurrent_contract(implementation(recurrent_lif, RECURRENT.example(), "cupy"), case)


def filtered(x: torch.Tensor, kernel: torch.Tensor, history: torch.Tensor | None) -> tuple[torch.Tensor, torch.Tensor]:
    past = len(kernel) - 1
    before = x.new_zeros(past, *x.shape[1:]) if history is None else history
    return depthwise_cupy.run(x, kernel, before), last_steps(x, history, past)


@pytest.mark.usefixtures("on_host")
@pytest.mark.parametrize("case", DEPTHWISE_CASES, ids=case_name)
def test_depthwise(case: DepthwiseCase) -> None:
    depthwise_contract(filtered, case)


SIZES = [
    {"batch": 33, "inputs_": 3, "outputs": 9, "steps": 41, "max_delay_steps": 6, "taps": taps, "count": count}
    for taps, count in (("linear", 1), ("linear", 3), ("triangle", 1))
] + [
    {"batch": 65, "inputs_": 2, "outputs": 3, "steps": 16, "max_delay_steps": 30, "taps": "triangle"},
    {"batch": 1, "inputs_": 17, "outputs": 8, "steps": 20, "max_delay_steps": 3, "dtype": torch.float32},
]


@pytest.mark.usefixtures("on_host")
@pytest.mark.parametrize("sizes", SIZES, ids=str)
def test_delay_over_several_blocks(sizes: dict) -> None:
    delay_contract(implementation(delayed_linear, DELAY.example(), "gather_cupy"), DelayCase(**sizes))


@pytest.mark.usefixtures("on_host")
@pytest.mark.parametrize("whole", [True, False])
def test_delays_that_do_not_learn_take_one_tap_or_two(whole: bool) -> None:
    case = DelayCase(taps="linear", whole=whole, batch=33, outputs=9, steps=23, learns=("x", "weight"))
    delay_contract(implementation(delayed_linear, DELAY.example(), "gather_cupy"), case)


@pytest.mark.usefixtures("on_host")
@pytest.mark.parametrize("reset", ["hard", "soft"])
def test_float32_membranes_are_those_of_the_reference_to_the_last_bit(reset: str) -> None:
    current = torch.randn(40, 3, 50) + 0.3
    options = {"decay": torch.rand(50), "threshold": 0.9, "v_reset": -0.3, "reset": reset, "decay_input": True}
    spikes, v = lif(current, **options, backend="cupy")
    want_spikes, want_v = lif(current, **options, backend="reference")
    assert 0.02 < want_spikes.mean() < 0.6
    assert torch.equal(spikes, want_spikes)
    assert torch.equal(v, want_v)


@pytest.mark.usefixtures("on_host")
@pytest.mark.parametrize("cuts", [[1] * 21, [3, 8, 10], [20, 1]], ids=str)
def test_wkv_in_chunks_of_time_has_the_bits_of_one_piece(cuts: list[int]) -> None:
    key, value = 5 * torch.randn(21, 3, 50), torch.randn(21, 3, 50)
    options = {"log_decay": -torch.rand(50), "bonus": torch.randn(50), "backend": "cupy"}
    want, want_state = wkv(key, value, **options)
    pieces, state = [], None
    for k, v in zip(key.split(cuts), value.split(cuts)):
        y, state = wkv(k, v, **options, state=state)
        pieces.append(y)
    assert torch.equal(torch.cat(pieces), want)
    assert all(map(torch.equal, state, want_state))


@pytest.mark.usefixtures("on_host", "own_shape_errors")
def test_integers_are_passed_as_what_the_kernel_takes() -> None:
    current = torch.randn(20, 2, 9, requires_grad=True)
    options = {"decay": 0, "threshold": 1, "v_reset": 0, "surrogate": ATan(2)}
    grads = [
        torch.autograd.grad(lif(current, **options, backend=name)[0].sum(), current) for name in ("cupy", "reference")
    ]
    torch.testing.assert_close(*grads)


@pytest.mark.usefixtures("on_host")
def test_nan_in_nan_out() -> None:
    current = torch.zeros(6, 2, 3)
    current[2, 0, 1] = float("nan")
    trace, _ = leaky_integrator(current, decay=0.5, backend="cupy")
    assert trace[2:, 0, 1].isnan().all()
    assert not trace.nan_to_num().isnan().any()
    assert lif(current, decay=0.5, backend="cupy")[1].isnan().nonzero().tolist() == [[0, 1]]
    weight, delay = torch.ones(2, 3, 1), torch.ones(2, 3, 1)
    y, _ = delayed_linear(current, weight, delay, max_delay_steps=2, taps="linear", backend="gather_cupy")
    assert y.isnan().nonzero().tolist() == [[3, 0, 0], [3, 0, 1]]


@pytest.mark.usefixtures("on_host")
@pytest.mark.parametrize("bad", ["nan", "inf"])
@pytest.mark.parametrize("which", ["key", "value", "numerator", "exponent"])
def test_a_number_that_is_none_is_not_averaged_away(which: str, bad: str) -> None:
    key, value, one = torch.randn(6, 2, 3), torch.randn(6, 2, 3), torch.ones(3)
    state = WKVState(torch.randn(2, 3), torch.rand(2, 3), torch.zeros(2, 3))
    spoilt = {"key": key[2], "value": value[2], **state._asdict()}[which]
    spoilt[0, 1] = float(bad)
    got, want = (wkv(key, value, -one, one, state, backend=name) for name in ("cupy", "reference"))
    assert not want[0][2:, 0, 1].isfinite().any()
    torch.testing.assert_close((got[0], *got[1][:2]), (want[0], *want[1][:2]), equal_nan=True)


def hold_recurrent() -> None:
    for case in RECURRENT_CASES:
        recurrent_contract(implementation(recurrent_lif, RECURRENT.example(), "cupy"), case)


def hold_lif() -> None:
    for case in LIF_CASES:
        lif_contract(implementation(lif, LIF.example(), "cupy"), case)


def hold_integrator() -> None:
    for case in INTEGRATOR_CASES:
        integrator_contract(implementation(leaky_integrator, INTEGRATOR.example(), "cupy"), case)


def hold_delay() -> None:
    run = implementation(delayed_linear, DELAY.example(), "gather_cupy")
    for case in [*(DelayCase(**sizes) for sizes in SIZES), *DELAY_CASES]:
        delay_contract(run, case)


def hold_wkv() -> None:
    for case in WKV_CASES:
        wkv_contract(wkv_implementation("cupy"), case)


def hold_depthwise() -> None:
    for case in DEPTHWISE_CASES:
        depthwise_contract(filtered, case)


WRONG = [
    (hold_lif, "strict ? u > (real)0 : u >= (real)0", "u >= (real)0"),
    (hold_lif, "m - theta * s : (s > (real)0 ? v_reset : m)", "m - theta * s : (s > (real)0 ? (real)0 : m)"),
    (hold_lif, "if (lane >= lanes) return;", "if (lane >= lanes - 1) return;"),
    (hold_lif, "lane % neurons", "lane / neurons"),
    (hold_lif, "sum_threshold -= gv * s;", ""),
    (hold_lif, "gs += gv * (v_reset - m)", "gs -= gv * (v_reset - m)"),
    (hold_lif, "grad_v0[lane] = gv;", "grad_v0[lane] = 0;"),
    (hold_lif, "gs * slope(u, kind, p, q)", "gs * slope(u, 0, p, q)"),
    (hold_integrator, "gv = gh * d;", "gv = gh;"),
    (hold_integrator, "const real before = h[at - lanes];", "const real before = h[at];"),
    (hold_integrator, "if (kind == 4) return one;", "if (kind == 4) return zero;"),
    (hold_integrator, "(s > (real)0 ? v_reset : m)", "v_reset"),
    (hold_delay, "first + past - delay - m - (TAPS - 1)", "first + past - delay - m"),
    (hold_delay, "w[k] * window[t + (FORWARD ? TAPS - 1 - k : k)]", "w[k] * window[t + TAPS - 1 - k]"),
    (hold_delay, "for (; t < steps; ++t) correlate", "for (; t < steps - 1; ++t) correlate"),
    (hold_delay, "    __syncthreads();\n", ""),
    (hold_delay, "b < batch; b += parts * LANES", "b < LANES; b += parts * LANES"),
    (hold_delay, "which / count", "which"),
    (hold_wkv, "const real n = gap > zero ? past : now", "const real n = past"),
    (hold_wkv, "exp(gap > zero ? -gap : gap)", "exp(gap)"),
    (hold_wkv, "Weights{one, smaller, n}", "Weights{smaller, one, n}"),
    (hold_wkv, "bonus[lane % neurons]", "bonus[lane / neurons]"),
    (hold_wkv, "weigh(o, u + k), next", "weigh(o, k), next"),
    (hold_wkv, "next = weigh(w + o, k)", "next = weigh(o, k)"),
    (hold_wkv, "i < left ?", "i < left - 1 ?"),
    (hold_wkv, "(long long)BACKWARD_STEPS * lanes", "(long long)lanes"),
    (hold_wkv, "trace[2 * plane + at] = o;", "trace[2 * plane + at] = w + o;"),
    (hold_wkv, "gp = next.past * gp + out.past * share;", "gp = gp + out.past * share;"),
    (hold_wkv, "- out.past * share * average", "- out.past * share"),
    (hold_wkv, "next.now * (v * gp + gq)", "next.now * v * gp"),
    (hold_wkv, "next.past * (p * gp + q * gq)", "next.past * p * gp"),
    (hold_wkv, "grad_denominator[lane] = gq;", "grad_denominator[lane] = 0;"),
    (hold_depthwise, "history[(size_t)at * lanes + lane]", "history[lane]"),
    (hold_depthwise, "at >= past + steps) return 0;", "at >= steps) return 0;"),
    (hold_depthwise, "first + past - k - 1", "first + past - k"),
    (hold_depthwise, "(size_t)k * mixes + group + m", "(size_t)k * mixes + m"),
    (hold_depthwise, "neuron = lane % neurons", "neuron = lane / neurons"),
    (hold_depthwise, "first - past + k + TILE", "first - past + k"),
    (hold_depthwise, "sums[i] += weight * window[i]", "sums[i] = weight * window[i]"),
    (hold_depthwise, "t + 1 + past - first", "t + past - first"),
    (hold_depthwise, "begin + past - first - i", "begin + past - first"),
    (hold_depthwise, "part / batch * chunk", "0"),
    (hold_recurrent, "t < 0 ? history", "t < 0 ? spikes"),
    (
        hold_recurrent,
        "t - least - k, before, batch, sample, neurons, j % neurons",
        "t - k, before, batch, sample, neurons, j",
    ),
    (hold_recurrent, "mask ? mask[lane] * fed : fed", "fed"),
    (hold_recurrent, "mask ? mask[lane] * grad_x[at] : grad_x[at]", "grad_x[at]"),
    (hold_recurrent, "grad_history[(size_t)(before + t)", "grad_history[(size_t)(-1 - t)"),
    (hold_recurrent, "j += neurons) gs +=", "j += sources) gs +="),
    (hold_recurrent, "grad_v[lane] = gh * decay[n];", ""),
]


@pytest.mark.parametrize(("hold", "old", "new"), WRONG, ids=[f"{hold.__name__}-{old[:30]}" for hold, old, _ in WRONG])
def test_canary_a_wrong_kernel_is_rejected(
    hold: Callable[[], None], old: str, new: str, on_host: Callable, folder: Path
) -> None:
    launcher = on_host(cuda_host.HostLauncher(folder, [(old, new)]))
    with pytest.raises(AssertionError, match=r"off by|differ"):
        hold()
    assert launcher.launched


def test_canary_arguments_that_do_not_fit_are_seen(on_host: Callable) -> None:
    launch = on_host()
    from snn_delays.ops.lif.cupy import SOURCE

    x = torch.zeros(2, 1, 1)
    right = [x, x, x, 0, x, 0, x, 0, 0.0, 0, 0, 2, 1, 1, x, x, x]
    for args, why in (
        (right[:-1], "takes 17 arguments and was given 16"),
        ([*right[:12], 1.0, *right[13:]], "argument 12 of lif_forward is a int, not 1.0"),
        ([x, x.double(), *right[2:]], "not torch.float64"),
    ):
        with pytest.raises(AssertionError, match=why):
            launch(SOURCE, "lif_forward", (1,), (1,), x, args)
