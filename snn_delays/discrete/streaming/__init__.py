"""The discrete network step by step, for one recording as it comes in."""

from snn_delays.discrete.streaming.engine import StreamingEngine
from snn_delays.discrete.streaming.measure import StepTimes, StreamReport, stream_report

__all__ = ["StepTimes", "StreamReport", "StreamingEngine", "stream_report"]
