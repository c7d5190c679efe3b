"""Work in other processes, of this machine or of a Dask cluster, that do not outlive the one that started them."""

import multiprocessing
import os
import runpy
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import BrokenExecutor, Executor, ProcessPoolExecutor
from contextlib import contextmanager
from multiprocessing.connection import wait
from pathlib import Path
from threading import Thread

from snn_delays.errors import ConfigError, MissingPackageError


def process_pool(workers: int) -> ProcessPoolExecutor:
    """A pool of fresh processes, as a fork would copy the locks of torch's and Numba's threads.

    They end when this process does, also where that is killed and cannot stop them.
    """
    context = multiprocessing.get_context("spawn")
    return ProcessPoolExecutor(workers, mp_context=context, initializer=_end_with_parent)


@contextmanager
def executor(
    workers: int, scheduler: str | None, pool: Callable[[int], Executor] = process_pool, timeout_s: float = 30
) -> Iterator[tuple[Executor, Callable[[], int]]]:
    """A pool of this machine, or an executor on a Dask cluster; and how many calls it is to be given at once.

    On a cluster, a call whose worker is lost goes to another one; after as many lost workers as the scheduler allows
    (its setting ``distributed.scheduler.allowed-failures``) its future has the error. Workers need this package, and
    the same files.

    Args:
        workers: calls at once; 0: on a cluster, as many as its workers have threads, at least one.
        scheduler: address of a Dask scheduler, or None.
        pool: makes the pool of this machine.
        timeout_s: how long to wait for the scheduler.

    Raises MissingPackageError without Dask, ConfigError if no scheduler answers, BrokenExecutor in the place of Dask's
    error for lost workers that the block raises.
    """
    if scheduler is None:
        here = pool(workers)
        try:
            yield here, lambda: workers
        finally:
            here.shutdown(cancel_futures=True)
        return
    try:
        from distributed import Client, KilledWorker
    except ImportError as error:
        raise MissingPackageError(f"a scheduler needs Dask ({error}): pip install 'snn-delays[study]'") from error
    try:
        client = Client(scheduler, timeout=timeout_s, set_as_default=False)
    except (OSError, ValueError, TypeError) as error:
        reason = " ".join(str(error).split()) or type(error).__name__
        raise ConfigError(
            f"no Dask scheduler answers at {scheduler!r} ({reason}); start one with `dask scheduler`, workers with "
            "`dask worker ADDRESS`, and give its address, as --scheduler tcp://HOST:8786"
        ) from error
    with client:
        there = client.get_executor(pure=False)
        try:
            yield there, lambda: workers or max(1, sum(client.nthreads().values()))
        except KilledWorker as error:
            raise BrokenExecutor(str(error)) from error
        finally:
            there.shutdown(wait=False)


def run_commands(commands: Sequence[Sequence[str]], log: Path, stop: Path, threads: int) -> tuple[int, str]:
    """Run ``snn-delays`` with the words of each command until one fails; its exit code, and why it failed.

    Each is a process of its own, its output added to ``log``. It is killed with the process that called this, and when
    there is a file ``stop``; the code is then negative.
    """
    environment = {**os.environ, "OMP_NUM_THREADS": str(threads)}
    for words in commands:
        with log.open("ab") as output:
            begin = output.tell()
            process = subprocess.Popen(
                [sys.executable, "-m", __name__, *words],
                stdin=subprocess.PIPE, stdout=output, stderr=subprocess.STDOUT, env=environment,
            )  # fmt: skip
            with process:
                try:
                    while process.poll() is None and not stop.exists():
                        time.sleep(0.2)
                finally:
                    process.kill()
        if code := process.returncode:
            lines = log.read_bytes()[begin:].decode(errors="replace").strip().splitlines()
            said = lines[-1].removeprefix("error: ") if lines and code > 0 else "its process was killed"
            return code, f"{said} (exit code {code})"
    return 0, ""


def _end_with_parent() -> None:
    parent = multiprocessing.parent_process()
    assert parent is not None
    _end_after(lambda: wait([parent.sentinel]))


def _end_after(something: Callable[[], object]) -> None:
    """Have this process end at once when a call returns."""

    def watch() -> None:
        something()
        os._exit(1)

    Thread(target=watch, name="end with parent", daemon=True).start()


if __name__ == "__main__":
    _end_after(lambda: os.read(0, 1))  # the other end of standard input is the parent's alone
    runpy.run_module("snn_delays", run_name="__main__", alter_sys=True)
