"""The page of data sets says what the cards say, of every one of them."""

from dataclasses import replace

from snn_delays.data.catalogue.lookup import card, cards
from tests.support.datasets_page import PAGE, facts, named, written_anew


def test_every_data_set_has_a_block_and_it_is_that_of_its_card() -> None:
    text = PAGE.read_text(encoding="utf-8")
    assert sorted(named(text)) == sorted(cards())
    assert written_anew(text) == text, "write it anew: python -m tests.support.datasets_page"


def test_canary_another_number_on_a_card_is_noticed() -> None:
    ssc = card("ssc")
    splits = {**ssc.splits, "valid": replace(ssc.splits["valid"], samples=9_980)}
    text = PAGE.read_text(encoding="utf-8")
    assert facts(ssc) in text
    assert facts(replace(ssc, splits=splits)) not in text
