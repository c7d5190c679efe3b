"""``python -m experiments.zoo RUN NAME``: put the best network of a run into the zoo, with its card."""

import hashlib
import shutil
from pathlib import Path
from typing import Annotated

import tomli_w
import typer

import snn_delays
from snn_delays.errors import ConfigError
from snn_delays.runs.evaluate import read_evaluation
from snn_delays.runs.zoo import MOST_BYTES, ZooCard, zoo_folder
from snn_delays.training import checkpoint
from snn_delays.training.runlog import open_run

LICENCE = (
    "CC BY 4.0. Trained on data derived from the Heidelberg Digits by B. Cramer, Y. Stradmann, J. Schemmel and "
    "F. Zenke (IEEE TNNLS 2020), CC BY 4.0."
)
PROTOCOL = "epoch chosen on validation samples held out of the training set; the test samples opened once, at the end"


def add(
    run: Annotated[Path, typer.Argument(help="run folder, evaluated")],
    name: Annotated[str, typer.Argument(help="name in the zoo")],
    description: Annotated[str, typer.Option(help="what the network is, in a sentence")],
    subset: Annotated[str, typer.Option(help="bundled data set for the card's own number")] = "shd-regenerated-subset",
) -> None:
    """Copy a run's best network into the zoo and write its card."""
    opened = open_run(run)
    source = checkpoint.network_file(opened.checkpoints, opened.best_epoch())
    if source.stat().st_size > MOST_BYTES:
        raise ConfigError(f"{source} has {source.stat().st_size:,} bytes; the zoo takes files up to {MOST_BYTES:,}")
    result = read_evaluation(opened, "test_accuracy")
    target = zoo_folder() / f"{name}.safetensors"
    shutil.copyfile(source, target)
    card = ZooCard(
        description=description, recipe=opened.recipe.name, data=result["data"], protocol=PROTOCOL,
        test_accuracy=round(result["test_accuracy"], 4), subset=subset,
        subset_accuracy=round(snn_delays.evaluate(target, on=subset)["test_accuracy"], 4),
        sha256=hashlib.sha256(target.read_bytes()).hexdigest(), licence=LICENCE,
    )  # fmt: skip
    target.with_suffix(".toml").write_text(tomli_w.dumps(card.model_dump()), encoding="utf-8")
    print(f"{target}: {card.test_accuracy:.1%} on {card.data}, {card.subset_accuracy:.1%} on {subset}")


if __name__ == "__main__":
    typer.run(add)
