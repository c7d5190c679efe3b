"""Data sets by name: their cards, where their files are, whether they are whole, how they are fetched."""

from snn_delays.data.card import Card
from snn_delays.data.catalogue.identity import identify
from snn_delays.data.catalogue.lookup import card, cards

__all__ = ["Card", "card", "cards", "identify"]
