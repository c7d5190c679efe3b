"""A loop of many small operations, shared out over threads.

torch starts and joins its threads for every operation. A loop of many small operations is better cut into as many parts
as there are threads, each of which runs alone: there is one start and one join, and a neighbour who takes a core now
and then costs his share and not a stall at every operation.
"""

import contextlib
import itertools
import os
import sys
import warnings
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from functools import lru_cache

import torch

from snn_delays.ops.waiting import wait_asleep


def share_out(work: Callable[[int, int], None], count: int) -> None:
    """Call ``work(first, last)`` for parts of ``range(count)``, one for each of torch's threads, and wait for all.

    Parts run without gradients and with one thread each; what one raises is raised here.
    """
    threads = min(torch.get_num_threads(), count)
    if threads < 2:
        work(0, count)
        return
    wait_asleep("torch")
    bounds = [part * count // threads for part in range(threads + 1)]
    parts = [_pool(threads).submit(_alone, work, *ends) for ends in itertools.pairwise(bounds)]
    for part in parts:
        part.result()


def _alone(work: Callable[[int, int], None], first: int, last: int) -> None:
    with torch.no_grad():
        work(first, last)


@lru_cache(maxsize=1)
def _pool(threads: int) -> ThreadPoolExecutor:
    pool = ThreadPoolExecutor(
        threads, thread_name_prefix="snn_delays", initializer=torch.set_num_threads, initargs=(1,)
    )
    for started in [pool.submit(torch.get_num_threads) for _ in range(threads)]:
        assert started.result() == 1
    torch.set_num_threads(threads)  # the workers' setting is also what threads made later would begin with
    return pool


lost = warned = False


def lost_kernels() -> str | None:
    """Why this process cannot run Numba's kernels, or None if it can.

    GNU OpenMP kills a process that starts threads and was forked from one that had started them before.
    """
    global warned
    if lost and not warned:
        warned = True
        warnings.warn(
            "this process was forked from one that had run kernels, so slower backends without them serve; start "
            "workers with spawn (DataLoader(..., multiprocessing_context='spawn'))",
            stacklevel=4,
        )
    return "this process was forked from one that had run its kernels; start workers with spawn" if lost else None


def _after_fork() -> None:
    global lost
    _pool.cache_clear()  # threads do not survive a fork
    if "numba" in sys.modules:
        with contextlib.suppress(ValueError):  # no threads were started: the child can start its own
            lost = sys.modules["numba"].threading_layer() == "omp"


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_after_fork)
