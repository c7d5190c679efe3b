"""Work on tensors recorded once for each shape and replayed: on a GPU, as CUDA graphs.

A graph holds the addresses and the Python numbers of the moment it was captured, so inputs are copied into buffers of
its own, and whatever number may change is part of the key under which it is kept.
"""

from collections import OrderedDict
from collections.abc import Callable, Hashable
from functools import partial
from typing import Any, Protocol

import torch
from lightning_fabric import Fabric
from torch import Tensor

from snn_delays.errors import ConfigError
from snn_delays.ops.backends import as_captured

KEPT = 64
REFUSED, REMEDY = "training.cuda_graphs = true", "set it to false"


class Recorder(Protocol):
    """What runs, records and replays; all that is asked of a GPU."""

    def warm_up(self, run: Callable[[], Any]) -> Any:
        """Run it now, in the way in which it will be recorded."""

    def record(self, run: Callable[[], Any]) -> Callable[[], Any]:
        """Record it without running it. What is returned runs it on the same memory, and returns what it returned."""


class CudaGraphs:
    """Capture on a stream of its own. The graphs share a memory pool: what one returns is valid until the next runs."""

    def __init__(self, device: torch.device) -> None:
        self._stream, self._pool = torch.cuda.Stream(device), torch.cuda.graph_pool_handle()

    def warm_up(self, run: Callable[[], Any]) -> Any:
        """See :class:`Recorder`."""
        self._stream.wait_stream(torch.cuda.current_stream())
        with torch.cuda.stream(self._stream):
            result = run()
        torch.cuda.current_stream().wait_stream(self._stream)
        return result

    def record(self, run: Callable[[], Any]) -> Callable[[], Any]:
        """See :class:`Recorder`. Raises ConfigError where something in it cannot be captured."""
        graph = torch.cuda.CUDAGraph()
        try:
            with torch.cuda.graph(graph, pool=self._pool, stream=self._stream):
                result = run()
        except RuntimeError as error:
            why = str(error).splitlines()[0]
            raise ConfigError(f"{REFUSED}: something in the step cannot be captured: {why}; {REMEDY}") from error

        def replay() -> Any:
            graph.replay()
            return result

        return replay


def recorder(fabric: Fabric) -> Recorder:
    """What records on Fabric's device. Raises ConfigError saying why nothing does."""
    if fabric.device.type != "cuda":
        raise ConfigError(f"{REFUSED}: it needs a CUDA GPU, and this run is on {fabric.device}; {REMEDY}")
    if fabric.world_size > 1:
        raise ConfigError(f"{REFUSED}: it serves one process, and this run has {fabric.world_size}; {REMEDY}")
    return CudaGraphs(fabric.device)


class Replays:
    """``run(*inputs)`` on tensors: as it is when a key and these shapes first come, recorded the next time, replayed
    from then on.

    ``key``: all that ``run`` reads beside tensors that keep their memory. The ``most`` recordings used last are kept.
    """

    def __init__(self, recorder: Recorder, most: int = KEPT) -> None:
        self._recorder, self._most = recorder, most
        self._seen: set[Hashable] = set()
        self._kept: OrderedDict[Hashable, tuple[list[Tensor], Callable[[], Any]]] = OrderedDict()

    def __call__(self, key: Hashable, run: Callable[..., Any], *inputs: Tensor) -> Any:
        """What ``run`` returns; of a recording, the same objects every time."""
        key = (key, *((each.shape, each.dtype) for each in inputs))
        with as_captured():
            if key not in self._seen:
                self._seen.add(key)
                return self._recorder.warm_up(partial(run, *inputs))
            if key not in self._kept:
                if len(self._kept) == self._most:
                    self._kept.popitem(last=False)
                buffers = [each.clone() for each in inputs]
                self._kept[key] = buffers, self._recorder.record(partial(run, *buffers))
            self._kept.move_to_end(key)
            buffers, replay = self._kept[key]
            for buffer, each in zip(buffers, inputs):
                buffer.copy_(each)
            return replay()
