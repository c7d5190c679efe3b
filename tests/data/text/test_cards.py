"""The cards of corpora and sentence sets, the bundled text, and files that are missing or not what a card says."""

import dataclasses
import hashlib
import io
import lzma
import tarfile
from pathlib import Path

import numpy as np
import pytest

from snn_delays.data.card import datasets_folder
from snn_delays.data.catalogue.lookup import cards
from snn_delays.data.text import load_corpus, load_sentences, text_cards
from snn_delays.data.text.cards import TextCard, TextFile, read_text_card
from snn_delays.data.text.unpacking import read_files
from snn_delays.errors import ConfigError, DataError
from tests.support import ROOT

SHARED = ROOT.parent / "shared" / "data"
CORPORA = ["enwik8", "enwiki-sample", "tinyshakespeare", "wikitext2"]
SENTENCES = ["cr", "imdb", "mpqa", "mr", "sst1", "sst2", "sst2-phrases", "subj", "trec"]


def test_every_card_is_complete():
    assert list(text_cards("corpus")) == CORPORA
    assert list(text_cards("sentences")) == SENTENCES
    assert list(text_cards()) == sorted(CORPORA + SENTENCES)
    for name, card in text_cards().items():
        assert (datasets_folder() / "text" / f"{name}.toml").is_file()
        assert all((card.display_name, card.description, card.citation, card.licence, card.source))
        assert card.bundled or card.remedy
        assert card.attribution or card.licence == "public domain"
        assert (len(card.class_names) > 1) == (card.kind == "sentences")
        assert bool(card.split) == (card.kind == "corpus" and "all" in card.files)
        assert bool(card.split_rule) == (card.kind == "sentences" and "all" not in card.files)
        for split, part in card.files.items():
            assert (part.md5 and part.bytes) or (name, split) == ("wikitext2", "train")
    assert len({card.display_name for card in text_cards().values()}) == len(text_cards())
    assert not set(cards()) & set(text_cards())


def test_only_enwik8_is_called_so():
    assert [name for name, card in text_cards().items() if "enwik8" in card.display_name.lower()] == ["enwik8"]
    assert text_cards()["enwik8"].files["all"] == TextFile("enwik8", 10**8, "a1fa5ffddb56f4953e226637dabbb36a")


def test_the_bundled_text_is_tiny_shakespeare_and_needs_no_data_folder():
    path = datasets_folder() / "text" / "tinyshakespeare" / "tinyshakespeare.txt.xz"
    content = lzma.decompress(path.read_bytes())
    assert hashlib.md5(content, usedforsecurity=False).hexdigest() == "6fb458f1232090904fb40fe944165e91"
    assert "public domain" in (path.parent / "LICENSE").read_text()
    corpus = load_corpus("tinyshakespeare", context=256)
    assert (corpus.name, corpus.source, corpus.attribution) == ("tiny Shakespeare", str(path), "")
    assert corpus.bytes_of == {"train": 1003855, "valid": 55769, "test": 55770}
    assert corpus.vocabulary.decode(corpus.train[:14]) == "First Citizen:"
    by_character = load_corpus("tinyshakespeare", "characters")
    assert by_character.vocabulary.size == 65
    assert by_character.bytes_of == corpus.bytes_of == {
        split: len(getattr(by_character, split)) for split in corpus.bytes_of
    }  # fmt: skip
    assert by_character.checksum == corpus.checksum == hashlib.sha256(content).hexdigest()
    for split in corpus.bytes_of:
        tokens = getattr(by_character, split)
        assert by_character.vocabulary.decode(tokens) == corpus.vocabulary.decode(getattr(corpus, split))


def test_other_fractions_are_said_in_the_name():
    corpus = load_corpus("tinyshakespeare", split=(0.8, 0.1, 0.1))
    assert corpus.name == "tiny Shakespeare, split 0.8/0.1/0.1"
    assert load_corpus("tinyshakespeare", split=(0.9, 0.05, 0.05)).name == "tiny Shakespeare"


def test_a_file_of_the_users_has_a_cards_name_only_if_it_is_the_cards_text(tmp_path):
    bundled = datasets_folder() / "text" / "tinyshakespeare" / "tinyshakespeare.txt.xz"
    path = tmp_path / "enwik8"
    path.write_bytes(lzma.decompress(bundled.read_bytes()))
    assert load_corpus(path).name == "tiny Shakespeare"
    path.write_bytes(path.read_bytes() + b"!")
    assert load_corpus(path).name == "file enwik8"


@pytest.mark.parametrize(
    ("call", "says"),
    [
        (lambda: load_corpus("enwick8"), "unknown corpus 'enwick8'; did you mean 'enwik8'. choose one of enwik8, "),
        (lambda: load_corpus("TinyShakespear"), "did you mean 'tinyshakespeare'.*, or the path of a file"),
        (lambda: load_corpus(""), "unknown corpus ''; choose one of"),
        (lambda: load_corpus("sst2"), "'sst2' is a set of sentences, not a corpus; choose one of enwik8"),
        (lambda: load_corpus("wikitext2", split=(0.8, 0.1, 0.1)), "comes as train, valid and test files; leave the"),
        (lambda: load_sentences("sst3"), "unknown set of sentences 'sst3'; did you mean .*'sst2'.* choose one of cr, "),
        (lambda: load_sentences("enwik8"), "'enwik8' is a corpus, not a set of sentences; choose one of cr"),
        (lambda: load_sentences("mr", seed=-1), "seed of a draw must be at least 0, got -1"),
    ],
)
def test_names_that_are_none(call, says):
    with pytest.raises(ConfigError, match=says):
        call()


def test_a_missing_file_says_which_where_and_whence(tmp_path, monkeypatch):
    monkeypatch.setenv("SNN_DELAYS_DATA", str(tmp_path))
    for load, name, says in (
        (load_corpus, "enwik8", r"enwik8 is missing: there is no enwik8, plain or with \.xz, .*; place enwik8\.zip"),
        (load_corpus, "enwiki-sample", r"there is no enwiki_sample_6MB\.xml.*source: gensim"),
        (load_corpus, "wikitext2", r"WikiText-2 \(train\) is missing: there is no wikitext2\.train\.txt, .*tokens"),
        (load_sentences, "mr", r"no data/rt-polarity\.all, .*, nor nlu_sentences\.tar\.xz that holds it, in .*source"),
        (load_sentences, "imdb", r"IMDB \(train\) is missing: there is no imdb_train\.jsonl, plain"),
    ):
        with pytest.raises(DataError, match=says) as caught:
            load(name)
        assert str(tmp_path / text_cards()[name].folder) in str(caught.value)


# Cards made up


def made_up(**changes: object) -> TextCard:
    content = b"one text, 24 bytes long.\n"
    file = TextFile("text.txt", len(content), hashlib.md5(content, usedforsecurity=False).hexdigest(), lines=1)
    card = dataclasses.replace(text_cards()["enwik8"], display_name="Made up", files={"all": file})
    return dataclasses.replace(card, **changes)


@pytest.fixture
def folder(tmp_path, monkeypatch) -> Path:
    monkeypatch.setenv("SNN_DELAYS_DATA", str(tmp_path))
    (tmp_path / "text").mkdir()
    return tmp_path / "text"


def test_a_file_is_read_plain_compressed_or_out_of_the_archive(folder):
    content = b"one text, 24 bytes long.\n"
    card = made_up(archive="all.tar.xz")
    with tarfile.open(folder / "all.tar.xz", "w:xz") as tar:
        member = tarfile.TarInfo("./text.txt")
        member.size = len(content)
        tar.addfile(member, io.BytesIO(content))
    assert read_files(card) == {"all": (folder / "all.tar.xz", content)}
    (folder / "text.txt.xz").write_bytes(lzma.compress(content))
    assert read_files(card) == {"all": (folder / "text.txt.xz", content)}
    (folder / "text.txt").write_bytes(content)
    assert read_files(card) == {"all": (folder / "text.txt", content)}


def test_a_file_that_differs_from_its_card_is_refused(folder):
    path = folder / "text.txt"
    for content, says in (
        (b"short\n", r"text\.txt is not Made up: bytes unpacked 6, its card says 25; place"),
        (b"one text, 24 bytes long\n\n", "lines 2, its card says 1"),
        (b"ONE text, 24 bytes long.\n", "md5 unpacked [0-9a-f]{32}, its card says [0-9a-f]{32}"),
    ):
        path.write_bytes(content)
        with pytest.raises(DataError, match=says):
            read_files(made_up())


def test_archives_that_are_damaged_or_lack_a_file(folder):
    archive = folder / "all.tar.xz"
    card = made_up(archive=archive.name)
    with tarfile.open(archive, "w:xz") as tar:
        tar.addfile(tarfile.TarInfo("other"))
    with pytest.raises(DataError, match=r"all\.tar\.xz has no file text\.txt; place"):
        read_files(card)
    whole = archive.read_bytes()
    for damaged in (whole[:-30], b"", lzma.compress(b"no tar file at all")):
        archive.write_bytes(damaged)
        with pytest.raises(DataError, match=r"all\.tar\.xz is cut short, damaged or not a .* file .*; fetch it again"):
            read_files(card)


def test_a_corpus_of_three_files_keeps_them_and_says_which_is_unverified(folder, monkeypatch):
    parts = {"train": "naïve abc déjà\n" * 20, "valid": "abc\n", "test": "déjà\n"}
    files = {}
    for split, text in parts.items():
        (folder / f"{split}.txt").write_bytes(text.encode())
        md5 = "" if split == "train" else hashlib.md5(text.encode(), usedforsecurity=False).hexdigest()
        files[split] = TextFile(f"{split}.txt", md5=md5)
    card = made_up(files=files, split=[])
    monkeypatch.setattr("snn_delays.data.text.cards.read_cards", lambda at: {"made-up": card})
    corpus = load_corpus("made-up", "characters")
    assert corpus.name == "Made up (train unverified)"
    assert corpus.source == str(folder)
    assert corpus.checksum == hashlib.sha256("".join(parts.values()).encode()).hexdigest()
    assert {split: corpus.vocabulary.decode(getattr(corpus, split)) for split in parts} == parts
    assert corpus.bytes_of == {split: len(text.encode()) for split, text in parts.items()}
    (folder / "test.txt").write_bytes(b"\xff\xff\xff")
    card.files["test"] = TextFile("test.txt")
    with pytest.raises(DataError, match=r"test\.txt is not UTF-8: byte 0xff at position 0"):
        load_corpus("made-up", "characters")


@pytest.mark.parametrize(
    ("change", "says"),
    [
        (lambda text: text + "colour = 1\n", r"files\.all: unknown key 'colour'; known are bytes, file"),
        (lambda text: "colour = 1\n" + text, r"mr\.toml: unknown key 'colour'"),
        (lambda text: text.replace("citation", "# "), "missing .* 'citation'"),
        (lambda text: text.replace('"sentences"', '"speech"'), "kind must be corpus or sentences, got 'speech'"),
        (lambda text: text.replace("[files.all]", "[files.dev]"), "files must be all, or train, test and .*; got dev"),
        (lambda text: text.partition("[files")[0], "got none"),
        (lambda text: text + "[", "cannot read the card"),
    ],
)
def test_a_card_that_is_none(tmp_path, change, says):
    path = tmp_path / "mr.toml"
    text = (datasets_folder() / "text" / "mr.toml").read_text()
    path.write_text(text)
    assert read_text_card(path) == text_cards()["mr"]
    path.write_text(change(text))
    with pytest.raises(DataError, match=says):
        read_text_card(path)


@pytest.mark.shared
@pytest.mark.skipif(not (SHARED / "text").is_dir(), reason="the texts are not at hand")
def test_the_wikipedia_sample_and_the_files_of_wikitext(monkeypatch):
    monkeypatch.setenv("SNN_DELAYS_DATA", str(SHARED))
    corpus = load_corpus("enwiki-sample", context=1024)
    assert corpus.name == "English Wikipedia sample (6 MB)"
    assert corpus.bytes_of == {"train": 5480771, "valid": 304488, "test": 304487}
    characters = load_corpus("enwiki-sample", "characters")
    assert characters.vocabulary.size == 769  # of the training text alone
    assert sum(characters.bytes_of.values()) == 6_089_746
    assert len(characters.train) < characters.bytes_of["train"]
    assert characters.unknown["test"] == {"⋅": 1}
    known = characters.test[characters.test >= 0]
    assert len(known) == len(characters.test) - 1
    assert np.array_equal(characters.vocabulary.encode(characters.vocabulary.decode(known)), known)
    with pytest.raises(DataError, match=r"WikiText-2 \(train\) is missing"):
        load_corpus("wikitext2")
    card = text_cards()["wikitext2"]
    at_hand = dataclasses.replace(card, files={"valid": card.files["valid"], "test": card.files["test"]})
    assert [content.count(b"\n") for _, content in read_files(at_hand).values()] == [3760, 4358]
