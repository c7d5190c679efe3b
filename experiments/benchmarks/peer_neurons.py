"""Neurons of the packages beside us, each as a function of the current ``[time, batch, neuron]``."""

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor

Run = Callable[[Tensor], Tensor]


def spikingjelly_lif(tau_steps: float, **changes: Any) -> Any:
    """``LIFNode`` as published: multi-step, no input decay, hard detached reset, ATan of 5."""
    from spikingjelly.activation_based import neuron, surrogate

    options = {"v_threshold": 1.0, "v_reset": 0.0, "detach_reset": True, "decay_input": False, **changes}
    return neuron.LIFNode(tau=tau_steps, surrogate_function=surrogate.ATan(5.0), step_mode="m", **options)


def spikingjelly_run(tau_steps: float) -> Run:
    """SpikingJelly's multi-step neuron, put back to rest after every sequence."""
    from spikingjelly.activation_based import functional

    node = spikingjelly_lif(tau_steps)

    def run(current: Tensor) -> Tensor:
        spikes = node(current)
        functional.reset_net(node)
        return spikes

    return run


def spikingjelly_path(device: torch.device) -> str:
    """Which of its implementations it takes there; ``SJ_LIF_CUDA_IMPLEMENTATION`` decides on a GPU."""
    from spikingjelly.activation_based import functional

    return str(functional.neuron_implementation("lif", device)["implementation"])


def snntorch_run(tau_steps: float, device: torch.device) -> Run:
    """snntorch's ``Leaky`` in the loop its users write, with the reset in the step of the spike."""
    import snntorch

    node = snntorch.Leaky(
        beta=1 - 1 / tau_steps, threshold=1.0, reset_mechanism="zero", reset_delay=False,
        spike_grad=snntorch.surrogate.atan(alpha=5.0),
    ).to(device)  # fmt: skip

    def run(current: Tensor) -> Tensor:
        v, spikes = torch.zeros_like(current[0]), []
        for x in current.unbind(0):
            s, v = node(x, v)
            spikes.append(s)
        return torch.stack(spikes)

    return run


def norse_run(tau_steps: float, device: torch.device) -> Run:
    """Norse's ``LIFBoxCell``, its LIF without a synaptic current, in the loop its users write."""
    from norse.torch.functional.lif_box import LIFBoxParameters
    from norse.torch.module.lif_box import LIFBoxCell

    dt = 1e-3

    def number(value: float) -> Tensor:  # of float64, which leaves a float32 current what it is
        return torch.tensor(value, dtype=torch.float64, device=device)

    parameters = LIFBoxParameters(
        tau_mem_inv=number(1 / (tau_steps * dt)), v_leak=number(0.0), v_th=number(1.0), v_reset=number(0.0),
        method="super",
    )  # fmt: skip
    cell = LIFBoxCell(parameters, dt)

    def run(current: Tensor) -> Tensor:
        state, spikes = None, []
        for x in current.unbind(0):
            s, state = cell(x, state)
            spikes.append(s)
        return torch.stack(spikes)

    return run
