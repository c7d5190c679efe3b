"""What a single neuron does with a current: its membrane, its other states, its spikes."""

from collections.abc import Mapping
from typing import Any

import torch
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from numpy.typing import ArrayLike

from snn_delays.errors import ShapeError
from snn_delays.nn import SpikingModule
from snn_delays.plot.style import BLUE, GREEN, GREY, INK, ORANGE, RED, array, axes_or_new, new_figure

# By the names they have in a layer's state.
MEMBRANES = {"v": "membrane v", "u": "membrane u", "re": "membrane, real"}
OTHERS = {"im": "membrane, imaginary", "v": "second part v", "i": "current i", "w": "adaptation w", "q": "refractory q"}


@torch.no_grad()
def neuron_states(neuron: SpikingModule, current: ArrayLike) -> dict[str, torch.Tensor]:
    """States after every step, by name, and ``spikes``, each ``[time]``, of a layer of one neuron, from rest.

    Raises ShapeError for a current that is not ``[time]``.
    """
    x = torch.from_numpy(array(current, 1, "the current of one neuron"))
    like = next(iter(neuron.parameters()), x)
    state: Any = None
    traces: dict[str, list[float]] = {"spikes": []}
    for now in x.to(like.dtype):
        spikes, state = neuron(now.view(1, 1, 1), state)
        traces["spikes"].append(float(spikes))
        for name, value in zip(state._fields, state):
            traces.setdefault(name, []).append(float(value))
    return {name: torch.tensor(values) for name, values in traces.items()}


def membrane(
    neuron: SpikingModule, current: ArrayLike, *, dt_ms: float, ax: Axes | None = None, title: str | None = None
) -> Axes:
    """Membrane of one neuron under a current ``[time]``, other states on an axis of their own, spikes as ticks above.

    ``neuron``: a layer of one neuron; its states are taken after every step, so after resets. Returns the axes.
    """
    states = neuron_states(neuron, current)
    spikes = states.pop("spikes")
    states.pop("s", None)
    first = next((name for name in ("u", "re", "v") if name in states), None)
    if first is None:
        raise ShapeError(f"{type(neuron).__name__} has no membrane among its states {', '.join(states)}")
    ax, time = axes_or_new(ax), torch.arange(len(spikes)) * dt_ms
    ax.plot(time, states.pop(first), color=INK, linewidth=1.1, label=MEMBRANES[first])
    top = ax.get_ylim()[1]
    fired = time[spikes > 0]
    (ticks,) = ax.plot(fired, torch.full_like(fired, top), "|", color=RED, markersize=7, label=f"{len(fired)} spikes")
    ticks.set_clip_on(False)
    if states:
        right = ax.twinx()
        right.spines[["top"]].set_visible(False)
        right.tick_params(labelsize=7, colors=GREY)
        for (name, values), color in zip(states.items(), (BLUE, ORANGE, GREEN)):
            right.plot(time, values, color=color, linewidth=0.9, label=OTHERS[name])
    lines = [line for axes in ([ax, right] if states else [ax]) for line in axes.get_lines()]
    ax.legend(
        lines, [str(line.get_label()) for line in lines], frameon=False, fontsize=6.5, loc="lower left",
        bbox_to_anchor=(0.22, 0.98), ncols=4, columnspacing=1.0, handlelength=1.2, borderpad=0.1,
    )  # fmt: skip
    ax.set_ylabel("membrane")
    if title:
        ax.set_title(title, loc="left", fontsize=8)
    return ax


def membranes_figure(neurons: Mapping[str, tuple[SpikingModule, ArrayLike]], *, dt_ms: float) -> Figure:
    """The membrane of every neuron under a current of its own, one above the other over the same time."""
    figure = new_figure(8.0, 0.5 + 1.25 * len(neurons))
    axes = figure.subplots(len(neurons), 1, squeeze=False, sharex=True)[:, 0]
    for ax, (name, (neuron, current)) in zip(axes, neurons.items()):
        membrane(neuron, current, dt_ms=dt_ms, ax=ax, title=name)
    axes[-1].set_xlabel("time (ms)")
    return figure
