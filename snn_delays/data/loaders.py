"""Data sets by name, binned, held in memory, with a cache on disk keyed by everything that shapes them."""

import hashlib
import json
import warnings
import zipfile
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np

from snn_delays.data import catalogue
from snn_delays.data.binned import BinnedDataset
from snn_delays.data.binning import Binning, bin_events
from snn_delays.data.convert import find_hdf5
from snn_delays.data.files import Progress, checksums
from snn_delays.data.shd import Reader, iterate_shd_hdf5, read_header
from snn_delays.errors import DataError
from snn_delays.files import atomic_path, cache_folder

_FORMAT = 1  # raised whenever the same file and binning would give another dataset


def load_binned(
    name: str,
    split: str,
    binning: Binning,
    *,
    reader: Reader = "auto",
    cache: bool = True,
    progress: Progress | None = None,
) -> BinnedDataset:
    """A split of a data set, binned and whole in memory.

    ``name``: as in the catalogue; ``split``: ``"train"`` or ``"test"``; ``reader``: see
    :func:`shd.iterate_shd_hdf5`, it does not change the result; ``cache``: keep the result in the cache folder, under a
    key made of the file's checksum, the binning and the version of the format. A stale or damaged cache is built anew.

    Warns (UserWarning) if ``dt_ms`` is finer than the stored times. Raises ConfigError for an unknown name or split,
    DataError if the file is missing or damaged or a sample has no events.
    """
    card = catalogue.card(name)
    if binning.dt_ms < card.finest_dt_ms:
        warnings.warn(
            f"dt_ms = {binning.dt_ms:g} is finer than {card.finest_dt_ms:g} ms: {card.display_name} stores times as "
            f"{card.time_unit}, whose step reaches 0.98 ms after 1 s, so finer bins show the rounding, not the data",
            UserWarning,
            stacklevel=2,
        )
    path = find_hdf5(name, split, progress)
    key = {"format": _FORMAT, "file_sha256": checksums(path).sha256, **asdict(binning)}
    text = json.dumps(key, sort_keys=True)
    cached = cache_folder() / "binned" / f"{name}-{split}-{hashlib.sha256(text.encode()).hexdigest()[:16]}.npz"
    source = catalogue.identify(path)
    if cache and (dataset := _read_cache(cached, text, source, binning)) is not None:
        return dataset
    dataset = bin_file(path, binning, reader=reader, progress=progress)
    if cache:
        try:
            _write_cache(cached, text, dataset)
        except OSError as error:
            warnings.warn(f"the cache {cached} could not be written ({error}); binning is repeated", stacklevel=2)
    return dataset


def bin_file(
    path: Path, binning: Binning, *, reader: Reader = "auto", progress: Progress | None = None
) -> BinnedDataset:
    """Any file in SHD's layout, binned. Its checksum decides what ``source`` says.

    Raises DataError if the file is damaged or a sample has no events.
    """
    class_names, n_samples = read_header(path)
    parts, labels, speakers = [], [], []
    for i, sample in enumerate(iterate_shd_hdf5(path, reader)):
        if len(sample.events) == 0:
            raise DataError(f"{path}: sample {i} has no events; a recording without spikes cannot be classified")
        parts.append(bin_events(sample.events, binning))
        labels.append(sample.label)
        speakers.append(sample.speaker)
        if progress is not None:
            progress(i + 1, n_samples)
    if not parts:
        raise DataError(f"{path} holds no samples")
    return BinnedDataset(
        counts=np.concatenate(parts),
        offsets=np.concatenate([[0], np.cumsum([len(part) for part in parts])]).astype(np.int64),
        labels=np.array(labels, dtype=np.int64),
        speakers=np.array(speakers, dtype=np.int64),
        source=catalogue.identify(path),
        checksum=checksums(path).sha256,
        binning=binning,
        n_classes=len(class_names),
        class_names=class_names,
    )


def _read_cache(path: Path, key: str, source: str, binning: Binning) -> BinnedDataset | None:
    try:
        with np.load(path) as z:  # a zip archive: each array carries a checksum, which reading verifies
            if str(z["key"]) != key:
                return None
            arrays: dict[str, Any] = {name: z[name] for name in ("counts", "offsets", "labels", "speakers")}
            class_names = tuple(json.loads(str(z["class_names"])))
        return BinnedDataset(
            **arrays,
            source=source,
            checksum=json.loads(key)["file_sha256"],
            binning=binning,
            n_classes=len(class_names),
            class_names=class_names,
        )
    except (OSError, EOFError, KeyError, ValueError, zipfile.BadZipFile):
        return None  # absent or damaged: it is built anew


def _write_cache(path: Path, key: str, dataset: BinnedDataset) -> None:
    with atomic_path(path) as temporary, temporary.open("wb") as f:
        np.savez(
            f,
            key=np.array(key),
            class_names=np.array(json.dumps(dataset.class_names)),
            counts=dataset.counts,
            offsets=dataset.offsets,
            labels=dataset.labels,
            speakers=dataset.speakers,
        )
