"""WKV in plain torch without a loop over time: an associative scan by halves, on any device.

An element is a run of steps with the sums over it, as of its last step. Two neighbours join into one; when the right
one is ``span`` steps long, what the left one holds has aged by ``span``. Joining neighbours gives a scan of half the
length, and its results, joined with the elements between them, the rest: 2 log2(time) passes, about two joins a step.
"""

import torch
from torch import Tensor

from snn_delays.ops.wkv import REST_EXPONENT, WKVState


def run(key: Tensor, value: Tensor, log_decay: Tensor, bonus: Tensor, state: WKVState) -> tuple[Tensor, WKVState]:
    """See :func:`snn_delays.ops.wkv.wkv`."""
    steps = _single(key, value)
    first = state._replace(exponent=state.exponent.detach())
    start = WKVState(*(torch.cat([part[None], rest]) for part, rest in zip(first, steps)))
    sums = _inclusive(start, log_decay, 1)
    before, after = (WKVState(*(part[at] for part in sums)) for at in (slice(-1), -1))
    joined = _join(before, _single(key + bonus, value), 0.0)
    return joined.numerator / joined.denominator, after


def _single(key: Tensor, value: Tensor) -> WKVState:
    """Steps by themselves. Exponents carry no gradient: that of the key comes through a factor ``e^0``."""
    exponent = key.detach().clamp(min=REST_EXPONENT)  # a key of -inf: nothing
    weight = torch.exp(key - exponent)
    return WKVState(weight * value, weight, exponent)


def _join(left: WKVState, right: WKVState, aging: Tensor | float) -> WKVState:
    aged = left.exponent + aging
    exponent = torch.maximum(aged, right.exponent).detach()
    past, now = torch.exp(aged - exponent), torch.exp(right.exponent - exponent)
    return WKVState(
        past * left.numerator + now * right.numerator, past * left.denominator + now * right.denominator, exponent
    )


def _inclusive(elements: WKVState, log_decay: Tensor, span: int) -> WKVState:
    """The sums up to each element; all but the first are ``span`` steps long."""
    length = len(elements.exponent)
    if length == 1:
        return elements
    pairs = _join(_every(elements, 0, length - 1), _every(elements, 1, length), span * log_decay)
    odd = _inclusive(pairs, log_decay, 2 * span)
    # Those after the first at even places: each joined with all that comes before it.
    later = _every(elements, 2, length)
    even = _join(WKVState(*(part[: len(later.exponent)] for part in odd)), later, span * log_decay)
    return WKVState(*(_interleave(*parts) for parts in zip(elements, even, odd)))


def _every(elements: WKVState, start: int, stop: int) -> WKVState:
    return WKVState(*(part[start:stop:2] for part in elements))


def _interleave(elements: Tensor, even: Tensor, odd: Tensor) -> Tensor:
    result = torch.empty_like(elements)
    result[0], result[1::2], result[2::2] = elements[0], odd, even
    return result
