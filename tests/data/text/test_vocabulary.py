"""Vocabularies: text to tokens and back, character by character as it streams, and what is refused."""

import json
from collections.abc import Iterable

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from snn_delays.data.text import (
    ByteVocabulary,
    CharacterVocabulary,
    Vocabulary,
    WordVocabulary,
    vocabulary_from_json,
)
from snn_delays.errors import DataError

texts = st.text(st.characters(exclude_categories=["Cs"]), max_size=60)


def streamed(vocabulary: Vocabulary, tokens: Iterable[int]) -> str:
    decoder = vocabulary.decoder()
    return "".join(decoder.feed(int(token)) for token in tokens) + decoder.finish()


# Vocabularies


@given(texts)
def test_bytes_come_back_as_the_text(text):
    tokens = ByteVocabulary().encode(text)
    assert tokens.dtype == np.int32
    assert tokens.tolist() == list(text.encode())
    assert ByteVocabulary().decode(tokens) == text == streamed(ByteVocabulary(), tokens)


@given(st.lists(st.integers(0, 255), max_size=40))
def test_any_bytes_streamed_are_the_bytes_decoded_at_once(tokens):
    assert streamed(ByteVocabulary(), tokens) == ByteVocabulary().decode(tokens)


def test_a_character_is_given_with_its_last_byte_and_not_in_pieces():
    tokens = ByteVocabulary().encode("a€é")
    decoder = ByteVocabulary().decoder()
    assert [decoder.feed(int(token)) for token in tokens] == ["a", "", "", "€", "", "é"]
    piecewise = "".join(ByteVocabulary().decode([int(token)]) for token in tokens)
    assert piecewise != "a€é"  # decoding bytes one by one without memory is the mistake this guards against
    assert streamed(ByteVocabulary(), tokens[:3]) == "a�" == ByteVocabulary().decode(tokens[:3])


@given(texts.filter(bool))
def test_characters_come_back_as_the_text(text):
    vocabulary = CharacterVocabulary.build(text)
    tokens = vocabulary.encode(text)
    assert vocabulary.size == len(set(text)) == len(set(tokens.tolist()))
    assert tokens.dtype == np.int32
    assert vocabulary.decode(tokens) == text == streamed(vocabulary, tokens)
    assert "".join(vocabulary.characters[token] for token in tokens) == text


def test_an_unknown_character_is_named_with_its_position_and_the_remedy():
    vocabulary = CharacterVocabulary.build("abc")
    for text, says in (("abé", r"'é' \(U\+00E9\) at position 2"), ("d", r"'d' \(U\+0064\) at position 0")):
        with pytest.raises(DataError, match=says + r" is not among the 3 characters .*; leave it out, or .*'bytes'"):
            vocabulary.encode(text)
    with pytest.raises(DataError, match=r"U\+DCFF"):
        vocabulary.encode("\udcff")
    assert vocabulary.encode("").shape == (0,)


def test_bytes_typed_on_a_command_line_are_kept_and_half_characters_refused():
    assert ByteVocabulary().encode(b"a\xff".decode("utf-8", "surrogateescape")).tolist() == [97, 255]
    with pytest.raises(DataError, match=r"half a character .* at position 1"):
        ByteVocabulary().encode("a\ud800")


@pytest.mark.parametrize(
    "vocabulary", [ByteVocabulary(), CharacterVocabulary("abc"), WordVocabulary(("<unk>", "the"))], ids=lambda v: v.kind
)
def test_tokens_outside_a_vocabulary_are_refused(vocabulary):
    assert vocabulary.decode([]) == ""
    assert vocabulary.decode(torch.tensor([1, 0])) == vocabulary.decode(np.array([1, 0]))
    with pytest.raises(DataError, match=f"token {vocabulary.size} at position 1 is outside a vocabulary of"):
        vocabulary.decode([0, vocabulary.size])
    with pytest.raises(DataError, match="token -1"):
        vocabulary.decoder().feed(-1)
    with pytest.raises(DataError, match="integers with one axis"):
        vocabulary.decode([0.5])
    with pytest.raises(DataError, match=r"shape \(1, 1\)"):
        vocabulary.decode(np.zeros((1, 1), int))


def test_vocabularies_are_saved_compared_and_distinguished():
    vocabularies = [
        ByteVocabulary(),
        CharacterVocabulary("ab"),
        CharacterVocabulary("ac"),
        WordVocabulary(("<unk>", "é")),
    ]
    assert len({vocabulary.fingerprint for vocabulary in vocabularies}) == len(vocabularies)
    for vocabulary in vocabularies:
        again = vocabulary_from_json(json.loads(json.dumps(vocabulary.to_json())))
        assert again == vocabulary
        assert (again.kind, again.fingerprint) == (vocabulary.kind, vocabulary.fingerprint)
        assert sum(vocabulary == other for other in vocabularies) == 1
    assert len(vocabularies[0].fingerprint) == 12


@pytest.mark.parametrize(
    ("saved", "says"),
    [
        ({}, "of kind bytes, characters or words, got None"),
        ([], "got None"),
        ({"kind": ["bytes"]}, r"got \['bytes'\]"),
        ({"kind": "bpe"}, "got 'bpe'"),
        ({"kind": "characters"}, "needs the key 'characters', a str"),
        ({"kind": "characters", "characters": "ba"}, "ascending"),
        ({"kind": "characters", "characters": "aa"}, "without repetition"),
        ({"kind": "characters", "characters": ""}, "at least one"),
        ({"kind": "words", "words": "the"}, "needs the key 'words', a list"),
        ({"kind": "words", "words": ["the"]}, "begin with '<unk>'"),
        ({"kind": "words", "words": ["<unk>", "a", "a"]}, "do not repeat"),
    ],
)
def test_what_is_no_saved_vocabulary(saved, says):
    with pytest.raises(DataError, match=says):
        vocabulary_from_json(saved)
