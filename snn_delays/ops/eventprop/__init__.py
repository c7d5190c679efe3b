"""EventProp: current-based LIF neurons in continuous time, with exact gradients of weights and delays."""

import math
from typing import Any, NamedTuple

import numpy as np
import torch
from jaxtyping import Float, Int
from torch import Tensor

from snn_delays.arguments import integer, real
from snn_delays.errors import ConfigError, ShapeError, TrainingError
from snn_delays.ops.tracing import untraced


class EventPropOutput(NamedTuple):
    """What a network of :func:`eventprop` does.

    Attributes:
        times_ms: of spikes, ``[sample, neuron, nth]``, infinite where there is none.
        peak: highest membrane of each readout from 0 to ``end_ms``, ``[sample, readout]``, at least 0, where it begins.
        mean: discounted mean of the membrane of each readout, ``[sample, readout]``.
    """

    times_ms: Tensor
    peak: Tensor
    mean: Tensor


@untraced
def eventprop(
    times_ms: Float[Tensor, "sample channel nth"],
    weight: Float[Tensor, " synapse"],
    delay_ms: Float[Tensor, " synapse"],
    pre: Int[Tensor, " synapse"],
    post: Int[Tensor, " synapse"],
    threshold: Float[Tensor, " neuron"],
    *,
    tau_mem_ms: float,
    tau_syn_ms: float,
    end_ms: float,
    max_spikes: int = 10_000,
) -> EventPropOutput:
    r"""Spikes of a network of any synapses, layers or recurrent, and readouts, in continuous time and float64.

    .. math::
        \tau_{mem} \dot V = -V + I \qquad \tau_{syn} \dot I = -I \qquad
        I \mathrel{+}= w \text{ at } t_{spike} + d \qquad V = 0 \text{ after } V = \theta

    from rest, up to ``end_ms``. Times of spikes are roots: in closed form where ``tau_mem_ms`` is twice ``tau_syn_ms``,
    else by Newton's method, which here cannot miss one. Neurons of infinite threshold are readouts: they never fire,
    and have the highest membrane and :math:`\frac1T \int_0^T e^{-t/T} V(t)\,dt`, with T ``end_ms``.

    The backward pass runs the adjoint over the same events in reverse, with :math:`t' = -t`:

    .. math::
        \tau_{mem} \lambda_V' = -\lambda_V \qquad \tau_{syn} \lambda_I' = -\lambda_I + \lambda_V \qquad
        \text{at a spike } \lambda_V \mathrel{+}= \frac{\theta \lambda_V + \partial L / \partial t
        + \sum_{post} w (\lambda_V - \lambda_I)_{post}|_{t + d}}{I - \theta}

    so that :math:`dL/dw = -\tau_{syn} \sum \lambda_I|_{t + d}` and
    :math:`dL/dd = w \sum (\lambda_V - \lambda_I)|_{t + d}`.
    They are exact as long as no spike comes or goes; what makes one come or go has no gradient.

    Args:
        times_ms: of the spikes given, in any order, infinite where there is none.
        weight, delay_ms: of each synapse; delays are >= 0.
        pre, post: source and target of each synapse, int64. Sources are numbered through: channels, then neurons.
        threshold: above 0, of each neuron; infinite for readouts.
        tau_mem_ms, tau_syn_ms: time constants, which differ.
        end_ms: end of a sample; what would happen later does not.
        max_spikes: allowed in a sample.

    Gradients reach ``times_ms``, ``weight`` and ``delay_ms``, from all outputs; one by an infinite time is ignored.

    Raises:
        ConfigError: a constant, time, delay or synapse that cannot be. ShapeError: shapes that do not fit.
        TrainingError: more than ``max_spikes`` spikes in a sample.

    Source: Wunderlich and Pehle, Scientific Reports 2021; delays after Meszaros et al., 2025 (arXiv 2501.07331), here
    without steps.
    """
    tau_mem_ms, tau_syn_ms, end_ms = (
        real(name, value, above=0)
        for name, value in (("tau_mem_ms", tau_mem_ms), ("tau_syn_ms", tau_syn_ms), ("end_ms", end_ms))
    )
    if abs(tau_mem_ms / tau_syn_ms - 1) < 1e-3:
        raise ConfigError(f"tau_mem_ms and tau_syn_ms must differ by a thousandth, got {tau_mem_ms} and {tau_syn_ms}")
    if times_ms.ndim != 3 or threshold.ndim != 1:
        raise ShapeError(
            f"times_ms is [sample, channel, nth] and threshold [neuron], got {tuple(times_ms.shape)} and "
            f"{tuple(threshold.shape)}"
        )
    if any(each.shape != pre.shape or each.ndim != 1 for each in (weight, delay_ms, pre, post)):
        shapes = [tuple(each.shape) for each in (weight, delay_ms, pre, post)]
        raise ShapeError(f"weight, delay_ms, pre and post are [synapse], of one length; got {shapes}")
    if not all(each.is_cpu for each in (times_ms, weight, delay_ms, pre, post, threshold)):
        raise ConfigError("eventprop runs on the CPU; move what it is given there with .cpu()")
    channels, neurons = times_ms.shape[1], len(threshold)
    for name, nodes, limit in (("pre", pre, channels + neurons), ("post", post, neurons)):
        if not bool(((nodes >= 0) & (nodes < limit)).all()):
            raise ConfigError(f"{name} must lie in 0..{limit - 1}: {channels} channels, {neurons} neurons")
    if not bool((times_ms >= 0).all()):
        raise ConfigError("times_ms must be >= 0, infinite where there is no spike; some are negative or NaN")
    if not bool(((delay_ms >= 0) & delay_ms.isfinite()).all()):
        raise ConfigError("delay_ms must be finite and >= 0; clamp delays after every optimiser step")
    if threshold.requires_grad:
        raise ConfigError("eventprop has no gradient of thresholds; pass threshold.detach()")
    if not bool(weight.isfinite().all()) or not bool((threshold > 0).all()):
        raise ConfigError("weights must be finite and thresholds above 0")
    constants = tau_mem_ms, tau_syn_ms, end_ms
    order = torch.argsort(pre, stable=True)
    wiring = pre[order], post[order], threshold, integer("max_spikes", max_spikes, 1)
    result = _EventProp.apply(times_ms.double(), weight[order].double(), delay_ms[order].double(), wiring, constants)
    return EventPropOutput(*result)


def _array(tensor: Tensor) -> Any:
    return np.ascontiguousarray(tensor.detach().numpy())


class _EventProp(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, times: Tensor, weight: Tensor, delay: Tensor, wiring: Any, constants: Any) -> Any:
        from snn_delays.ops.eventprop.kernels import simulate

        pre, post, threshold, most = wiring
        (samples, channels, _), neurons = times.shape, len(threshold)
        first = np.searchsorted(_array(pre), np.arange(channels + neurons + 1))
        theta, targets = _array(threshold.double()), _array(post)
        starts, events, spikes, readouts = simulate(
            _array(times), first, targets, _array(weight), _array(delay), theta, *constants, most
        )
        if starts[-1] < 0:
            raise TrainingError(f"a sample has more than {most} spikes; weights are too large, or raise max_spikes")
        sample, node, nth, time, _ = spikes
        ours = node >= channels
        at = sample[ours], node[ours] - channels, nth[ours]
        out = np.full((samples, neurons, 1 + max(at[2], default=0)), math.inf)
        out[at] = time[ours]
        reads = np.isinf(theta)
        ctx.save_for_backward(weight)
        ctx.record, ctx.rest = (starts, events, spikes, readouts, channels), (targets, theta, constants, times.shape)
        return tuple(torch.from_numpy(each) for each in (out, readouts[0][:, reads], readouts[1][:, reads]))

    @staticmethod
    @torch.autograd.function.once_differentiable
    def backward(ctx: Any, by_times: Tensor, by_peak: Tensor, by_mean: Tensor) -> Any:
        from snn_delays.ops.eventprop.kernels import adjoint

        starts, _, (sample, node, nth, time, _), _, channels = ctx.record
        post, theta, constants, shape = ctx.rest
        ours, reads = node >= channels, np.isinf(theta)
        direct = np.zeros(len(time))
        direct[ours] = by_times.numpy()[sample[ours], node[ours] - channels, nth[ours]]
        peak, mean = np.zeros((2, len(starts) - 1, len(theta)))
        peak[:, reads], mean[:, reads] = by_peak, by_mean
        (weight,) = ctx.saved_tensors
        by_weight, by_delay, by_time = adjoint(ctx.record, direct, peak, mean, post, _array(weight), theta, *constants)
        given = np.zeros(shape)
        given[sample[~ours], node[~ours], nth[~ours]] = by_time[~ours]
        return *(torch.from_numpy(each) for each in (given, by_weight, by_delay)), None, None
