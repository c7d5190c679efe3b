"""Delayed convolution: fast backends against the reference, the contract against wrong versions, a plain loop, laws."""

from collections.abc import Iterator
from dataclasses import dataclass, replace
from functools import partial
from itertools import product

import pytest
import torch
import torch.nn.functional as F
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor

from snn_delays.errors import BackendUnavailableError, ConfigError, ShapeError
from snn_delays.ops.delay.taps import TAPS, tap_weights
from snn_delays.ops.delay_conv import OPERATION, delayed_conv2d
from tests.support.comparison import NO_NUMBERS, Inputs, assert_same, compare
from tests.support.contracts import assert_causal, fast_backends

SHARING = {"synapse": (1, 1, 1, 1), "channel": (1, 1, 0, 0), "axon": (0, 1, 0, 0), "dendrite": (1, 0, 0, 0)}
SHARED = ("axon", "dendrite")


@dataclass(frozen=True)
class ConvCase:
    """A setting of the convolution. ``whole`` puts every delay on a step."""

    steps: int = 9
    batch: int = 2
    inputs_: int = 2
    outputs: int = 3
    size: tuple[int, int] = (7, 6)
    kernel: tuple[int, int] = (3, 2)
    stride: tuple[int, int] = (1, 1)
    padding: tuple[int, int] = (0, 0)
    max_delay_steps: int = 6
    taps: str = "gaussian"
    sharing: str = "synapse"
    whole: bool = False
    start: bool = True
    strided: bool = False
    dtype: torch.dtype = torch.float64
    learns: tuple[str, ...] = ("x", "weight", "delay", "sigma", "history")
    uses: tuple[str, ...] = ("output", "state")
    seed: int = 0

    def inputs(self) -> Inputs:
        """Input, weights, delays, width and history."""
        draw = partial(torch.rand, generator=torch.Generator().manual_seed(self.seed), dtype=self.dtype)
        shape = (self.outputs, self.inputs_, *self.kernel)
        delay = draw([n if own else 1 for n, own in zip(shape, SHARING[self.sharing])]) * self.max_delay_steps
        line = (self.batch, self.inputs_, *self.size)
        return {
            "x": (draw(self.steps, *line) < 0.4).to(self.dtype) * 2,
            "weight": draw(shape) * 2 - 1,
            "delay": delay.round() if self.whole else delay,
            "sigma": draw(()) + 0.4,
            "history": draw(self.max_delay_steps, *line) if self.start else None,
        }


def cases() -> Iterator[ConvCase]:
    for taps, sharing, whole in product(TAPS, SHARING, (False, True)):
        yield ConvCase(taps=taps, sharing=sharing, whole=whole, stride=(2, 1), padding=(1, 0))
    for sharing in SHARING:
        plain = ConvCase(sharing=sharing)
        yield replace(plain, dtype=torch.float32, start=False)
        yield replace(plain, steps=75, max_delay_steps=40, start=False)
        for steps, longest in ((0, 6), (0, 0), (1, 6), (1, 0), (5, 0), (3, 11), (33, 1), (7, 7)):
            yield replace(plain, steps=steps, max_delay_steps=longest)
            yield replace(plain, steps=steps, max_delay_steps=longest, start=False, taps="linear")
        for stride, padding in (((1, 1), (2, 2)), ((3, 2), (0, 1)), ((1, 3), (2, 0)), ((4, 4), (0, 0))):
            yield replace(plain, stride=stride, padding=padding)
        for kernel in ((1, 1), (7, 6), (5, 3), (1, 6)):
            yield replace(plain, kernel=kernel, stride=(2, 3))
        yield replace(plain, batch=1, inputs_=1, outputs=1, size=(3, 2))
        yield replace(plain, inputs_=5, outputs=9)
        yield replace(plain, batch=90, size=(12, 12), outputs=16, max_delay_steps=3)  # the spectral one in two parts
        yield replace(plain, strided=True, padding=(1, 1))
        for name in plain.learns:
            yield replace(plain, learns=(name,))
        for used in plain.uses:
            yield replace(plain, uses=(used,))


CASES = list(cases())
BACKENDS = fast_backends(OPERATION)


def contract(run, case: ConvCase) -> None:
    options = {name: getattr(case, name) for name in ("max_delay_steps", "taps", "stride", "padding")}
    reference = partial(delayed_conv2d, backend="reference")
    compare(run, reference, case.inputs(), options, case.learns, case.uses, case.strided, case.seed)


def case_name(case: ConvCase) -> str:
    plain = ConvCase()
    changed = [f"{name}={value}" for name, value in vars(case).items() if value != getattr(plain, name)]
    return ",".join(changed).replace("torch.", "").replace(" ", "") or "plain"


def serves(backend: str, case: ConvCase) -> bool:
    return backend != "separable" or case.sharing in SHARED or case.max_delay_steps == 0


@pytest.mark.parametrize("backend", BACKENDS)
@pytest.mark.parametrize("case", CASES, ids=case_name)
def test_backend_equals_reference(backend: str, case: ConvCase) -> None:
    if serves(backend, case):
        contract(partial(delayed_conv2d, backend=backend), case)


@pytest.mark.usefixtures("all_threads")
@pytest.mark.parametrize("case", CASES[::12], ids=case_name)
def test_gather_equals_reference_on_all_threads(case: ConvCase) -> None:
    contract(partial(delayed_conv2d, backend="gather"), case)


@pytest.mark.parametrize("backend", [*BACKENDS, "reference"])
@pytest.mark.parametrize("spoilt", [*NO_NUMBERS, "1e18"])
@pytest.mark.parametrize("sharing", SHARING)
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_a_broken_input_reaches_no_earlier_step(backend: str, spoilt: str, sharing: str, dtype: torch.dtype) -> None:
    for start in (False, True):
        case = ConvCase(sharing=sharing, steps=40, dtype=dtype, start=start)
        if serves(backend, case):
            options = {"max_delay_steps": case.max_delay_steps, "taps": case.taps}
            run = partial(delayed_conv2d, **options, backend=backend)
            assert_causal(run, case.inputs(), spoilt, case.max_delay_steps)


MUTATIONS = (
    "delay reversed", "one step late", "taps not normalised", "history ignored", "history's gradient missing",
    "final history one step early", "sigma gradient missing", "delay gradient missing", "weight gradient missing",
    "input gradient missing", "one delay for the kernel", "one delay for all inputs", "one delay for all outputs",
    "kernel mirrored", "stride from the far end", "padding on one side", "padding with the border", "delay rounded",
)  # fmt: skip


def mutant(mutation: str | None = None):
    """A convolution in space for every step of the window, added up; wrong in one way if requested."""
    assert mutation is None or mutation in MUTATIONS

    def wrong(name: str) -> bool:
        assert name in MUTATIONS
        return mutation == name

    def run(
        x: Tensor, weight: Tensor, delay: Tensor, sigma: Tensor, history: Tensor | None, *, max_delay_steps: int,
        taps: str, stride: tuple[int, int], padding: tuple[int, int],
    ):  # fmt: skip
        longest, steps = max_delay_steps, len(x)
        history = x.new_zeros(longest, *x.shape[1:]) if history is None else history
        line = torch.cat([history, x])
        final = line[steps:] if not wrong("final history one step early") or not steps else line[steps - 1 : -1]
        history = history * 0 if wrong("history ignored") else history
        history = history.detach() if wrong("history's gradient missing") else history
        line = torch.cat([history, x.detach() if wrong("input gradient missing") else x])
        sigma = sigma.detach() if wrong("sigma gradient missing") else sigma
        weight = weight.detach() if wrong("weight gradient missing") else weight
        delay = delay.detach() if wrong("delay gradient missing") else delay
        delay = longest - delay if wrong("delay reversed") else delay
        delay = delay + 1 if wrong("one step late") else delay
        delay = delay + (delay.round() - delay).detach() if wrong("delay rounded") else delay
        delay = delay[:, :, :1, :1] if wrong("one delay for the kernel") else delay
        delay = delay[:, :1] if wrong("one delay for all inputs") else delay
        delay = delay[:1] if wrong("one delay for all outputs") else delay
        k = torch.arange(longest + 1).to(delay).view(-1, 1, 1, 1, 1)
        spread = tap_weights(delay, sigma, longest, taps)
        if wrong("taps not normalised") and TAPS[taps].normalised:
            spread = TAPS[taps].spread(k - delay, sigma)
        kernel = spread * weight
        kernel = kernel.flip(-1) if wrong("kernel mirrored") else kernel
        (down, right), line_shape = padding, line.shape[:2]
        margins = (2 * right, 0, 2 * down, 0) if wrong("padding on one side") else (right, right, down, down)
        mode = "replicate" if wrong("padding with the border") else "constant"
        line = F.pad(line.flatten(0, 1), margins, mode=mode).unflatten(0, line_shape)
        if not steps:
            return delayed_conv2d(
                x, weight, delay.detach() * 0, sigma, max_delay_steps=longest, taps=taps, stride=stride,
                padding=padding,
            )[0], final  # fmt: skip
        parts = [F.conv2d(line[longest - j : longest - j + steps].flatten(0, 1), kernel[j]) for j in range(longest + 1)]
        y = torch.stack(parts).sum(0).unflatten(0, x.shape[:2])
        first = [(n - 1) % s if wrong("stride from the far end") else 0 for n, s in zip(y.shape[3:], stride)]
        return y[..., first[0] :: stride[0], first[1] :: stride[1]], final

    return run


def hold_to_all(run) -> None:
    for case in CASES:
        contract(run, case)


def test_contract_accepts_a_right_version() -> None:
    hold_to_all(mutant())


@pytest.mark.parametrize("mutation", MUTATIONS)
def test_contract_rejects(mutation: str) -> None:
    with pytest.raises(AssertionError):
        hold_to_all(mutant(mutation))


def test_the_sum_written_out() -> None:
    """The equation itself, place by place: reference and canaries could share a misunderstanding."""
    case = ConvCase(steps=5, max_delay_steps=3, whole=True, taps="linear", stride=(2, 1), padding=(1, 1), kernel=(3, 2))
    given = case.inputs()
    line = torch.cat([given["history"], given["x"]])
    options = {"max_delay_steps": 3, "taps": "linear", "stride": (2, 1), "padding": (1, 1)}
    y, _ = delayed_conv2d(**given, **options)
    rows, columns = case.size
    for t, o, v, u in ((0, 0, 0, 0), (4, 2, 3, 6), (2, 1, 2, 3), (3, 2, 0, 5)):
        want = 0.0
        for i, a, c in product(range(2), range(3), range(2)):
            at = 3 + t - int(given["delay"][o, i, a, c])
            row, column = 2 * v + a - 1, u + c - 1
            if 0 <= row < rows and 0 <= column < columns:
                want += float(given["weight"][o, i, a, c] * line[at, 1, i, row, column])
        assert float(y[t, 1, o, v, u]) == pytest.approx(want, abs=1e-12)


@pytest.mark.parametrize("backend", ["reference", *BACKENDS])
@pytest.mark.parametrize("taps", TAPS)
@pytest.mark.parametrize("sharing", SHARING)
def test_gradcheck(backend: str, taps: str, sharing: str) -> None:
    case = ConvCase(steps=3, batch=1, size=(3, 3), kernel=(2, 2), max_delay_steps=3, taps=taps, sharing=sharing)
    if not serves(backend, case):
        return
    given = case.inputs()
    draw = torch.Generator().manual_seed(5)
    shape = given["delay"].shape
    # Away from the kinks of the taps, as in test_delay.
    given["delay"] = (
        torch.randint(0, 3, shape, generator=draw) + 0.15 + 0.25 * torch.rand(shape, generator=draw).double()
    )
    given["sigma"] = torch.tensor(0.5, dtype=torch.float64)
    tensors = [value.requires_grad_() for value in given.values()]

    def run(*arguments):
        return delayed_conv2d(*arguments, max_delay_steps=3, taps=taps, stride=(1, 2), padding=(0, 1), backend=backend)

    assert torch.autograd.gradcheck(run, tensors, eps=1e-6, atol=1e-6)


@pytest.mark.parametrize("backend", ["reference", "gather"])
@given(seed=st.integers(0, 10**6), longest=st.integers(0, 6))
def test_integer_delay_is_the_map_shifted_exactly(backend: str, seed: int, longest: int) -> None:
    draw = torch.Generator().manual_seed(seed)
    x = torch.randn(8, 2, 1, 4, 5, generator=draw, dtype=torch.float64)
    delay = int(torch.randint(0, longest + 1, (), generator=draw))
    one = torch.ones(1, 1, 1, 1, dtype=torch.float64)
    y, after = delayed_conv2d(x, one, delay * one, max_delay_steps=longest, taps="linear", backend=backend)
    assert torch.equal(y, torch.cat([torch.zeros_like(x[:1])] * delay + [x])[:8])
    assert torch.equal(after, torch.cat([x.new_zeros(longest, *x.shape[1:]), x])[8:])


def test_shared_delays_have_the_sum_of_the_gradients() -> None:
    case = ConvCase()
    given = case.inputs()
    for sharing in ("channel", "axon", "dendrite"):
        shared = replace(case, sharing=sharing).inputs()["delay"]
        grads = []
        for delay in (shared, shared.expand(given["weight"].shape).clone()):
            leaf = delay.requires_grad_()
            y, _ = delayed_conv2d(**{**given, "delay": leaf}, max_delay_steps=6)
            grads.append(torch.autograd.grad(y.square().sum(), leaf)[0])
        axes = [axis for axis, n in enumerate(shared.shape) if n == 1]
        assert_same(grads[0], grads[1].sum(axes, keepdim=True), f"gradient of the {sharing} delay")


def chosen(case: ConvCase, learns: bool = True) -> str:
    inputs = case.inputs()
    inputs["delay"].requires_grad_(learns)
    options = {name: getattr(case, name) for name in ("max_delay_steps", "taps", "stride", "padding")}
    return OPERATION.choose({**inputs, **options}).name


def test_what_serves() -> None:
    wide = ConvCase(max_delay_steps=10)
    assert chosen(wide) == "reference"
    assert chosen(replace(wide, taps="linear")) == "gather"
    assert chosen(replace(wide, taps="linear", max_delay_steps=5)) == "reference"
    assert chosen(replace(wide, taps="linear", max_delay_steps=5, whole=True), learns=False) == "gather"
    assert chosen(replace(wide, dtype=torch.float32, max_delay_steps=100)) == "gather"
    many = replace(wide, inputs_=16, kernel=(5, 5), steps=45, max_delay_steps=14)
    assert chosen(many) == "spectral"
    assert chosen(replace(many, steps=1)) == chosen(replace(many, max_delay_steps=3)) == "reference"
    for sharing in SHARED:
        assert chosen(replace(wide, sharing=sharing)) == "separable"
    assert chosen(replace(wide, max_delay_steps=0)) == "separable"
    assert OPERATION.choose(OPERATION.example()).name == "separable"
    with pytest.raises(BackendUnavailableError, match=r"'separable' cannot run delayed_conv2d: it needs a delay"):
        delayed_conv2d(**wide.inputs(), max_delay_steps=10, backend="separable")


X, W, D = torch.zeros(4, 2, 3, 5, 5), torch.zeros(6, 3, 2, 2), torch.zeros(6, 3, 2, 2)


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda run: run(X[:, :, 0], W, D), r"input has shape \(4, 2, 5, 5\).*\[time, batch, channel, y, x\]"),
        (lambda run: run(X[:, :, :2], W, D), r"input has 2 channels, the weight \(6, 3, 2, 2\) takes 3"),
        (lambda run: run(X, W, D[:2]), r"delay has shape \(2, 3, 2, 2\)"),
        (lambda run: run(X, W, D[0]), r"delay has shape \(3, 2, 2\)"),
        (
            lambda run: run(X, W, D, None, X[:3]),
            r"state has shape \(3, 2, 3, 5, 5\), the input needs \(2, 2, 3, 5, 5\)",
        ),
        (lambda run: run(X[..., :1], W, D), r"map of 5 x 1 with padding 0, 0 is smaller than the window of 2 x 2"),
    ],
)
@pytest.mark.usefixtures("own_shape_errors")
def test_wrong_shapes(call, message: str) -> None:
    with pytest.raises(ShapeError, match=message):
        call(partial(delayed_conv2d, max_delay_steps=2, taps="linear"))


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"taps": "box"}, "taps must be one of"),
        ({"taps": "gaussian"}, "taps 'gaussian' need sigma"),
        ({"max_delay_steps": -1}, "max_delay_steps must be >= 0"),
        ({"stride": (0, 1)}, r"stride must be at least 1 .* got \(0, 1\)"),
        ({"padding": (0, -1)}, r"padding at least 0, got"),
        ({"delay": D + 3}, r"72 of 72 delays lie outside 0\.\.2"),
        ({"delay": D / 0}, "72 of 72 delays are NaN"),
    ],
)
def test_wrong_names_and_numbers(options: dict, message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        delayed_conv2d(X, W, **{"delay": D, "max_delay_steps": 2, "taps": "linear", **options})
