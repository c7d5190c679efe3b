"""Events, binning, data sets on disk and in memory. Knows nothing of networks."""

from snn_delays.data.batches import Batch, pad_collate
from snn_delays.data.binning import Binning, bin_events
from snn_delays.data.dataset import BinnedDataset
from snn_delays.data.events import Events, Sample
from snn_delays.data.from_tonic import from_tonic
from snn_delays.data.loaders import load_binned
from snn_delays.data.splits import validation_split
from snn_delays.moved import forward_modules

__all__ = [
    "Batch",
    "BinnedDataset",
    "Binning",
    "Events",
    "Sample",
    "bin_events",
    "from_tonic",
    "load_binned",
    "pad_collate",
    "validation_split",
]

forward_modules(__name__, archive="experiments.studies.spike_archive")
