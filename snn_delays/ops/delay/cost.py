"""What a call of the delay layer will take with each backend, by a small model calibrated on a machine.

The time of a pass, forward or backward, is a sum of numbers of things times what one of them takes:

=============  ========================================================================
calls          1, what a call costs whatever its size
launches       matrix products that are started one after the other
products       multiply-adds in the inner loops, divided by threads
elements       numbers moved or transformed, divided by threads
kernel         numbers computed to build or differentiate the taps, divided by threads
=============  ========================================================================

``snn-delays backends --calibrate`` times the backends on this machine, fits the numbers anew and keeps them in the
user's cache folder, where they are read from then on. Backends on an accelerator are not calibrated; there the order is
by reasoning: few taps gather, many go through the Fourier transform.
"""

import math
import warnings
from collections.abc import Mapping
from functools import lru_cache
from pathlib import Path
from typing import Any

import torch

from snn_delays.files import cache_folder
from snn_delays.ops.backends import forget_choices, without_reading
from snn_delays.ops.delay.expansion import expansion, tolerance_of
from snn_delays.ops.delay.taps import WITHOUT_SIGMA, tap_count
from snn_delays.ops.delay.transform_length import transform_length
from snn_delays.reading import read_json

THINGS = ("calls", "launches", "products", "elements", "kernel")
PASSES = ("forward", "backward")
FILE = "delay_cost_model.json"
GATHER_LANES = 8  # samples that the gather works on together
ONE_BY_ONE = 1_250_000  # multiply-adds from which the spectral backend gives a real product a call of its own

# Seconds for one of each thing; two threads of an AVX-512 server processor, float32.
MEASURED: dict[str, dict[str, tuple[float, ...]]] = {
    "spectral": {
        "forward": (0.0014, 0.0, 3.6e-12, 3.1e-09, 4.6e-09),
        "backward": (0.0014, 0.0, 9.7e-12, 1.3e-09, 4.5e-09),
    },
    "spectral_fft": {
        "forward": (0.0005, 0.00029, 9.9e-12, 1.2e-08, 1.1e-08),
        "backward": (0.00096, 0.00012, 1.7e-11, 1.1e-08, 1.1e-08),
    },
    "dense": {
        "forward": (0.00047, 1.5e-05, 9.6e-12, 1.3e-09, 7e-09),
        "backward": (0.00046, 2.1e-05, 1.3e-11, 1.9e-10, 1.4e-09),
    },
    "gather": {
        "forward": (0.00082, 0.0, 1.4e-11, 2.6e-09, 5.5e-08),
        "backward": (0.00054, 0.0, 2e-11, 1.8e-09, 3.2e-08),
    },
}
CUDA_FEW_TAPS = 8  # up to here the gather does less than the transforms of a spectrum


def estimate(backend: str, call: Mapping[str, Any]) -> float:
    """Expected seconds of a call, with its backward pass if there will be one; ``inf``: never choose it."""
    if backend == "one_step":  # whose kernel is there already
        return 0.0
    if backend.startswith("spectral") and _integer_delays(call):
        return math.inf  # integer delays and weights on a grid add up exactly, but not through a transform
    if call["x"].device.type != "cpu":
        return _rank_on_accelerator(backend, call)
    model = cost_model().get(backend)
    if model is None:
        return math.inf
    return sum(
        sum(number * each for number, each in zip(things, model[name]))
        for name, things in zip(PASSES, features(backend, call))
    )


def _integer_delays(call: Mapping[str, Any]) -> bool:
    """Whether all delays are fixed integers; while a CUDA graph is captured, whether they may be."""
    if call["taps"] not in WITHOUT_SIGMA or call["delay"].requires_grad:
        return False
    return without_reading(call["x"].device) or _taps(call) == 1


def _taps(call: Mapping[str, Any]) -> int:
    return tap_count(call["delay"], call["sigma"], call["max_delay_steps"], call["taps"])


def basis(call: Mapping[str, Any]) -> list[str]:
    """Lines that say what the estimate of a call rests on."""
    where = calibration() if calibration().exists() else "the package (`snn-delays backends --calibrate` measures here)"
    return [
        f"taps that matter: {_taps(call)}; numbers that a synapse's spectrum is built from: {_terms(call)}",
        f"seconds by the cost model of {where}, {torch.get_num_threads()} threads",
    ]


def features(backend: str, call: Mapping[str, Any]) -> tuple[tuple[float, ...], tuple[float, ...]]:
    """Number of each of :data:`THINGS` in the forward and in the backward pass."""
    x, weight, delay, sigma = (call[name] for name in ("x", "weight", "delay", "sigma"))
    window = call["max_delay_steps"] + 1
    steps, batch = x.shape[0], max(x.shape[1], 1)
    outputs, inputs, count = weight.shape
    learns = torch.is_grad_enabled()
    for_input = learns and x.requires_grad
    for_kernel = learns and any(t is not None and t.requires_grad for t in (weight, delay, sigma))
    passes = for_input + for_kernel
    linear = steps * batch * inputs * outputs  # multiply-adds of a plain linear layer
    ends, synapses = batch * (inputs + outputs), inputs * outputs * count
    if backend == "gather":
        taps = _taps(call) * count
        full = -(-batch // GATHER_LANES) * GATHER_LANES / batch
        forward = (1.0, 0.0, full * taps * linear, full * steps * ends, taps * synapses)
        backward = (1.0, 0.0, full * taps * linear * passes, full * steps * ends * passes, taps * synapses * for_kernel)
    elif backend in ("spectral", "spectral_fft"):
        n, blocks = transform_length(steps, window - 1)
        frequencies = n // 2 + 1
        each = blocks * batch * inputs * outputs  # multiply-adds of a real product
        # Of how many real products a complex one is made, and from when on each goes out by itself, at a higher rate.
        parts, alone = (3.0, ONE_BY_ONE) if backend == "spectral" else (4.0, 3_000_000)
        launches, products = frequencies * (each >= alone), (1.0 if each >= alone else 2.5) * frequencies * parts * each
        terms = window if backend == "spectral_fft" else _terms(call)
        moved = float(n * blocks * ends)
        forward = (1.0, launches, products, moved, terms * synapses + n * inputs * outputs / 2)
        backward = (
            1.0, launches * passes, products * passes, moved * passes,
            (1 + for_kernel) * terms * synapses + passes * n * inputs * outputs / 2,
        )  # fmt: skip
    else:
        forward = (1.0, window, window * linear, steps * ends, window * synapses)
        backward = (1.0, window, window * linear * passes, steps * ends * passes, window * synapses * for_kernel)
    share = 1 / torch.get_num_threads()
    shares = (1.0, 1.0, share, share, share)
    return (
        tuple(number * part for number, part in zip(forward, shares)),
        tuple(number * part * bool(passes) for number, part in zip(backward, shares)),
    )


def _terms(call: Mapping[str, Any]) -> int:
    """From how many numbers the spectral backend builds a synapse's kernel: terms, or taps."""
    sigma, longest, taps = call["sigma"], call["max_delay_steps"], call["taps"]
    if sigma is not None and sigma.numel() == 1 and not sigma.requires_grad:
        coefficients = expansion(float(sigma), longest, taps, tolerance_of(call["x"].dtype))
        if coefficients is not None:
            return coefficients.shape[1]
    # Whether delays are integers, which tap_count would look up, is not worth it here.
    few = 2 if taps in WITHOUT_SIGMA else _taps(call)
    return few if 2 * few <= longest + 1 else longest + 1


def calibration() -> Path:
    """Where the user's own calibration is, if there is one."""
    return cache_folder() / FILE


def forget() -> None:
    """Read the calibration anew when it is next needed, and have every call choose anew."""
    cost_model.cache_clear()
    forget_choices()


@lru_cache(maxsize=1)
def cost_model() -> dict[str, dict[str, tuple[float, ...]]]:
    """Seconds per thing, by backend and pass: the user's own calibration, or the one that comes with the package."""
    path = calibration()
    try:
        calibrated = {
            backend: {name: tuple(float(x) for x in passes[name]) for name in PASSES}
            for backend, passes in read_json(path)["seconds"].items()
        }
        if any(len(x) != len(THINGS) or min(x) < 0 for passes in calibrated.values() for x in passes.values()):
            raise ValueError(f"each pass needs {len(THINGS)} numbers >= 0")
    except FileNotFoundError:
        return MEASURED
    except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:
        warnings.warn(
            f"{path} is no cost model ({error}); the one of the package serves. Delete the file, or run "
            "`snn-delays backends --calibrate`",
            stacklevel=2,
        )
        return MEASURED
    return {**MEASURED, **calibrated}


def _rank_on_accelerator(backend: str, call: Mapping[str, Any]) -> float:
    window = call["max_delay_steps"] + 1
    if backend.startswith("gather"):
        return 1.0 if _taps(call) <= CUDA_FEW_TAPS else 4.0
    return {"spectral_fft": 2.0 if window > CUDA_FEW_TAPS else 3.0, "dense": 2.5}.get(backend, 5.0)
