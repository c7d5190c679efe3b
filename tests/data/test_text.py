"""Vocabularies, corpora of the user's own files, crops, windows and streams."""

import bz2
import gzip
import hashlib
import io
import json
import lzma
import zipfile
from collections import Counter
from collections.abc import Callable, Iterable
from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from snn_delays.data.text import (
    ByteVocabulary,
    CharacterVocabulary,
    RandomCrops,
    Vocabulary,
    WordVocabulary,
    load_corpus,
    streams,
    vocabulary_from_json,
    windows,
)
from snn_delays.errors import ConfigError, DataError

TEXT = "Größe, 10 €: naïve 👩‍🚀 \r\n\0 日本語\n" * 40
SPLITS = ("train", "valid", "test")
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
    with pytest.raises(DataError, match="whole numbers in one row, got float64"):
        vocabulary.decode([0.5])
    with pytest.raises(DataError, match=r"shape \(1, 1\)"):
        vocabulary.decode(np.zeros((1, 1), int))


def test_vocabularies_are_saved_compared_and_told_apart():
    made = [ByteVocabulary(), CharacterVocabulary("ab"), CharacterVocabulary("ac"), WordVocabulary(("<unk>", "é"))]
    assert len({vocabulary.fingerprint for vocabulary in made}) == len(made)
    for vocabulary in made:
        again = vocabulary_from_json(json.loads(json.dumps(vocabulary.to_json())))
        assert again == vocabulary
        assert (again.kind, again.fingerprint) == (vocabulary.kind, vocabulary.fingerprint)
        assert sum(vocabulary == other for other in made) == 1
    assert len(made[0].fingerprint) == 12


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


# Corpora


@pytest.fixture
def file(tmp_path) -> Path:
    path = tmp_path / "text.txt"
    path.write_bytes(TEXT.encode())
    return path


def test_a_file_is_cut_in_file_order_and_nothing_is_lost(file):
    corpus = load_corpus(str(file))
    content = TEXT.encode()
    whole = np.concatenate([corpus.train, corpus.valid, corpus.test])
    assert bytes(whole.astype(np.uint8)) == content
    assert len(corpus.train) == round(0.9 * len(content))
    assert len(corpus.train) + len(corpus.valid) == round(0.95 * len(content))
    assert corpus.bytes_of == {split: len(getattr(corpus, split)) for split in SPLITS}
    assert corpus.train.dtype == corpus.test.dtype == np.int32
    assert (corpus.name, corpus.source, corpus.attribution) == ("file text.txt", str(file), "")
    assert corpus.checksum == hashlib.sha256(content).hexdigest()
    assert corpus.vocabulary == ByteVocabulary()


# 80 characters: so many that every part has two, also after a cut has moved by a character.
@given(st.text(st.characters(exclude_categories=["Cs"]), min_size=80), st.floats(0.3, 0.6), st.floats(0.15, 0.3))
def test_characters_are_never_cut_and_their_bytes_are_counted(tmp_path, text, train, valid):
    path = tmp_path / "any.txt"
    path.write_bytes(text.encode())
    split = (train, valid, 1 - train - valid)
    corpus = load_corpus(path, CharacterVocabulary.build(text), split)
    parts = [corpus.vocabulary.decode(getattr(corpus, split)) for split in SPLITS]
    assert "".join(parts) == text
    assert corpus.bytes_of == {split: len(part.encode()) for split, part in zip(SPLITS, parts)}
    for fraction, before in ((train, parts[0]), (train + valid, parts[0] + parts[1])):
        moved = round(fraction * len(text.encode())) - len(before.encode())
        assert 0 <= moved <= 3  # back by less than one character
    assert load_corpus(path, "characters", split).vocabulary == CharacterVocabulary.build(parts[0])


def test_the_cut_at_the_nearest_byte_would_have_split_a_character(tmp_path):
    path = tmp_path / "e.txt"
    path.write_bytes(("é" * 15).encode())
    at_bytes, at_characters = (load_corpus(path, kind, (0.5, 0.25, 0.25)) for kind in ("bytes", "characters"))
    assert at_bytes.bytes_of == {"train": 15, "valid": 7, "test": 8}
    assert at_characters.bytes_of == {"train": 14, "valid": 8, "test": 8}
    assert "�" in at_bytes.vocabulary.decode(at_bytes.train)


def zipped(content: bytes, *names: str) -> bytes:
    memory = io.BytesIO()
    with zipfile.ZipFile(memory, "w", zipfile.ZIP_DEFLATED) as archive:
        for name in names or ("text",):
            archive.writestr(name, content, zipfile.ZIP_DEFLATED)
    return memory.getvalue()


PACKERS: dict[str, Callable[[bytes], bytes]] = {
    "xz": lzma.compress, "bz2": bz2.compress, "gz": gzip.compress, "zip": zipped,
}  # fmt: skip


@pytest.mark.parametrize("suffix", PACKERS)
def test_a_text_that_unpacks_to_absurdly_much_is_refused(tmp_path, suffix):
    path = tmp_path / f"bomb.{suffix}"
    path.write_bytes(PACKERS[suffix](bytes(80 << 20)))
    with pytest.raises(DataError, match="unpacks to"):
        load_corpus(path)


def test_a_device_is_no_text():
    with pytest.raises(DataError, match="no regular file"):
        load_corpus("/dev/zero")


@pytest.mark.parametrize("suffix", PACKERS)
def test_compressed_files_are_known_by_name_or_first_bytes_and_damage_is_named(file, suffix):
    plain, packed = load_corpus(file), PACKERS[suffix](TEXT.encode())
    for name in (f"text.txt.{suffix}", f"TEXT.{suffix.upper()}", "no_suffix"):
        path = file.parent / name
        path.write_bytes(packed)
        corpus = load_corpus(path)
        assert corpus.checksum == plain.checksum
        assert np.array_equal(corpus.train, plain.train)
    path = file.parent / f"damaged.{suffix}"
    for damaged in (packed[:-20], packed[: len(packed) // 2], b"plain text"):
        path.write_bytes(damaged)
        with pytest.raises(DataError, match=rf"damaged\.{suffix} is .*not a \.{suffix} file .*; fetch it again"):
            load_corpus(path)
    path.write_bytes(b"")
    with pytest.raises(DataError, match=r"is empty|not a"):
        load_corpus(path)


def test_a_zip_file_of_several_texts_is_refused(file):
    path = file.parent / "two.zip"
    path.write_bytes(zipped(b"text" * 40, "a", "b"))
    with pytest.raises(DataError, match=r"two\.zip holds 2 files, not one text; unpack it"):
        load_corpus(path)


def test_bytes_take_any_file_and_characters_name_the_byte_that_is_not_utf_8(file):
    file.write_bytes(b"ab" * 50 + b"\xe9" + b"cd" * 50)
    assert load_corpus(file).bytes_of["train"] == round(0.9 * 201)
    with pytest.raises(DataError, match=r"text\.txt is not UTF-8: byte 0xe9 at position 100 .*'bytes'"):
        load_corpus(file, "characters")


@pytest.mark.parametrize("kind", ["bytes", "characters"])
def test_files_that_cannot_be_a_corpus(file, kind, monkeypatch):
    for content, context, says in (
        (b"", 1, r"text\.txt is empty; give a file with text"),
        (lzma.compress(b""), 1, "is empty"),
        (b"x", 1, "train of .* has 1 tokens, too few for a context of 1, which needs 2"),
        (b"x" * 100, 5, r"valid of .*text\.txt has 5 tokens, .* context of 5, which needs 6; take a longer text, a"),
        (b"x" * 100, 90, "train of .* has 90 tokens"),
    ):
        file.write_bytes(content)
        with pytest.raises(DataError, match=says):
            load_corpus(file, kind, context=context)
    assert len(load_corpus(file, kind, context=4).test) == 5
    with pytest.raises(DataError, match=r"there is no file .*none\.txt; give the path of a text, or one of .*enwik8"):
        load_corpus(file.with_name("none.txt"), kind)
    with pytest.raises(DataError, match="is a folder; give the path of one text file"):
        load_corpus(file.parent, kind)
    monkeypatch.chdir(file.parent)
    assert load_corpus("text.txt", kind).name == "file text.txt"
    with pytest.raises(ConfigError, match="unknown corpus 'text'; did you mean"):
        load_corpus("text", kind)


@pytest.mark.parametrize(
    ("split", "says"),
    [
        ((0.9, 0.05, 0.06), r"three fractions above 0 that sum to 1 .* got \[0.9, 0.05, 0.06\], which sum to 1.01"),
        ((0.9, 0.1), "which sum to 1"),
        ((0.9, 0.1, 0.0), "above 0"),
        ((1.1, -0.2, 0.1), "above 0"),
        ((float("nan"), 0.5, 0.5), "which sum to nan"),
    ],
)
def test_fractions_that_are_none(file, split, says):
    with pytest.raises(ConfigError, match=says):
        load_corpus(file, split=split)


def test_vocabularies_and_contexts_that_are_none(file):
    with pytest.raises(ConfigError, match="'bytes' or 'characters', got 'words'"):
        load_corpus(file, "words")  # type: ignore[arg-type]
    with pytest.raises(ConfigError, match="context must be at least 1, got 0"):
        load_corpus(file, context=0)


# Crops


def test_crops_lie_inside_and_repeat_with_the_generator():
    tokens = np.arange(100, 130, dtype=np.int32)
    crops = RandomCrops(tokens, context=7)
    x, y = crops.batch(500, torch.Generator().manual_seed(1))
    assert x.shape == y.shape == (7, 500)
    assert x.dtype == y.dtype == torch.int64
    assert torch.equal(y, x + 1)
    assert torch.equal(x[1:], y[:-1])
    assert (int(x.min()), int(y.max())) == (100, 129)
    again = crops.batch(500, torch.Generator().manual_seed(1))
    other = crops.batch(500, torch.Generator().manual_seed(2))
    assert torch.equal(x, again[0])
    assert not torch.equal(x, other[0])
    generator = torch.Generator().manual_seed(1)
    assert not torch.equal(crops.batch(500, generator)[0], crops.batch(500, generator)[0])


def is_uniform(starts: np.ndarray, positions: int) -> bool:
    counts = np.bincount(starts, minlength=positions)
    expected = len(starts) / positions
    return len(counts) == positions and bool((abs(counts - expected) < 5 * expected**0.5).all())


def test_every_beginning_is_equally_likely():
    crops = RandomCrops(np.arange(25, dtype=np.int32), context=5)
    assert crops.positions == 20
    starts = crops.batch(20_000, torch.Generator().manual_seed(0))[0][0].numpy()
    assert is_uniform(starts, 20)
    assert not is_uniform(starts[starts < 19], 20)  # without the last one
    assert not is_uniform(starts // 2 * 2, 20)


def test_the_smallest_split_has_one_crop():
    x, y = RandomCrops(np.array([4, 5, 6], np.int32), 2).batch(3, torch.Generator())
    assert x.T.tolist() == [[4, 5]] * 3
    assert y.T.tolist() == [[5, 6]] * 3
    with pytest.raises(DataError, match="2 tokens are too few for crops of 2"):
        RandomCrops(np.array([4, 5], np.int32), 2)
    with pytest.raises(ConfigError, match="count must be at least 1, got 0"):
        RandomCrops(np.array([4, 5], np.int32), 1).batch(0, torch.Generator())


# Every token once

Batches = list[tuple[torch.Tensor, torch.Tensor, torch.Tensor]]


def each_token_once(n: int, batches: Batches) -> bool:
    """Of tokens 0 to n - 1 in order: whether each but the first is predicted once, and from the one before it."""
    predicted = Counter(int(token) for _, y, counted in batches for token in y[counted])
    from_before = all(torch.equal(x[counted] + 1, y[counted]) for x, y, counted in batches)
    return from_before and predicted == Counter(range(1, n))


@given(st.integers(2, 60), st.integers(1, 20), st.integers(1, 5))
def test_windows_predict_every_token_once(n, context, batch):
    batches = list(windows(np.arange(n, dtype=np.int32), context, batch))
    assert each_token_once(n, batches)
    starts = [int(start) for x, _, _ in batches for start in x[0]]
    assert starts == list(range(0, n - 1, context))
    for x, y, counted in batches:
        assert x.shape == y.shape == counted.shape
        assert (x.shape[0], x.dtype, counted.dtype) == (context, torch.int64, torch.bool)
        assert x.shape[1] == batch or x is batches[-1][0]
        assert not x[~counted].any()
        assert not y[~counted].any()


@given(st.integers(2, 60), st.integers(1, 8), st.integers(1, 20))
def test_streams_predict_every_token_once_and_go_on(n, count, chunk):
    tokens = np.arange(n, dtype=np.int32)
    if n - 1 < count:
        with pytest.raises(DataError, match=f"{n} tokens are too few for {count} streams; take at most {n - 1}"):
            list(streams(tokens, count, chunk))
        return
    batches = list(streams(tokens, count, chunk))
    assert each_token_once(n, batches)
    assert all(x.shape == (chunk, count) for x, _, _ in batches[:-1])
    whole_x, whole_y, counted = (torch.cat(parts) for parts in zip(*batches))
    assert counted[:-1].all()  # only the last step of a shorter stream does not count
    for column in range(count):
        seen = whole_x[counted[:, column], column]
        assert torch.equal(seen, seen[0] + torch.arange(len(seen)))
        if column:
            assert int(seen[0]) == int(whole_y[counted[:, column - 1], column - 1][-1])


def test_the_count_notices_a_lost_a_doubled_and_a_shifted_prediction():
    tokens = np.arange(30, dtype=np.int32)
    right = list(windows(tokens, 7, 2))
    assert each_token_once(30, right)
    assert not each_token_once(30, right[:-1])
    assert not each_token_once(30, [*right, right[0]])
    assert not each_token_once(30, [(x, y, torch.ones_like(counted)) for x, y, counted in right])
    assert not each_token_once(30, [(y, y, counted) for _, y, counted in right])
    apart = [batch for piece in (tokens[:15], tokens[15:]) for batch in streams(piece, 1, 4)]
    assert not each_token_once(30, apart)  # cut without the overlap of one: token 15 is never predicted


def test_arguments_below_one_and_splits_without_a_prediction():
    tokens = np.arange(9, dtype=np.int32)
    for call, says in (
        (lambda: windows(tokens, 0, 1), "context must be at least 1, got 0"),
        (lambda: windows(tokens, 1, 0), "batch"),
        (lambda: streams(tokens, 0, 1), "streams"),
        (lambda: streams(tokens, 1, -1), "chunk must be at least 1, got -1"),
        (lambda: RandomCrops(tokens, 0), "context"),
    ):
        with pytest.raises(ConfigError, match=says):
            list(call())
    for call in (lambda: windows(tokens[:1], 1, 1), lambda: streams(tokens[:1], 1, 1)):
        with pytest.raises(DataError, match="a split of 1 tokens has nothing to predict"):
            list(call())


def test_the_vocabulary_is_of_the_training_text_alone(tmp_path):
    path = tmp_path / "text.txt"
    path.write_text("abcd " * 5000 + "\u03a9 " * 100, encoding="utf-8")
    corpus = load_corpus(path, "characters")
    assert corpus.vocabulary.characters == " abcd"
    assert corpus.unknown == {"test": {"\u03a9": 100}}
    assert corpus.test.min() == -1
    assert corpus.train.min() == corpus.valid.min() == 0
    with pytest.raises(
        DataError, match=r"test of .*text\.txt has characters.*'\u03a9' \(U\+03A9, 100 times\).*'bytes'"
    ):
        corpus.check_known()
    load_corpus(path, "bytes").check_known()
    of_a_run = CharacterVocabulary.build("abcd \u03a9")  # as of a version that took all splits
    again = load_corpus(path, of_a_run)
    assert again.vocabulary == of_a_run
    again.check_known()
    assert of_a_run.decode(again.test) == "".join(part for part in path.read_text(encoding="utf-8")[-len(again.test) :])
