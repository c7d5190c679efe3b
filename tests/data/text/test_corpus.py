"""Corpora of the user's own files: cut without loss, unpacked with care, refused with a reason."""

import bz2
import gzip
import hashlib
import io
import lzma
import zipfile
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from snn_delays.data.text import (
    ByteVocabulary,
    CharacterVocabulary,
    load_corpus,
)
from snn_delays.errors import ConfigError, DataError

TEXT = "Größe, 10 €: naïve 👩‍🚀 \r\n\0 日本語\n" * 40
SPLITS = ("train", "valid", "test")


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
