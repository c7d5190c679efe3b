"""The hidden neurons of a recipe, and the derivative in place of their step's."""

from collections.abc import Iterator
from typing import Any, Literal

from pydantic import Field

from snn_delays.recipes.strict import Strict

Range = tuple[float, float]
LIKE_LIF = ("lif", "plif", "cuba_lif")


class SurrogateConfig(Strict):
    """Surrogate gradient by name; ``scale`` is alpha (atan, sigmoid, exponential), slope (fast_sigmoid), width
    (triangle, boxcar) or sigma (multi_gaussian).
    """

    kind: Literal["atan", "fast_sigmoid", "triangle", "sigmoid", "boxcar", "exponential", "multi_gaussian"] = "atan"
    scale: float = Field(5.0, gt=0)


class NeuronConfig(Strict):
    """The hidden neurons: LIF, or a kind of :class:`snn_delays.nn.CellSpec` with keys of its own; None: its default."""

    kind: Literal["lif", "plif", "cuba_lif", "se_adlif", "ef_adlif", "c_adlif", "silif", "c_silif", "brf"] = "lif"
    per_neuron: bool | None = Field(None, description="what is learned is one number a neuron, not for the layer")
    learn_tau: bool | None = None
    learn_threshold: bool | None = None
    decay_input: bool | None = Field(None, description="scale the input by what a membrane loses in a step")
    tau_syn_ms: float | None = Field(None, gt=0, description="time constant of the current's filter")
    tau_u_ms: Range | None = Field(None, description="range of the membranes' time constants")
    tau_w_ms: Range | None = Field(None, description="range of the adaptations' time constants")
    q: float | None = Field(None, gt=0, description="scale of the adaptation")
    random_state: bool | None = Field(None, description="begin with random states, in evaluation too")
    dt_max: float | None = Field(None, gt=0)
    omega: Range | None = None
    b_offset: Range | None = None
    dt: float | None = Field(None, gt=0)

    def options(self, dt_ms: float) -> dict[str, Any]:
        """The keys that are set, as arguments of the neurons: times in steps."""
        given = {name: value for name, value in self.model_dump(exclude={"kind"}).items() if value is not None}
        for name in [name for name in given if name.endswith("_ms")]:
            times = given.pop(name)
            steps = tuple(t / dt_ms for t in times) if isinstance(times, tuple) else times / dt_ms
            given[f"{name.removesuffix('_ms')}_steps"] = steps
        return given

    @property
    def of_each(self) -> bool:
        """Whether each neuron has parameters of its own."""
        return bool(self.per_neuron) or self.kind not in LIKE_LIF

    def _problems(self) -> Iterator[str]:
        known = OF_KIND[self.kind].split()
        for name, value in self.model_dump(exclude={"kind"}).items():
            if value is not None and name not in known:
                there = f"its keys are {', '.join(known)}" if known else "it has no keys of its own"
                yield f"neuron.{name} does nothing with kind = {self.kind!r}; {there}"
        if self.kind == "cuba_lif" and self.tau_syn_ms is None:
            yield "neuron.kind = 'cuba_lif' needs neuron.tau_syn_ms"


_ADAPTIVE = "tau_u_ms tau_w_ms q"
OF_KIND = {
    "lif": "decay_input", "plif": "per_neuron learn_threshold decay_input",
    "cuba_lif": "per_neuron learn_tau learn_threshold decay_input tau_syn_ms", "se_adlif": _ADAPTIVE,
    "ef_adlif": _ADAPTIVE, "c_adlif": "random_state", "silif": "random_state", "c_silif": "random_state dt_max",
    "brf": "omega b_offset dt",
}  # fmt: skip
_BOXCAR = {"surrogate": {"kind": "boxcar", "scale": 0.5}, "detach_reset": False}
_EXPONENTIAL = {"surrogate": {"kind": "exponential", "scale": 5.0}}
PUBLISHED: dict[str, dict[str, Any]] = {
    "se_adlif": _EXPONENTIAL, "ef_adlif": _EXPONENTIAL, "c_adlif": _BOXCAR, "silif": _BOXCAR, "c_silif": _BOXCAR,
    "brf": {"surrogate": {"kind": "multi_gaussian", "scale": 0.5}},
}  # fmt: skip
"""Keys of the model as these neurons were published, where a recipe does not say them."""


def with_published(model: dict[str, Any]) -> dict[str, Any]:
    """The keys of a model, those left open as its neurons were published; of a surrogate, too."""
    neuron, surrogate = model.get("neuron"), model.get("surrogate")
    kind = neuron.get("kind") if isinstance(neuron, dict) else getattr(neuron, "kind", None)
    published = PUBLISHED.get(kind, {}) if isinstance(kind, str) else {}
    if published and isinstance(surrogate, dict) and "kind" not in surrogate:
        model = {**model, "surrogate": {**published["surrogate"], **surrogate}}
    return {**published, **model}
