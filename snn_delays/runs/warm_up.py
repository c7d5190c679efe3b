"""Compiling kernels ahead, as for a container: small networks do once what users' networks do."""

from collections.abc import Callable
from contextlib import nullcontext
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from snn_delays import compiling
from snn_delays.data.binning import Binning, bin_events
from snn_delays.data.events import Events
from snn_delays.discrete import discretize
from snn_delays.discrete.streaming import LanguageEngine, StreamingEngine
from snn_delays.models import ConvolutionalClassifier, DelayClassifier, SpikeGPT
from snn_delays.ops import delayed_linear, lif, use_backend

NUMBA = dict.fromkeys(("lif", "leaky_integrator", "norm_lif", "recurrent_lif", "wkv", "depthwise"), "numba_cpu")
STEPS, BATCH, INPUTS = 40, 3, 6


def warm_up(progress: Callable[[str], None]) -> list[str]:
    """Compile the kernels of training, evaluation, streaming, convolution and language models; what is kept is loaded.

    Returns the names of the kernels that had to be compiled. ``progress`` receives a line for each part.
    """
    before = len(compiling.compiled)
    with torch.random.fork_rng(devices=()):
        for name, part in PARTS.items():
            already = len(compiling.compiled)
            part()
            progress(f"{name}: {len(compiling.compiled) - already} kernels compiled")
    return compiling.compiled[before:]


def _counts(*shape: int) -> Tensor:
    return (torch.rand(STEPS, BATCH, *shape) < 0.3).to(torch.uint8)


def _train_and_evaluate(network: nn.Module, x: Tensor) -> None:
    y = network.train()(x)[0]
    y.square().mean().backward()
    with torch.no_grad():
        network.eval()(x)


def _classifiers() -> None:
    for sigma in (6.0, 0.5):
        for backend in ("spectral", "gather"):
            with use_backend(delayed_linear=backend, **NUMBA):
                network = DelayClassifier(INPUTS, (8, 8), 4, max_delay_steps=24, sigma_steps=sigma, tau_steps=2.0)
                _train_and_evaluate(network, _counts(INPUTS))
                _train_and_evaluate(network, _counts(INPUTS).float())
    with use_backend(delayed_linear="gather", **NUMBA):
        shapes: tuple[dict[str, Any], ...] = (
            {"sharing": "axon"}, {"sigma_steps": 9.0}, {"taps": "linear", "max_delay_steps": 24},
        )  # fmt: skip
        for options in shapes:
            recurrent = DelayClassifier(INPUTS, (8,), 4, **{"max_delay_steps": 6, **options}, recurrent=True)
            _train_and_evaluate(recurrent, _counts(INPUTS))
            _train_and_evaluate(recurrent, _counts(INPUTS))


def _layers() -> None:
    """Neurons and delays by themselves, in both precisions."""
    for dtype in (torch.float32, torch.float64):
        x = _counts(INPUTS).to(dtype).requires_grad_()
        weight, delay = torch.randn(5, INPUTS, 1, dtype=dtype), torch.rand(5, INPUTS, 1, dtype=dtype) * 9
        for learned in (False, True):
            weight.requires_grad_(learned), delay.requires_grad_(learned)
            for backend in ("spectral", "gather"):
                sigma = torch.tensor(0.5, dtype=dtype)
                y, history = delayed_linear(x, weight, delay, sigma, max_delay_steps=24, backend=backend)
                y, _ = delayed_linear(x, weight, delay, sigma, history, max_delay_steps=24, backend=backend)
                s, _ = lif(y, decay=0.8, backend="numba_cpu")
                s.sum().backward()


def _maps() -> None:
    network = ConvolutionalClassifier((2, 9, 8), (4,), (6,), 3, kernel_size=3, max_delay_steps=5)
    with use_backend(delayed_linear="gather", delayed_conv2d="gather", **NUMBA):
        _train_and_evaluate(network, _counts(2, 9, 8))
        with torch.no_grad():
            discretize(network)(_counts(2, 9, 8))


def _language() -> None:
    tokens = torch.randint(9, (STEPS, BATCH))
    for shift in (None, {"kind": "learned", "max_delay_steps": 8, "points": 2}):
        network = SpikeGPT(9, 16, 2, shift=shift)
        for choice in (use_backend(**NUMBA), nullcontext()):
            with choice:
                _train_and_evaluate(network, tokens)
                with torch.no_grad():
                    _, state = network(tokens)
                    network(tokens[:1], state)


def _binning() -> None:
    events = Events(np.arange(20) * 1000, np.arange(20) % INPUTS, INPUTS)
    for rule in ("fixed", "event_anchored_v2023"):
        bin_events(events, Binning(rule, 1.0, 1))


def _streams() -> None:
    network = DelayClassifier(INPUTS, (8,), 4, max_delay_steps=6, recurrent=True).eval()
    for dtype, same in ((np.float32, torch.float32), (np.float64, torch.float64)):
        whole = discretize(network.to(same))
        StreamingEngine(whole, dtype)  # compiles as it is made
        with torch.no_grad(), use_backend(delayed_linear="gather", **NUMBA):
            whole(_counts(INPUTS))
        LanguageEngine(SpikeGPT(9, 16, 2).eval(), dtype)


PARTS: dict[str, Callable[[], None]] = {
    "classifiers": _classifiers, "layers": _layers, "convolutions": _maps, "language models": _language,
    "binning": _binning, "streaming": _streams,
}  # fmt: skip
