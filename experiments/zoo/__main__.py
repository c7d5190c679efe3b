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
    subset: Annotated[
        str, typer.Option(help="bundled data set for the card's own number; empty where the run's own data are bundled")
    ] = "shd-regenerated-subset",
    licence: Annotated[str, typer.Option(help="of the weights, with the attribution that the data ask for")] = LICENCE,
) -> None:
    """Copy a run's best network into the zoo and write its card."""
    opened = open_run(run)
    source = checkpoint.network_file(opened.checkpoints, opened.best_epoch())
    if source.stat().st_size > MOST_BYTES:
        raise ConfigError(f"{source} has {source.stat().st_size:,} bytes; the zoo takes files up to {MOST_BYTES:,}")
    measure = "test_accuracy" if "test_accuracy" in read_evaluation(opened) else "test_bits_per_byte"
    result = read_evaluation(opened, measure)
    target = zoo_folder() / f"{name}.safetensors"
    shutil.copyfile(source, target)
    card = ZooCard(
        description=description, recipe=opened.recipe.name, data=result["data"], protocol=PROTOCOL,
        measure=measure, test=round(result[measure], 4), subset=subset or None,
        subset_test=round(snn_delays.evaluate(target, on=subset or None)[measure], 4),
        sha256=hashlib.sha256(target.read_bytes()).hexdigest(), licence=licence,
    )  # fmt: skip
    target.with_suffix(".toml").write_text(tomli_w.dumps(card.model_dump(exclude_none=True)), encoding="utf-8")
    print(f"{target}: {card.result} on {card.data}" + (f", {card.subset_test:.1%} on {subset}" if subset else ""))


if __name__ == "__main__":
    typer.run(add)
