"""From text to tokens and back: bytes, or the characters of a corpus."""

import codecs
import hashlib
import json
from abc import ABC, abstractmethod
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from itertools import pairwise
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from snn_delays.errors import DataError
from snn_delays.moved import forward

Tokens = NDArray[np.int32]
UNKNOWN_TOKEN = -1  # of a character outside the vocabulary; no network takes it


class Decoder(Protocol):
    """Tokens to text one by one; the texts of all calls joined are what ``decode`` returns."""

    def feed(self, token: int) -> str:
        """The text that a token completes; empty while a character is not whole."""

    def finish(self) -> str:
        """What is left when no token follows: ``"\\ufffd"`` for a character that was never completed, else empty."""


class Vocabulary(ABC):
    """Text to tokens ``0 .. size - 1`` and back. ``kind``: ``"bytes"``, ``"characters"`` or ``"words"``."""

    kind: str

    @property
    @abstractmethod
    def size(self) -> int:
        """How many different tokens there are."""

    @abstractmethod
    def encode(self, text: str) -> Tokens:
        """Tokens int32 ``[token]`` of a text. Raises DataError for a text that cannot be written in them."""

    @abstractmethod
    def decode(self, tokens: Sequence[int] | NDArray[Any]) -> str:
        """The text of tokens. Raises DataError for a token outside the vocabulary."""

    @abstractmethod
    def decoder(self) -> Decoder:
        """The same token by token, for text that is shown while it is generated."""

    @abstractmethod
    def to_json(self) -> dict[str, Any]:
        """What :func:`vocabulary_from_json` restores it from."""

    @property
    def fingerprint(self) -> str:
        """Twelve hexadecimal digits of the sha256 of :meth:`to_json`, which tell vocabularies apart."""
        text = json.dumps(self.to_json(), sort_keys=True)
        return hashlib.sha256(text.encode()).hexdigest()[:12]


@dataclass(frozen=True)
class ByteVocabulary(Vocabulary):
    """256 tokens, the bytes of UTF-8: every text can be written, and every file is one."""

    kind = "bytes"
    size = 256

    def encode(self, text: str) -> Tokens:
        """UTF-8 bytes of a text, int32 ``[token]``.

        Bytes of a command line that are no UTF-8 (Python's surrogate escapes) are taken as they were typed. Raises
        DataError naming the position of any other lone surrogate, which no text has.
        """
        try:
            return np.frombuffer(text.encode("utf-8", "surrogateescape"), np.uint8).astype(np.int32)
        except UnicodeEncodeError as error:
            raise DataError(f"the text has half a character (a lone surrogate) at position {error.start}") from None

    def decode(self, tokens: Sequence[int] | NDArray[Any]) -> str:
        """The text of bytes; what is not UTF-8 becomes U+FFFD. Raises DataError for a token outside 0 to 255."""
        return checked_tokens(tokens, self.size).astype(np.uint8).tobytes().decode("utf-8", "replace")

    def decoder(self) -> Decoder:
        """Returns a character with its last byte."""
        return _ByteDecoder()

    def to_json(self) -> dict[str, Any]:
        """``{"kind": "bytes"}``."""
        return {"kind": self.kind}


class _ByteDecoder:
    def __init__(self) -> None:
        self._utf8 = codecs.getincrementaldecoder("utf-8")("replace")

    def feed(self, token: int) -> str:
        return self._utf8.decode(checked_tokens([token], ByteVocabulary.size).astype(np.uint8).tobytes())

    def finish(self) -> str:
        return self._utf8.decode(b"", final=True)


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
        """How many different characters there are."""
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

    def decode(self, tokens: Sequence[int] | NDArray[Any]) -> str:
        """The characters of tokens. Raises DataError for a token outside the vocabulary."""
        return self._points[checked_tokens(tokens, self.size)].astype("<u4").tobytes().decode("utf-32-le")

    def decoder(self) -> Decoder:
        """Returns one character a token."""
        return TokenDecoder(self)

    def to_json(self) -> dict[str, Any]:
        """``{"kind": "characters", "characters": ...}``."""
        return {"kind": self.kind, "characters": self.characters}


def _code_points(text: str) -> NDArray[np.uint32]:
    return np.frombuffer(text.encode("utf-32-le", "surrogatepass"), "<u4").astype(np.uint32)


class TokenDecoder:
    """A decoder for tokens that are whole by themselves, with ``between`` two of them."""

    def __init__(self, vocabulary: Vocabulary, between: str = "") -> None:
        self._vocabulary, self._between, self._begun = vocabulary, between, False

    def feed(self, token: int) -> str:
        """The text of a token."""
        text = self._between * self._begun + self._vocabulary.decode([token])
        self._begun = True
        return text

    def finish(self) -> str:
        """Nothing: every token was whole."""
        return ""


def checked_tokens(tokens: Sequence[int] | NDArray[Any], size: int) -> NDArray[np.int64]:
    """Tokens as int64 ``[token]``. Raises DataError if one is no integer from 0 to ``size - 1``."""
    array = np.asarray(tokens)
    if array.size == 0:
        return np.zeros(0, np.int64)
    if array.ndim != 1 or not np.issubdtype(array.dtype, np.integer):
        raise DataError(f"tokens must be integers with one axis [token], got {array.dtype} of shape {array.shape}")
    outside = (array < 0) | (array >= size)
    if outside.any():
        i = int(outside.argmax())
        raise DataError(f"token {array[i]} at position {i} is outside a vocabulary of {size}")
    return array.astype(np.int64)


__getattr__ = forward(__name__, {"vocabulary_from_json": "snn_delays.data.text.words"})
