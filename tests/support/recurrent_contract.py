"""The contract of ``recurrent_lif``: every implementation equals the loop, outputs, final state and all gradients."""

from collections.abc import Iterator
from dataclasses import dataclass, replace
from functools import partial
from itertools import product
from typing import Any

import torch

from snn_delays.ops import Surrogate, Triangle, recurrent_lif
from tests.support.comparison import Implementation, Inputs, compare, spoil
from tests.support.contracts import PLAIN


@dataclass(frozen=True)
class RecurrentCase:
    """A setting of a recurrent population; ``wide`` is added to sigma, ``spoilt`` is a current that is no number."""

    steps: int = 25
    batch: int = 3
    neurons: int = 11
    count: int = 1
    least: int = 1
    longest: int = 7
    sharing: str = "axon"
    taps: str = "delrec"
    wide: float = 0.0
    sigma_each: str = ""
    reset: str = "hard"
    detach_reset: bool = True
    decay_input: bool = False
    strict: bool = False
    v_reset: float = -0.25
    surrogate: Surrogate = PLAIN
    start: bool = True
    masked: bool = False
    spoilt: str = ""
    strided: bool = False
    dtype: torch.dtype = torch.float64
    learns: tuple[str, ...] = ("current", "weight", "delay", "sigma", "history", "v0")
    uses: tuple[str, ...] = ("output", "state")
    seed: int = 0

    def inputs(self) -> Inputs:
        """Current, synapses, what came before, and neurons' constants."""
        draw = partial(torch.rand, generator=torch.Generator().manual_seed(self.seed), dtype=self.dtype)
        n = self.neurons
        delay = draw(*self._shape(self.sharing)) * (self.longest - self.least) + self.least
        current = (draw(self.steps, self.batch, n) * 1.8 - 0.3) * (2 if self.decay_input else 1)
        spoil(current, self.spoilt, self.steps // 3, 0, n // 2)
        return {
            "current": current,
            "weight": (draw(n, n, self.count) - 0.5) / 2,
            "delay": delay.round() if self.taps == "linear" else delay,
            "sigma": draw(self._shape(self.sigma_each) if self.sigma_each else ()) + 0.4 + self.wide,
            "history": (draw(self.longest, self.batch, n) < 0.2).to(self.dtype) if self.start else None,
            "v0": draw(self.batch, n) - 0.3 if self.start else None,
            "mask": (draw(self.batch, n) < 0.7).to(self.dtype) / 0.7 if self.masked else None,
            "decay": draw(n) * 0.6 + 0.3,
            "threshold": draw(n) * 0.8 + 0.6,
        }

    def _shape(self, sharing: str) -> tuple[int, int, int]:
        n = self.neurons
        return 1 if sharing in ("axon", "layer") else n, 1 if sharing in ("dendrite", "layer") else n, self.count

    def options(self) -> dict[str, Any]:
        """Keyword arguments that are no tensors."""
        names = ("taps", "reset", "detach_reset", "decay_input", "strict", "v_reset", "surrogate")
        window = {"min_delay_steps": self.least, "max_delay_steps": self.longest}
        return {**window, **{name: getattr(self, name) for name in names}}


def recurrent_contract(run: Implementation, case: RecurrentCase) -> None:
    """Hold an implementation of :func:`recurrent_lif` to the loop."""
    reference = partial(recurrent_lif, backend="reference")
    compare(run, reference, case.inputs(), case.options(), case.learns, case.uses, case.strided, case.seed)


def recurrent_cases() -> Iterator[RecurrentCase]:
    """Sharings, taps, windows narrow and wide, options of neurons, sizes, strides and partial gradients."""
    plain = RecurrentCase()
    for sharing, taps in product(("axon", "synapse", "dendrite", "layer"), ("gaussian", "delrec", "linear")):
        case = replace(plain, sharing=sharing, taps=taps)
        yield case
        yield replace(case, count=2, least=3, masked=True, seed=1)
    for sharing in ("axon", "synapse"):
        case = replace(plain, sharing=sharing)
        yield replace(case, longest=30, seed=2)
        yield replace(case, longest=45, steps=20, wide=9.0, seed=3)
        yield replace(case, batch=70, steps=9, seed=4)
        yield replace(case, sigma_each="axon")
        yield replace(case, sigma_each="synapse", count=2)
        yield replace(case, least=4, longest=4, taps="linear")
        yield replace(case, start=False)
        yield replace(case, strided=True)
        for reset, detach, strict, decay_input in product(("hard", "soft"), *[(False, True)] * 3):
            yield replace(
                case, reset=reset, detach_reset=detach, strict=strict, decay_input=decay_input,
                surrogate=Triangle(0.7, 0.3), neurons=17,
            )  # fmt: skip
        for name in plain.learns:
            yield replace(case, learns=(name,))
        for spoilt in ("nan", "inf"):
            yield replace(case, spoilt=spoilt, learns=())
    few = replace(plain, sharing="dendrite", taps="linear", count=2, longest=40, least=2, steps=60, batch=35)
    yield few
    yield replace(few, sharing="synapse", taps="delrec", count=1, masked=True, dtype=torch.float64)
    for steps, batch, neurons in ((1, 1, 1), (0, 2, 3), (3, 0, 4), (5, 33, 1)):
        yield replace(plain, steps=steps, batch=batch, neurons=neurons)
        yield replace(plain, steps=steps, batch=batch, neurons=neurons, sharing="synapse")
