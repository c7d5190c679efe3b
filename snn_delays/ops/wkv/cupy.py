"""WKV as CUDA C kernels through CuPy."""

from snn_delays.ops.cuda.cupy_launch import CupyLanes, Source
from snn_delays.ops.wkv.cuda import WKVOnCuda

SOURCE = Source("wkv/wkv.cu", contract=False)
KERNELS = WKVOnCuda(CupyLanes(SOURCE, "wkv"))
refuses, run = KERNELS.refuses, KERNELS.run
