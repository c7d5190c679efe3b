"""The lines of sentence files: ``label sentence``, tab-separated with a heading, or one JSON object each."""

from pathlib import Path

from snn_delays.data.text.cards import TextCard
from snn_delays.data.text.words import set_apart
from snn_delays.errors import DataError
from snn_delays.reading import parse_json

Sentence = tuple[str, int]
_HEADING = "sentence\tlabel"


def parse(card: TextCard, split: str, path: Path, content: bytes) -> list[Sentence]:
    """The sentences of a file in file order, texts that the card leaves out left out.

    Spaces around a sentence are dropped; it may be empty. JSON lines hold raw text, whose punctuation is set apart
    (:func:`words.set_apart`). Raises DataError naming file and line of whatever is no sentence with a known label.
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
    sentences = []
    for number, line in enumerate(lines[begin:], start=begin + 1):
        try:
            text, label, identity = _READERS[card.format](line)
        except (ValueError, KeyError, TypeError, AttributeError):
            text, label, identity = "", -1, None
        if not 0 <= label < len(card.class_names):
            raise DataError(
                f"{where}, line {number}: expected {_EXPECTED[card.format]} with a label from 0 to "
                f"{len(card.class_names) - 1}, got {line[:40]!r}; fetch it again"
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


_READERS = {"lines": _of_line, "tsv": _of_row, "jsonl": _of_json}
_EXPECTED = {
    "lines": "'label sentence'",
    "tsv": "'sentence<tab>label'",
    "jsonl": "a JSON object of id, label and text",
}
