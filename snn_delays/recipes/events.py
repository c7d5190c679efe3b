"""Recipes of classifiers of events."""

import math
from collections.abc import Iterator
from typing import Annotated, Any, ClassVar, Literal

from pydantic import AfterValidator, BeforeValidator, Field, model_validator

from snn_delays.data.catalogue.lookup import lasting_name
from snn_delays.moved import forward
from snn_delays.nn.optimise import SPREAD
from snn_delays.nn.sparsity import cubic_sparsity, sparsity_problems
from snn_delays.recipes.neurons import LIKE_LIF, NeuronConfig, SurrogateConfig, with_published
from snn_delays.recipes.recurrent import Recurrence, RecurrentConfig
from snn_delays.recipes.sigma import Annealing
from snn_delays.recipes.strict import MOST, BaseRecipe, Strict
from snn_delays.recipes.training import PenaltySection, Taps
from snn_delays.units import MAX_DELAY_STEPS, steps_from_ms


class DataConfig(Strict):
    """Which samples, how binned, how split for model selection, how padded."""

    dataset: Annotated[str, AfterValidator(lasting_name)]
    binning: Literal["fixed", "event_anchored_v2023", "log_mel", "values"] = "fixed"
    dt_ms: float = Field(10.0, ge=0.001)
    channel_group: int = Field(5, ge=1, description="neighbouring channels summed, 700 -> 140 with 5")
    validation: Literal["speakers", "fraction", "official"] = "fraction"
    validation_speakers: tuple[int, ...] = ()
    validation_fraction: float = Field(0.1, gt=0, lt=1)
    tail_steps: int = Field(0, ge=0, le=MOST, description="silent steps after each sample, for spikes still under way")
    padding: Literal["masked", "published"] = "masked"
    bucketing: bool = Field(False, description="batches of samples of like length")
    memory: Literal["auto", "ram", "mapped"] = "auto"
    on_bad: Literal["raise", "skip"] = Field("raise", description="recordings that cannot be read")

    rate_free: Literal["off", "minimum", "equal"] = Field("off", description="equal spike counts, timing kept")
    rate_free_spikes: int = Field(2, ge=1, description="spikes that a channel needs to count")

    def _problems(self) -> Iterator[str]:
        if (self.validation == "speakers") != bool(self.validation_speakers):
            yield "validation = 'speakers' and validation_speakers = [...] belong together"


class AugmentConfig(Strict):
    """Augmentations of the training samples; all off by default (see ``snn_delays.data.augment``)."""

    channel_shift: int = Field(0, ge=0, description="largest shift, in channels after grouping")
    time_shift_steps: int = Field(0, ge=0)
    neuron_mask_probability: float = Field(0.0, ge=0, le=1)
    neuron_mask_max: int = Field(0, ge=0, description="channels masked at most")
    time_mask_probability: float = Field(0.0, ge=0, le=1)
    time_mask_max_steps: int = Field(0, ge=0)
    cutmix_probability: float = Field(0.0, ge=0, le=1)


class ModelConfig(Strict):
    """The network: see :class:`snn_delays.models.DelayClassifier`, or for event cameras ``ConvolutionalClassifier``."""

    kind: Literal["classifier", "convolutional"] = "classifier"
    maps: tuple[Annotated[int, Field(ge=1)], ...] = Field((), description="maps of each convolutional layer")
    kernel_size: int = Field(5, ge=1, description="pixels on a side of every kernel")
    padding: int = Field(0, ge=0, description="silent pixels around the maps of every convolution")
    pool: int = Field(2, ge=1, description="pixels on a side that become one after every convolution")
    pooling: Literal["max", "avg", "sum"] = "max"
    hidden: tuple[Annotated[int, Field(ge=1)], ...]
    recurrent: Recurrence = Field(False, description="neurons receive their population's spikes, a step later at least")
    readout_bias: bool = Field(False, description="a constant current into each readout neuron")
    delays: Literal["learned", "fixed", "none"] = "learned"
    max_delay_ms: float = Field(240.0, ge=0)
    min_delay_steps: int = Field(0, ge=0, description="shortest delay, in steps; recurrent ones are never below 1")
    delay_count: int = Field(1, ge=1)
    sharing: Literal["synapse", "channel", "axon", "dendrite", "layer", "hybrid"] = "synapse"
    taps: Taps = "gaussian"
    delay_init: Literal["uniform", "uniform_rounded", "hammouamri_2024"] = "uniform"
    delay_rounding: Literal["anneal", "epoch", "straight_through", "stochastic", "none"] = "anneal"
    delay_sparsity: float = Field(0.0, ge=0, description="share of a layer's delays that are its shortest")
    delay_mask: Literal["fixed", "learned"] = Field("fixed", description="which delays are not")
    neuron: NeuronConfig = NeuronConfig()
    tau_mem_ms: float = Field(gt=0, description="of LIF-like neurons, at first where it is learned, and of the readout")
    threshold: float = Field(1.0, gt=0)
    reset: Literal["hard", "soft"] = "hard"
    detach_reset: bool = True
    surrogate: SurrogateConfig = SurrogateConfig()
    dropout: float = Field(0.0, ge=0, lt=1)
    readout: Literal["integrator", "average", "linear"] = Field("integrator", description="leaky; its mean; no memory")
    tau_readout_ms: float | None = Field(None, gt=0, description="of the readout; default: tau_mem_ms")

    @model_validator(mode="before")
    @classmethod
    def _as_published(cls, given: Any) -> Any:
        """What a recipe leaves open is as its neurons were published."""
        return with_published(given) if isinstance(given, dict) else given

    @property
    def layers(self) -> str:
        """The hidden layers in short: ``256x256``, ``96rx96r`` recurrent, ``16c3x128`` with 3 x 3 kernels first."""
        linear = (f"{neurons}{'r' if self.recurs(i) else ''}" for i, neurons in enumerate(self.hidden, 1))
        return "x".join([*(f"{maps}c{self.kernel_size}" for maps in self.maps), *linear])

    @property
    def loop(self) -> RecurrentConfig | None:
        """The section of recurrent delays of their own, if there is one."""
        return None if isinstance(self.recurrent, bool) else self.recurrent

    def recurs(self, layer: int) -> bool:
        """Whether a hidden layer, counted from 1, receives its own spikes."""
        return bool(self.recurrent) and (self.loop is None or layer in (self.loop.layers or (layer,)))

    def _problems(self) -> Iterator[str]:
        classifier = self.kind == "classifier"
        if classifier and (self.maps or not self.hidden):
            yield "kind = 'classifier' has at least one layer in hidden, and no maps"
        if not classifier and not self.maps:
            yield "kind = 'convolutional' needs maps = [...], the number of maps of each layer"
        if classifier and self.sharing == "channel":
            yield "sharing = 'channel', a delay for each pair of maps, needs kind = 'convolutional'"
        if not classifier and self.sharing in ("layer", "hybrid"):
            yield f"sharing = {self.sharing!r} needs kind = 'classifier'"
        if not classifier and self.delay_count != 1:
            yield "kind = 'convolutional' has one synapse for each weight: delay_count = 1"
        if not classifier and self.neuron.of_each:
            yield f"neuron.kind = {self.neuron.kind!r} with parameters of each neuron needs kind = 'classifier'"
        if not classifier and self.readout_bias:
            yield "readout_bias = true needs kind = 'classifier'"
        if not classifier and self.recurrent:
            yield "recurrence needs kind = 'classifier'; maps have no recurrence"
        if self.loop is not None and any(layer > len(self.hidden) for layer in self.loop.layers):
            yield f"recurrent.layers = {self.loop.layers} are of {len(self.hidden)} hidden layers, counted from 1"
        if self.delays == "none" and self.min_delay_steps:
            yield f"delays = 'none' and min_delay_steps = {self.min_delay_steps} exclude each other"
        if self.delays != "none":
            yield from sparsity_problems(self, self.delays == "learned")


_SIGMA = "training.sigma_start_steps training.sigma_end_steps training.sigma_offset_steps training.sigma_epochs"


class TrainingConfig(PenaltySection):
    """Two Adam optimisers, their schedules, the annealing of sigma, and the loss."""

    peak_key: ClassVar[str] = "max_lr_weight"
    schedule: ClassVar[str] = "one_cycle"
    accumulate: ClassVar[int] = 1
    clip: ClassVar[float] = math.inf

    max_lr_weight: float = Field(5e-3, gt=0, description="peak of the one-cycle schedule of weights and norms")
    weight_decay: float = Field(1e-5, ge=0, description="L2 of weights, added to their gradient; none of norms, delays")
    lr_delay: float = Field(0.1, gt=0, description="steps; cosine schedule to 0")
    schedule_every: Literal["epoch", "step"] = "epoch"
    sigma_start_steps: float | None = Field(None, gt=0, description="default: half the window + sigma_offset_steps")
    sigma_end_steps: float = Field(0.5, gt=0)
    sigma_offset_steps: float = Field(0.27, ge=0, description="sigma - offset shrinks by the same factor every epoch")
    sigma_epochs: int | None = Field(None, ge=0, description="epochs of annealing; default: a quarter of all")
    readout: Literal["softmax_sum", "membrane_mean", "membrane_sum", "membrane_max", "membrane_last"] = "softmax_sum"
    select_by: Literal["accuracy", "loss"] = "accuracy"

    def _problems(self) -> Iterator[str]:
        yield from super()._problems()
        end, offset = self.sigma_end_steps, self.sigma_offset_steps
        if end <= offset:
            yield f"sigma_end_steps ({end}) must be above sigma_offset_steps ({offset})"


def _known_bits(bits: Any) -> Any:
    if bits != "ternary" and not (type(bits) is int and 2 <= bits <= 16):
        raise ValueError("must lie in 2..16 or be 'ternary'")
    return bits


class FineTuningConfig(Strict):
    """Warm start from a finished run: its discretised network, delays as they are, weights on a grid."""

    run: str = Field(min_length=1, description="a run's folder, or the name of one beside this run's folder")
    weight_bits: Annotated[int | Literal["ternary"], BeforeValidator(_known_bits)]
    scale: Literal["power_of_two", "free"] = "power_of_two"
    max_delay_steps: int | None = Field(None, ge=0, description="longer delays become this one")


def _present_name(task: Any) -> Any:
    return "events" if task == "classification" else task


class Recipe(BaseRecipe):
    """Everything that shapes the training of a classifier of events."""

    task: Annotated[Literal["events"], BeforeValidator(_present_name)] = "events"
    data: DataConfig
    augment: AugmentConfig = AugmentConfig()
    model: ModelConfig
    training: TrainingConfig
    fine_tuning: FineTuningConfig | None = None

    @property
    def max_delay_steps(self) -> int:
        """Longest delay in steps; 0 for the network without delays."""
        return 0 if self.model.delays == "none" else steps_from_ms(self.model.max_delay_ms, self.data.dt_ms)

    @property
    def max_recurrent_steps(self) -> int:
        """Longest delay in steps of recurrent synapses that have a section of their own; 1 without delays."""
        loop = self.model.loop
        return 1 if loop is None or loop.delays == "none" else steps_from_ms(loop.max_delay_ms, self.data.dt_ms)

    def _spread_steps(self) -> int:
        """The largest window in which delays are learned through taps that have a width: sigma begins half as wide."""
        model, loop = self.model, self.model.loop
        steps = self.max_delay_steps - model.min_delay_steps
        forward = steps if model.delays == "learned" and model.taps in SPREAD else 0
        return (
            forward
            if loop is None or not loop.spread
            else max(forward, self.max_recurrent_steps - loop.min_delay_steps)
        )

    def annealing(self) -> Annealing | None:
        """As :meth:`BaseRecipe.annealing`; of a fine-tuned network, before it was discretised."""
        training, steps = self.training, self._spread_steps()
        if steps == 0:
            return None
        offset, start, epochs = training.sigma_offset_steps, training.sigma_start_steps, training.sigma_epochs
        start = (steps + 1) // 2 + offset if start is None else start
        if self.model.delay_rounding == "none":
            start = training.sigma_end_steps
        epochs = training.epochs // 4 if epochs is None else epochs
        return Annealing(start, training.sigma_end_steps, epochs, offset)

    def sigma_at(self, epoch: float) -> float | None:
        """As :meth:`BaseRecipe.sigma_at`; what is fine-tuned has integer delays."""
        return super().sigma_at(epoch) if self.fine_tuning is None else None

    def sparsity_at(self, epoch: float) -> float | None:
        """As :meth:`BaseRecipe.sparsity_at`: by :func:`snn_delays.nn.sparsity.cubic_sparsity`, from all delays."""
        if self.model.delay_mask == "fixed" or self.fine_tuning is not None:
            return None
        own = self.training.sparsity_epochs
        epochs = self.training.epochs // 4 if own is None else own
        return cubic_sparsity(self.model.delay_sparsity, epoch / epochs if epochs else 1.0)

    def idle(self) -> Iterator[tuple[str, str]]:
        """As :meth:`BaseRecipe.idle`."""
        data, augment = self.data, self.augment
        if data.validation != "fraction":
            yield "data.validation_fraction", "data.validation"
        if data.rate_free == "off":
            yield "data.rate_free_spikes", "data.rate_free"
        for probability, most in (
            ("neuron_mask_probability", "neuron_mask_max"), ("time_mask_probability", "time_mask_max_steps"),
        ):  # fmt: skip
            if not getattr(augment, probability):
                yield f"augment.{most}", f"augment.{probability}"
            if not getattr(augment, most):
                yield f"augment.{probability}", f"augment.{most}"
        yield from self._idle_of_network()

    def _idle_of_network(self) -> Iterator[tuple[str, str]]:
        model, tuned = self.model, self.fine_tuning is not None
        if tuned:
            yield "training.sparsity_epochs", "fine_tuning"
        if model.readout == "linear":
            yield "model.tau_readout_ms", "model.readout"
        if model.kind != "convolutional":
            yield "model.kernel_size model.padding model.pool model.pooling", "model.kind"
        if model.neuron.kind not in LIKE_LIF:
            yield "model.reset", "model.neuron.kind"
        if model.neuron.kind == "brf":
            yield "model.detach_reset", "model.neuron.kind"
        if model.pool == 1:
            yield "model.pooling", "model.pool"
        if model.delays == "none" and not tuned:  # what is fine-tuned keeps the model of the run that it starts from
            yield "model.max_delay_ms model.sharing model.taps model.delay_init", "model.delays"
            yield "model.delay_sparsity model.delay_mask", "model.delays"
        if model.delays == "fixed" and not tuned:
            yield "model.taps model.delay_mask", "model.delays"
        if model.delay_mask == "fixed":
            yield "training.sparsity_epochs", "model.delay_mask"
        if not self.training.spike_penalty:
            yield "training.rate_bounds", "training.spike_penalty"
        loop = model.loop
        if tuned or (model.delays != "learned" and (loop is None or loop.delays != "learned")):
            own = "model.delays model.recurrent" if model.recurrent else "model.delays"
            fixed = "fine_tuning" if tuned else own
            yield f"training.lr_delay training.delay_penalty model.delay_rounding {_SIGMA}", fixed
        elif model.taps not in SPREAD and (loop is None or not loop.spread):
            yield _SIGMA, "model.taps"
        elif model.delay_rounding == "none":
            yield "training.sigma_start_steps training.sigma_offset_steps training.sigma_epochs", "model.delay_rounding"

    def contradictions(self) -> Iterator[str]:
        """As :meth:`BaseRecipe.contradictions`."""
        model, training, loop = self.model, self.training, self.model.loop
        least = int(bool(model.recurrent) and loop is None)
        if loop is not None and loop.delays == "learned" and self.max_recurrent_steps == loop.min_delay_steps:
            yield (
                f"model.recurrent.delays = 'learned' has nothing to learn: delays lie in {loop.min_delay_steps}.."
                f"{self.max_recurrent_steps} steps; raise model.recurrent.max_delay_ms, or set "
                "model.recurrent.delays = 'none'"
            )
        if model.delays == "learned" and max(self.max_delay_steps, least) == max(model.min_delay_steps, least):
            yield (
                f"model.delays = 'learned' has nothing to learn: delays lie in {model.min_delay_steps}.."
                f"{self.max_delay_steps} steps; raise model.max_delay_ms, or set model.delays = 'none'"
            )
        start, end = training.sigma_start_steps, training.sigma_end_steps
        if start is not None and start < end:
            yield (
                f"training.sigma_start_steps = {start:g} is below training.sigma_end_steps = {end:g}, which would "
                "replace it"
            )

    def remedy(self, silent: bool) -> str:
        """What to change where populations never fire (``silent``), or always do."""
        lower, raise_ = ("lower", "raise") if silent else ("raise", "lower")
        kind, tau = self.model.neuron.kind, f"model.tau_mem_ms (now {self.model.tau_mem_ms:g})"
        other = f" or {raise_} {tau}" if kind in LIKE_LIF else f" or {raise_} model.neuron.dt" if kind == "brf" else ""
        return (
            f"{lower} model.threshold (now {self.model.threshold:g}){other}; weights grow or shrink with "
            f"training.{self.training.peak_key} (now {self.training.peak_rate:g}) and begin with seed"
        )

    def _problems(self) -> Iterator[str]:
        model, longest, shortest = self.model, self.max_delay_steps, self.model.min_delay_steps
        if longest > MAX_DELAY_STEPS:
            yield (
                f"model.max_delay_ms = {model.max_delay_ms:g} is {longest:.6g} steps of {self.data.dt_ms:g} ms, of "
                f"which there are at most {MAX_DELAY_STEPS:,}; is it in milliseconds?"
            )
        if shortest > longest:
            yield (
                f"model.min_delay_steps ({shortest}) must not exceed the longest delay, {longest} steps of "
                f"{self.data.dt_ms:g} ms (model.max_delay_ms = {model.max_delay_ms:g})"
            )
        loop, most = model.loop, self.max_recurrent_steps
        if loop is not None and not loop.min_delay_steps <= most <= MAX_DELAY_STEPS:
            yield (
                f"model.recurrent.max_delay_ms = {loop.max_delay_ms:g} is {most:.6g} steps of {self.data.dt_ms:g} ms; "
                f"it must lie in {loop.min_delay_steps}..{MAX_DELAY_STEPS:,} steps"
            )
        drawn = None if loop is None else loop.delay_range_steps
        if loop is not None and drawn is not None and not loop.min_delay_steps <= drawn[0] <= drawn[1] <= most:
            yield f"model.recurrent.delay_range_steps = {drawn} must lie within {loop.min_delay_steps}..{most} steps"
        cut = None if self.fine_tuning is None else self.fine_tuning.max_delay_steps
        if cut is not None and cut < shortest:
            yield f"fine_tuning.max_delay_steps ({cut}) must not be below model.min_delay_steps ({shortest})"


_FILES = ("find_recipe", "load_recipe", "parse_recipe", "recipe_from_toml", "recipes_folder", "to_toml")
__getattr__ = forward(__name__, dict.fromkeys(_FILES, "snn_delays.recipes.files"))
