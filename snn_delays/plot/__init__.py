"""Pictures: spike rasters, membranes, delays, learning curves, confusion, step times. Each takes arrays and an Axes.

Nothing here touches pyplot or global settings; figures are made and saved without a display.
"""

from snn_delays.plot.confusion import confusion_matrix
from snn_delays.plot.curves import learning_curves
from snn_delays.plot.delay_budget import delay_budget, delay_budget_figure
from snn_delays.plot.delays import delay_histogram, delay_movement, delays_figure
from snn_delays.plot.event_frames import compared_frames, event_frame
from snn_delays.plot.exported import changed_spikes, changed_spikes_figure
from snn_delays.plot.membranes import membrane_traces
from snn_delays.plot.planted import planted_delays
from snn_delays.plot.rasters import raster, raster_figure
from snn_delays.plot.rates import firing_rates
from snn_delays.plot.recording import events_figure, features_figure
from snn_delays.plot.shift_delays import shift_delays
from snn_delays.plot.streaming import step_time_by_activity, step_times, streaming_figure
from snn_delays.plot.style import save_figure
from snn_delays.plot.tokens import bits_by_position, token_raster_figure
from snn_delays.plot.variants import variants_figure

__all__ = [
    "bits_by_position",
    "changed_spikes",
    "changed_spikes_figure",
    "compared_frames",
    "confusion_matrix",
    "delay_budget",
    "delay_budget_figure",
    "delay_histogram",
    "delay_movement",
    "delays_figure",
    "event_frame",
    "events_figure",
    "features_figure",
    "firing_rates",
    "learning_curves",
    "membrane_traces",
    "planted_delays",
    "raster",
    "raster_figure",
    "save_figure",
    "shift_delays",
    "step_time_by_activity",
    "step_times",
    "streaming_figure",
    "token_raster_figure",
    "variants_figure",
]
