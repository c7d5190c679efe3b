"""The cochlea: sound in, spikes out, as for the Spiking Heidelberg Digits. Needs the ``audio`` extra."""

from snn_delays.data.encoders.cochlea.audio import read_audio
from snn_delays.data.encoders.cochlea.batch import encode_files, encode_splits, find_audio
from snn_delays.data.encoders.cochlea.encode import Cochlea, encode
from snn_delays.data.encoders.cochlea.labels import label_files
from snn_delays.data.encoders.cochlea.listing import BatchReport

__all__ = [
    "BatchReport", "Cochlea", "encode", "encode_files", "encode_splits", "find_audio", "label_files", "read_audio",
]  # fmt: skip
