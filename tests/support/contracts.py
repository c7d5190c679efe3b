"""The contracts: what every implementation of an operation is held to, and the cases it is held to it on.

A contract runs an implementation (a function with the operation's public signature) and the reference on the same
case and raises AssertionError unless outputs, final state and every gradient agree. In float64 spikes must be equal;
in float32 a spike may differ only where the reference's ``|h - threshold|`` is tiny (``FLOAT32_MARGIN`` of
``comparison.py``), and from then on that neuron is left out, gradients included.
"""

import math
import sys
from collections.abc import Iterator
from dataclasses import dataclass, replace
from functools import partial
from itertools import product
from typing import Any

import pytest
import torch
from torch import Tensor

from snn_delays.ops import (
    ATan,
    Boxcar,
    Exponential,
    FastSigmoid,
    MultiGaussian,
    Sigmoid,
    Surrogate,
    Triangle,
    delayed_linear,
    leaky_integrator,
    lif,
)
from snn_delays.ops.backends import Operation
from tests.support.comparison import (
    NO_NUMBERS,
    Implementation,
    Inputs,
    assert_same,
    compare,
    equal,
    spoil,
)

PLAIN = ATan(5.0)
SURROGATES = (PLAIN, FastSigmoid(10.0), Triangle(0.7, 0.3), Sigmoid(4.0))
RARER = (Boxcar(0.5), Exponential(5.0, 0.4), MultiGaussian(0.5, 0.15))


@dataclass(frozen=True)
class LIFCase:
    """One setting of every option and size. ``exact`` draws dyadic numbers, so that membranes meet thresholds;
    ``spoilt`` is a current of one neuron at one step that is no number."""

    steps: int = 20
    batch: int = 2
    neurons: int = 21
    dtype: torch.dtype = torch.float64
    reset: str = "hard"
    detach_reset: bool = True
    decay_input: bool = False
    strict: bool = False
    surrogate: Surrogate = PLAIN
    v_reset: float = -0.25
    per_neuron: bool = True
    start: bool = True
    exact: bool = True
    spoilt: str = ""
    strided: bool = False
    learns: tuple[str, ...] = ("current", "v0", "decay", "threshold")
    uses: tuple[str, ...] = ("output", "state")
    seed: int = 0

    def inputs(self) -> Inputs:
        """Current, initial membrane, decay and threshold."""
        generator = torch.Generator().manual_seed(self.seed)
        shape = (self.neurons,) if self.per_neuron else ()

        def whole(low: int, high: int, size: tuple[int, ...]) -> Tensor:
            return torch.randint(low, high, size, generator=generator).to(self.dtype)

        scale = 1.6 if self.decay_input else 1.0
        if self.exact:
            # Decays of 0 and 1/2 keep the membranes on the grid long enough.
            current = whole(-1, 5, (self.steps, self.batch, self.neurons)) / 4 * (1.5 if self.decay_input else 1)
            decay, threshold = whole(0, 2, shape) / 2, whole(2, 5, shape) / 4
            v0 = whole(-4, 6, (self.batch, self.neurons)) / 8
        else:
            draw = partial(torch.rand, generator=generator, dtype=self.dtype)
            current = (draw(self.steps, self.batch, self.neurons) * 1.8 - 0.5) * scale
            decay, threshold = draw(shape) * 0.6 + 0.3, draw(shape) * 0.8 + 0.6
            v0 = draw(self.batch, self.neurons) - 0.3
        spoil(current, self.spoilt, self.steps // 3, 0, self.neurons // 2)
        return {"current": current, "v0": v0 if self.start else None, "decay": decay, "threshold": threshold}

    def options(self) -> dict[str, Any]:
        """Keyword arguments of :func:`lif` that are not tensors."""
        names = ("v_reset", "reset", "detach_reset", "decay_input", "strict", "surrogate")
        return {name: getattr(self, name) for name in names}


def lif_margins(case: LIFCase, inputs: Inputs) -> Tensor:
    """The reference's ``|h - threshold|`` at every step, by running it a step at a time."""
    v, margins = inputs["v0"], []
    for x in inputs["current"].unbind(0):
        before = torch.full_like(x, case.v_reset) if v is None else v
        gain = 1 - inputs["decay"] if case.decay_input else 1
        h = inputs["decay"] * (before - case.v_reset) + case.v_reset + gain * x
        margins.append((h - inputs["threshold"]).abs())
        options = case.options()
        _, v = lif(x[None], v, decay=inputs["decay"], threshold=inputs["threshold"], backend="reference", **options)
    return torch.stack(margins)


def lif_contract(run: Implementation, case: LIFCase) -> None:
    """Hold an implementation of :func:`lif` to the reference."""
    inputs = case.inputs()
    reference = partial(lif, backend="reference")
    compare(
        run, reference, inputs, case.options(), case.learns, case.uses, case.strided, case.seed,
        margins=lambda: lif_margins(case, inputs),
    )  # fmt: skip


def lif_option_cases() -> Iterator[LIFCase]:
    """Every combination of options, in float64 on exact numbers and in float32 on others."""
    booleans = (False, True)
    for reset, detach, decay_input, strict, surrogate in product(
        ("hard", "soft"), booleans, booleans, booleans, SURROGATES
    ):
        case = LIFCase(reset=reset, detach_reset=detach, decay_input=decay_input, strict=strict, surrogate=surrogate)
        yield case
        yield replace(case, dtype=torch.float32, exact=False, seed=3)
    for surrogate in RARER:
        case = LIFCase(detach_reset=False, surrogate=surrogate, exact=False)
        yield case
        yield replace(case, dtype=torch.float32, exact=False, seed=3)


def lif_edge_cases() -> Iterator[LIFCase]:
    """Awkward sizes, no steps, numbers instead of tensors, no initial state, strides, partial gradients."""
    for reset in ("hard", "soft"):
        base = LIFCase(reset=reset, detach_reset=False, decay_input=reset == "hard", exact=False, seed=7)
        yield replace(base, steps=0)
        yield replace(base, steps=1)
        for batch, neurons in ((1, 1), (1, 63), (1, 513), (3, 341), (2, 512)):
            yield replace(base, batch=batch, neurons=neurons, steps=9)
        yield replace(base, per_neuron=False)
        yield replace(base, start=False)
        yield replace(base, v_reset=0.0)
        yield replace(base, v_reset=0.3, detach_reset=True)
        yield replace(base, strided=True)
        yield replace(base, strided=True, batch=5, neurons=130, dtype=torch.float32)
        for name in ("current", "v0", "decay", "threshold"):
            yield replace(base, learns=(name,))
        yield replace(base, learns=())
        yield replace(base, uses=("state",))
        yield replace(base, uses=("output",))
        yield replace(base, steps=60, batch=1, neurons=8, surrogate=Sigmoid(2.0))
        for spoilt, detach, strict in product(NO_NUMBERS, (False, True), (False, True)):
            yield replace(base, spoilt=spoilt, detach_reset=detach, strict=strict)
        for surrogate in SURROGATES + RARER:
            yield replace(base, spoilt="nan", surrogate=surrogate, dtype=torch.float32)


@dataclass(frozen=True)
class IntegratorCase:
    """A setting of the leaky integrator; ``spoilt`` as in :class:`LIFCase`."""

    steps: int = 20
    batch: int = 2
    neurons: int = 21
    dtype: torch.dtype = torch.float64
    decay_input: bool = False
    per_neuron: bool = True
    start: bool = True
    spoilt: str = ""
    strided: bool = False
    learns: tuple[str, ...] = ("current", "v0", "decay")
    uses: tuple[str, ...] = ("output", "state")
    seed: int = 0

    def inputs(self) -> Inputs:
        """Current, initial membrane and decay."""
        draw = partial(torch.randn, generator=torch.Generator().manual_seed(self.seed), dtype=self.dtype)
        decay = draw((self.neurons,) if self.per_neuron else ()).sigmoid()
        v0 = draw(self.batch, self.neurons) if self.start else None
        current = draw(self.steps, self.batch, self.neurons)
        spoil(current, self.spoilt, self.steps // 3, 0, self.neurons // 2)
        return {"current": current, "v0": v0, "decay": decay}


def integrator_contract(run: Implementation, case: IntegratorCase) -> None:
    """Hold an implementation of :func:`leaky_integrator` to the reference."""
    reference = partial(leaky_integrator, backend="reference")
    options = {"decay_input": case.decay_input}
    compare(run, reference, case.inputs(), options, case.learns, case.uses, case.strided, case.seed)


def integrator_cases() -> Iterator[IntegratorCase]:
    """Options, sizes, strides and partial gradients."""
    for dtype, decay_input, per_neuron, start in product(
        (torch.float64, torch.float32), (False, True), (False, True), (False, True)
    ):
        yield IntegratorCase(dtype=dtype, decay_input=decay_input, per_neuron=per_neuron, start=start)
    for steps, batch, neurons in ((0, 2, 3), (1, 1, 1), (9, 1, 63), (9, 1, 513), (9, 3, 341), (5, 2, 512)):
        yield IntegratorCase(steps=steps, batch=batch, neurons=neurons)
    yield IntegratorCase(strided=True, batch=5, neurons=130)
    for name in ("current", "v0", "decay"):
        yield IntegratorCase(learns=(name,), decay_input=True)
    for used in ("output", "state"):
        yield IntegratorCase(uses=(used,))
    for spoilt, decay_input in product(NO_NUMBERS, (False, True)):
        yield IntegratorCase(spoilt=spoilt, decay_input=decay_input)


@dataclass(frozen=True)
class DelayCase:
    """A setting of the delay layer. ``whole`` puts every delay on a step, both ends of the window included; ``wide`` is
    added to sigma. ``spoilt`` is an input of the first sample at one step, NaN, infinite or huge."""

    steps: int = 17
    batch: int = 2
    inputs_: int = 5
    outputs: int = 4
    count: int = 1
    max_delay_steps: int = 7
    taps: str = "gaussian"
    sharing: str = "synapse"
    sigma_each: bool = False
    wide: float = 0.0
    whole: bool = False
    start: bool = True
    spoilt: str = ""
    strided: bool = False
    dtype: torch.dtype = torch.float64
    learns: tuple[str, ...] = ("x", "weight", "delay", "sigma", "history")
    uses: tuple[str, ...] = ("output", "state")
    seed: int = 0

    def inputs(self) -> Inputs:
        """Input, weights, delays, width and history."""
        generator = torch.Generator().manual_seed(self.seed)
        draw = partial(torch.rand, generator=generator, dtype=self.dtype)
        shape = (self.outputs, self.inputs_, self.count)
        delay_shape = (
            1 if self.sharing == "axon" else self.outputs, 1 if self.sharing == "dendrite" else self.inputs_, self.count
        )  # fmt: skip
        delay = draw(delay_shape) * self.max_delay_steps
        return {
            "x": (draw(self.steps, self.batch, self.inputs_) < 0.4).to(self.dtype) * 2,
            "weight": draw(shape) * 2 - 1,
            "delay": delay.round() if self.whole else delay,
            "sigma": draw(shape if self.sigma_each else ()) + 0.4 + self.wide,
            "history": draw(self.max_delay_steps, self.batch, self.inputs_) if self.start else None,
        }


def delay_contract(run: Implementation, case: DelayCase) -> None:
    """Hold an implementation of :func:`delayed_linear` to the reference."""
    options = {"max_delay_steps": case.max_delay_steps, "taps": case.taps}
    if case.spoilt:
        assert_causal(partial(run, **options), case.inputs(), case.spoilt, case.max_delay_steps)
        return
    reference = partial(delayed_linear, backend="reference")
    compare(run, reference, case.inputs(), options, case.learns, case.uses, case.strided, case.seed)


def assert_causal(run: Implementation, inputs: Inputs, value: str, longest: int) -> None:
    """An input that is NaN, infinite or huge reaches the steps up to the longest delay after it, and nothing else."""
    at = len(inputs["x"]) // 2
    before, _ = run(**inputs)
    spoilt = inputs["x"].clone()
    spoil(spoilt, value, at, *[0] * (spoilt.ndim - 1))
    after, state = run(**{**inputs, "x": spoilt})
    reached = torch.zeros(before.shape, dtype=torch.bool)
    reached[at : at + longest + 1, 0] = True
    assert_same(after.masked_fill(reached, 0), before.masked_fill(reached, 0), "output that the input cannot reach")
    full = torch.cat([inputs["x"][:0] if inputs["history"] is None else inputs["history"], spoilt])
    assert equal(state[-1:], full[len(full) - longest :][-1:]).all(), "the state is not the last inputs"
    changed = after[at : at + longest + 1, 0] - before[at : at + longest + 1, 0]
    assert not (changed.nan_to_num(1e9).abs() < 1).all(), f"an input of {value} had no effect"
    if not math.isfinite(float(value)):
        assert not after[at : at + longest + 1, 0].isfinite().all(), f"an input of {value} was swallowed"


def delay_cases() -> Iterator[DelayCase]:
    """Taps, sharing, counts, integer delays, sizes, strides and partial gradients."""
    for taps, sharing, whole in product(
        ("gaussian", "triangle", "linear", "linear_normalized"), ("synapse", "axon", "dendrite"), (False, True)
    ):
        case = DelayCase(taps=taps, sharing=sharing, whole=whole)
        yield case
        yield replace(case, count=2, sigma_each=True, seed=1)
        yield replace(case, dtype=torch.float32, start=False)
    for steps, max_delay_steps in ((0, 7), (0, 0), (1, 7), (1, 0), (5, 0), (3, 24), (40, 1), (7, 7)):
        yield DelayCase(steps=steps, max_delay_steps=max_delay_steps)
        yield DelayCase(steps=steps, max_delay_steps=max_delay_steps, start=False, taps="linear")
    # Wide taps and long windows, sigma fixed as recipes have it; blocks of several lengths.
    for sharing, dtype in product(("synapse", "axon", "dendrite"), (torch.float64, torch.float32)):
        fixed = ("x", "weight", "delay", "history")
        case = DelayCase(max_delay_steps=40, steps=30, sharing=sharing, dtype=dtype, learns=fixed)
        yield replace(case, wide=20.0)
        yield replace(case, wide=9.0, count=2, steps=200)
        yield replace(case, wide=1.0, count=2, steps=200)
    for batch, inputs, outputs in ((1, 1, 1), (3, 63, 1), (1, 2, 65)):
        yield DelayCase(batch=batch, inputs_=inputs, outputs=outputs, count=2)
    yield DelayCase(strided=True, count=2, sigma_each=True)
    for name in ("x", "weight", "delay", "sigma", "history"):
        yield DelayCase(learns=(name,))
    for used in ("output", "state"):
        yield DelayCase(uses=(used,))
    for spoilt, start, dtype in product((*NO_NUMBERS, "1e18"), (False, True), (torch.float32, torch.float64)):
        yield DelayCase(spoilt=spoilt, start=start, dtype=dtype, steps=40)
        yield DelayCase(spoilt=spoilt, start=start, dtype=dtype, steps=90, max_delay_steps=20, wide=9.0)
        yield DelayCase(spoilt=spoilt, start=start, dtype=dtype, steps=30, taps="linear", whole=True, count=2)


def implementation(public: Implementation, example: dict[str, Any], name: str) -> Implementation:
    """The public function with a backend named, on the device which that backend serves; skips where it serves none."""
    module = sys.modules[public.__module__]
    backend = next(b for b in module.OPERATION.backends if b.name == name)
    reason = "no device"
    for device in ("cpu", "cuda") if torch.cuda.is_available() else ("cpu",):
        reason = backend.refuses({k: v.to(device) if isinstance(v, Tensor) else v for k, v in example.items()})
        if reason is None:
            return partial(_on_device, public, name, device)
    pytest.skip(f"{name}: {reason}")


def _on_device(public: Implementation, name: str, device: str, **arguments: Any) -> tuple[Tensor, Tensor]:
    moved = {k: v.to(device) if isinstance(v, Tensor) else v for k, v in arguments.items()}
    y, state = public(**moved, backend=name)
    return y.cpu(), state.cpu()


def fast_backends(operation: Operation) -> list[str]:
    """Every backend but the reference, one_step (its own test), and those of a GPU, which test_cuda_gpu.py compares."""
    names = [backend.name for backend in operation.backends if backend.name != "reference"]
    return [name for name in names if not name.endswith(("cupy", "numba_cuda", "one_step"))]


def case_name(case: Any) -> str:
    """What makes a case differ from the plain one, for the test's name."""
    plain = type(case)()
    changed = [(name, value) for name, value in vars(case).items() if value != getattr(plain, name)]
    words = (f"{name}={'+'.join(value) if isinstance(value, tuple) else value}" for name, value in changed)
    return ",".join(words).replace("torch.", "").replace(" ", "") or "plain"
