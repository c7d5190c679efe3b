"""Trained networks that come with the package: a file of weights each, and a card of what it is and what it reaches."""

import hashlib
from collections.abc import Mapping
from functools import lru_cache
from pathlib import Path
from types import MappingProxyType
from typing import Literal

from pydantic import BaseModel as Model
from pydantic import ConfigDict, ValidationError

from snn_delays.errors import CheckpointError
from snn_delays.messages import did_you_mean
from snn_delays.reading import parse_toml, read_bytes, read_text
from snn_delays.recipes.files import recipes_folder

PREFIX = "zoo:"
MOST_BYTES = 1 << 20


class ZooCard(Model):
    """What a network of the zoo was trained on, how, and what it reaches.

    Attributes:
        description: in a sentence.
        recipe: its name; ``snn_delays.load(...).card.recipe`` has every setting.
        data, protocol: the training data, and how epochs were chosen and the test samples were used.
        measure: ``"test_accuracy"`` or ``"test_bits_per_byte"``: a key of what ``snn_delays.evaluate`` returns.
        test: of the network with integer delays on the test samples of ``data``, as in the results table.
        subset, subset_test: a bundled data set, and what ``snn_delays.evaluate("zoo:NAME", on=subset)`` finds; without
            a subset ``data`` itself is bundled.
        sha256: of the file of weights.
        licence: of the weights, with the attribution that the data ask for.
    """

    model_config = ConfigDict(extra="forbid", frozen=True)

    description: str
    recipe: str
    data: str
    protocol: str
    measure: Literal["test_accuracy", "test_bits_per_byte"] = "test_accuracy"
    test: float
    subset: str | None = None
    subset_test: float
    sha256: str
    licence: str

    @property
    def result(self) -> str:
        """The number of ``test``, with its unit."""
        return f"{self.test:.1%}" if self.measure == "test_accuracy" else f"{self.test:.3f} bits per byte"


def zoo_folder() -> Path:
    """Where cards and weights lie."""
    return recipes_folder() / "zoo"


@lru_cache(maxsize=1)
def zoo() -> Mapping[str, ZooCard]:
    """The cards of all networks of the zoo, by name. Raises CheckpointError for a damaged card."""
    cards = {}
    for path in sorted(zoo_folder().glob("*.toml")):
        try:
            cards[path.stem] = ZooCard.model_validate(parse_toml(read_text(path)))
        except (ValidationError, ValueError) as error:
            raise CheckpointError(f"{path} is no card of the zoo ({error}); install the package again") from None
    return MappingProxyType(cards)


def zoo_file(name: str) -> Path:
    """The file of a network's weights, its checksum compared. Raises CheckpointError for an unknown name or damage."""
    cards = zoo()
    if name not in cards:
        raise CheckpointError(f"the zoo has no network {name!r}; {did_you_mean(name, cards)}it has {', '.join(cards)}")
    path = zoo_folder() / f"{name}.safetensors"
    if not path.is_file() or hashlib.sha256(read_bytes(path, MOST_BYTES)).hexdigest() != cards[name].sha256:
        raise CheckpointError(f"{path} is missing or not the file of its card; install the package again")
    return path


def resolved(path: Path | str) -> Path:
    """A path as it is, or the file that ``zoo:NAME`` stands for."""
    text = str(path)
    return zoo_file(text.removeprefix(PREFIX)) if text.startswith(PREFIX) else Path(path)
