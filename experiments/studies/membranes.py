"""``python -m experiments.studies.membranes PICTURE``: the membrane of each kind of neuron under a step of current."""

import argparse
from pathlib import Path
from typing import Any

import numpy as np
import torch

from snn_delays.nn import BRF, LIF, PLIF, CAdLIF, CSiLIF, CubaLIF, EFAdLIF, SEAdLIF, SiLIF
from snn_delays.plot import membranes_figure, save_figure

STEPS, DT_MS = 250, 4.0


def neurons() -> dict[str, tuple[Any, np.ndarray]]:
    """Each kind by name, a single neuron with parameters in the middle of its ranges, and the height of its current."""

    def middle(neuron: Any, **given: float) -> Any:
        with torch.no_grad():
            for name, parameter in neuron.named_parameters():
                low, high = neuron.BOUNDS.get(name, (float(parameter), float(parameter)))
                parameter.fill_(given.get(name, (low + high) / 2))
        return neuron

    torch.manual_seed(0)
    kinds: dict[str, tuple[Any, float]] = {
        "LIF": (LIF(10.0), 0.13),
        "PLIF": (PLIF(10.0, decay_input=True), 1.3),
        "CubaLIF": (CubaLIF(10.0, 10.0), 0.013),
        "SE-adLIF": (middle(SEAdLIF(1), a=0.1, b=0.2), 12.0),
        "EF-adLIF": (middle(EFAdLIF(1), a=0.1, b=0.2), 12.0),
        "cAdLIF": (middle(CAdLIF(1), a=0.2, b=0.8), 12.0),
        "SiLIF": (middle(SiLIF(1), a=0.2, b=0.8, log_a=np.log(50), log_b=np.log(5)), 12.0),
        "C-SiLIF": (middle(CSiLIF(1), b=0.5, log_dt=np.log(0.1)), 0.6),
        "BRF": (middle(BRF(1), omega=10.0, b_offset=2.0), 40.0),
    }
    time = np.arange(STEPS)
    on = ((time >= 25) & (time < 150)) | ((time >= 185) & (time < 190))
    return {name: (neuron, height * on) for name, (neuron, height) in kinds.items()}


def main() -> None:
    """Draw the picture."""
    parser = argparse.ArgumentParser(prog="python -m experiments.studies.membranes", description=__doc__)
    parser.add_argument("picture", type=Path)
    picture = parser.parse_args().picture
    print(save_figure(membranes_figure(neurons(), dt_ms=DT_MS), picture))


if __name__ == "__main__":
    main()
