"""From text to tokens and back: bytes, the characters of a corpus, or the words of sentences."""

import codecs
import hashlib
import json
from abc import ABC, abstractmethod
from collections import Counter
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from functools import cached_property
from itertools import pairwise
from typing import Any

import numpy as np
from numpy.typing import NDArray

from snn_delays.errors import ConfigError, DataError

Tokens = NDArray[np.int32]
UNKNOWN_TOKEN = -1  # of a character outside the vocabulary; no network takes it
UNKNOWN_WORD = "<unk>"


@dataclass(frozen=True)
class Decoder:
    """Tokens to text one by one; the texts of all calls joined are what ``decode`` returns.

    ``feed(token)``: the text that a token completes; empty while a character is incomplete. ``finish()``: what is left
    when no token follows: ``"\\ufffd"`` for a character that was never completed, else empty.
    """

    feed: Callable[[int], str]
    finish: Callable[[], str] = str


class Vocabulary(ABC):
    """Text to tokens ``0 .. size - 1`` and back. ``kind``: ``"bytes"``, ``"characters"`` or ``"words"``."""

    kind: str

    @property
    @abstractmethod
    def size(self) -> int:
        """Number of different tokens."""

    @abstractmethod
    def encode(self, text: str) -> Tokens:
        """Tokens int32 ``[token]`` of a text. Raises DataError for a text that cannot be written in them."""

    @abstractmethod
    def _text(self, tokens: NDArray[np.int64]) -> str: ...

    @abstractmethod
    def to_json(self) -> dict[str, Any]:
        """What :func:`vocabulary_from_json` restores it from."""

    def decode(self, tokens: Sequence[int] | NDArray[Any]) -> str:
        """The text of tokens. Raises DataError if one is not an integer from 0 to ``size - 1``."""
        array = np.asarray(tokens)
        if array.size == 0:
            array = np.zeros(0, np.int64)
        if array.ndim != 1 or not np.issubdtype(array.dtype, np.integer):
            raise DataError(f"tokens must be integers with one axis [token], got {array.dtype} of shape {array.shape}")
        outside = (array < 0) | (array >= self.size)
        if outside.any():
            i = int(outside.argmax())
            raise DataError(f"token {array[i]} at position {i} is outside a vocabulary of {self.size}")
        return self._text(array.astype(np.int64))

    def decoder(self) -> Decoder:
        """The same token by token, for text that is shown while it is generated."""
        return Decoder(lambda token: self.decode([token]))

    @property
    def fingerprint(self) -> str:
        """Twelve hexadecimal digits of the sha256 of :meth:`to_json`, by which vocabularies differ."""
        text = json.dumps(self.to_json(), sort_keys=True)
        return hashlib.sha256(text.encode()).hexdigest()[:12]


@dataclass(frozen=True)
class ByteVocabulary(Vocabulary):
    """256 tokens, the bytes of UTF-8: every text can be written, and every file is one.

    Bytes that are not UTF-8 are decoded to U+FFFD.
    """

    kind = "bytes"
    size = 256

    def encode(self, text: str) -> Tokens:
        """UTF-8 bytes of a text, int32 ``[token]``; bytes of a command line that are no UTF-8 as they were typed.

        Raises DataError naming the position of a lone surrogate that is not Python's escape of such a byte.
        """
        try:
            return np.frombuffer(text.encode("utf-8", "surrogateescape"), np.uint8).astype(np.int32)
        except UnicodeEncodeError as error:
            raise DataError(f"the text has half a character (a lone surrogate) at position {error.start}") from None

    def _text(self, tokens: NDArray[np.int64]) -> str:
        return tokens.astype(np.uint8).tobytes().decode("utf-8", "replace")

    def decoder(self) -> Decoder:
        """Returns a character with its last byte."""
        utf8 = codecs.getincrementaldecoder("utf-8")("replace")

        def feed(token: int) -> str:
            self.decode([token])  # which refuses what is no byte
            return utf8.decode(bytes([token]))

        return Decoder(feed, lambda: utf8.decode(b"", final=True))

    def to_json(self) -> dict[str, Any]:
        """``{"kind": "bytes"}``."""
        return {"kind": self.kind}


@dataclass(frozen=True)
class CharacterVocabulary(Vocabulary):
    """One token a Unicode character, in ascending order of code points: ``characters[token]``.

    Raises DataError if the characters are not ascending, or none.
    """

    characters: str

    kind = "characters"

    def __post_init__(self) -> None:
        if not self.characters or any(a >= b for a, b in pairwise(self.characters)):
            raise DataError("the characters of a vocabulary must be at least one, ascending and without repetition")

    @classmethod
    def build(cls, text: str) -> "CharacterVocabulary":
        """The characters of a text. Raises DataError for an empty one. Give it the training text alone."""
        return cls("".join(sorted(set(text))))

    @property
    def size(self) -> int:
        """Number of different characters."""
        return len(self.characters)

    @cached_property
    def _points(self) -> NDArray[np.uint32]:
        return _code_points(self.characters)

    def encode(self, text: str) -> Tokens:
        """Tokens int32 ``[token]``. Raises DataError naming the first character that is not in the vocabulary."""
        tokens = self.encode_known(text)
        if (tokens == UNKNOWN_TOKEN).any():
            i = int((tokens == UNKNOWN_TOKEN).argmax())
            raise DataError(
                f"character {text[i]!r} (U+{ord(text[i]):04X}) at position {i} is not among the {self.size} characters "
                "of the vocabulary; leave it out, or train with the vocabulary 'bytes', which can write every text"
            )
        return tokens

    def encode_known(self, text: str) -> Tokens:
        """Tokens int32 ``[token]``, ``UNKNOWN_TOKEN`` for a character that is not in the vocabulary."""
        points = _code_points(text)
        tokens = np.searchsorted(self._points, points).clip(max=self.size - 1)
        return np.where(self._points[tokens] == points, tokens, UNKNOWN_TOKEN).astype(np.int32)

    def _text(self, tokens: NDArray[np.int64]) -> str:
        return self._points[tokens].astype("<u4").tobytes().decode("utf-32-le")

    def to_json(self) -> dict[str, Any]:
        """``{"kind": "characters", "characters": ...}``."""
        return {"kind": self.kind, "characters": self.characters}


def _code_points(text: str) -> NDArray[np.uint32]:
    return np.frombuffer(text.encode("utf-32-le", "surrogatepass"), "<u4").astype(np.uint32)


@dataclass(frozen=True)
class WordVocabulary(Vocabulary):
    """One token a word in lower case; token 0 stands for every word that is not in it.

    Words are what stands between spaces: the sentence sets come with punctuation set apart. Raises DataError if the
    first of ``words`` is not ``"<unk>"``, or one occurs twice.
    """

    words: tuple[str, ...]

    kind = "words"

    def __post_init__(self) -> None:
        if any(not isinstance(word, str) or word != word.lower() for word in self.words):
            raise DataError("the words of a vocabulary are texts in lower case")
        if self.words[:1] != (UNKNOWN_WORD,) or len(self._tokens) != len(self.words):
            raise DataError(f"the words of a vocabulary begin with {UNKNOWN_WORD!r} and do not repeat")

    @classmethod
    def build(cls, texts: Iterable[str], min_count: int = 2, size: int | None = None) -> "WordVocabulary":
        """The words that occur at least ``min_count`` times, the most frequent first, at most ``size`` with token 0.

        Give it the training texts alone. Words that are equally frequent are in alphabetical order. Raises ConfigError
        for a count or a size below 1.
        """
        if min_count < 1 or (size is not None and size < 1):
            raise ConfigError(f"min_count and size must be at least 1, got {min_count} and {size}")
        counts = Counter(word for text in texts for word in text.lower().split())
        counts.pop(UNKNOWN_WORD, None)
        frequent = sorted((-count, word) for word, count in counts.items() if count >= min_count)
        return cls((UNKNOWN_WORD, *(word for _, word in frequent))[:size])

    @property
    def size(self) -> int:
        """Number of words, the unknown one among them."""
        return len(self.words)

    @cached_property
    def _tokens(self) -> dict[str, int]:
        return {word: token for token, word in enumerate(self.words)}

    def encode(self, text: str) -> Tokens:
        """Tokens int32 ``[token]``, 0 for an unknown word; a text without words is one unknown word."""
        return np.array([self._tokens.get(word, 0) for word in text.lower().split()] or [0], np.int32)

    def _text(self, tokens: NDArray[np.int64]) -> str:
        return " ".join(self.words[token] for token in tokens)

    def decoder(self) -> Decoder:
        """Returns one word a token, with a space before all but the first."""
        between = ""

        def feed(token: int) -> str:
            nonlocal between
            text = between + self.decode([token])
            between = " "
            return text

        return Decoder(feed)

    def to_json(self) -> dict[str, Any]:
        """``{"kind": "words", "words": [...]}``."""
        return {"kind": self.kind, "words": list(self.words)}


def vocabulary_from_json(saved: dict[str, Any]) -> Vocabulary:
    """The vocabulary of a ``to_json``. Raises DataError if it is none."""
    kind = saved.get("kind") if isinstance(saved, dict) else None
    if kind == "bytes":
        return ByteVocabulary()
    if kind not in ("characters", "words"):
        raise DataError(f"a saved vocabulary is of kind bytes, characters or words, got {kind!r}")
    entries, expected = saved.get(kind), str if kind == "characters" else list
    if not isinstance(entries, expected):
        raise DataError(f"a saved vocabulary of {kind} needs the key {kind!r}, a {expected.__name__}")
    return CharacterVocabulary(entries) if isinstance(entries, str) else WordVocabulary(tuple(entries))
