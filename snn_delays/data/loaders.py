"""Data sets by name, binned, with a cache on disk keyed by everything that shapes them.

A name becomes a card (``catalogue``), a card a path and the checksum of its recordings (``opening``), these and the
binning a key, and the key a data set (``cache``); only where the cache has none are recordings opened and binned.
"""

import hashlib
import json
import warnings
from collections.abc import Iterator
from dataclasses import asdict
from pathlib import Path
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from snn_delays.data.binning import FEATURES, Binning, bin_recording
from snn_delays.data.cache import Memory, read_store, write_store
from snn_delays.data.card import UNIDENTIFIED
from snn_delays.data.catalogue.identity import identify
from snn_delays.data.catalogue.lookup import card
from snn_delays.data.dataset import BinnedDataset, offsets_of
from snn_delays.data.encoders.rate_free import RateFreeRecordings, RateFreeRule
from snn_delays.data.files import Progress
from snn_delays.data.formats.tonic import check_reader
from snn_delays.data.opening import locate
from snn_delays.data.recordings import FeatureRecordings, Reader, Recordings
from snn_delays.errors import ConfigError, DataError
from snn_delays.files import cache_folder

FORMAT = 3  # raised whenever the same file and binning would give another dataset
OnBad = Literal["raise", "skip"]


def load_binned(
    name: str | Path,
    split: str,
    binning: Binning,
    *,
    reader: Reader = "auto",
    cache: bool = True,
    memory: Memory = "auto",
    on_bad: OnBad = "raise",
    rate_free: RateFreeRule | None = None,
    progress: Progress | None = None,
) -> BinnedDataset:
    """A split of a data set, binned, in memory or mapped from the cache.

    Args:
        name: as in the catalogue, or the path of the user's own data set (:mod:`snn_delays.data.catalogue.lookup`).
        split: as in the catalogue.
        binning: how events become counts.
        reader: see :func:`snn_delays.data.opening.open_recordings`; it does not change the result.
        cache: keep the result in the cache folder. A stale or damaged cache is built anew; with a valid one no file of
            the data set is opened.
        memory: ``"ram"``, ``"mapped"`` (needs the cache; batches are read from disk, and building it holds one
            recording at a time) or ``"auto"``, which maps what is larger than 1 GiB.
        on_bad: what to do with a recording that cannot be read or has no events, ``"raise"``, or ``"skip"`` it with a
            warning that names it.
        rate_free: remove the rates (:class:`RateFreeRecordings`), by the rule fitted on the ``train`` split; ``source``
            says how many recordings are left.
        progress: called with the number of recordings read, and of all.

    Warns (UserWarning) if ``dt_ms`` is finer than the stored times. Raises ConfigError for an unknown name or split,
    DataError if a file is missing or damaged or a sample has no events.
    """
    of = card(name)
    if memory not in ("auto", "ram", "mapped") or on_bad not in ("raise", "skip"):
        raise ConfigError(f"memory is auto, ram or mapped and on_bad raise or skip; got {memory!r} and {on_bad!r}")
    if memory == "mapped" and not cache:
        raise ConfigError("memory='mapped' reads from the cache, which cache=False leaves out; choose one of them")
    if binning.dt_ms < of.finest_dt_ms:
        warnings.warn(
            f"dt_ms = {binning.dt_ms:g} is finer than {of.finest_dt_ms:g} ms: {of.display_name} stores times as "
            f"{of.time_unit}, so finer bins show the rounding, not the data",
            UserWarning,
            stacklevel=2,
        )
    located = locate(of, split, progress)
    training = locate(of, "train", progress) if rate_free is not None and split != "train" else located

    def recordings() -> Recordings:
        opened = located.open(reader)
        if rate_free is None:
            return opened
        return RateFreeRecordings(opened, opened if training is located else training.open(reader), rate_free)

    if not cache:
        return _warned(bin_recordings(recordings(), binning, on_bad=on_bad, progress=progress))
    key = {
        "format": FORMAT, "name": of.name, "split": split, "source": located.source, "checksum": located.checksum,
        "sensor": of.sensor, "n_classes": of.n_classes, "on_bad": on_bad, **asdict(binning),
        "rate_free": rate_free and [training.checksum, asdict(rate_free)],
    }  # fmt: skip
    text = json.dumps(key, sort_keys=True)
    cached = cache_folder() / "binned" / f"{of.name}-{split}-{hashlib.sha256(text.encode()).hexdigest()[:16]}.zip"
    check_reader(reader)
    dataset = read_store(cached, text, binning, memory)
    if dataset is None:
        opened = recordings()
        try:
            store_binned(cached, text, opened, binning, on_bad=on_bad, progress=progress)
        except OSError as error:
            failed = f"the cache {cached} could not be written ({error})"
            if memory == "mapped":
                raise DataError(f"{failed}; free some space") from error
            warnings.warn(f"{failed}; binning is repeated", stacklevel=2)
            return _warned(bin_recordings(opened, binning, on_bad=on_bad, progress=progress))
        dataset = read_store(cached, text, binning, memory)
        if dataset is None:
            raise DataError(f"{cached} was written, but reads as something else; check the disk, or use cache=False")
    return _warned(dataset)


def bin_recordings(
    recordings: Recordings, binning: Binning, *, on_bad: OnBad = "raise", progress: Progress | None = None
) -> BinnedDataset:
    """Recordings of any kind, binned, in memory. Their checksum decides what ``source`` is.

    Raises DataError if a recording cannot be read or has no events, unless ``on_bad="skip"``.
    """
    parts = _Parts(recordings, binning, on_bad, progress)
    counts = np.concatenate(list(parts))
    return BinnedDataset(counts, **parts.about(), binning=binning, n_classes=len(recordings.class_names))


def store_binned(
    path: Path,
    key: str,
    recordings: Recordings,
    binning: Binning,
    *,
    on_bad: OnBad = "raise",
    progress: Progress | None = None,
) -> None:
    """Recordings of any kind, binned, into a file which :func:`read_store` reads under ``key``.

    No more than one recording is held in memory. Raises as :func:`bin_recordings` does, and OSError.
    """
    parts = _Parts(recordings, binning, on_bad, progress)
    write_store(path, key, parts, parts.about)


class _Parts:
    """The counts of each recording that can be used, one after another, and what is to be known besides."""

    def __init__(self, of: Recordings, binning: Binning, on_bad: OnBad, progress: Progress | None) -> None:
        self.recordings, self.binning, self.on_bad, self.progress = of, binning, on_bad, progress
        self.kept: list[tuple[int, int, int]] = []  # steps, label and speaker
        self.skipped: list[str] = []
        if isinstance(of, FeatureRecordings) and (binning.rule != of.rule or binning.dt_ms != of.frame_ms):
            what = "log-mel features" if of.rule == "log_mel" else of.rule
            raise ConfigError(
                f"{of.path} gives {what}, a frame every {of.frame_ms:g} ms: use binning {of.rule!r} "
                f"with dt_ms {of.frame_ms:g} and channel_group 1, not {binning.rule!r} with {binning.dt_ms:g}"
            )
        if binning.rule in FEATURES and not isinstance(of, FeatureRecordings):
            what = "sound" if binning.rule == "log_mel" else "numbers"
            raise ConfigError(f"{of.path} holds events, not {what}: choose binning 'fixed', not {binning.rule!r}")

    def __iter__(self) -> Iterator[NDArray[Any]]:
        for i in range(len(self.recordings)):
            try:
                counts, label, speaker = self._bin(i)
            except DataError as error:
                if self.on_bad == "raise":
                    raise
                self.skipped.append(str(error))
            else:
                self.kept.append((len(counts), label, speaker))
                yield counts
            if self.progress is not None:
                self.progress(i + 1, len(self.recordings))
        if not self.kept:
            why = f"; the first of {len(self.skipped)} errors: {self.skipped[0]}" if self.skipped else ""
            raise DataError(f"{self.recordings.path} holds no samples that can be used{why}")

    def _bin(self, i: int) -> tuple[NDArray[Any], int, int]:
        if isinstance(self.recordings, FeatureRecordings):
            return self.recordings.frames(i)
        sample = self.recordings[i]
        counts = bin_recording(sample.events, self.binning, f"{self.recordings.path}: sample {i}")
        return counts, sample.label, sample.speaker

    def about(self) -> dict[str, Any]:
        """Arguments of the :class:`BinnedDataset`, once all parts are taken."""
        path, source = self.recordings.path, self.recordings.source()
        lengths, labels, speakers = np.array(self.kept, dtype=np.int64).T
        return {
            "offsets": offsets_of(lengths),
            "labels": labels.copy(),
            "speakers": speakers.copy(),
            "source": identify(path) if source == UNIDENTIFIED and path.exists() else source,
            "checksum": self.recordings.checksum(),
            "class_names": self.recordings.class_names,
            "skipped": tuple(self.skipped),
        }


def _warned(dataset: BinnedDataset) -> BinnedDataset:
    if dataset.skipped:
        warnings.warn(
            f"{dataset.source}: {len(dataset.skipped)} recordings were left out, the first because: "
            f"{dataset.skipped[0]}",
            UserWarning,
            stacklevel=3,
        )
    return dataset
