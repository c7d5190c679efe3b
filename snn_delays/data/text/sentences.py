"""Sentences with classes, in train, valid and test: official splits where there are, else a stated draw."""

import re
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path

import numpy as np

from snn_delays.data.text.cards import SPLITS, TextCard, text_card
from snn_delays.data.text.unpacking import origin, read_files
from snn_delays.errors import ConfigError, DataError
from snn_delays.reading import parse_json

Sentence = tuple[str, int]
_HEADING = "sentence\tlabel"
_MARKS = re.compile(r"\w+(?:'\w+)*|[^\w\s]")


@dataclass(frozen=True)
class SentenceSet:
    """Sentences with the indices of their classes.

    ``source``, ``checksum``: see :func:`~snn_delays.data.text.unpacking.origin`. ``train``, ``valid``, ``test``:
    ``(text, label)``, punctuation set apart by spaces. ``split_rule``: how the splits came about, to be stated with
    every accuracy.
    """

    name: str
    source: str
    checksum: str
    class_names: tuple[str, ...]
    train: list[Sentence]
    valid: list[Sentence]
    test: list[Sentence]
    attribution: str
    split_rule: str


def load_sentences(name: str, seed: int = 0) -> SentenceSet:
    """A set of sentences by the name of its card, from the data folder.

    Files with official splits keep them. Of one without, each class is drawn 80/10/10 with ``seed``; of one without
    ``valid``, a tenth of each class of train. Texts that differ in case alone are drawn as one, so that no text is in
    two drawn parts. The order within a part is that of the file: positives may all come first.

    Raises ConfigError for an unknown name or a negative seed, DataError for files that are missing, damaged, not the
    card's, or have a line that is no labelled sentence.
    """
    card = text_card(name, "sentences")
    if seed < 0:
        raise ConfigError(f"the seed of a draw must be at least 0, got {seed}")
    files = read_files(card)
    parts = {split: parse(card, split, path, content) for split, (path, content) in files.items()}
    rule, drawn = card.split_rule, f"drawn with seed {seed}; texts that differ in case alone stay together"
    if "all" in parts:
        parts = dict(zip(SPLITS, draw(parts["all"], (0.1, 0.1), seed)))
        rule = f"no official split: 80/10/10 of each class, {drawn}"
    elif "valid" not in parts:
        parts["train"], parts["valid"] = draw(parts["train"], (0.1,), seed)
        rule = f"{card.split_rule}; valid is a tenth of each class of train, {drawn}"
    for split in SPLITS:
        if not parts[split]:
            raise DataError(f"{split} of {card.display_name} has no sentences; its files are not what its card says")
    source, checksum = origin(files)
    return SentenceSet(
        name=card.display_name,
        source=source,
        checksum=checksum,
        class_names=tuple(card.class_names),
        attribution=card.attribution,
        split_rule=rule,
        **parts,
    )


def draw(sentences: Sequence[Sentence], fractions: Sequence[float], seed: int) -> list[list[Sentence]]:
    """Sentences in parts: what is left over, then one part for each fraction, all in the order they came in.

    Of each class the given fraction of its different texts is drawn, rounded to whole texts. Texts that differ in case
    alone are one text, of the class of the first, so that all of them are in the same part.
    """
    labels: dict[str, int] = {}
    for text, label in sentences:
        labels.setdefault(text.lower(), label)
    random = np.random.default_rng(seed)
    part_of: dict[str, int] = {}
    for label in sorted(set(labels.values())):
        texts = [text for text, other in labels.items() if other == label]
        order = random.permutation(len(texts))
        ends = np.cumsum([0, *(round(fraction * len(texts)) for fraction in fractions)])
        for part, (start, end) in enumerate(pairwise(ends), start=1):
            part_of.update((texts[i], part) for i in order[start:end])
    parts: list[list[Sentence]] = [[] for _ in range(len(fractions) + 1)]
    for sentence in sentences:
        parts[part_of.get(sentence[0].lower(), 0)].append(sentence)
    return parts


def parse(card: TextCard, split: str, path: Path, content: bytes) -> list[Sentence]:
    """The sentences of a file in file order, texts that the card leaves out left out.

    Lines are ``label sentence``, tab-separated with a heading, or one JSON object each, as the card's ``format`` says.
    Spaces around a sentence are dropped; it may be empty. JSON lines hold raw text, whose punctuation is set apart
    (:func:`set_apart`). Raises DataError naming file and line of whatever is no sentence with a known label.
    """
    part = card.files[split]
    where = f"{part.file} in {path}" if path.name == card.archive else str(path)
    try:
        lines = content.decode(card.encoding).split("\n")  # not splitlines: Latin-1 has line ends of its own in these
    except UnicodeDecodeError as error:
        number = content[: error.start].count(b"\n") + 1
        raise DataError(f"{where}, line {number}: not {card.encoding} ({error.reason}); fetch it again") from None
    if lines[-1] == "":
        lines.pop()
    begin = 0
    if card.format == "tsv":
        begin = 1
        if lines[:1] != [_HEADING]:
            raise DataError(f"{where}, line 1: expected the heading {_HEADING!r}, got {''.join(lines[:1])[:40]!r}")
    outside = {(card.class_names.index(name), i) for name, ids in part.left_out.items() for i in ids}
    read, expected = _FORMATS[card.format]
    sentences = []
    for number, line in enumerate(lines[begin:], start=begin + 1):
        try:
            text, label, identity = read(line)
        except (ValueError, KeyError, TypeError, AttributeError):
            text, label, identity = "", -1, None
        if not 0 <= label < len(card.class_names):
            raise DataError(
                f"{where}, line {number}: expected {expected} with a label from 0 to {len(card.class_names) - 1}, got "
                f"{line[:40]!r}; fetch it again"
            )
        if (label, identity) not in outside:
            sentences.append((text, label))
    return sentences


def _of_line(line: str) -> tuple[str, int, int | None]:
    label, _, text = line.partition(" ")
    return text.strip(), int(label), None


def _of_row(line: str) -> tuple[str, int, int | None]:
    text, label = line.split("\t")
    return text.strip(), int(label), None


def _of_json(line: str) -> tuple[str, int, int | None]:
    value = parse_json(line)
    return set_apart(value["text"]), int(value["label"]), int(value["id"])


_FORMATS = {
    "lines": (_of_line, "'label sentence'"),
    "tsv": (_of_row, "'sentence<tab>label'"),
    "jsonl": (_of_json, "a JSON object of id, label and text"),
}


def set_apart(text: str) -> str:
    """A raw text with spaces around every mark of punctuation but an apostrophe within a word, ``<br />`` left out."""
    return " ".join(_MARKS.findall(re.sub(r"<br\s*/?>", " ", text)))
