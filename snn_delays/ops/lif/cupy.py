"""LIF as CUDA C kernels through CuPy."""

from snn_delays.ops.cuda.cupy_launch import CupyLanes, Source
from snn_delays.ops.lif.cuda import LIFOnCuda

SOURCE = Source("lif/lif.cu", contract=False)
KERNELS = LIFOnCuda(CupyLanes(SOURCE, "lif"))
refuses, run = KERNELS.refuses, KERNELS.run
