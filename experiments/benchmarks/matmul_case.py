"""The case of the widest matrix product of a SpikeGPT block, alone."""

from collections.abc import Callable
from functools import partial

import torch
import torch.nn.functional as F
from torch import Tensor

from experiments.benchmarks.run import Case, Side
from experiments.benchmarks.sides import assert_close, forward_backward, gradients
from experiments.benchmarks.sizes import Sizes
from snn_delays.ops import matmul

REPEATS = 20  # one is done before the threads are awake


def matrix_product(sizes: Sizes, device: torch.device) -> Case:
    """``x W^T`` with both gradients, ours and torch's own, as channel mixing takes it at the first of the contexts."""
    context, batch = sizes.language.texts[0]
    inputs, outputs = sizes.language.features, 4 * sizes.language.features
    generator = torch.Generator().manual_seed(0)
    x, weight = (
        torch.randn(shape, generator=generator).to(device).requires_grad_()
        for shape in ((context, batch, inputs), (outputs, inputs))
    )
    runs: dict[str, Callable[[Tensor, Tensor], Tensor]] = {"snn_delays linear": matmul.linear, "torch linear": F.linear}
    what = f"{REPEATS} times {context * batch} rows, {inputs} to {outputs}, float32"

    def often(work: Callable[[], None]) -> None:
        for _ in range(REPEATS):
            work()

    sides = tuple(
        Side(name, what, partial(often, forward_backward(partial(run, x, weight), x, weight)))
        for name, run in runs.items()
    )

    def check() -> None:
        exact = [leaf.detach().double().requires_grad_() for leaf in (x, weight)]
        want = F.linear(exact[0], exact[1])
        slopes = gradients(want, exact)
        for name, run in runs.items():
            y = run(x, weight)
            assert_close(y, want, 1e-5, f"{name}, product")
            for got, expected in zip(gradients(y, [x, weight]), slopes):
                assert_close(got, expected, 1e-5, f"{name}, gradient")

    return Case("matrix product of channel mixing, forward + backward", sides, check, follows_itself=True)
