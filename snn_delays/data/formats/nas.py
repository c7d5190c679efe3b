"""Recordings of the Neuromorphic Auditory Sensor, a silicon cochlea: address and time of each spike, no header.

Big-endian pairs of an address (2 or 4 bytes) and a 4-byte time in ticks; the file does not say which, so the caller
does. The published files carry it in their names: ``addr4b_ts1`` is 4 bytes and 1 us, ``addr2b_ts02`` 2 bytes and
0.2 us. Jimenez-Fernandez et al., IEEE TNNLS 28(4), 2017.
"""

import re
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from snn_delays.data.events import Events
from snn_delays.data.numbers import first_fall, first_true
from snn_delays.data.recordings import EventFiles
from snn_delays.errors import DataError
from snn_delays.reading import open_regular

_IN_NAME = re.compile(r"_addr([24])b_ts(1|02)(?![0-9])")


def read_nas(path: Path, n_channels: int, *, address_bytes: int, ticks_per_us: int) -> Events:
    """One recording, times as stored, cut to integer microseconds.

    ``n_channels``: addresses of the sensor, 2 for each filter (ON and OFF) and ear; ``address_bytes``: 2 or 4;
    ``ticks_per_us``: 5 for ticks of 0.2 us, 1 for 1 us.

    Raises DataError if the size is no multiple of an event's, an address is none of the sensor's, or a time falls.
    """
    try:
        return _decode(path, n_channels, address_bytes, ticks_per_us)
    except OSError as error:
        raise DataError(f"cannot read {path}: {error.strerror}") from error
    except DataError as error:
        raise DataError(f"{path} {error}") from error


def _decode(path: Path, n_channels: int, address_bytes: int, ticks_per_us: int) -> Events:
    if address_bytes not in (2, 4) or ticks_per_us < 1:
        raise DataError(f"has address_bytes 2 or 4 and ticks_per_us of 1 or more, not {address_bytes}, {ticks_per_us}")
    layout = np.dtype([("address", f">u{address_bytes}"), ("tick", ">u4")])
    with open_regular(path) as file:
        content = file.read()
    if len(content) % layout.itemsize:
        raise DataError(
            f"has {len(content)} bytes, no multiple of {layout.itemsize}: it is cut short, or its addresses have not "
            f"{address_bytes} bytes"
        )
    events = np.frombuffer(content, layout)
    tick, address = events["tick"].astype(np.int64), events["address"].astype(np.int64)
    if (i := first_true(address >= n_channels)) is not None:
        raise DataError(
            f"has address {address[i]} in event {i}, expected 0 to {n_channels - 1}; is an address {address_bytes} "
            f"bytes long, and are there {n_channels} channels?"
        )
    if (i := first_fall(tick)) is not None:
        raise DataError(
            f"has event {i} at tick {tick[i]} after one at {tick[i - 1]}; the clock went round, or an address has not "
            f"{address_bytes} bytes"
        )
    return Events(tick // ticks_per_us, address, n_channels)


class NasRecordings(EventFiles):
    """Files of one sensor, the layout of each read from its name (``..._addr2b_ts02.aedat``), labelled by the caller.

    Raises DataError for a name without it, and as :func:`read_nas` does.
    """

    def __init__(
        self,
        files: Sequence[Path],
        n_channels: int,
        labels: Sequence[int] | None = None,
        class_names: Sequence[str] = (),
    ) -> None:
        if not files:
            raise DataError("no recordings given")
        labels = [0] * len(files) if labels is None else labels
        names = class_names or [str(label) for label in range(max(labels) + 1)]
        super().__init__(files[0].parent, files, labels, [-1] * len(files), (n_channels,), tuple(names))

    def _events(self, file: Path) -> Events:
        named = _IN_NAME.search(file.stem)
        if named is None:
            raise DataError("has a name without its layout; expected one with _addr2b or _addr4b and _ts02 or _ts1")
        return _decode(file, self.sensor[0], int(named[1]), 5 if named[2] == "02" else 1)
