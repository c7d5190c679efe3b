"""Plots of arrays: spike rasters, membranes, delays, learning curves, confusion, step times.

A function draws into the Axes given as ``ax``, or into new ones, and returns them; one named ``..._figure`` returns a
figure of several panels. Nothing here touches pyplot or global settings; figures are saved without a display.
"""

from snn_delays.plot.activity import changed_spikes, changed_spikes_figure, membrane_traces, raster, raster_figure
from snn_delays.plot.delay_budget import delay_budget, delay_budget_figure
from snn_delays.plot.delays import delay_histogram, delay_movement, delays_figure
from snn_delays.plot.language import bits_by_position, firing_rates, token_raster_figure
from snn_delays.plot.neurons import membrane, membranes_figure
from snn_delays.plot.recording import events_figure, features_figure
from snn_delays.plot.results import confusion_matrix, learning_curves_figure, variants_figure
from snn_delays.plot.shift_delays import shift_delays_figure
from snn_delays.plot.streaming import step_time_by_activity, step_times, streaming_figure
from snn_delays.plot.studies import bands_figure, perturbation_figure, search_figure
from snn_delays.plot.style import save_figure

__all__ = [
    "bands_figure",
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
    "membrane",
    "membrane_traces",
    "membranes_figure",
    "perturbation_figure",
    "raster",
    "raster_figure",
    "save_figure",
    "search_figure",
    "shift_delays_figure",
    "step_time_by_activity",
    "step_times",
    "streaming_figure",
    "token_raster_figure",
    "variants_figure",
]
