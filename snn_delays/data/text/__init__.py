"""Text: corpora for language models, sentences with classes, vocabularies and batches. Knows nothing of networks."""

from snn_delays.data.text.batches import RandomCrops, pad, streams, windows
from snn_delays.data.text.cards import text_cards
from snn_delays.data.text.corpus import Corpus, load_corpus
from snn_delays.data.text.sentences import SentenceSet, load_sentences
from snn_delays.data.text.vocabulary import (
    ByteVocabulary,
    CharacterVocabulary,
    Decoder,
    Vocabulary,
    WordVocabulary,
    vocabulary_from_json,
)

__all__ = [
    "ByteVocabulary", "CharacterVocabulary", "Corpus", "Decoder", "RandomCrops", "SentenceSet", "Vocabulary",
    "WordVocabulary", "load_corpus", "load_sentences", "pad", "streams", "text_cards", "vocabulary_from_json",
    "windows",
]  # fmt: skip
