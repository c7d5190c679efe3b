"""LIF through Numba CUDA, or in Numba's simulator."""

from snn_delays.ops.cuda.numba_launch import NumbaLanes
from snn_delays.ops.lif.cuda import LIFOnCuda

KERNELS = LIFOnCuda(NumbaLanes("snn_delays.ops.lif.numba_cuda_kernels"))
refuses, run = KERNELS.refuses, KERNELS.run
