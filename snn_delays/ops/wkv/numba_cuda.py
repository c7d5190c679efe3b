"""WKV through Numba CUDA, or in Numba's simulator."""

from snn_delays.ops.cuda.numba_launch import NumbaLanes
from snn_delays.ops.wkv.cuda import WKVOnCuda

KERNELS = WKVOnCuda(NumbaLanes("snn_delays.ops.wkv.numba_cuda_kernels"))
refuses, run = KERNELS.refuses, KERNELS.run
