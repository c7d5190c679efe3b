"""After a warm-up nothing that users do compiles a kernel any more."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

FRESH = """
import sys, numpy as np, torch
import snn_delays
from snn_delays import compiling
from snn_delays.discrete.streaming import LanguageEngine, StreamingEngine
from snn_delays.models import ConvolutionalClassifier, SpikeGPT

if "warm" in sys.argv:
    from snn_delays.runs.warm_up import warm_up
    print(len(warm_up(lambda line: None)))
    sys.exit()
run = snn_delays.train("demo", out=sys.argv[1], changes=["training.epochs=1"], accelerator="cpu")
result = snn_delays.evaluate(run)
engine = StreamingEngine(snn_delays.discretize(snn_delays.load(run.folder)))
engine.step(np.ones(engine.inputs, np.float32) if hasattr(engine, "inputs") else np.ones(140, np.float32))
gpt, tokens = SpikeGPT(30, 64, 2), torch.randint(30, (50, 4))
gpt(tokens)[0].square().mean().backward()
LanguageEngine(gpt.eval())
maps = ConvolutionalClassifier((2, 12, 12), (8,), (16,), 4, kernel_size=3, max_delay_steps=8)
maps((torch.rand(30, 4, 2, 12, 12) < 0.2).float())[0].square().mean().backward()
print(compiling.compiled)
"""


@pytest.mark.slow  # every kernel is compiled
def test_after_a_warm_up_nothing_is_compiled(tmp_path: Path) -> None:
    environment = {**os.environ, "NUMBA_CACHE_DIR": str(tmp_path / "kernels"), "SNN_DELAYS_CACHE": str(tmp_path)}

    def fresh_process(argument: str) -> str:
        call = [sys.executable, "-c", FRESH, argument]
        done = subprocess.run(call, env=environment, capture_output=True, text=True)
        assert done.returncode == 0, done.stderr
        return done.stdout.splitlines()[-1]

    assert int(fresh_process("warm")) > 20
    assert fresh_process("warm") == "0"
    assert fresh_process(str(tmp_path / "run")) == "[]"
