"""Sentences with classes: their lines, their splits, their words, their batches."""

import dataclasses
import hashlib
import json
from collections import Counter
from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from snn_delays.data.text import WordVocabulary, load_sentences, pad, text_cards
from snn_delays.data.text.cards import TextCard, TextFile
from snn_delays.data.text.sentences import draw, parse, set_apart
from snn_delays.errors import ConfigError, DataError
from tests.support import ROOT

SHARED = ROOT.parent / "shared" / "data"
PATH = Path("folder") / "file.txt"


def parsed(content: bytes, **changes: object) -> list[tuple[str, int]]:
    card = dataclasses.replace(text_cards()["mr"], **changes)
    return parse(card, "all", PATH, content)


# Lines


def test_the_three_kinds_of_line_say_the_same():
    sentences = [("a good film .", 1), ("", 0), ("caf\u00e9 \x85 noir", 0)]
    lines = "1 a good film . \n0 \n0 caf\u00e9 \x85 noir\n"
    assert parsed(lines.encode("latin-1")) == sentences
    assert parsed(lines[:-1].encode("utf-8"), encoding="utf-8") == sentences
    rows = "sentence\tlabel\n" + "".join(f"{text} \t{label}\n" for text, label in sentences)
    assert parsed(rows.encode("latin-1"), format="tsv") == sentences
    objects = [json.dumps({"id": i, "label": n, "text": text}) for i, (text, n) in enumerate([("A good film.", 1)])]
    assert parsed("\n".join(objects).encode(), format="jsonl") == [("A good film .", 1)]


@pytest.mark.parametrize(
    ("content", "changes", "says"),
    [
        (b"1 good\n2 bad\n", {}, r"file\.txt, line 2: expected 'label sentence' with a label from 0 to 1, got '2 bad'"),
        (b"1 good\nbad film\n", {}, "line 2: .* got 'bad film'"),
        (b"1 good\n\n0 bad\n", {}, "line 2: .* got ''"),
        (b"-1 good\n", {}, "line 1: .* got '-1 good'; fetch it again"),
        (b"1 caf\xe9\n0 caf\xe9\n", {"encoding": "utf-8"}, "line 1: not utf-8"),
        (b"1 good\n0 caf\xe9\n", {"encoding": "utf-8"}, "line 2: not utf-8"),
        (b"good\t1\n", {"format": "tsv"}, r"line 1: expected the heading 'sentence\\tlabel', got 'good\\t1'"),
        (b"", {"format": "tsv"}, "line 1: expected the heading .* got ''"),
        (b"sentence\tlabel\ngood\t1\nbad\n", {"format": "tsv"}, "line 3: expected 'sentence<tab>label'"),
        (b"sentence\tlabel\na\tb\t1\n", {"format": "tsv"}, "line 2"),
        (b'{"id": 0, "label": 1}\n', {"format": "jsonl"}, "line 1: expected a JSON object of id, label and text"),
        (b'{"id": 0, "label": 1, "text": "x"}\n[1]\n', {"format": "jsonl"}, "line 2"),
        (b'{"id": 0, "lab', {"format": "jsonl"}, "line 1"),
    ],
)
def test_a_malformed_line_is_named(content, changes, says):
    with pytest.raises(DataError, match=says):
        parsed(content, **changes)


def test_a_line_out_of_an_archive_names_both():
    card = text_cards()["mr"]
    with pytest.raises(DataError, match=r"data/rt-polarity\.all in .*nlu_sentences\.tar\.xz, line 1"):
        parse(card, "all", Path("folder") / card.archive, b"x\n")


def test_texts_that_do_not_belong_are_left_out_by_class_and_id():
    part = TextFile("file", left_out={"positive": [0, 2], "negative": [1]})
    rows = [{"id": i, "label": label, "text": f"{label} {i}"} for label in (1, 0) for i in range(3)]
    content = "\n".join(map(json.dumps, rows)).encode()
    got = parsed(content, format="jsonl", files={"all": part})
    assert [text for text, _ in got] == ["1 1", "0 0", "0 2"]


def test_marks_are_set_apart_but_apostrophes_within_words():
    raw = "It isn't \"bad\"<br /><br />at all...(John's)<br>déjà-vu"
    assert set_apart(raw) == "It isn't \" bad \" at all . . . ( John's ) déjà - vu"
    assert set_apart(set_apart(raw)) == set_apart(raw)


# Splits

labelled = st.lists(st.tuples(st.sampled_from(["a", "A", "b", "c d", "C d", "e", "f"]), st.integers(0, 2)), max_size=60)


def apart(parts: list[list[tuple[str, int]]]) -> bool:
    """Whether no text is in two parts."""
    texts = [{text.lower() for text, _ in part} for part in parts]
    return sum(map(len, texts)) == len(set().union(*texts))


@given(labelled, st.integers(0, 5))
def test_a_draw_loses_nothing_and_keeps_equal_texts_together(sentences, seed):
    parts = draw(sentences, (0.3, 0.3), seed)
    assert Counter(sentence for part in parts for sentence in part) == Counter(sentences)
    assert apart(parts)
    assert parts == draw(sentences, (0.3, 0.3), seed)


def test_a_draw_is_stratified_in_order_and_by_seed():
    sentences = [(f"Sentence {i}", int(i % 4 == 0)) for i in range(400)]
    train, valid, test = draw(sentences, (0.1, 0.1), 0)
    assert [Counter(label for _, label in part) for part in (train, valid, test)] == [
        {0: 240, 1: 80}, {0: 30, 1: 10}, {0: 30, 1: 10},
    ]  # fmt: skip
    order = {sentence: i for i, sentence in enumerate(sentences)}
    for part in (train, valid, test):
        assert [order[s] for s in part] == sorted(order[s] for s in part)
    assert draw(sentences, (0.1, 0.1), 1)[1] != valid


def test_a_draw_by_line_would_put_equal_texts_into_two_parts():
    sentences = [(text, 0) for text in ("twice", "Twice") for _ in range(20)] + [(f"{i}", 0) for i in range(40)]
    lines = np.random.default_rng(0).permutation(len(sentences))
    by_line = [[sentences[i] for i in lines[:40]], [sentences[i] for i in lines[40:]]]
    assert not apart(by_line)
    assert apart(draw(sentences, (0.5,), 0))


@pytest.fixture
def set_of(tmp_path, monkeypatch):
    """Puts files of made-up sentences and their card where they are looked for."""
    monkeypatch.setenv("SNN_DELAYS_DATA", str(tmp_path))

    def place(**contents: str) -> TextCard:
        files = {}
        (tmp_path / "nlu").mkdir(exist_ok=True)
        for split, content in contents.items():
            (tmp_path / "nlu" / split).write_text(content)
            files[split] = TextFile(split, md5=hashlib.md5(content.encode(), usedforsecurity=False).hexdigest())
        card = dataclasses.replace(text_cards()["mr"], files=files, split_rule="official")
        monkeypatch.setattr("snn_delays.data.text.cards.read_cards", lambda at: {"mr": card})
        return card

    text_cards()  # the real card is read before it is replaced
    return place


def lines(n: int, word: str) -> str:
    return "".join(f"{i % 2} {word} {i}\n" for i in range(n))


def test_official_splits_are_kept_and_missing_ones_drawn(set_of, tmp_path):
    set_of(all=lines(100, "all"))
    drawn = load_sentences("mr", seed=3)
    assert [len(part) for part in (drawn.train, drawn.valid, drawn.test)] == [80, 10, 10]
    assert drawn.split_rule.startswith("no official split: 80/10/10 of each class, drawn with seed 3")
    assert drawn.source == str(tmp_path / "nlu" / "all")
    assert drawn.valid != load_sentences("mr").valid
    assert drawn.checksum == hashlib.sha256(lines(100, "all").encode()).hexdigest()


def test_a_missing_validation_part_is_drawn_from_train_alone(set_of, tmp_path):
    set_of(train=lines(100, "train"), test=lines(20, "test"))
    loaded = load_sentences("mr")
    assert [len(part) for part in (loaded.train, loaded.valid, loaded.test)] == [90, 10, 20]
    assert all(text.startswith("train") for text, _ in loaded.train + loaded.valid)
    assert loaded.split_rule.startswith("official; valid is a tenth of each class of train, drawn with seed 0")
    assert loaded.source == str(tmp_path / "nlu")


def test_three_official_parts_are_as_they_are(set_of):
    set_of(train=lines(6, "train"), valid=lines(4, "valid"), test=lines(2, "test"))
    loaded = load_sentences("mr", seed=9)
    assert loaded.valid == [("valid 0", 0), ("valid 1", 1), ("valid 2", 0), ("valid 3", 1)]
    assert [len(part) for part in (loaded.train, loaded.valid, loaded.test)] == [6, 4, 2]
    assert loaded.split_rule == "official"


def test_a_part_without_sentences_is_refused(set_of):
    set_of(all=lines(4, "few"))
    with pytest.raises(DataError, match="valid of MR has no sentences"):
        load_sentences("mr")


# Words and batches


def test_words_are_counted_cut_and_ordered():
    texts = ["The film the Film", "the <unk> <unk> plot b", "a  b\ta a"]
    assert WordVocabulary.build(texts).words == ("<unk>", "a", "the", "b", "film")
    assert WordVocabulary.build(texts, min_count=3).words == ("<unk>", "a", "the")
    assert WordVocabulary.build(texts, min_count=1).words == ("<unk>", "a", "the", "b", "film", "plot")
    assert WordVocabulary.build(texts, size=3).words == ("<unk>", "a", "the")
    assert WordVocabulary.build([], size=1).size == 1
    for arguments in ({"min_count": 0}, {"size": 0}):
        with pytest.raises(ConfigError, match="at least 1"):
            WordVocabulary.build(texts, **arguments)


def test_unknown_words_and_texts_without_words_are_token_0():
    words = WordVocabulary(("<unk>", "the", "film"))
    tokens = words.encode(" The  FILM bores <unk> ")
    assert tokens.tolist() == [1, 2, 0, 0]
    assert tokens.dtype == np.int32
    assert words.decode(tokens) == "the film <unk> <unk>"
    for empty in ("", "  \n"):
        assert words.encode(empty).tolist() == [0]
    decoder = words.decoder()
    assert "".join(decoder.feed(int(t)) for t in tokens) + decoder.finish() == words.decode(tokens)


@given(st.lists(st.integers(1, 9), min_size=1, max_size=6))
def test_a_batch_holds_every_sentence_and_zeros_after_it(lengths):
    sentences = [np.arange(1, n + 1, dtype=np.int32) for n in lengths]
    tokens, got = pad(sentences)
    assert tokens.dtype == got.dtype == torch.int64
    assert (tokens.shape, got.tolist()) == ((max(lengths), len(lengths)), lengths)
    for i, sentence in enumerate(sentences):
        assert tokens[: lengths[i], i].tolist() == sentence.tolist()
        assert not tokens[lengths[i] :, i].any()


def test_batches_of_nothing():
    with pytest.raises(DataError, match="there is no sentence"):
        pad([])
    with pytest.raises(DataError, match="sentence 1 has no tokens"):
        pad([np.ones(2, np.int32), np.ones(0, np.int32)])


# The sets themselves


@pytest.mark.shared
@pytest.mark.skipif(not (SHARED / "nlu").is_dir(), reason="the sentences are not at hand")
@pytest.mark.parametrize(
    ("name", "sizes", "first_train"),
    [
        ("sst2", (6920, 872, 1821), ("a stirring , funny and finally transporting re-imagining", 1)),
        ("sst1", (8544, 1101, 2210), ("a stirring , funny and finally transporting re-imagining", 4)),
        ("sst2-phrases", (60614, 6735, 872), ("when are bears bears and", 1)),
        ("mr", (8530, 1066, 1066), ("simplistic , silly and tedious .", 0)),
        ("subj", (8000, 1000, 1000), ("smart and alert , thirteen conversations", 0)),
        ("cr", (3020, 377, 378), ("weaknesses are minor", 0)),
        ("mpqa", (8585, 1019, 1002), ("complaining", 0)),
        ("trec", (4909, 543, 500), ("How did serfdom develop", 0)),
    ],
)
def test_the_sets_at_hand(name, sizes, first_train, monkeypatch):
    monkeypatch.setenv("SNN_DELAYS_DATA", str(SHARED))
    loaded = load_sentences(name)
    parts = [loaded.train, loaded.valid, loaded.test]
    assert tuple(map(len, parts)) == sizes
    assert loaded.train[0][0].startswith(first_train[0])
    assert loaded.train[0][1] == first_train[1]
    assert {label for _, label in loaded.test} <= set(range(len(loaded.class_names)))
    assert "Ã" not in "".join(text for part in parts for text, _ in part)  # UTF-8 taken for Latin-1
    if "seed" in loaded.split_rule:
        assert apart(parts[:2] if name == "trec" else parts)


@pytest.mark.slow
@pytest.mark.shared
@pytest.mark.skipif(not (SHARED / "nlu").is_dir(), reason="the reviews are not at hand")
def test_the_reviews_at_hand(monkeypatch):
    monkeypatch.setenv("SNN_DELAYS_DATA", str(SHARED))
    loaded = load_sentences("imdb")
    assert len(loaded.train) + len(loaded.valid) == 25_000 - 4
    assert Counter(label for _, label in loaded.test) == {1: 12_496, 0: 12_500}
    wrong = ("This app is awesome", "Love this app", "Such a wonderful app that", "It keeps randomly popping up")
    assert not any(text.startswith(wrong) for text, _ in loaded.train + loaded.valid + loaded.test)
    assert apart([loaded.train, loaded.valid])
    assert "<br" not in "".join(text for text, _ in loaded.train[:2000])
