"""Words as tokens, for sentences with classes, and batches of sentences of different length."""

import re
from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from snn_delays.data.text.vocabulary import (
    ByteVocabulary,
    CharacterVocabulary,
    Decoder,
    TokenDecoder,
    Tokens,
    Vocabulary,
    checked_tokens,
)
from snn_delays.errors import ConfigError, DataError

UNKNOWN = "<unk>"
_MARKS = re.compile(r"\w+(?:'\w+)*|[^\w\s]")


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
        if self.words[:1] != (UNKNOWN,) or len(self._tokens) != len(self.words):
            raise DataError(f"the words of a vocabulary begin with {UNKNOWN!r} and do not repeat")

    @classmethod
    def build(cls, texts: Iterable[str], min_count: int = 2, size: int | None = None) -> "WordVocabulary":
        """The words that occur at least ``min_count`` times, the most frequent first, at most ``size`` with token 0.

        Give it the training texts alone. Words that are equally frequent are in alphabetical order. Raises ConfigError
        for a count or a size below 1.
        """
        if min_count < 1 or (size is not None and size < 1):
            raise ConfigError(f"min_count and size must be at least 1, got {min_count} and {size}")
        counts = Counter(word for text in texts for word in text.lower().split())
        counts.pop(UNKNOWN, None)
        frequent = sorted((-count, word) for word, count in counts.items() if count >= min_count)
        return cls((UNKNOWN, *(word for _, word in frequent))[:size])

    @property
    def size(self) -> int:
        """How many words there are, the unknown one among them."""
        return len(self.words)

    @cached_property
    def _tokens(self) -> dict[str, int]:
        return {word: token for token, word in enumerate(self.words)}

    def encode(self, text: str) -> Tokens:
        """Tokens int32 ``[token]``, 0 for an unknown word; a text without words is one unknown word."""
        return np.array([self._tokens.get(word, 0) for word in text.lower().split()] or [0], np.int32)

    def decode(self, tokens: Sequence[int] | NDArray[Any]) -> str:
        """The words with spaces between them. Raises DataError for a token outside the vocabulary."""
        return " ".join(self.words[token] for token in checked_tokens(tokens, self.size))

    def decoder(self) -> Decoder:
        """Returns one word a token, with a space before all but the first."""
        return TokenDecoder(self, between=" ")

    def to_json(self) -> dict[str, Any]:
        """``{"kind": "words", "words": [...]}``."""
        return {"kind": self.kind, "words": list(self.words)}


def vocabulary_from_json(saved: dict[str, Any]) -> Vocabulary:
    """The vocabulary of a ``to_json``. Raises DataError if it is none."""
    kinds: dict[str, tuple[str, type, Any]] = {
        "bytes": ("", type(None), lambda nothing: ByteVocabulary()),
        "characters": ("characters", str, CharacterVocabulary),
        "words": ("words", list, lambda words: WordVocabulary(tuple(words))),
    }
    kind = saved.get("kind") if isinstance(saved, dict) else None
    if not isinstance(kind, str) or kind not in kinds:
        raise DataError(f"a saved vocabulary is of kind bytes, characters or words, got {kind!r}")
    key, expected, make = kinds[kind]
    if not isinstance(saved.get(key), expected):
        raise DataError(f"a saved vocabulary of {kind} needs the key {key!r}, a {expected.__name__}")
    made: Vocabulary = make(saved.get(key))
    return made


def set_apart(text: str) -> str:
    """A raw text with spaces around every mark of punctuation but an apostrophe within a word, ``<br />`` left out."""
    return " ".join(_MARKS.findall(re.sub(r"<br\s*/?>", " ", text)))


def pad(sentences: Sequence[NDArray[np.int32]]) -> tuple[torch.Tensor, torch.Tensor]:
    """A batch of sentences: tokens int64 ``[time, batch]``, 0 after the end of each, and lengths int64 ``[batch]``.

    Raises DataError for no sentence at all, or one without tokens.
    """
    lengths = [len(sentence) for sentence in sentences]
    if not all(lengths) or not lengths:
        which = f"sentence {lengths.index(0)} has no tokens" if lengths else "there is no sentence"
        raise DataError(f"cannot make a batch: {which}")
    tokens = np.zeros((max(lengths), len(lengths)), np.int64)
    for i, sentence in enumerate(sentences):
        tokens[: lengths[i], i] = sentence
    return torch.from_numpy(tokens), torch.tensor(lengths)
