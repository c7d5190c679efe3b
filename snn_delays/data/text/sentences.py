"""Sentences with classes, in train, valid and test: official splits where there are, else a stated draw."""

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise

import numpy as np

from snn_delays.data.text.cards import TextCard, text_card
from snn_delays.data.text.parsing import Sentence, parse
from snn_delays.data.text.unpacking import read_files
from snn_delays.errors import ConfigError, DataError


@dataclass(frozen=True)
class SentenceSet:
    """Sentences with the indices of their classes.

    ``source``: path of the file, archive or folder they were read from. ``checksum``: sha256 of the unpacked files one
    after the other. ``train``, ``valid``, ``test``: ``(text, label)``, punctuation set apart by spaces. ``split_rule``:
    how the splits came about, to be stated with every accuracy.
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
    read = {split: parse(card, split, path, content) for split, (path, content) in files.items()}
    parts, rule = _splits(card, read, seed)
    for split, sentences in parts.items():
        if not sentences:
            raise DataError(f"{split} of {card.display_name} has no sentences; its files are not what its card says")
    paths = [path for path, _ in files.values()]
    return SentenceSet(
        name=card.display_name,
        source=str(paths[0] if len(set(paths)) == 1 else paths[0].parent),
        checksum=hashlib.sha256(b"".join(content for _, content in files.values())).hexdigest(),
        class_names=tuple(card.class_names),
        train=parts["train"],
        valid=parts["valid"],
        test=parts["test"],
        attribution=card.attribution,
        split_rule=rule,
    )


def _splits(card: TextCard, read: dict[str, list[Sentence]], seed: int) -> tuple[dict[str, list[Sentence]], str]:
    alike = "texts that differ in case alone stay together"
    if "all" in read:
        train, valid, test = draw(read["all"], (0.1, 0.1), seed)
        rule = f"no official split: 80/10/10 of each class, drawn with seed {seed}; {alike}"
        return {"train": train, "valid": valid, "test": test}, rule
    if "valid" not in read:
        train, valid = draw(read["train"], (0.1,), seed)
        rule = f"{card.split_rule}; valid is a tenth of each class of train, drawn with seed {seed}; {alike}"
        return {"train": train, "valid": valid, "test": read["test"]}, rule
    return {split: read[split] for split in ("train", "valid", "test")}, card.split_rule


def draw(sentences: Sequence[Sentence], fractions: Sequence[float], seed: int) -> list[list[Sentence]]:
    """Sentences in parts: what is left over, then one part for each fraction, all in the order they came in.

    Of each class the given fraction of its different texts is drawn, rounded to whole texts. Texts that differ in case
    alone are one text, of the class of the first, so that all of them are in the same part.
    """
    first: dict[str, int] = {}
    for i, (text, _) in enumerate(sentences):
        first.setdefault(text.lower(), i)
    labels = {text: sentences[i][1] for text, i in first.items()}
    random = np.random.default_rng(seed)
    part_of: dict[str, int] = {}
    for label in sorted(set(labels.values())):
        texts = [text for text, its in labels.items() if its == label]
        order = random.permutation(len(texts))
        ends = np.cumsum([0, *(round(fraction * len(texts)) for fraction in fractions)])
        for part, (start, end) in enumerate(pairwise(ends), start=1):
            part_of.update((texts[i], part) for i in order[start:end])
    parts: list[list[Sentence]] = [[] for _ in range(len(fractions) + 1)]
    for sentence in sentences:
        parts[part_of.get(sentence[0].lower(), 0)].append(sentence)
    return parts
