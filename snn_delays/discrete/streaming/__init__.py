"""Networks step by step: a discrete one on a recording as it comes in, a language model on the tokens of texts."""

from snn_delays.discrete.streaming.engine import StreamingEngine
from snn_delays.discrete.streaming.language import LanguageEngine
from snn_delays.discrete.streaming.measure import StepTimes, StreamReport, stream_report

__all__ = ["LanguageEngine", "StepTimes", "StreamReport", "StreamingEngine", "stream_report"]
