"""What every implementation of the depthwise filters is held to, and wrong versions that must not pass.

See contracts.py for how outputs, final state and gradients are compared.
"""

from collections.abc import Iterator
from dataclasses import dataclass, replace
from functools import partial

import torch
from torch import Tensor

from snn_delays.ops.depthwise import depthwise
from tests.support.comparison import NO_NUMBERS, Implementation, Inputs, compare, spoil


@dataclass(frozen=True)
class DepthwiseCase:
    """A setting of the filters. ``whole`` leaves one lag to every filter, the others exactly zero; ``spoilt`` is an
    input of one neuron at one step that is no number."""

    steps: int = 13
    batch: int = 2
    neurons: int = 21
    mixes: int = 3
    lags: int = 6
    whole: bool = False
    spoilt: str = ""
    start: bool = True
    strided: bool = False
    dtype: torch.dtype = torch.float64
    learns: tuple[str, ...] = ("x", "kernel", "history")
    uses: tuple[str, ...] = ("output", "state")
    seed: int = 0

    def inputs(self) -> Inputs:
        """Input, kernel and history."""
        draw = partial(torch.randn, generator=torch.Generator().manual_seed(self.seed), dtype=self.dtype)
        kernel = draw(self.lags, self.mixes, self.neurons)
        if self.whole:
            kernel = kernel * (kernel == kernel.amax(0))
        x = draw(self.steps, self.batch, self.neurons)
        spoil(x, self.spoilt, self.steps // 2, 0, self.neurons // 2)
        return {
            "x": x,
            "kernel": kernel,
            "history": draw(self.lags - 1, self.batch, self.neurons) if self.start else None,
        }


def depthwise_contract(run: Implementation, case: DepthwiseCase) -> None:
    """Hold an implementation of :func:`depthwise` to the reference."""
    reference = partial(depthwise, backend="reference")
    compare(run, reference, case.inputs(), {}, case.learns, case.uses, case.strided, case.seed)


def depthwise_cases() -> Iterator[DepthwiseCase]:
    """Lags, mixes, sizes, integer delays, strides and partial gradients. Two lags are the token shift."""
    for lags in (1, 2, 3, 4, 6, 9, 33):
        case = DepthwiseCase(lags=lags)
        yield case
        yield replace(case, dtype=torch.float32, start=False, seed=1)
        yield replace(case, whole=True)
        yield replace(case, strided=True, steps=9, neurons=70)
        for steps in (0, 1, 2, 3):
            yield replace(case, steps=steps)
            yield replace(case, steps=steps, start=False, mixes=2)
    for lags in (2, 6):
        case = DepthwiseCase(lags=lags)
        for mixes in (1, 2, 5):
            yield replace(case, mixes=mixes)
        for batch, neurons in ((1, 1), (1, 63), (1, 64), (3, 65), (1, 513)):
            yield replace(case, batch=batch, neurons=neurons)
        for steps in (63, 64, 65, 150):  # pieces
            yield replace(case, steps=steps, dtype=torch.float32)
        for name in case.learns:
            yield replace(case, learns=(name,))
            yield replace(case, learns=tuple(other for other in case.learns if other != name))
        yield replace(case, learns=())
        for used in case.uses:
            yield replace(case, uses=(used,))
    yield DepthwiseCase(lags=100, steps=70, neurons=3, batch=1)
    for spoilt in NO_NUMBERS:
        for lags in (1, 2, 6):
            yield DepthwiseCase(lags=lags, steps=70, neurons=70, spoilt=spoilt)


DEPTHWISE_MUTATIONS = (
    "kernel reversed", "one lag late", "one lag early", "last lag dropped", "first lag dropped", "padding on the right",
    "mixes swapped", "neurons swapped", "history ignored", "history reversed", "one history for all samples",
    "history's gradient missing", "input gradient of lag 0 only", "input gradient of lag 0 missing",
    "input gradient missing", "kernel gradient missing", "kernel gradient of the first lag missing",
    "kernel gradient of the last lag missing", "kernel gradient without the history",
    "kernel gradient of the last sample only", "zero taps without gradient", "gradient of the last mix missing",
    "gradient of the last step missing", "final history one step early", "final history without the first",
    "final history without gradient", "steps over 64 silent", "neurons over 64 silent", "neurons over 512 silent",
    "writes into its input",
)  # fmt: skip


def mutant_depthwise(mutation: str | None = None) -> Implementation:
    """Windows of the line times the kernel, all at once; wrong in one way if requested."""
    assert mutation is None or mutation in DEPTHWISE_MUTATIONS

    def wrong(name: str) -> bool:
        assert name in DEPTHWISE_MUTATIONS
        return mutation == name

    def products(line: Tensor, kernel: Tensor) -> Tensor:
        windows = line.unfold(0, len(kernel), 1)
        return torch.einsum("tbck,kmc->mtbc", windows, kernel.flip(0))

    def run(x: Tensor, kernel: Tensor, history: Tensor | None) -> tuple[Tensor, Tensor]:
        past, steps = len(kernel) - 1, len(x)
        history = x.new_zeros(past, *x.shape[1:]) if history is None else history
        final = torch.cat([history * 0 if wrong("final history without the first") else history, x])[steps:]
        if wrong("final history one step early") and steps:
            final = torch.cat([history, x])[steps - 1 : -1]
        final = final.detach() if wrong("final history without gradient") else final
        if wrong("writes into its input"):
            x.data.mul_(1 + 1e-3)
        history = history * 0 if wrong("history ignored") else history
        history = history.flip(0) if wrong("history reversed") else history
        history = history[:, :1].expand_as(history) if wrong("one history for all samples") else history
        history = history.detach() if wrong("history's gradient missing") else history
        if not steps:
            return x.new_zeros(kernel.shape[1], *x.shape), final
        taps, still = torch.arange(past + 1).view(-1, 1, 1), kernel.detach()
        kernel = kernel.flip(0) if wrong("kernel reversed") else kernel
        kernel = torch.cat([kernel[:1] * 0, kernel[:-1]]) if wrong("one lag late") else kernel
        kernel = torch.cat([kernel[1:], kernel[:1] * 0]) if wrong("one lag early") else kernel
        kernel = kernel * (taps < past) if wrong("last lag dropped") else kernel
        kernel = kernel * (taps > 0) if wrong("first lag dropped") else kernel
        kernel = kernel.flip(1) if wrong("mixes swapped") else kernel
        kernel = kernel.flip(2) if wrong("neurons swapped") else kernel
        kernel = still if wrong("kernel gradient missing") else kernel
        for name, where in (
            ("kernel gradient of the first lag missing", taps == 0),
            ("kernel gradient of the last lag missing", taps == past),
            ("zero taps without gradient", still == 0),
        ):
            kernel = torch.where(where, still, kernel) if wrong(name) else kernel
        line = torch.cat([history, x.detach() if wrong("input gradient missing") else x])
        if wrong("padding on the right"):
            line = torch.cat([x, history])
        y = products(line, kernel)
        if wrong("kernel gradient without the history"):
            blank = torch.cat([history * 0, x])
            y = products(blank, kernel) + products(line - blank, still)
        if wrong("kernel gradient of the last sample only"):
            y = torch.cat([products(line[:, :-1], still), products(line[:, -1:], kernel)], dim=2)
        now = (x - x.detach()) * still[0][:, None, None]  # nothing, but for its gradient
        y = products(torch.cat([history, x.detach()]), kernel) + now if wrong("input gradient of lag 0 only") else y
        y = y - now if wrong("input gradient of lag 0 missing") else y
        y = torch.cat([y[:-1], y[-1:].detach()]) if wrong("gradient of the last mix missing") else y
        y = torch.cat([y[:, :-1], y[:, -1:].detach()], 1) if wrong("gradient of the last step missing") else y
        for name, axis, most in (
            ("steps over 64 silent", 1, 64), ("neurons over 64 silent", 3, 64), ("neurons over 512 silent", 3, 512)
        ):  # fmt: skip
            if wrong(name):
                shape = [-1 if own == axis else 1 for own in range(4)]
                y = y * (torch.arange(y.shape[axis]) < most).view(shape)
        return y, final

    return run
