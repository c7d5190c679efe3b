"""Every case by name."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from fnmatch import fnmatchcase
from functools import partial

import torch

from experiments.benchmarks.conv_cases import conv_layer, conv_training_step
from experiments.benchmarks.data_cases import BUNDLED, FULL, binning, cached_load, epoch, first_load
from experiments.benchmarks.delay_cases import delay_layer, integer_inference, integer_training
from experiments.benchmarks.epoch_case import shd_epoch
from experiments.benchmarks.gpt_cases import engine_token, generation, language_step
from experiments.benchmarks.lif_case import lif_layer
from experiments.benchmarks.matmul_case import matrix_product
from experiments.benchmarks.network_cases import inference, long_training_step, training_step
from experiments.benchmarks.neuron_case import neuron_kinds
from experiments.benchmarks.overhead_case import call_overhead
from experiments.benchmarks.recurrent_cases import recurrent_step
from experiments.benchmarks.run import Case
from experiments.benchmarks.sizes import PUBLISHED, Sizes
from snn_delays.errors import ConfigError
from snn_delays.messages import did_you_mean


@dataclass(frozen=True)
class Entry:
    """A case by name; ``long`` ones take minutes and run only on request.

    ``host``: it is about the host alone, and runs once, whatever devices there are.
    """

    name: str
    make: Callable[[Sizes, torch.device], Case]
    long: bool = False
    host: bool = False


CASES = (
    Entry("lif", lif_layer),
    Entry("neurons", neuron_kinds),
    Entry("call-overhead", call_overhead),
    Entry("delay-sigma-12", partial(delay_layer, 12.0)),
    Entry("delay-sigma-3", partial(delay_layer, 3.0)),
    Entry("delay-sigma-0.5", partial(delay_layer, 0.5)),
    Entry("delay-integer-training", integer_training),
    Entry("delay-integer-inference", integer_inference),
    Entry("recurrent-axon-sigma-10", partial(recurrent_step, "axon", 10.0)),
    Entry("recurrent-axon-sigma-0.06", partial(recurrent_step, "axon", 0.06)),
    Entry("recurrent-synapse-sigma-0.06", partial(recurrent_step, "synapse", 0.06)),
    Entry("shd-training-sigma-12.27", partial(training_step, 12.27)),
    Entry("shd-training-sigma-0.5", partial(training_step, 0.5)),
    Entry("shd-inference", inference),
    Entry("shd-epoch", shd_epoch, long=True),
    Entry("conv-layer", conv_layer),
    Entry("conv-nmnist-training", partial(conv_training_step, 1)),
    Entry("conv-nmnist-subset-training", partial(conv_training_step, 2)),
    *(
        Entry(f"long-training-k{window}", partial(long_training_step, i), long=True)
        for i, window in enumerate(PUBLISHED.long_windows)
    ),
    *(
        Entry(f"gpt-training-{batch}x{context}", partial(language_step, i), long=i > 0)
        for i, (context, batch) in enumerate(PUBLISHED.language.texts)
    ),
    Entry("gpt-generation", generation),
    *(
        Entry(f"gpt-generation-{layers}x{features}-batch-{batch}", partial(engine_token, i), host=True)
        for i, (layers, features, batch) in enumerate(PUBLISHED.language.engines)
    ),
    Entry("gpt-matrix-product", matrix_product),
    Entry("data-binning", binning, host=True),
    Entry("data-first-load", partial(first_load, BUNDLED), host=True),
    Entry("data-cached-load", partial(cached_load, BUNDLED), host=True),
    Entry("data-epoch", partial(epoch, BUNDLED), host=True),
    Entry("data-first-load-full", partial(first_load, FULL), long=True, host=True),
    Entry("data-cached-load-full", partial(cached_load, FULL), long=True, host=True),
    Entry("data-epoch-full", partial(epoch, FULL), long=True, host=True),
)

# What is run first where time is short; the host's own cases come last.
FIRST = (
    "shd-epoch", "long-training-k512", "shd-training-*", "gpt-training-8x256", "lif", "delay-*", "shd-*",
    "gpt-generation", "long-*",
)  # fmt: skip


def select(only: Sequence[str] = (), long: bool = False) -> tuple[Entry, ...]:
    """Cases named, where ``*`` stands for anything; without names all, the long ones if requested.

    Raises ConfigError for a name that no case has.
    """
    for pattern in only:
        if not any(fnmatchcase(entry.name, pattern) for entry in CASES):
            names = ", ".join(entry.name for entry in CASES)
            hint = did_you_mean(pattern, [entry.name for entry in CASES])
            raise ConfigError(
                f"the benchmark has no case {pattern!r}; {hint}there are {names}, and patterns such as delay-*"
            )
    if only:
        return tuple(entry for entry in CASES if any(fnmatchcase(entry.name, pattern) for pattern in only))
    return tuple(entry for entry in CASES if long or not entry.long)


def by_importance(entries: Sequence[Entry]) -> tuple[Entry, ...]:
    """The same, the most telling first."""

    def rank(entry: Entry) -> tuple[bool, int]:
        return entry.host, next((i for i, name in enumerate(FIRST) if fnmatchcase(entry.name, name)), len(FIRST))

    return tuple(sorted(entries, key=rank))
