"""What texts and sentence sets there are: one TOML card each in ``datasets/text``."""

from dataclasses import dataclass, field
from functools import lru_cache
from pathlib import Path
from typing import Literal

from snn_delays.data.card import build, datasets_folder, read_toml
from snn_delays.data.files import data_folder
from snn_delays.errors import ConfigError, DataError
from snn_delays.messages import did_you_mean

Kind = Literal["corpus", "sentences"]
SPLITS = ("train", "valid", "test")


@dataclass(frozen=True)
class TextFile:
    """One file of a set.

    ``file``: its name unpacked, relative to the card's folder or inside the card's archive. ``bytes``, ``md5``,
    ``lines``: of the unpacked text; without ``md5`` nobody can say whether it is the file that is meant. ``left_out``:
    ids, by the name of their class, of texts that do not belong into the set.
    """

    file: str
    bytes: int = 0
    md5: str = ""
    lines: int = 0
    left_out: dict[str, list[int]] = field(default_factory=dict)


@dataclass(frozen=True)
class TextCard:
    """A corpus or a set of sentences: where it comes from, what may be done with it, and how its files are known.

    ``folder``: relative to the data folder, or for a bundled set beside the card. ``files``: by split, or one file
    ``all`` that is cut by the fractions ``split`` (a corpus) or drawn from (sentences). ``archive``: a tar file in the
    folder that may hold them all. ``remedy``: how to get a missing file. ``format`` to ``split_rule``: of sentences.
    """

    name: str
    display_name: str
    kind: Kind
    description: str
    citation: str
    licence: str
    attribution: str
    source: str
    folder: str
    files: dict[str, TextFile]
    bundled: bool = False
    remedy: str = ""
    archive: str = ""
    split: list[float] = field(default_factory=list)
    format: Literal["lines", "tsv", "jsonl"] = "lines"
    encoding: str = "utf-8"
    class_names: list[str] = field(default_factory=list)
    split_rule: str = ""

    @property
    def place(self) -> Path:
        """The folder in which its files are looked for."""
        return (datasets_folder() / "text" if self.bundled else data_folder()) / self.folder


def read_text_card(path: Path) -> TextCard:
    """Read one card. Raises DataError naming the file and the key that is missing, unknown or impossible."""
    content = read_toml(path)
    files = {split: build(TextFile, file, f"{path}: files.{split}") for split, file in content.pop("files", {}).items()}
    card: TextCard = build(TextCard, {**content, "files": files}, str(path))
    if card.kind not in ("corpus", "sentences"):
        raise DataError(f"{path}: kind must be corpus or sentences, got {card.kind!r}")
    if set(files) not in ({"all"}, {"train", "test"}, set(SPLITS)):
        raise DataError(
            f"{path}: files must be all, or train, test and perhaps valid; got {', '.join(files) or 'none'}"
        )
    return card


@lru_cache(maxsize=4)
def read_cards(folder: Path) -> dict[str, TextCard]:
    """The cards of a folder by name."""
    cards = map(read_text_card, folder.glob("*.toml"))
    return {card.name: card for card in sorted(cards, key=lambda card: card.name)}


def text_cards(kind: Kind | None = None) -> dict[str, TextCard]:
    """All corpora and sentence sets by name, or those of one kind."""
    cards = read_cards(datasets_folder() / "text")
    return {name: card for name, card in cards.items() if kind in (None, card.kind)}


def text_card(name: str, kind: Kind) -> TextCard:
    """The card of a corpus or a set of sentences. Raises ConfigError naming the nearest for a name without one."""
    known = text_cards(kind)
    if name in known:
        return known[name]
    names = {"corpus": "corpus", "sentences": "set of sentences"}
    choice = f"choose one of {', '.join(known)}{', or the path of a file' if kind == 'corpus' else ''}"
    if other := text_cards().get(name):
        raise ConfigError(f"{name!r} is a {names[other.kind]}, not a {names[kind]}; {choice}")
    raise ConfigError(f"unknown {names[kind]} {name!r}; {did_you_mean(name, known)}{choice}")
