"""The catalogue: data sets by name, or a user's own by path."""

import hashlib
import os
from functools import lru_cache
from pathlib import Path

from snn_delays.data.card import Card, datasets_folder, read_card, read_own_card
from snn_delays.data.catalogue.own import card_at, is_path, slug
from snn_delays.errors import ConfigError, DataError
from snn_delays.messages import did_you_mean


@lru_cache(maxsize=4)
def _cards(folder: Path) -> dict[str, Card]:
    found = sorted((read_card(path) for path in folder.glob("*.toml")), key=lambda card: card.name)
    return {card.name: card for card in found}


def cards() -> dict[str, Card]:
    """All data sets by name: the catalogue's, and those with cards in the folders ``SNN_DELAYS_CARDS``.

    Several folders are set apart as in ``PATH``. Raises DataError for a folder that is not there, a card that cannot be
    read, or a name that is taken, for display too.
    """
    found = dict(_cards(datasets_folder()))
    for folder in filter(None, os.environ.get("SNN_DELAYS_CARDS", "").split(os.pathsep)):
        if not Path(folder).is_dir():
            raise DataError(f"SNN_DELAYS_CARDS names the folder {folder}, which is not there")
        for path in sorted(Path(folder).glob("*.toml")):
            own = read_own_card(path)
            for known in found.values():
                if own.name == known.name or own.display_name == known.display_name:
                    raise DataError(f"{path}: there is a data set {known.name!r} already; give it another name")
            found[own.name] = own
    return found


def card(name: str | Path) -> Card:
    """The card of a data set: by its name in the catalogue, or by the path of one's own (:func:`own.card_at`).

    Raises ConfigError for a name that is neither.
    """
    name, known = str(name), cards()
    if name in known:
        return known[name]
    if is_path(name):
        return card_at(Path(name).expanduser())
    raise ConfigError(f"unknown data set {name!r}; {_names_there_are(name)}")


def lasting_name(name: str | Path) -> str:
    """The name of a data set as it holds wherever a program is started: a path becomes absolute.

    Whether anything is there is seen when it is opened. Raises ConfigError for what is neither a name nor a path.
    """
    name = str(name)
    if name in cards():
        return name
    if is_path(name):
        return str(Path(os.path.abspath(Path(name).expanduser())))
    raise ConfigError(f"there is no such data set; {_names_there_are(name)}")


def _names_there_are(name: str) -> str:
    return f"{did_you_mean(name, cards())}the catalogue has {', '.join(cards())}, and a path may name one's own"


def file_name_of(name: str) -> str:
    """A data set's name as a part of a file's: that of a path is its last part and a digest of the whole."""
    if name in cards():
        return name
    path = lasting_name(name)
    return f"{slug(Path(path).stem)}-{hashlib.sha256(path.encode(errors='surrogateescape')).hexdigest()[:8]}"
