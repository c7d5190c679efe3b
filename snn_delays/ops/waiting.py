"""OpenMP threads that sleep while they wait for work.

A waiting thread of GNU OpenMP spins for milliseconds before it sleeps. torch and Numba each bring an OpenMP of their
own, so the threads of one spin on the cores that the other's, or a neighbour's, need. GNU OpenMP reads its environment
once, when it is loaded, but it hardly spins while it holds more threads than there are processors: a parked team of
threads that sleep for good has the effect of ``OMP_WAIT_POLICY=passive`` at any time. LLVM's and Intel's have a call.
"""

import ctypes
import os
import threading
import warnings
from functools import lru_cache

from threadpoolctl import ThreadpoolController

SETTINGS = ("OMP_WAIT_POLICY", "GOMP_SPINCOUNT", "KMP_BLOCKTIME")
_treated: set[str] = set()
_treating = threading.Lock()


@lru_cache(maxsize=8)
def wait_asleep(*_loaded_by: str) -> None:
    """Have the waiting threads of every OpenMP loaded so far sleep; the first call for each argument looks for them.

    Does nothing where the environment says how OpenMP's threads wait (``OMP_WAIT_POLICY``, ``GOMP_SPINCOUNT``,
    ``KMP_BLOCKTIME``), or where the system does not let a process have that many threads.
    """
    if any(name in os.environ for name in SETTINGS):
        return
    with _treating, warnings.catch_warnings():
        warnings.simplefilter("ignore")  # threadpoolctl's, about two runtimes in one process
        for library in ThreadpoolController().select(user_api="openmp").lib_controllers:
            if library.filepath in _treated:
                continue
            _treated.add(library.filepath)
            if hasattr(library.dynlib, "kmp_set_blocktime"):
                library.dynlib.kmp_set_blocktime(0)
            elif hasattr(library.dynlib, "GOMP_parallel"):
                _park_team(library.dynlib)


def _park_team(openmp: ctypes.CDLL) -> None:
    """More threads than processors, held for as long as the process lives by a thread that sleeps."""
    threads = openmp.omp_get_num_procs() + 1
    if not can_start(threads):
        return  # GNU OpenMP would end the process
    parked = threading.Event()
    nothing = ctypes.cast(openmp.omp_get_thread_num, ctypes.c_void_p)  # a harmless function for the team to call
    parallel = openmp["GOMP_parallel"]
    parallel.argtypes = ctypes.c_void_p, ctypes.c_void_p, ctypes.c_uint, ctypes.c_uint
    parallel.restype = None

    def hold() -> None:
        parallel(nothing, None, threads, 0)
        parked.set()
        threading.Event().wait()

    threading.Thread(target=hold, name="snn_delays-openmp", daemon=True).start()
    parked.wait()


def can_start(count: int) -> bool:
    """Whether the system lets this process have ``count`` threads more."""
    end = threading.Event()
    started = []
    try:
        for _ in range(count):
            thread = threading.Thread(target=end.wait)
            thread.start()
            started.append(thread)
    except RuntimeError:
        return False
    finally:
        end.set()
        for thread in started:
            thread.join()
    return True
