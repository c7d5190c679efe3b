"""Numba's kernels follow torch's number of threads and leave it alone."""

import numba
import pytest
import torch

from snn_delays.ops import leaky_integrator, lif


@pytest.mark.parametrize("threads", [1, 2])
@pytest.mark.skipif(numba.config.NUMBA_NUM_THREADS < 2, reason="one core")
def test_kernels_keep_torchs_threads(threads):
    torch.set_num_threads(threads)
    try:
        current = torch.randn(5, 4, 600, requires_grad=True)
        spikes, v = lif(current, decay=0.5, backend="numba_cpu")
        trace, _ = leaky_integrator(spikes, decay=0.5, backend="numba_cpu")
        (trace.sum() + v.sum()).backward()
        assert 0.02 < float(spikes.detach().mean()) < 0.6
        assert torch.get_num_threads() == numba.get_num_threads() == threads
    finally:
        torch.set_num_threads(1)
