"""A text for a language model, cut into train, valid and test: one that has a card, or a file of the user's."""

import hashlib
import math
import os
from collections import Counter
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal

import numpy as np

from snn_delays.data.text.cards import SPLITS, TextCard, text_card, text_cards
from snn_delays.data.text.unpacking import origin, read_files, unpacked
from snn_delays.data.text.vocabulary import UNKNOWN_TOKEN, ByteVocabulary, CharacterVocabulary, Tokens, Vocabulary
from snn_delays.errors import ConfigError, DataError

OWN_SPLIT = (0.9, 0.05, 0.05)
Fractions = tuple[float, ...]


@dataclass(frozen=True, eq=False)
class Corpus:
    """A text as tokens.

    ``name``: for display; that of a card only if the text is the card's. ``source``, ``checksum``: see
    :func:`~snn_delays.data.text.unpacking.origin`. ``train``, ``valid``, ``test``: int32 ``[token]``. ``bytes_of``:
    bytes of UTF-8 in each split, by which bits per byte are taken. ``attribution``: the line to be shown with results,
    or empty. ``unknown``: characters of a split that the vocabulary lacks, and how often; their token is -1.
    """

    name: str
    source: str
    checksum: str
    vocabulary: Vocabulary
    train: Tokens
    valid: Tokens
    test: Tokens
    bytes_of: dict[str, int]
    attribution: str
    unknown: dict[str, Counter[str]] = field(default_factory=dict)

    def check_known(self) -> None:
        """Raise DataError naming the characters of valid and test that the vocabulary lacks, if there are any."""
        for part, unknown in self.unknown.items():
            named = ", ".join(f"{c!r} (U+{ord(c):04X}, {n:,} times)" for c, n in unknown.most_common(8))
            more = f" and {len(unknown) - 8} others" if len(unknown) > 8 else ""
            raise DataError(
                f"{part} of {self.source} has characters that the training text lacks, which a network cannot learn "
                f"to predict: {named}{more}; take the vocabulary 'bytes', which can write every text, other fractions, "
                "or a text without them"
            )


def load_corpus(
    name_or_path: str | Path,
    vocabulary: Literal["bytes", "characters"] | Vocabulary = "bytes",
    split: tuple[float, float, float] | None = None,
    context: int = 1,
) -> Corpus:
    """A corpus by the name of its card, or any file of text by its path, plain or compressed (xz, bz2, gzip, zip).

    ``vocabulary``: ``"bytes"``, ``"characters"`` of the training text alone, or an existing one, as of a trained
    network. ``split``: fractions of the bytes for train, valid and test, in file order, each end at the nearest byte;
    for characters an end inside a character moves to its beginning. Default: the card's, of a file 0.9, 0.05, 0.05. A
    card with one file a split has no fractions. ``context``: every split must have ``context + 1`` tokens.

    Raises ConfigError for an unknown name, vocabulary or impossible fractions; DataError for a file that is missing,
    empty, damaged, not the card's, not UTF-8 (characters only, as bytes can be anything), or too short.
    """
    kind = vocabulary if isinstance(vocabulary, str) else vocabulary.kind
    if kind not in ("bytes", "characters"):
        raise ConfigError(f"the vocabulary of a corpus is 'bytes' or 'characters', got {kind!r}")
    if context < 1:
        raise ConfigError(f"context must be at least 1, got {context}")
    name = str(name_or_path)
    is_path = any(separator in name for separator in ("/", os.sep, os.altsep or os.sep)) or Path(name).is_file()
    if is_path and name not in text_cards("corpus"):
        path = Path(name).expanduser()
        content = _file_content(path)
        files, card = {"all": (path, content)}, _card_of(content)
    else:
        card = text_card(name, "corpus")
        if split is not None and "all" not in card.files:
            raise ConfigError(f"{card.display_name} comes as train, valid and test files; leave the split out")
        files = read_files(card)
    for where, content in files.values() if kind == "characters" else ():
        try:
            content.decode("utf-8")
        except UnicodeDecodeError as error:
            raise DataError(
                f"{where} is not UTF-8: byte 0x{content[error.start]:02x} at position {error.start} of the unpacked "
                "text; convert it, or take the vocabulary 'bytes', which takes any file"
            ) from None
    texts = {part: content for part, (_, content) in files.items()}
    if "all" in texts:
        fractions = split or (tuple(card.split) if card else OWN_SPLIT)
        texts = _cut(texts["all"], fractions, between_characters=kind == "characters")
    coded, tokens, unknown = _encode(texts, vocabulary)
    source, checksum = origin(files)
    for part in SPLITS:
        if len(tokens[part]) <= context:
            raise DataError(
                f"{part} of {source} has {len(tokens[part])} tokens, too few for a context of {context}, which needs "
                f"{context + 1}; take a longer text, a shorter context or other fractions"
            )
    return Corpus(
        name=_label(card, split) if card else f"file {path.name}",
        source=source,
        checksum=checksum,
        vocabulary=coded,
        bytes_of={part: len(texts[part]) for part in SPLITS},
        attribution=card.attribution if card else "",
        unknown=unknown,
        **tokens,
    )


def _file_content(path: Path) -> bytes:
    if path.is_dir():
        raise DataError(f"{path} is a folder; give the path of one text file")
    if not path.exists():
        raise DataError(
            f"there is no file {path}; give the path of a text, or one of the names {', '.join(text_cards('corpus'))}"
        )
    if content := unpacked(path):
        return content
    raise DataError(f"{path} is empty; give a file with text in it")


def _card_of(content: bytes) -> TextCard | None:
    """The card whose text this is."""
    md5 = hashlib.md5(content, usedforsecurity=False).hexdigest()
    cards = (card for card in text_cards("corpus").values() if "all" in card.files)
    return next((card for card in cards if card.files["all"].md5 == md5), None)


def _label(card: TextCard, split: Fractions | None) -> str:
    """The card's name, with whatever makes results on this text differ from those of others."""
    other = f", split {'/'.join(f'{part:g}' for part in split)}" if split and [*split] != card.split else ""
    unverified = [part for part, file in card.files.items() if not file.md5]
    return card.display_name + other + (f" ({', '.join(unverified)} unverified)" if unverified else "")


def _cut(content: bytes, fractions: Fractions, *, between_characters: bool) -> dict[str, bytes]:
    three = len(fractions) == 3 and all(0 < part < 1 for part in fractions)
    if not three or not math.isclose(sum(fractions), 1, abs_tol=1e-9):
        raise ConfigError(
            f"split needs three fractions above 0 that sum to 1 (train, valid, test), got {list(fractions)}, "
            f"which sum to {sum(fractions):g}"
        )
    ends = [round(fractions[0] * len(content)), round((fractions[0] + fractions[1]) * len(content)), len(content)]
    for i, end in enumerate(ends):
        while between_characters and 0 < end < len(content) and content[end] & 0xC0 == 0x80:  # inside a character
            end -= 1
        ends[i] = end
    return {part: content[start:end] for part, start, end in zip(SPLITS, [0, *ends], ends)}


def _encode(
    texts: dict[str, bytes], vocabulary: str | Vocabulary
) -> tuple[Vocabulary, dict[str, Tokens], dict[str, Counter[str]]]:
    if vocabulary == "bytes" or isinstance(vocabulary, ByteVocabulary):
        return ByteVocabulary(), {p: np.frombuffer(text, np.uint8).astype(np.int32) for p, text in texts.items()}, {}
    decoded = {part: text.decode("utf-8") for part, text in texts.items()}
    characters = (
        vocabulary if isinstance(vocabulary, CharacterVocabulary) else CharacterVocabulary.build(decoded[SPLITS[0]])
    )
    tokens = {part: characters.encode_known(text) for part, text in decoded.items()}
    places = {part: np.flatnonzero(coded == UNKNOWN_TOKEN) for part, coded in tokens.items()}
    return characters, tokens, {part: Counter(decoded[part][i] for i in at) for part, at in places.items() if len(at)}
