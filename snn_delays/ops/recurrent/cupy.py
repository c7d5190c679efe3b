"""A recurrent population as CUDA C kernels (``recurrent.cu``) through CuPy: a block a sample, all steps inside."""

from typing import Any

import torch
from torch import Tensor

from snn_delays.ops.cuda import cupy_launch
from snn_delays.ops.cuda.cupy_launch import Source
from snn_delays.ops.lif.function import LIFNeurons, LIFOptions, surrogate_numbers
from snn_delays.ops.recurrent.function import Feedback, Gradients, RecurrentKernels, Start, refuses_neurons
from snn_delays.ops.surrogate import ATan, Surrogate

SOURCE = Source("recurrent/recurrent.cu", contract=False, behind="lif/lif.cu")
MOST = 256  # threads of a block


def refuses(
    current: Tensor, weight: Tensor, decay: Tensor, threshold: Tensor, surrogate: Surrogate | None, **_: Any
) -> str | None:
    """Serves float32 and float64 on a CUDA GPU with the surrogates of this package and constants that do not learn."""
    given = {"current": current, "weight": weight}
    return refuses_neurons(decay, threshold, surrogate) or cupy_launch.refuses(given, _trial)


def _trial(dtype: torch.dtype, device: torch.device) -> None:
    """Compile and run both kernels on one neuron, and wait for them."""
    with torch.enable_grad(), torch.autocast(device.type, enabled=False):
        one = torch.ones((), dtype=dtype, device=device, requires_grad=True)
        three = one.expand(1, 1, 1)
        options = LIFOptions(0.0, False, True, False, False, ATan())
        spikes, v = run(three, None, three[0], None, three, three, one, 1, 1, "linear", one.detach() / 2, one.detach(),
                        **options._asdict())  # fmt: skip
        torch.autograd.grad(spikes.sum() + v.sum(), one)
    torch.cuda.synchronize(device)


class _CudaKernels(RecurrentKernels):
    def forward(
        self, current: Tensor, start: Start, feedback: Feedback, neurons: LIFNeurons, options: LIFOptions, keep_h: bool
    ) -> tuple[Tensor, Tensor, Tensor]:
        """See :class:`RecurrentKernels`."""
        x, (history, v0, mask) = current.contiguous(), _contiguous(*start)
        h = x.new_empty(x.shape if keep_h else (0, *x.shape[1:]))
        spikes, v = torch.empty_like(x), torch.empty_like(v0)
        weight, taps = _contiguous(feedback.weight.mT, feedback.taps)
        sizes = _sizes(x, history, feedback)
        trace = None if taps is None else x.new_empty(x.shape[1], taps.shape[1])
        _launch(
            "recurrent_forward", x,
            (x, history, weight, taps, mask, v0, *neurons, options.v_reset, options.soft_reset, options.strict, *sizes,
             trace if trace is not None else v, h if keep_h else None, spikes, v),
        )  # fmt: skip
        return h, spikes, v

    def backward(
        self, grad_spikes: Tensor, grad_v: Tensor, h: Tensor, start: Start, feedback: Feedback, neurons: LIFNeurons,
        options: LIFOptions, for_feedback: bool,
    ) -> Gradients:  # fmt: skip
        """See :class:`RecurrentKernels`."""
        history, _, mask = _contiguous(*start)
        weight, taps = _contiguous(feedback.weight, feedback.taps)
        grads = Gradients(
            torch.empty_like(h), torch.empty_like(history), grad_v.clone(memory_format=torch.contiguous_format)
        )
        grad_fed = grads.current if mask is None else torch.empty_like(h)
        grad_trace = None if taps is None else h.new_empty(*h.shape[:2], taps.shape[1])
        _launch(
            "recurrent_backward", h,
            (grad_spikes.contiguous(), h, weight, taps, mask, *neurons, options.v_reset, options.soft_reset,
             options.detach_reset, options.strict, *surrogate_numbers(options.surrogate), *_sizes(h, history, feedback),
             grads.current, grads.v0, grads.history, grad_fed, grad_trace),
        )  # fmt: skip
        if not for_feedback:
            return grads
        u = h - neurons.threshold
        line = torch.cat([history, (u > 0 if options.strict else u >= 0).to(h.dtype)])
        if taps is None:
            lags = [
                grad.flatten(0, 1).T @ past.flatten(0, 1)
                for grad, past in _pairs(grad_fed, line, feedback, len(weight))
            ]
            return grads._replace(weight=torch.stack(lags))
        assert grad_trace is not None
        count, traces, of_taps = taps.shape[1] // h.shape[2], torch.zeros_like(grad_trace), torch.empty_like(taps)
        line = line.repeat(1, 1, count)
        for k, (grad, past) in enumerate(_pairs(grad_trace, line, feedback, len(taps))):
            of_taps[k] = (grad * past).sum((0, 1))
            traces[len(h) - len(past) :].addcmul_(past, taps[k])
        return grads._replace(weight=grad_fed.flatten(0, 1).T @ traces.flatten(0, 1), taps=of_taps)


def _pairs(grad: Tensor, line: Tensor, feedback: Feedback, lags: int) -> list[tuple[Tensor, Tensor]]:
    """For each lag the gradients and the spikes before them that are that far apart."""
    ends = [max(0, len(line) - feedback.least - k) for k in range(lags)]
    begins = [max(0, end - len(grad)) for end in ends]
    return [(grad[len(grad) - (end - begin) :], line[begin:end]) for begin, end in zip(begins, ends)]


def _sizes(x: Tensor, history: Tensor, feedback: Feedback) -> tuple[int, ...]:
    steps, batch, neurons = x.shape
    lags = len(feedback.weight) if feedback.taps is None else len(feedback.taps)
    sources = neurons if feedback.taps is None else feedback.taps.shape[1]
    return steps, len(history), batch, neurons, sources, lags, feedback.least


def _contiguous(*tensors: Tensor | None) -> list[Any]:
    return [None if tensor is None else tensor.contiguous() for tensor in tensors]


def _launch(kernel: str, like: Tensor, args: tuple[Any, ...]) -> None:
    batch, neurons = like.shape[1:]
    if batch and neurons:
        block = min(MOST, -(-neurons // 32) * 32)
        cupy_launch.launch(SOURCE, kernel, (batch,), (block,), like, args)


run = _CudaKernels().run
