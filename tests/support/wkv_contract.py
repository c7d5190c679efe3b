"""The contract of WKV: the cases every implementation is held to, and versions wrong in one named way each."""

from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from functools import partial
from itertools import product
from typing import Any

import pytest
import torch
from torch import Tensor

from snn_delays.ops.wkv import OPERATION, REST_EXPONENT, WKVState, wkv
from tests.support.comparison import RELATIVE, Inputs, assert_same, evaluate, gradients

WKV = Callable[..., tuple[Tensor, WKVState]]
TENSORS = ("key", "value", "log_decay", "bonus", "numerator", "denominator")


@dataclass(frozen=True)
class WKVCase:
    """A setting of WKV. ``gain`` scales the keys; ``extreme`` puts them at +-80 and decays from 1e-3 to 20; ``masked``
    makes some keys -inf."""

    steps: int = 20
    batch: int = 2
    neurons: int = 21
    dtype: torch.dtype = torch.float64
    gain: float = 1.0
    extreme: bool = False
    masked: bool = False
    start: bool = True
    strided: bool = False
    learns: tuple[str, ...] = TENSORS
    uses: tuple[str, ...] = ("output", "numerator", "denominator")
    seed: int = 0

    def inputs(self) -> Inputs:
        """Keys, values, decay, bonus and the sums before; the first neuron of a state has none."""
        draw = partial(torch.randn, generator=torch.Generator().manual_seed(self.seed), dtype=self.dtype)
        lanes = (self.batch, self.neurons)
        key, value = self.gain * draw(self.steps, *lanes), draw(self.steps, *lanes)
        log_decay, bonus = -torch.exp(1.5 * draw(self.neurons)), 2 * draw(self.neurons)
        denominator, exponent = draw(lanes).exp(), self.gain * draw(lanes)
        numerator = denominator * draw(lanes)
        if self.extreme:
            key, exponent = 80 * key.sign(), 80 * exponent.sign()
            log_decay = -torch.logspace(-3, 1.30103, self.neurons, dtype=self.dtype)
        if self.masked:
            key[1:] = torch.where(draw(key[1:].shape) > 0.5, -torch.inf, key[1:])
        for part, empty in ((numerator, 0), (denominator, 0), (exponent, REST_EXPONENT)):
            part[:, 0] = empty
        sums = {"numerator": numerator, "denominator": denominator, "exponent": exponent}
        return {"key": key, "value": value, "log_decay": log_decay, "bonus": bonus} | {
            name: part if self.start else None for name, part in sums.items()
        }


def wkv_contract(run: WKV, case: WKVCase) -> None:
    """Hold an implementation of :func:`wkv` to the reference: output, the true sums after the last step, gradients."""
    (want_y, *want), want_leaves = evaluate(
        _flat(partial(wkv, backend="reference")), case.inputs(), {}, case.learns, False
    )
    (got_y, *got), got_leaves = evaluate(_flat(run), case.inputs(), {}, case.learns, case.strided)
    assert_same(got_y, want_y, "output")
    assert got[2].dtype == want[2].dtype, "dtype of the exponent"
    assert not got[2].requires_grad, "the exponent is a scale, no gradient passes through it"
    scale = _compare_sums(got, want)
    draw = partial(torch.randn, generator=torch.Generator().manual_seed(case.seed + 1), dtype=case.dtype)
    names = ("output", "numerator", "denominator")
    cotangents = [draw(y.shape) if name in case.uses else None for name, y in zip(names, (want_y, *want))]
    expected = gradients((want_y, *want[:2]), cotangents, want_leaves, False)
    # Sums kept in another scale have gradients in the inverse one.
    scaled = [g if g is None or i == 0 else g * scale for i, g in enumerate(cotangents)]
    found = gradients((got_y, *got[:2]), scaled, got_leaves, case.strided)
    for name in expected:
        assert_same(found[name], expected[name], f"gradient of {name}")


def _flat(run: WKV) -> Callable[..., tuple[Tensor, ...]]:
    def call(numerator: Tensor | None, denominator: Any, exponent: Any, **tensors: Tensor) -> tuple[Tensor, ...]:
        y, after = run(**tensors, state=None if numerator is None else WKVState(numerator, denominator, exponent))
        return y, *after

    return call


def _compare_sums(got: list[Tensor], want: list[Tensor]) -> Tensor:
    """Sums must agree relative to their weight, in whatever scale; returns that scale over the reference's."""
    for name, g, w in zip(WKVState._fields, got, want):
        assert g.shape == w.shape, f"{name}: shape {tuple(g.shape)}, the reference has {tuple(w.shape)}"
    common = torch.maximum(got[2], want[2])
    (gp, gq), (wp, wq) = ([part.detach() * torch.exp(s[2] - common) for part in s[:2]] for s in (got, want))
    weight = torch.maximum(gq.abs(), wq.abs()).clamp(min=torch.finfo(wq.dtype).tiny)
    size = torch.maximum(weight, wp.abs())
    bound = RELATIVE[wq.dtype]
    for name, off in (("numerator", (gp - wp) / size), ("denominator", (gq - wq) / weight)):
        worst = float(off.abs().max()) if off.numel() else 0.0
        assert worst <= bound, f"final {name}: off by {worst:.3g} of the weight"  # also fails on NaN
    return torch.exp((got[2] - want[2]).clamp(-50, 50))


def wkv_cases() -> Iterator[WKVCase]:
    """Sizes of keys, sizes of tensors, with and without state, strides and partial gradients."""
    for dtype, gain, start in product((torch.float64, torch.float32), (1.0, 30.0), (False, True)):
        yield WKVCase(dtype=dtype, gain=gain, start=start)
    for dtype, start in product((torch.float64, torch.float32), (False, True)):
        yield WKVCase(dtype=dtype, extreme=True, start=start)
        yield WKVCase(dtype=dtype, masked=True, start=start)
    yield WKVCase(gain=300.0)
    for steps, batch, neurons in ((0, 2, 3), (1, 1, 1), (2, 1, 5), (3, 2, 2), (9, 1, 63), (9, 1, 513), (9, 3, 341),
                                  (5, 2, 512), (67, 1, 4)):  # fmt: skip
        yield WKVCase(steps=steps, batch=batch, neurons=neurons)
        yield WKVCase(steps=steps, batch=batch, neurons=neurons, dtype=torch.float32, start=False)
    yield WKVCase(strided=True, batch=5, neurons=130)
    yield WKVCase(strided=True, batch=5, neurons=130, dtype=torch.float32)
    for name in TENSORS:
        yield WKVCase(learns=(name,))
    plain = WKVCase()
    yield replace(plain, learns=())
    for used in plain.uses:
        yield replace(plain, uses=(used,))


def wkv_implementation(name: str) -> WKV:
    """:func:`wkv` with a backend named, on the device which that backend serves; skips where it serves none."""
    backend = next(b for b in OPERATION.backends if b.name == name)
    reason = "no device"
    for device in ("cpu", "cuda") if torch.cuda.is_available() else ("cpu",):
        reason = backend.refuses(_moved(OPERATION.example(), device))
        if reason is None:
            return partial(_on_device, name, device)
    pytest.skip(f"{name}: {reason}")


def _moved(call: dict[str, Any], device: str) -> dict[str, Any]:
    state = call["state"]
    tensors = {k: v.to(device) for k, v in call.items() if k != "state"}
    return tensors | {"state": state and WKVState(*(part.to(device) for part in state))}


def _on_device(name: str, device: str, **call: Any) -> tuple[Tensor, WKVState]:
    y, after = wkv(**_moved(call, device), backend=name)
    return y.cpu(), WKVState(*(part.cpu() for part in after))


MUTATIONS = (
    "bonus ignored", "bonus added to the past", "decay ignored", "decay of the wrong sign", "one decay for all neurons",
    "decay applied once too often", "decay applied once too seldom", "own step counted twice", "own step left out",
    "output one step late", "not divided", "numerator's sign lost", "lanes over 512 wrong",
    "no maximum", "maximum of the past only", "one maximum for all time",
    "state ignored", "state's exponent ignored", "state aged once too often", "state's gradient missing",
    "state's numerator without gradient", "state's denominator without gradient", "final state one step early",
    "final state aged once too often", "final exponent left out", "final state's gradient ignored",
    "final numerator's gradient ignored", "final denominator's gradient ignored", "gradient through the final exponent",
    "decay gradient missing", "decay gradient missing in the final state", "bonus gradient missing",
    "key gradient missing", "key gradient missing the past part", "key gradient missing the own part",
    "key gradient missing in the denominator", "value gradient missing the future part",
    "value gradient missing the own part", "last step's gradient lost", "writes into its input",
)  # fmt: skip


def mutant_wkv(mutation: str | None = None) -> WKV:
    """WKV by its definition: every step weighs all steps before it, and the state as one more."""
    assert mutation is None or mutation in MUTATIONS

    def wrong(name: str) -> bool:
        assert name in MUTATIONS
        return mutation == name

    def held(tensor: Tensor, name: str) -> Tensor:
        return tensor.detach() if wrong(name) else tensor

    def run(
        key: Tensor, value: Tensor, log_decay: Tensor, bonus: Tensor, state: WKVState | None = None
    ) -> tuple[Tensor, WKVState]:
        if wrong("writes into its input"):
            key.data.mul_(1 + 1e-3)
        steps, last = len(key), torch.arange(len(key))[:, None, None] == len(key) - 1
        if wrong("last step's gradient lost"):
            key, value = (torch.where(last, x.detach(), x) for x in (key, value))
        u = bonus * 0 if wrong("bonus ignored") else held(bonus, "bonus gradient missing")
        w = log_decay * {"decay ignored": 0, "decay of the wrong sign": -1}.get(mutation, 1)
        w = w[:1].expand_as(w) if wrong("one decay for all neurons") else w
        w = held(w, "decay gradient missing")
        key = held(key, "key gradient missing")
        nothing = key.new_zeros(key.shape[1:])
        p, q, o = (nothing, nothing, nothing + REST_EXPONENT) if state is None else state
        p = held(held(p, "state's gradient missing"), "state's numerator without gradient")
        q = held(held(q, "state's gradient missing"), "state's denominator without gradient")
        p, q = (p * 0, q * 0) if wrong("state ignored") else (p, q)
        o = o * 0 if wrong("state's exponent ignored") else o + w.detach() * wrong("state aged once too often")

        keys = torch.cat([o[None], key])
        values = torch.cat([p[None], value])
        ones = torch.cat([q[None], torch.ones_like(key)])
        earlier = held(keys, "key gradient missing the past part") + u * wrong("bonus added to the past")
        lag = torch.arange(steps)[:, None] - torch.arange(steps + 1)  # state and steps at 0, 1, ...; < 0: not yet
        shift = wrong("decay applied once too often") - wrong("decay applied once too seldom")
        past = (lag + shift)[..., None, None] * w + earlier
        past = past.masked_fill(lag[..., None, None] < -wrong("own step counted twice"), -torch.inf)
        own = u + held(key, "key gradient missing the own part")
        own = own - torch.inf if wrong("own step left out") else own
        top = past.amax(1).detach()
        top = top if wrong("maximum of the past only") else torch.maximum(top, own.detach())
        top = top * 0 if wrong("no maximum") else top
        top = top.amax(0) + top * 0 if wrong("one maximum for all time") and steps else top
        past, own = torch.exp(past - top[:, None]), torch.exp(own - top)
        later_values = held(values, "value gradient missing the future part")
        numerator = (past * later_values).sum(1) + own * held(value, "value gradient missing the own part")
        numerator = numerator.abs() if wrong("numerator's sign lost") else numerator
        denominator = held((past * ones).sum(1) + own, "key gradient missing in the denominator")
        y = numerator if wrong("not divided") else numerator / denominator
        if wrong("lanes over 512 wrong"):
            y = y * (torch.arange(nothing.numel()).view(nothing.shape) < 512)
        if wrong("output one step late"):
            y = torch.cat([value[:1], y])[:steps]

        stop = steps - (wrong("final state one step early") and steps > 0)
        age = (stop - torch.arange(stop + 1))[:, None, None] + wrong("final state aged once too often")
        weights = age * held(w, "decay gradient missing in the final state") + keys[: stop + 1]
        exponent = weights.amax(0)
        exponent = exponent if wrong("gradient through the final exponent") else exponent.detach()
        sums = [(torch.exp(weights - exponent) * part[: stop + 1]).sum(0) for part in (values, ones)]
        for i, name in enumerate(("final numerator's gradient ignored", "final denominator's gradient ignored")):
            sums[i] = held(held(sums[i], name), "final state's gradient ignored")
        exponent = exponent.detach() * (not wrong("final exponent left out"))
        return y, WKVState(*sums, exponent)

    return run
