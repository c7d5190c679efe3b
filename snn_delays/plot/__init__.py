"""Plots of arrays: spike rasters, membranes, delays, learning curves, confusion, step times.

A function draws into the Axes given as ``ax``, or into new ones, and returns them; one named ``..._figure`` returns a
figure of several panels. Nothing here touches pyplot or global settings; figures are saved without a display.
"""

from snn_delays.plot.confusion import confusion_matrix
from snn_delays.plot.curves import learning_curves_figure
from snn_delays.plot.delay_budget import delay_budget, delay_budget_figure
from snn_delays.plot.delays import delay_histogram, delay_movement, delays_figure
from snn_delays.plot.exported import changed_spikes, changed_spikes_figure
from snn_delays.plot.membranes import membrane_traces
from snn_delays.plot.rasters import raster, raster_figure
from snn_delays.plot.rates import firing_rates
from snn_delays.plot.recording import events_figure, features_figure
from snn_delays.plot.shift_delays import shift_delays_figure
from snn_delays.plot.streaming import step_time_by_activity, step_times, streaming_figure
from snn_delays.plot.style import save_figure
from snn_delays.plot.tokens import bits_by_position, token_raster_figure
from snn_delays.plot.variants import variants_figure

__all__ = [
    "bits_by_position",
    "changed_spikes",
    "changed_spikes_figure",
    "confusion_matrix",
    "delay_budget",
    "delay_budget_figure",
    "delay_histogram",
    "delay_movement",
    "delays_figure",
    "events_figure",
    "features_figure",
    "firing_rates",
    "learning_curves_figure",
    "membrane_traces",
    "raster",
    "raster_figure",
    "save_figure",
    "shift_delays_figure",
    "step_time_by_activity",
    "step_times",
    "streaming_figure",
    "token_raster_figure",
    "variants_figure",
]
