"""A recurrent population in Numba: all steps in one kernel, the samples of a batch shared out over threads."""

from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from snn_delays.ops.backends import refuses_off_cpu
from snn_delays.ops.delay.taps import few_taps, tap_count
from snn_delays.ops.lanes import array
from snn_delays.ops.lif.function import LIFNeurons, LIFOptions, surrogate_numbers
from snn_delays.ops.matmul import linear
from snn_delays.ops.recurrent import numba_kernels as kernels
from snn_delays.ops.recurrent.function import Feedback, Gradients, RecurrentKernels, Start, refuses_neurons, shared
from snn_delays.ops.surrogate import Surrogate
from snn_delays.ops.threads import share_out
from snn_delays.ops.workspace import empty, scratch

LOST = 2.0**-4  # of the rounding of a sum: smaller numbers of a kernel do not count in it
FEW = 6  # how much dearer a tap is one by one than in a row of all lags
DENSE = 5.0  # how much dearer a number of a kernel is one by one than in a matrix product


def refuses(
    current: Tensor, weight: Tensor, decay: Tensor, threshold: Tensor, surrogate: Surrogate | None, **_: Any
) -> str | None:
    """Serves float32 and float64 on the CPU with the surrogates of this package and constants that do not learn."""
    return refuses_off_cpu(current=current, weight=weight) or refuses_neurons(decay, threshold, surrogate)


class _NumbaKernels(RecurrentKernels):
    def feedback(self, weight: Tensor, delay: Tensor, sigma: Tensor, least: int, longest: int, taps: str) -> Feedback:
        """Where a synapse has few taps in a wide window, those alone."""
        within, spread = delay - least, longest - least
        if shared(delay, sigma) or tap_count(within, sigma, spread, taps) * weight.shape[2] * FEW > spread + 1:
            return super().feedback(weight, delay, sigma, least, longest, taps)
        start, values = few_taps(weight, within, sigma, spread, taps)
        return Feedback(values, None, least, start)

    def forward(
        self, current: Tensor, start: Start, feedback: Feedback, neurons: LIFNeurons, options: LIFOptions, keep_h: bool
    ) -> tuple[Tensor, Tensor, Tensor]:
        """See :class:`RecurrentKernels`."""
        x, history, v0, mask = array(current), *_before(start)
        h, spikes = (empty(x.shape if kept else (0, *x.shape[1:]), current.dtype) for kept in (keep_h, True))
        v = torch.empty(start.v0.shape, dtype=current.dtype)
        constants = (*map(array, neurons), x.dtype.type(options.v_reset), options.soft_reset, options.strict)
        outputs = (h.numpy(), spikes.numpy(), v.numpy())
        if feedback.taps is None:
            line, kernel = [*_rows(feedback)[:3]], kernels.forward_own
        else:
            line, kernel = [array(feedback.weight.T), array(feedback.taps)], kernels.forward_shared
        share_out(lambda a, b: kernel(a, b, x, history, *line, feedback.least, mask, v0, *constants, *outputs), len(v0))
        return h, spikes, v

    def backward(
        self, grad_spikes: Tensor, grad_v: Tensor, h: Tensor, start: Start, feedback: Feedback, neurons: LIFNeurons,
        options: LIFOptions, for_feedback: bool,
    ) -> Gradients:  # fmt: skip
        """See :class:`RecurrentKernels`."""
        numbers, history, _, mask = array(h), *_before(start)
        of_v0 = grad_v.clone(memory_format=torch.contiguous_format)
        grads = Gradients(empty(h.shape, h.dtype), torch.empty(start.history.shape, dtype=h.dtype), of_v0)
        outputs = [grad.numpy() for grad in (grads.current, grads.v0, grads.history)]
        kind, *shape = surrogate_numbers(options.surrogate)
        number = numbers.dtype.type
        constants: list[Any] = [
            *map(array, neurons),
            number(options.v_reset), options.soft_reset, options.detach_reset, options.strict, kind, *map(number, shape)
        ]  # fmt: skip
        given = (array(grad_spikes), numbers)
        if feedback.taps is None:
            return self._backward_own(given, start, feedback, constants, outputs, grads, for_feedback)
        weight, taps = array(feedback.weight), array(feedback.taps)
        traces = scratch("traces", (*h.shape[:2], taps.shape[1]), h.dtype)
        line, of_taps = (history, weight, taps, feedback.least, mask), dict[int, np.ndarray]()

        def part(a: int, b: int) -> None:
            of_taps[a] = kernels.backward_shared(a, b, *given, *line, *constants, *outputs, traces.numpy())

        share_out(part, h.shape[1])
        if for_feedback:
            fed = (grads.current if start.mask is None else grads.current * start.mask).flatten(0, 1)
            grads = grads._replace(
                weight=linear(fed.T, traces.flatten(0, 1).T),
                taps=torch.from_numpy(np.sum([of_taps[a] for a in sorted(of_taps)], 0)),
            )
        return grads

    def _backward_own(
        self, given: tuple[np.ndarray, np.ndarray], start: Start, feedback: Feedback, constants: list[Any],
        outputs: list[np.ndarray], grads: Gradients, for_feedback: bool,
    ) -> Gradients:  # fmt: skip
        (grad_spikes, h), least, (history, _, mask) = given, feedback.least, _before(start)
        rows, place, size, lags = _rows(feedback)
        (steps, batch, targets), before = h.shape, len(history)
        grad_fed = scratch("gradients", (batch, (before + steps + least) * targets + size), feedback.weight.dtype)
        grad_fed[:, : before * targets] = 0
        grad_fed[:, (before + steps) * targets :] = 0
        out = (*outputs, grad_fed.numpy())
        begin, which, values = kernels.terms_of(rows, LOST * np.finfo(rows.dtype).eps)
        if len(place):
            which = place[np.repeat(np.arange(len(rows)), np.diff(begin)), which]
        if len(place) or len(which) * DENSE < rows.size:
            share_out(
                lambda a, b: kernels.backward_own(
                    a, b, grad_spikes, h, begin, which, values, lags, least, mask, *constants, *out
                ),
                -(-batch // kernels.LANES),
            )
        else:
            columns = torch.from_numpy(rows)

            def scan(a: int, b: int) -> None:
                for t in range(steps - 1, -before - 1, -1):
                    at = (before + t) * targets
                    gs = linear(grad_fed[a:b, at + least * targets :][:, : rows.shape[1]], columns)
                    if t < 0:
                        grads.history[before + t, a:b] = gs
                        continue
                    into = gs.numpy()
                    into += grad_spikes[t, a:b]
                    grad_x, grad_v, _, sent = out
                    kernels.backward_step(a, b, t, at, into, h, mask, *constants, grad_x, grad_v, sent)

            share_out(scan, batch)
        if not for_feedback:
            return grads
        grad_rows = empty(rows.shape, feedback.weight.dtype)
        threshold, strict = constants[1], constants[6]
        share_out(
            lambda a, b: kernels.grad_rows_own(
                a, b, grad_fed.numpy(), h, threshold, strict, history, place, least, grad_rows.numpy()
            ),
            targets,
        )
        if feedback.start is None:
            return grads._replace(weight=grad_rows.view(targets, lags, targets).permute(1, 2, 0))
        taps, _, _, count = feedback.weight.shape
        of_taps = grad_rows[:, : targets * taps * count].view(targets, targets, taps, count)
        return grads._replace(weight=of_taps.permute(2, 1, 0, 3))


def _before(start: Start) -> list[np.ndarray]:
    mask = torch.ones_like(start.v0) if start.mask is None else start.mask
    return [array(start.history), array(start.v0), array(mask)]


def _rows(feedback: Feedback) -> tuple[np.ndarray, np.ndarray, int, int]:
    """What the kernels take as ``rows`` and ``place``, the numbers in a row that has all lags, and lags."""
    weight, start = feedback.weight.detach(), feedback.start
    targets = weight.shape[1]
    if start is None:
        rows = array(weight.permute(2, 0, 1)).reshape(targets, -1)
        return rows, np.empty((0, 0), np.int64), rows.shape[1], len(weight)
    lag = start + torch.arange(len(weight), dtype=start.dtype).view(-1, 1, 1, 1)
    place = lag.long() * targets + torch.arange(targets).view(1, -1, 1, 1)
    lags = int(lag.max()) + 1 if lag.numel() else 1
    parts = [part.permute(2, 1, 0, 3).flatten(1) for part in (weight, place)]
    padding = (0, -parts[0].shape[1] % kernels.TERMS)
    rows, places = (F.pad(part, padding).contiguous().numpy() for part in parts)
    return rows, places, lags * targets, lags


run = _NumbaKernels().run
