"""The card of a data set: what is known about it and its files."""

from dataclasses import dataclass, field
from typing import Any

from snn_delays.errors import ConfigError

UNIDENTIFIED = "unidentified"
"""The display name of files that no card knows."""


@dataclass(frozen=True)
class SplitFile:
    """One split on disk: its file or folder, and the checksums by which it is known.

    ``file``: relative to the card's folder; empty for a set that is generated. ``md5``, ``sha256``: of the file, or of
    the folder (:func:`files.checksums`). ``content_sha256``: of the content of a file in SHD's layout
    (:func:`shd.content_sha256`), whichever version of HDF5 wrote it. ``archive``, ``archive_md5``, ``archive_sha256``:
    what it is unpacked from. ``parts``: for a split of several files in the card's folder, the md5 of each by name; a
    file may be gzipped, the md5 is of its content. ``remedy``: how to get a missing file, where it is not unpacked from
    an archive.
    """

    file: str
    samples: int
    md5: str | None = None
    sha256: str | None = None
    content_sha256: str | None = None
    archive: str | None = None
    archive_md5: str | None = None
    archive_sha256: str | None = None
    parts: dict[str, str] = field(default_factory=dict)
    remedy: str | None = None

    @property
    def made_here(self) -> bool:
        """Whether the split is made on the user's machine, so that its checksum cannot be known in advance."""
        return not (self.md5 or self.sha256 or self.content_sha256 or self.archive_md5 or self.parts)


@dataclass(frozen=True)
class Card:
    """A data set: source, citation, licence, splits, and the checksums that identify its files.

    ``reader``: one of :data:`opening.READERS`. ``folder``: relative to the data folder, or for a bundled set
    (``bundled``) beside the card. ``sensor``: ``[channels]``, or ``[polarity, height, width]`` of an event camera.
    ``time_unit``: how times are stored; bins finer than ``finest_dt_ms`` resolve nothing because of it. ``validation``:
    the default rule for the validation set. ``settings``: further arguments of the reader, such as the seed of a
    generated set. ``own``: path of the card or the files of a user's own data set, empty for the catalogue's;
    ``missing_split``: the remedy for a split that it does not have.
    """

    name: str
    display_name: str
    title: str
    description: str
    citation: str
    licence: str
    attribution: str
    source: str
    reader: str
    tonic_class: str
    folder: str
    bundled: bool
    sensor: list[int]
    n_classes: int
    time_unit: str
    finest_dt_ms: float
    validation: dict[str, Any]
    splits: dict[str, SplitFile]
    settings: dict[str, Any] = field(default_factory=dict)
    own: str = ""
    missing_split: str = ""

    def split(self, split: str) -> SplitFile:
        """The file of a split. Raises ConfigError for a split that the data set does not have."""
        if split not in self.splits:
            remedy = f"; {self.missing_split}" if self.missing_split else ""
            raise ConfigError(
                f"data set {self.name!r} has no split {split!r}; choose {' or '.join(self.splits)}{remedy}"
            )
        return self.splits[split]
