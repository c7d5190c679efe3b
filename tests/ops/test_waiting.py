"""OpenMP threads sleep while they wait, once a kernel has run, unless the environment says otherwise."""

import os
import subprocess
import sys
import threading

import pytest
import torch

from snn_delays.models import DelayClassifier
from snn_delays.ops import waiting

IDLE = """
import time
import torch
from snn_delays.ops.waiting import wait_asleep

torch.set_num_threads(2)
x = torch.rand(200_000)

def cpu_seconds():
    before = time.process_time()
    for _ in range(40):
        x.add(1)
        time.sleep(0.01)
    return time.process_time() - before

cpu_seconds()
spinning = cpu_seconds()
wait_asleep("torch")
print(spinning, cpu_seconds())
"""


def run(code, **environment):
    clean = {name: value for name, value in os.environ.items() if name not in (*waiting.SETTINGS, "OMP_NUM_THREADS")}
    done = subprocess.run([sys.executable, "-c", code], env={**clean, **environment}, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    return done.stdout.split()


@pytest.mark.skipif(
    sys.platform != "linux" or len(os.sched_getaffinity(0)) < 2, reason="GNU OpenMP with two processors"
)
def test_waiting_threads_take_no_processor_time():
    spinning, asleep = map(float, run(IDLE))
    assert asleep < 0.6 * spinning


KERNEL = """
import threading
import torch
from snn_delays.ops import lif
before = threading.active_count()
spikes, _ = lif(torch.rand(20, 4, 600) * 2, decay=0.5, backend="numba_cpu")
assert 0.02 < float(spikes.mean()) < 0.9
print(before, sum(thread.name == "snn_delays-openmp" for thread in threading.enumerate()))
"""


@pytest.mark.skipif(sys.platform != "linux", reason="GNU OpenMP")
def test_the_first_kernel_parks_a_team_and_importing_does_not():
    before, parked = map(int, run(KERNEL))
    assert before == 1
    assert parked >= 1


@pytest.mark.parametrize("name", waiting.SETTINGS)
def test_the_environment_has_the_last_word(name):
    assert run(KERNEL, **{name: {"OMP_WAIT_POLICY": "active"}.get(name, "1000")}) == ["1", "0"]


def test_a_limit_on_threads_is_noticed_before_openmp_meets_it(monkeypatch):
    started = []

    class Limited(threading.Thread):
        def start(self):
            if len(started) == 3:
                raise RuntimeError("can't start new thread")
            started.append(self)
            super().start()

    monkeypatch.setattr(threading, "Thread", Limited)
    assert not waiting.can_start(8)
    assert len(started) == 3
    assert not any(thread.is_alive() for thread in started)


def network_and_input(seed):
    """Made in one thread: torch's generator is one for all."""
    torch.manual_seed(seed)
    return DelayClassifier(20, (64, 64), 5, max_delay_steps=9), (torch.rand(30, 16, 20) < 0.3).float()


def gradients(network, x, threads=None):
    out = []
    for i in range(4):
        if threads is not None:
            torch.set_num_threads(threads[i % len(threads)])
        network.zero_grad()
        readout, _ = network(x)
        readout.softmax(-1).sum(0).square().sum().backward()
        out += [p.grad.clone() for p in network.parameters()]
    assert any(gradient.abs().max() > 0 for gradient in out)
    return out


def test_two_python_threads_compute_what_one_does():
    expected = [gradients(*network_and_input(seed)) for seed in (1, 2)]
    made = {seed: network_and_input(seed) for seed in (1, 2)}
    results = {}

    def work(seed):
        results[seed] = gradients(*made[seed])

    workers = [threading.Thread(target=work, args=(seed,)) for seed in (1, 2)]
    for worker in workers:
        worker.start()
    for worker in workers:
        worker.join()
    for seed in (1, 2):
        for gradient, reference in zip(results[seed], expected[seed - 1]):
            torch.testing.assert_close(gradient, reference, rtol=1e-4, atol=1e-5)


def test_the_number_of_threads_may_change_during_training():
    threads = torch.get_num_threads()
    try:
        changing = gradients(*network_and_input(3), threads=(1, 2, 1))
        for gradient, reference in zip(changing, gradients(*network_and_input(3))):
            torch.testing.assert_close(gradient, reference, rtol=1e-4, atol=1e-5)
    finally:
        torch.set_num_threads(threads)
