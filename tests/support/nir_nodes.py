"""NIR nodes one at a time, with random fields and input."""

from typing import Any

import nir
import numpy as np

DT, STEPS, N = 0.5, 60, 6
RNG = np.random.default_rng


def each(least: float, most: float, seed: int = 0) -> np.ndarray:
    """Numbers of the neurons of a node."""
    return RNG(seed).uniform(least, most, N)


def drive(seed: int = 0, *shape: int) -> np.ndarray:
    """Random counts ``[time, ...]``."""
    return RNG(seed).poisson(0.4, (STEPS, *(shape or (N,)))).astype(float)


def alone(node: nir.NIRNode, *shape: int) -> nir.NIRGraph:
    """A graph of one node, whose types nobody checks."""
    ends = {"input": nir.Input(np.array(shape or (N,))), "output": nir.Output(np.array([1]))}
    return nir.NIRGraph({**ends, "node": node}, [("input", "node"), ("node", "output")], type_check=False)


def neurons(kind: str) -> nir.NIRNode:
    """A node of a kind, its fields of numbers that differ between neurons."""
    values = {
        "tau": each(1, 9, 1), "tau_mem": each(1, 9, 2), "tau_syn": each(1, 4, 3), "r": each(1, 4, 4),
        "v_leak": each(-0.2, 0.2, 5), "v_threshold": each(0.3, 0.8, 6), "v_reset": each(-0.3, 0.1, 7),
        "w_in": each(1, 3, 8),
    }  # fmt: skip
    made = getattr(nir, kind)
    return made(**{key: values[key] for key in made.__dataclass_fields__ if key in values})


def leaky(n: int, *, tau: float = 2.0, r: Any = 2.0, fires: bool = True, **other: Any) -> nir.NIRNode:
    """Neurons of another tool."""
    values = {"tau": tau, "r": r, "v_leak": 0.0, **({"v_threshold": 0.43, "v_reset": 0.0} if fires else {}), **other}
    return (nir.LIF if fires else nir.LI)(
        **{key: np.broadcast_to(value, n).astype(float) for key, value in values.items()}
    )
