"""Runs of made-up events and of made-up text."""

from tests.support.run_fixtures import corpus, finished, folder, made_up_data, trained  # noqa: F401
