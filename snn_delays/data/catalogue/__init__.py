"""Data sets by name: their cards, where they lie, whether they are whole, how they are fetched."""

from snn_delays.data.catalogue.lookup import Card, card, cards, identify

__all__ = ["Card", "card", "cards", "identify"]
