"""The former place of :mod:`snn_delays.data.catalogue.locate`, whose functions take a card."""

import warnings
from pathlib import Path

from snn_delays.data.catalogue import locate
from snn_delays.data.catalogue.lookup import card


def verify(name: str, split: str) -> Path:
    """:func:`locate.verify` by name."""
    warnings.warn(
        f"{__name__}.verify is now {locate.__name__}.verify, of a card; the old name goes with the next version",
        DeprecationWarning,
        stacklevel=2,
    )
    return locate.verify(card(name), split)
