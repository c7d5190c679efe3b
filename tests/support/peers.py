"""What tests of peers share: outputs and gradients side by side, and a layer cut in time."""

from collections.abc import Callable, Iterable
from itertools import pairwise

import torch
from torch import Tensor, nn

from snn_delays.nn import SpikingModule

CUTS = (0, 0, 1, 8, 8, 20, 30)
Run = Callable[[Tensor], Tensor]


def currents(steps: int = 30, batch: int = 3, features: int = 6) -> Tensor:
    """Between 0 and 1, half of them 0: neurons have to sum some before they fire."""
    return (torch.rand(steps, batch, features, dtype=torch.float64) * 2 - 1).clamp(min=0)


def learned(network: nn.Module) -> list[Tensor]:
    """The parameters that exist on both sides, in the order of the layers: weights and biases."""
    found = [getattr(module, name, None) for module in network.modules() for name in ("weight", "bias")]
    return [parameter for parameter in found if isinstance(parameter, nn.Parameter)]


def measured(run: Run, parameters: Iterable[Tensor], x: Tensor) -> list[Tensor]:
    """Output, the gradient of the input, and those of parameters, for a fixed cotangent."""
    x = x.clone().requires_grad_()
    parameters = [parameter for parameter in parameters if parameter.requires_grad]
    y = run(x)
    cotangent = torch.randn(y.shape, generator=torch.Generator().manual_seed(1), dtype=torch.float64).to(y.dtype)
    grads = torch.autograd.grad(y, [x, *parameters], cotangent, allow_unused=True)
    return [y.detach(), *(torch.zeros(()) if grad is None else grad for grad in grads)]


def same(got: list[Tensor], want: list[Tensor], rtol: float = 0.0) -> bool:
    """Whether both agree, to the bit unless told."""
    pairs = [(g.flatten().double(), w.flatten().double()) for g, w in zip(got, want)]
    return len(got) == len(want) and all(torch.allclose(g, w, rtol, rtol) for g, w in pairs)


def fires(spikes: Tensor, least: float = 0.02, most: float = 0.9) -> bool:
    return bool(((spikes == 0) | (spikes == 1)).all()) and least < float(spikes.detach().mean()) < most


def in_chunks(layer: SpikingModule, x: Tensor, forget: bool = False):
    """Output and last state of a layer that receives its input in pieces, some of them empty."""
    state, outputs = None, []
    for a, b in pairwise(CUTS):
        y, state = layer(x[a:b], None if forget else state)
        outputs.append(y)
    return torch.cat(outputs), state


def tensors(state) -> list[Tensor]:
    if state is None:
        return []
    return [state] if isinstance(state, Tensor) else [t for part in state for t in tensors(part)]


def assert_chunk_law(layer: SpikingModule, x: Tensor) -> None:
    """Cut anywhere the layer computes the same; with its state forgotten it does not."""
    whole, state = layer(x)
    parts, last = in_chunks(layer, x)
    assert torch.equal(parts, whole)
    assert len(tensors(last)) == len(tensors(state)) > 0
    assert all(torch.equal(a, b) for a, b in zip(tensors(last), tensors(state)))
    assert not torch.equal(in_chunks(layer, x, forget=True)[0], whole)
