"""Membranes of single neurons: what is drawn are the states after every step, and the spikes."""

import numpy as np
import pytest
import torch

from experiments.studies.membranes import STEPS, neurons
from snn_delays import use_backend
from snn_delays.errors import ShapeError
from snn_delays.nn import LIF, Dropout, SEAdLIF
from snn_delays.plot import membrane, membranes_figure
from snn_delays.plot.neurons import neuron_states


def test_lines_are_the_states_and_ticks_the_spikes() -> None:
    torch.manual_seed(0)
    neuron, current = SEAdLIF(1).double(), 60 * np.abs(np.sin(np.arange(40.0)))
    with torch.no_grad(), use_backend("reference"):
        x = torch.from_numpy(current).view(-1, 1, 1)
        spikes, last = neuron(x)
        ax = membrane(neuron, current, dt_ms=2.0)
    assert 2 < spikes.sum() < 40
    trace, ticks = ax.get_lines()
    right = next(other for other in ax.figure.axes if other is not ax)
    (adaptation,) = right.get_lines()
    assert len(trace.get_ydata()) == 40
    assert np.asarray(trace.get_ydata())[-1] == pytest.approx(float(last.u))
    assert np.asarray(adaptation.get_ydata())[-1] == pytest.approx(float(last.w))
    fired = np.flatnonzero(spikes.flatten().numpy()) * 2.0
    assert np.asarray(ticks.get_xdata()).tolist() == fired.tolist()


def test_the_figure_of_the_documents_has_every_kind_and_each_fires() -> None:
    with use_backend("reference"):
        made = neurons()
        short = {name: (neuron, current[:60]) for name, (neuron, current) in made.items()}
        figure = membranes_figure(short, dt_ms=4.0)
        assert all(neuron_states(neuron, current)["spikes"].any() for neuron, current in short.values())
    titles = [ax.get_title(loc="left") for ax in figure.axes]
    assert [title for title in titles if title] == list(made)
    assert all(len(current) == STEPS for _, current in made.values())


def test_what_cannot_be_drawn_is_named() -> None:
    with pytest.raises(ShapeError, match="the current of one neuron must have 1 axes"):
        membrane(LIF(2.0), np.ones((3, 2)), dt_ms=1.0)
    with pytest.raises(ShapeError, match="Dropout has no membrane among its states"):
        membrane(Dropout(0.5), np.ones(3), dt_ms=1.0)
