"""Moved to :mod:`snn_delays.recipes`."""

from snn_delays.moved import forward
from snn_delays.recipes import events

_FILES = ("find_recipe", "load_recipe", "parse_recipe", "recipe_from_toml", "recipes_folder", "to_toml")
_SECTIONS = [name for name, value in vars(events).items() if isinstance(value, type)]
__getattr__ = forward(
    __name__, dict.fromkeys(_SECTIONS, "snn_delays.recipes.events") | dict.fromkeys(_FILES, "snn_delays.recipes.files")
)
