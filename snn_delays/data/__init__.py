"""Events, binning, data sets on disk and in memory. Knows nothing of networks."""

from snn_delays.data.binned import Batch, BinnedDataset
from snn_delays.data.binning import Binning, bin_events
from snn_delays.data.events import Events
from snn_delays.data.loaders import load_binned
from snn_delays.data.splits import validation_split

__all__ = ["Batch", "BinnedDataset", "Binning", "Events", "bin_events", "load_binned", "validation_split"]
