"""What a trained network is for: it travels in the file of the weights, so that this file alone is enough."""

import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from snn_delays.data.text import vocabulary_from_json
from snn_delays.data.text.vocabulary import Vocabulary
from snn_delays.errors import CheckpointError, SnnDelaysError
from snn_delays.reading import parse_json
from snn_delays.recipes.files import recipe_from_toml, to_toml
from snn_delays.recipes.strict import BaseRecipe

FORMAT = "2"  # 1 had the recipe alone


@dataclass(frozen=True)
class NetworkCard:
    """What goes in, what comes out, and what the network was trained on.

    Attributes:
        recipe: every setting of the training.
        epoch: after which the weights were saved; 0 before training.
        source, checksum: the training data, and their file's sha256.
        sensor: shape of one step of the input; empty for text.
        class_names: of the outputs; empty where the outputs are no classes, or not known.
        vocabulary: tokens of text; None for events.
        network_class: name of the class of a network of your own; empty where the recipe describes the network.
    """

    recipe: BaseRecipe
    epoch: int
    source: str = ""
    checksum: str = ""
    sensor: tuple[int, ...] = ()
    class_names: tuple[str, ...] = ()
    vocabulary: Vocabulary | None = None
    network_class: str = ""

    @property
    def dt_ms(self) -> float | None:
        """Length of a time step in milliseconds; None for text."""
        return getattr(self.recipe.data, "dt_ms", None)  # type: ignore[attr-defined]

    def to_metadata(self) -> dict[str, str]:
        """As text, the form in which safetensors keeps it."""
        data = {
            "source": self.source,
            "checksum": self.checksum,
            "sensor": self.sensor,
            "class_names": self.class_names,
            "vocabulary": self.vocabulary and self.vocabulary.to_json(),
            "network_class": self.network_class,
        }
        return {"format": FORMAT, "epoch": str(self.epoch), "recipe": to_toml(self.recipe), "card": json.dumps(data)}

    @classmethod
    def from_metadata(cls, metadata: Mapping[str, str], path: Path) -> "NetworkCard":
        """Read what :meth:`to_metadata` made. Raises CheckpointError naming the file for anything else."""
        try:
            number = metadata["format"]
            if number not in ("1", FORMAT):
                raise CheckpointError(f"{path} is a checkpoint of format {number}; this version reads 1 and {FORMAT}")
            recipe, epoch = recipe_from_toml(metadata["recipe"], str(path)), int(metadata["epoch"])
            data = parse_json(metadata.get("card", "{}"))
            vocabulary = data.get("vocabulary")
            return cls(
                recipe,
                epoch,
                str(data.get("source", "")),
                str(data.get("checksum", "")),
                tuple(int(size) for size in data.get("sensor", ())),
                tuple(str(name) for name in data.get("class_names", ())),
                vocabulary and vocabulary_from_json(vocabulary),
                str(data.get("network_class", "")),
            )
        except (KeyError, ValueError, TypeError, AttributeError) as error:
            raise CheckpointError(
                f"{path} holds no network of snn_delays: its metadata lack or spoil {error}; `snn-delays train` writes "
                "such files"
            ) from error
        except SnnDelaysError as error:
            raise CheckpointError(f"{path}: {error}") from error
