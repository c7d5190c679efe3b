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
    """One file of a set, and how it is known.

    ``file``: its name unpacked, relative to the card's folder or inside the card's archive. ``bytes``, ``md5``: of the
    unpacked text; without ``md5`` nobody can say whether the file is the one that is meant. ``lines``: how many it has.
    ``left_out``: ids, by the name of their class, of texts that do not belong into the set.
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
    folder that may hold them all. ``remedy``: how to come by a missing file. ``format``, ``encoding``,
    ``class_names``, ``split_rule``: of sentences; how their lines are written, and how the splits on disk came about.
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
    found = sorted(map(read_text_card, folder.glob("*.toml")), key=lambda card: card.name)
    return {card.name: card for card in found}


def text_cards(kind: Kind | None = None) -> dict[str, TextCard]:
    """All corpora and sentence sets by name, or those of one kind."""
    found = read_cards(datasets_folder() / "text")
    return {name: card for name, card in found.items() if kind in (None, card.kind)}


def text_card(name: str, kind: Kind) -> TextCard:
    """The card of a corpus or a set of sentences. Raises ConfigError naming the nearest for a name without one."""
    known = text_cards(kind)
    if name in known:
        return known[name]
    what, path = ("corpus", ", or the path of a file") if kind == "corpus" else ("set of sentences", "")
    choice = f"choose one of {', '.join(known)}{path}"
    if name in text_cards():
        other = "a set of sentences, not a corpus" if kind == "corpus" else "a corpus, not a set of sentences"
        raise ConfigError(f"{name!r} is {other}; {choice}")
    raise ConfigError(f"unknown {what} {name!r}; {did_you_mean(name, known)}{choice}")
