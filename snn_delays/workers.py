"""Worker processes that do not outlive the process that started them."""

import multiprocessing
import os
from concurrent.futures import ProcessPoolExecutor
from multiprocessing.connection import wait
from threading import Thread


def process_pool(workers: int) -> ProcessPoolExecutor:
    """A pool of fresh processes, as a fork would copy the locks of torch's and Numba's threads.

    They end when this process does, also where that is killed and cannot stop them.
    """
    context = multiprocessing.get_context("spawn")
    return ProcessPoolExecutor(workers, mp_context=context, initializer=_end_with_parent)


def _end_with_parent() -> None:
    parent = multiprocessing.parent_process()
    assert parent is not None

    def watch() -> None:
        wait([parent.sentinel])
        os._exit(1)

    Thread(target=watch, name="end with parent", daemon=True).start()
