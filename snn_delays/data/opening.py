"""From the card of a data set to its recordings: the only room that knows cards, files and readers."""

import hashlib
import json
from collections.abc import Callable
from dataclasses import dataclass
from importlib import import_module
from pathlib import Path

from snn_delays.data.card import UNIDENTIFIED, Card
from snn_delays.data.catalogue.identity import check_parts, recognise
from snn_delays.data.catalogue.locate import data_path, find_data
from snn_delays.data.catalogue.lookup import card
from snn_delays.data.encoders.sequential_mnist import open_pixel_sequences, open_pixel_values
from snn_delays.data.encoders.speech_commands import open_speech_commands
from snn_delays.data.files import Progress, remembered
from snn_delays.data.formats.cifar10_dvs import open_cifar10_dvs
from snn_delays.data.formats.dvs_gesture import open_dvs_gesture
from snn_delays.data.formats.nmnist import open_nmnist
from snn_delays.data.formats.ntidigits import open_ntidigits
from snn_delays.data.formats.shd import open_shd
from snn_delays.data.recordings import Reader, Recordings
from snn_delays.data.synthetic.recordings import open_synthetic
from snn_delays.errors import DataError

_Open = Callable[[Card, str, Path, Reader], Recordings]

READERS: dict[str, _Open | str] = {
    "shd": open_shd,
    "synthetic": open_synthetic,
    "speech_commands": open_speech_commands,
    "sequential_mnist": open_pixel_sequences,
    "pixel_values": open_pixel_values,
    "nmnist": open_nmnist,
    "dvs_gesture": open_dvs_gesture,
    "ntidigits": open_ntidigits,
    "cifar10_dvs": open_cifar10_dvs,
}
"""Readers by the name on a card, called as ``reader(card, split, path, which)``. Add your own: a function, or where it
is, as ``"my_package.readers:open_mine"``."""


@dataclass(frozen=True)
class Located:
    """A split whose files were found and identified: ``source`` is its display name, ``checksum`` its recordings'."""

    card: Card
    split: str
    path: Path
    source: str
    checksum: str

    def open(self, reader: Reader = "auto") -> Recordings:
        """The recordings. Raises as :func:`open_recordings`."""
        recordings = _reader(self.card)(self.card, self.split, self.path, reader)
        recordings.known_as = self.source
        return recordings


def open_recordings(
    name: str | Path, split: str, *, reader: Reader = "auto", progress: Progress | None = None
) -> Recordings:
    """The recordings of a split of a data set, by its name in the catalogue or by the path of the user's own.

    ``reader``: ``"tonic"`` (needs tonic >= 1.7), ``"own"``, or ``"auto"``: Tonic where it is installed.

    Raises ConfigError for an unknown name or split, DataError naming the missing file, where it belongs and its
    checksum, BackendUnavailableError if a package is missing.
    """
    of = card(name)
    path = find_data(of, split, progress)
    recordings = _reader(of)(of, split, path, reader)
    recordings.known_as = _source(of, split, path) or recordings.known_as
    return recordings


def locate(of: Card, split: str, progress: Progress | None = None) -> Located:
    """Find and identify a split; while its files stay as they are (:func:`remembered`), none is opened again for that.

    Raises as :func:`open_recordings`.
    """
    part = of.split(split)
    path = data_path(of, part)
    if not (part.file or part.parts):  # generated
        drawn = _reader(of)(of, split, path, "auto")
        return Located(of, split, path, drawn.source(), drawn.checksum())

    def identity() -> str:
        source = _source(of, split, path)
        return json.dumps({"source": source, "checksum": _reader(of)(of, split, path, "auto").checksum()})

    digest = hashlib.sha256(repr(of).encode()).hexdigest()
    if not path.exists():
        find_data(of, split, progress)
    known = json.loads(remembered(path, f"{split} of {digest}", identity))
    if of.bundled and known["source"] != of.display_name:  # the expansion is damaged
        find_data(of, split, progress)
        known = json.loads(identity())
    elif known["source"] == UNIDENTIFIED:  # unless a card was added that knows it
        known["source"] = _source(of, split, path)
    return Located(of, split, path, **known)


def _source(of: Card, split: str, path: Path) -> str:
    """The display name of the files at ``path``. Raises DataError if it is another split of the data set."""
    part = of.split(split)
    if not (part.file or part.parts):
        return ""
    if part.parts:
        try:
            check_parts(of, part)
        except DataError:
            return UNIDENTIFIED
        return of.display_name
    known = recognise(path)
    if known and split not in [other for _, other in known]:
        raise DataError(
            f"{path} should be the split {split} of {of.display_name}, but by its checksum it is the split "
            f"{known[0][1]} of {known[0][0].display_name}; put each file in its place"
        )
    if part.made_here and not (of.own and known):
        return f"{of.display_name} (own data)" if of.own else f"{of.display_name}, made here"
    names = [c.display_name for c, _ in known]
    return of.display_name if of.display_name in names else names[0] if names else UNIDENTIFIED


def _reader(of: Card) -> _Open:
    if of.reader not in READERS:
        raise DataError(f"card {of.name!r} names the reader {of.reader!r}; there are {', '.join(READERS)}")
    reader = READERS[of.reader]
    if callable(reader):
        return reader
    module, function = reader.split(":")
    named: _Open = getattr(import_module(module), function)
    return named
