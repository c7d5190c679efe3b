"""Every augmentation before and after, in pictures and numbers.

``python -m experiments.studies.augmentation_gallery FOLDER`` writes ``augment_events.png``, ``augment_camera.png`` and
``augment_batch.png``, and prints a table over recordings of the bundled spoken digits.
"""

import argparse
from collections.abc import Callable, Mapping
from functools import partial
from pathlib import Path

import numpy as np
import torch
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from numpy.typing import NDArray

from snn_delays.data import augment
from snn_delays.data import augment_events as change
from snn_delays.data.binning import Binning, bin_events
from snn_delays.data.dataset import Batch
from snn_delays.data.events import Events
from snn_delays.plot.activity import raster
from snn_delays.plot.style import axes_or_new, new_figure, save_figure

DT_MS = 10.0
CLASSES = 20
_BINNING = Binning("fixed", dt_ms=DT_MS, channel_group=5)

OnEvents = Callable[[Events, np.random.Generator], Events]
OnBatch = Callable[[Batch, torch.Generator], Batch]

ON_EVENTS: dict[str, OnEvents] = {
    "jitter(sigma_us=20_000)": lambda e, g: change.jitter(e, 20_000, g),
    "time_shift(low_us=-100_000, high_us=100_000)": lambda e, g: change.time_shift(e, -100_000, 100_000, g),
    "time_scale(low=0.7, high=1.4)": lambda e, g: change.time_scale(e, 0.7, 1.4, g),
    "channel_shift(max_shift=40)": lambda e, g: change.channel_shift(e, 40, g),
    "spike_drop(probability=0.5)": lambda e, g: change.spike_drop(e, 0.5, g),
    "poisson_noise(rate_hz=2, duration_us=1_000_000)": lambda e, g: change.poisson_noise(e, 2, 1_000_000, g),
    "uniform_noise(spikes=1_000, duration_us=1_000_000)": lambda e, g: change.uniform_noise(e, 1_000, 1_000_000, g),
}

ON_CAMERA: dict[str, OnEvents] = {
    "polarity_flip(probability=1)": lambda e, g: change.polarity_flip(e, 1, g),
    "spatial_flip(probability=1, axis='x')": lambda e, g: change.spatial_flip(e, 1, g, "x"),
    "spatial_flip(probability=1, axis='y')": lambda e, g: change.spatial_flip(e, 1, g, "y"),
    "spatial_shift(max_shift=8)": lambda e, g: change.spatial_shift(e, 8, g),
    "crop(height=18, width=24)": lambda e, g: change.crop(e, 18, 24, g),
}

ON_BATCH: dict[str, OnBatch] = {
    "channel_shift(max_shift=8)": lambda b, g: augment.channel_shift(b, 8, g),
    "time_shift(max_shift_steps=20)": lambda b, g: augment.time_shift(b, 20, g),
    "time_shift(20, per_channel=True)": lambda b, g: augment.time_shift(b, 20, g, per_channel=True),
    "neuron_mask(probability=1, max_size=60)": lambda b, g: augment.neuron_mask(b, 1.0, 60, g),
    "time_mask(probability=1, max_size_steps=40)": lambda b, g: augment.time_mask(b, 1.0, 40, g),
    "cutmix(probability=1)": lambda b, g: augment.cutmix(b, CLASSES, 1.0, g),
}


def moving_letter() -> Events:
    """An L that moves right before a camera of 2 x 24 x 32: what it newly covers is polarity 1, what it leaves 0."""
    letter = np.zeros((24, 32), dtype=bool)
    letter[4:18, 4:7] = letter[15:18, 4:14] = True
    t_us, channel = [], []
    for step in range(12):
        before, after = np.roll(letter, step, axis=1), np.roll(letter, step + 1, axis=1)
        for polarity, changed in enumerate((before & ~after, after & ~before)):
            pixels = np.flatnonzero(changed)
            t_us.append(np.full(pixels.size, 10_000 * step))
            channel.append(polarity * letter.size + pixels)
    return Events(
        t_us=np.concatenate(t_us), channel=np.concatenate(channel), n_channels=2 * letter.size, sensor=(2, 24, 32)
    )


def batch_of(recordings: list[Events], labels: list[int]) -> Batch:
    """Recordings binned at 10 ms and 140 channels, side by side."""
    binned = [bin_events(events, _BINNING) for events in recordings]
    counts = torch.zeros(max(map(len, binned)), len(binned), binned[0].shape[1], dtype=torch.uint8)
    for i, one in enumerate(binned):
        counts[: len(one), i] = torch.from_numpy(one)
    return Batch(counts, torch.tensor([len(one) for one in binned]), torch.tensor(labels))


def events_figure(events: Events, seed: int = 0) -> Figure:
    """A recording and what each augmentation on events makes of it."""
    drawn = {"as recorded": events}
    drawn |= {name: apply(events, np.random.default_rng(seed)) for name, apply in ON_EVENTS.items()}
    binned = {name: bin_events(one, _BINNING) for name, one in drawn.items()}
    return _grid({name: partial(_raster, one) for name, one in binned.items()}, columns=2)


def batch_figure(batch: Batch, seed: int = 1) -> Figure:
    """The first sample of a batch and what each augmentation on bins makes of it."""
    drawn = {"as binned": batch}
    drawn |= {name: apply(batch, torch.Generator().manual_seed(seed)) for name, apply in ON_BATCH.items()}
    panels = {name: partial(_raster, one.counts[: one.lengths[0], 0].numpy()) for name, one in drawn.items()}
    return _grid(panels, columns=2)


def camera_figure(events: Events, seed: int = 0) -> Figure:
    """A camera recording and what each augmentation on a sensor makes of it: ON minus OFF events of every pixel."""
    drawn = {"as recorded": events}
    drawn |= {name: apply(events, np.random.default_rng(seed)) for name, apply in ON_CAMERA.items()}
    return _grid({name: partial(_image, one) for name, one in drawn.items()}, columns=3)


def statistics(recordings: list[Events], labels: list[int], seed: int = 0) -> str:
    """Means over recordings, before and after each augmentation, as a table."""
    lines = [
        "| augmentation | on | spikes | first spike (ms) | last spike (ms) | time (ms) | channel |",
        "|---|---|---|---|---|---|---|",
    ]
    lines.append(_row("none", "events", [_of_events(one) for one in recordings]))
    for name, apply in ON_EVENTS.items():
        generator = np.random.default_rng(seed)
        lines.append(_row(f"`{name}`", "events", [_of_events(apply(one, generator)) for one in recordings]))
    batch = batch_of(recordings, labels)
    lines.append(_row("none", "bins", _of_batch(batch)))
    for label, change_batch in ON_BATCH.items():
        changed = change_batch(batch, torch.Generator().manual_seed(seed))
        lines.append(_row(f"`{label}`", "bins", _of_batch(changed)))
    return "\n".join(lines)


def _of_events(events: Events) -> list[float]:
    t_ms = events.t_us / 1000
    return [len(events), t_ms.min(), t_ms.max(), t_ms.mean(), events.channel.mean()]


def _of_batch(batch: Batch) -> list[list[float]]:
    """As of events; a step counts as its middle, a group of channels as its place."""
    found = []
    for i in range(batch.counts.shape[1]):
        counts = batch.counts[:, i].double().numpy()
        by_time, by_channel = counts.sum(1), counts.sum(0)
        steps = np.flatnonzero(by_time)
        middle, total = (np.arange(len(counts)) + 0.5) * DT_MS, counts.sum()
        found.append(
            [total, middle[steps[0]], middle[steps[-1]], by_time @ middle / total,
             by_channel @ np.arange(by_channel.size) / total]
        )  # fmt: skip
    return found


def _row(name: str, on: str, values: list[list[float]]) -> str:
    spikes, first, last, time, channel = np.array(values).mean(0)
    return f"| {name} | {on} | {spikes:,.0f} | {first:.0f} | {last:.0f} | {time:.0f} | {channel:.0f} |"


def _raster(counts: NDArray[np.uint8], ax: Axes) -> None:
    raster(counts, dt_ms=DT_MS, ax=axes_or_new(ax))
    ax.set(xlim=(0, 1100), ylabel="channel")
    ax.set_title(f"{counts.sum():,} spikes", loc="right", fontsize=7)


def _image(events: Events, ax: Axes) -> None:
    pixels = np.bincount(events.channel, minlength=events.n_channels).reshape(events.sensor)
    difference = pixels[1].astype(np.int64) - pixels[0]
    largest = max(int(np.abs(difference).max()), 1)
    ax.imshow(difference, cmap="RdBu_r", vmin=-largest, vmax=largest)
    ax.set_title(f"{len(events)} events", loc="right", fontsize=7)
    ax.tick_params(labelsize=7)


def _grid(panels: Mapping[str, Callable[[Axes], None]], columns: int) -> Figure:
    rows = -(-len(panels) // columns)
    figure = new_figure(9.0, (2.1 if columns == 2 else 2.6) * rows)
    places = figure.subplots(rows, columns, squeeze=False).ravel()
    for ax, (name, draw) in zip(places, panels.items()):
        draw(ax)
        ax.set_title(name, loc="left", fontsize=7)
    for ax in places[len(panels) :]:
        ax.set_visible(False)
    return figure


def main() -> None:
    """Write the pictures, print the table."""
    from snn_delays.data.opening import open_recordings

    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("folder", type=Path, help="where the pictures go")
    parser.add_argument("--recordings", type=int, default=100, help="how many the table is over")
    arguments = parser.parse_args()
    source = open_recordings("shd-regenerated-subset", "train")
    samples = [source[i] for i in range(arguments.recordings)]
    recordings, labels = [sample.events for sample in samples], [sample.label for sample in samples]
    save_figure(events_figure(recordings[0]), arguments.folder / "augment_events.png")
    save_figure(batch_figure(batch_of(recordings[:2], labels[:2])), arguments.folder / "augment_batch.png")
    save_figure(camera_figure(moving_letter()), arguments.folder / "augment_camera.png")
    print(statistics(recordings, labels))


if __name__ == "__main__":
    main()
