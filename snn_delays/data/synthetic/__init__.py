"""Tasks with a known answer for delays: drawn in a second from a seed, their class in the times of spikes alone.

``BENCHMARKS`` are generated tasks of the field.
"""

from snn_delays.data.synthetic.benchmarks import BENCHMARKS, AutonomousLocalization, CoincidenceXor, YinYang
from snn_delays.data.synthetic.task import SPLITS, SyntheticTask
from snn_delays.data.synthetic.tasks import Coincidence, Ordering, PatternDetection

TASKS: dict[str, SyntheticTask] = {task.name: task for task in (Coincidence(), PatternDetection(), Ordering())}

__all__ = [
    "BENCHMARKS", "SPLITS", "TASKS", "AutonomousLocalization", "Coincidence", "CoincidenceXor", "Ordering",
    "PatternDetection", "SyntheticTask", "YinYang",
]  # fmt: skip
