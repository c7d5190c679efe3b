"""Tasks with a known answer for delays: drawn in a second from a seed, their class in the times of spikes alone."""

from snn_delays.data.synthetic.coincidence import Coincidence
from snn_delays.data.synthetic.ordering import Ordering
from snn_delays.data.synthetic.pattern import PatternDetection
from snn_delays.data.synthetic.task import SPLITS, SyntheticTask

TASKS: dict[str, SyntheticTask] = {task.name: task for task in (Coincidence(), PatternDetection(), Ordering())}

__all__ = ["SPLITS", "TASKS", "Coincidence", "Ordering", "PatternDetection", "SyntheticTask"]
