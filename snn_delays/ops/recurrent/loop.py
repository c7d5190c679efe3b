"""A recurrent population one step after the other, each from the spikes so far: the definition, for any neurons.

The gradients of weights and delays are computed once for all steps, by replaying the recorded spikes through
``delayed_linear``: a step keeps its spikes, and no copy of weights and delays.
"""

from collections.abc import Callable
from typing import Any, NamedTuple

import torch
from torch import Tensor

from snn_delays.ops.delay import delayed_linear
from snn_delays.ops.delay.signal import in_window
from snn_delays.ops.delay.taps import delay_kernel
from snn_delays.ops.lif import OPERATION as LIF
from snn_delays.ops.matmul import linear


class Line(NamedTuple):
    """A population's synapses onto itself, with the window of their delays."""

    weight: Tensor
    delay: Tensor
    sigma: Tensor
    min_delay_steps: int
    max_delay_steps: int
    taps: str

    @property
    def window(self) -> dict[str, Any]:
        """The fields that are no tensors, by name."""
        return {name: getattr(self, name) for name in self._fields[3:]}


def run(current: Tensor, history: Tensor | None, v0: Tensor, mask: Tensor | None, **call: Any) -> tuple[Tensor, Tensor]:
    """See :func:`snn_delays.ops.recurrent.recurrent_lif`."""
    line, neurons = Line(*(call.pop(name) for name in Line._fields)), call

    def step(now: Tensor, v: Tensor) -> tuple[Tensor, Tensor]:
        spikes, v = LIF({"current": now, "v0": v, **neurons})
        return spikes, v

    return loop(current, step, v0, history, line, mask)


def loop(
    x: Tensor, step: Callable[[Tensor, Any], tuple[Tensor, Any]], state: Any, history: Tensor | None, line: Line,
    mask: Tensor | None = None,
) -> tuple[Tensor, Any]:  # fmt: skip
    """Spikes and state after the last step of neurons whose ``step(current [1, batch, neuron], state)`` gives both."""
    steps, batch, width = x.shape
    longest, shortest = line.max_delay_steps, line.min_delay_steps
    if not steps:
        return step(x, state)
    recording = _Recording(line, history, mask)
    currents = _ReplayGradient.apply(x, *line[:3], recording).unbind(0)
    kernel = _kernel(line)
    # A sample's spikes lie in a row, step after step: what a step receives is a slice of it.
    row = x.new_zeros(batch, (longest + steps) * width)
    past: list[Tensor | None] = [None] * longest
    if history is not None:
        row[:, : longest * width] = history.detach().transpose(0, 1).flatten(1)
        past = list(history.unbind(0))
    for t, current in enumerate(currents):
        end = t + longest - shortest + 1
        feedback = _Feedback.apply(row[:, t * width : end * width], kernel, *past[t:end])
        spikes, state = step((current + (feedback if mask is None else mask * feedback))[None], state)
        past.append(spikes[0])
        row[:, (longest + t) * width : (longest + t + 1) * width] = spikes[0].detach()
    spikes = torch.stack(past[longest:])  # type: ignore[arg-type]
    recording.complete(spikes)
    return spikes, state


@torch.no_grad()
def _kernel(line: Line) -> Tensor:
    """Weights by lag side by side, the longest first: ``[out, (max - min + 1) * in]``."""
    least = line.min_delay_steps
    kernel = delay_kernel(line.weight, line.delay - least, line.sigma, line.max_delay_steps - least, line.taps)
    return kernel.flip(0).transpose(0, 1).flatten(1)


class _Feedback(torch.autograd.Function):
    """Current that past spikes cause in one step: ``kernel`` times ``line``, the spikes of the window side by side.

    ``spikes`` are those of each step of the window, for autograd: they receive the gradient of their part of ``line``.
    """

    @staticmethod
    def forward(ctx: Any, line: Tensor, kernel: Tensor, *spikes: Tensor | None) -> Tensor:
        ctx.save_for_backward(kernel)
        return linear(line, kernel)

    @staticmethod
    @torch.autograd.function.once_differentiable
    def backward(ctx: Any, grad: Tensor) -> Any:
        (kernel,) = ctx.saved_tensors
        needed = ctx.needs_input_grad[2:]
        parts = linear(grad, kernel.T).chunk(len(needed), 1)
        return None, None, *(part if needs else None for part, needs in zip(parts, needed))


class _Recording:
    """The spikes of all steps and those before them, to be replayed in the backward pass.

    They are complete only after the last step, too late for ``save_for_backward``; so changes in place are detected
    here, as autograd would.
    """

    def __init__(self, line: Line, history: Tensor | None, mask: Tensor | None) -> None:
        self.window, self.mask = line.window, mask
        self.history = None if history is None else history.detach()

    def complete(self, spikes: Tensor) -> None:
        """Keep the spikes, and how often they and the history were changed so far."""
        self.spikes = spikes.detach()
        self.versions = self._versions()

    def _versions(self) -> list[int | None]:
        # Tensors of inference mode count no changes, and have no gradients.
        tensors = (self.spikes, self.history)
        return [None if tensor is None or tensor.is_inference() else tensor._version for tensor in tensors]

    def replayed(self, weight: Tensor, delay: Tensor, sigma: Tensor) -> Tensor:
        """What the synapse added to the current. Raises RuntimeError if spikes or history were changed since."""
        if self.versions != self._versions():
            raise RuntimeError(
                "one of the variables needed for gradient computation has been modified by an inplace operation: the "
                "spikes of a Recurrent layer, or the state it was given; write y = 2 * y in place of y.mul_(2)"
            )
        added, _ = in_window(delayed_linear, self.spikes, self.history, weight, delay, sigma, **self.window)
        return added if self.mask is None else added * self.mask


class _ReplayGradient(torch.autograd.Function):
    """Identity on the current; its backward pass gives weights and delays their gradients, for all steps at once.

    The gradient of the current is that of what the synapse adds to it. So the recorded spikes are replayed through
    ``delayed_linear``, by the fastest backend, and that call is differentiated.
    """

    @staticmethod
    def forward(
        ctx: Any, current: Tensor, weight: Tensor, delay: Tensor, sigma: Tensor, recording: _Recording
    ) -> Tensor:
        ctx.recording = recording
        ctx.save_for_backward(weight, delay, sigma)
        return current.view_as(current)

    @staticmethod
    @torch.autograd.function.once_differentiable
    def backward(ctx: Any, grad: Tensor) -> Any:
        needed = ctx.needs_input_grad[1:4]
        if not any(needed):
            return grad, None, None, None, None
        leaves = [tensor.detach().requires_grad_(learns) for tensor, learns in zip(ctx.saved_tensors, needed)]
        with torch.enable_grad():
            added = ctx.recording.replayed(*leaves)
        grads = iter(
            torch.autograd.grad(added, [leaf for leaf in leaves if leaf.requires_grad], grad, allow_unused=True)
        )
        return grad, *(next(grads) if learns else None for learns in needed), None
