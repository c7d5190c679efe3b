"""SpikingJelly: our layers as its modules, its modules as ours, and networks of parts that exist on both sides."""

import copy
from collections.abc import Callable
from typing import Any, NoReturn

import torch
from torch import Tensor, nn

from snn_delays.arguments import shown
from snn_delays.errors import ConfigError
from snn_delays.interop.shared import Foreign, ForeignState, one_step, ours, require
from snn_delays.nn import (
    LIF,
    AvgPool2d,
    BatchNorm,
    BatchNorm2d,
    DelayedConv2d,
    DelayedLinear,
    Dropout,
    Flatten,
    Linear,
    MaxPool2d,
    Sequential,
    SpikingModule,
    detach_state,
    map_state,
)
from snn_delays.nn.door import check_state, check_states
from snn_delays.nn.kinds import alteration, kind_of
from snn_delays.ops.surrogate import ATan, Sigmoid, Surrogate, Triangle

require("spikingjelly")

from spikingjelly.activation_based import base, functional, neuron, surrogate  # noqa: E402
from spikingjelly.activation_based import layer as layers  # noqa: E402

# Of the modules that take all steps alone, those whose numbers do not depend on where time is cut.
CUTTABLE = (
    layers.MultiStepContainer, layers.SeqToANNContainer, layers.ThresholdDependentBatchNorm1d,
    layers.ThresholdDependentBatchNorm2d, layers.ThresholdDependentBatchNorm3d,
)  # fmt: skip


class ToSpikingJelly(base.MemoryModule):
    """A layer or network of ours as a module of SpikingJelly, its state a memory called ``state``.

    ``functional.reset_net``, ``detach_net`` and ``set_step_mode`` act on it as on any other module.

    Shapes: ``[batch, ...]`` in ``step_mode="s"``, ``[time, batch, ...]`` in ``"m"``.

    Raises ConfigError for what is no layer of ours; ShapeError for another batch than that of the memory, which
    ``reset_net`` clears.
    """

    state: Any

    def __init__(self, layer: SpikingModule, step_mode: str = "s") -> None:
        super().__init__()
        self.layer = ours(layer)
        self.register_memory("state", None)
        self.step_mode = step_mode

    def single_step_functional_forward(self, inputs: Any, states: Any, **kwargs: Any) -> tuple[Any, Any]:
        """Output and memory of one step, from the memory given."""
        y, after = one_step(self.layer, inputs[0], states[0])
        return (y,), (after,)

    def multi_step_functional_forward(self, inputs: Any, states: Any, **kwargs: Any) -> tuple[Any, Any]:
        """Output and memory of all steps, from the memory given."""
        y, after = self.layer(inputs[0], states[0])
        return (y,), (after,)

    def detach(self) -> None:
        """Cut the memory's graph."""
        self.state = detach_state(self.state)

    def _apply(self, fn: Any, recurse: bool = True) -> Any:
        self.state = map_state(fn, self.state)
        return super()._apply(fn)


class FromSpikingJelly(Foreign):
    """A module of SpikingJelly, or an ``nn.Sequential`` of some, as a layer of ours, run with ``step_mode="m"``.

    Shapes: ``[time, batch, ...]`` to ``[time, batch, ...]``; state: ``ForeignState`` of the memories, named by
    ``state_names``. The module's own memories are at rest before and after each call.

    Raises ConfigError for modules that relate all steps to each other or are made for a number of steps (``PSN``,
    ``GatedLIFNode`` ...), or run single steps only; ShapeError for a state that does not fit.
    """

    def __init__(self, layer: nn.Module) -> None:
        super().__init__(layer)
        for name, inner in layer.named_modules():
            what = f"{name or 'the module'} ({type(inner).__name__})"
            cut = isinstance(inner, base.MultiStepModule) and not isinstance(inner, CUTTABLE)
            if cut or isinstance(getattr(inner, "T", None), int):
                raise ConfigError(f"{what} relates all steps of its input: cut in time, it would compute other numbers")
            if isinstance(inner, base.StepModule) and "m" not in inner.supported_step_mode():
                raise ConfigError(f"{what} has no step_mode 'm'")
        functional.set_step_mode(layer, "m")
        functional.reset_net(layer)

    @property
    def state_names(self) -> tuple[str, ...]:
        """The memories, in the order of the state's parts."""
        return tuple(f"{name}.{memory}".lstrip(".") for name, _, memory in self._memories())

    def _memories(self) -> list[tuple[str, Any, str]]:
        inner = [(n, module) for n, module in self.layer.named_modules() if isinstance(module, base.MemoryModule)]
        return [(n, module, memory) for n, module in inner for memory, _ in module.named_memories()]

    def _check(self, x: Tensor, state: Any) -> None:
        check_state(self, state, ForeignState)
        check_states(self, state.parts, len(self._memories()), "memories")
        super()._check(x, state)

    def _run(self, x: Tensor, state: ForeignState | None) -> tuple[Tensor, ForeignState]:
        functional.set_step_mode(self.layer, "m")  # that of a network of theirs around this layer may be another
        memories = self._memories()
        rest = [copy.deepcopy(module.get_reset_value(memory)) for _, module, memory in memories]
        before = rest if state is None else map(_restored, state.parts, rest)
        try:
            for (_, module, memory), value in zip(memories, before):
                setattr(module, memory, value)
            y = self.layer(x)
            return y, ForeignState(tuple(_kept(getattr(module, memory), x) for _, module, memory in memories))
        finally:
            for (_, module, memory), value in zip(memories, rest):
                setattr(module, memory, copy.deepcopy(value))


def _kept(memory: Any, x: Tensor) -> Any:
    """A memory as part of a state: numbers as tensors, lists as tuples."""
    if memory is None or isinstance(memory, Tensor):
        return memory
    if isinstance(memory, list | tuple):
        return tuple(_kept(part, x) for part in memory)
    if isinstance(memory, bool | int | float):
        return torch.tensor(memory, device=x.device, dtype=torch.float64 if isinstance(memory, float) else None)
    raise ConfigError(f"a memory of SpikingJelly that is {shown(memory)} is no state: expected tensors or numbers")


def _restored(part: Any, rest: Any) -> Any:
    """The memory that a part of a state was made of; ``rest`` is its reset value."""
    if isinstance(rest, list) and isinstance(part, tuple):
        return list(part)
    number = isinstance(rest, bool | int | float) and isinstance(part, Tensor) and part.ndim == 0
    return type(rest)(part.item()) if number else part


# Networks of parts that exist on both sides


def from_spikingjelly(net: nn.Module) -> Sequential:
    """A network of ours that computes what a ``Sequential`` of SpikingJelly computes with ``step_mode="m"``.

    Parts: ``LIFNode``; ``Linear``, ``Conv2d``, ``BatchNorm1d``, ``BatchNorm2d``, ``MaxPool2d``, ``AvgPool2d``,
    ``Flatten`` and ``Dropout`` of its ``layer``; ``nn.Linear``; nested ``Sequential``. Synapses become
    :class:`snn_delays.nn.DelayedLinear` and :class:`snn_delays.nn.DelayedConv2d` without delays. Parameters are copied.

    Raises ConfigError, naming the layer, for any other part or setting.
    """
    network = _from("the network", net)
    return network if isinstance(network, Sequential) else Sequential(network)


def to_spikingjelly(network: SpikingModule) -> nn.Module:
    """A network of SpikingJelly, ``step_mode="m"``, that computes what one of ours computes; parts as above.

    Synapses with delays, and whatever else exists on our side alone, go through :class:`ToSpikingJelly`. Parameters
    are copied. Raises ConfigError, naming the layer, for any other part or setting.
    """
    net = _to("the network", ours(network))
    functional.set_step_mode(net, "m")
    return net


def _refuse(name: str, layer: Any, why: str, wrapper: str) -> NoReturn:
    raise ConfigError(f"{name} ({type(layer).__name__}): {why}; wrap it: {wrapper}(layer)")


def _only(name: str, layer: Any, wrapper: str, **expected: Any) -> None:
    """Refuse a layer whose attributes are not as expected, naming the first."""
    for key, want in expected.items():
        if (got := getattr(layer, key)) != want and got != (want, want):
            _refuse(name, layer, f"{key}={shown(got)} exists on one side only, expected {want}", wrapper)


def _copy(old: nn.Module, new: Any, *buffers: str) -> Any:
    """The new layer with the parameters of the old, which learn if those do, and some of its buffers."""
    for name in ("weight", "bias", *buffers):
        if (value := getattr(old, name, None)) is not None:
            target = getattr(new, name)
            with torch.no_grad():
                target.copy_(value.view(target.shape))
            target.requires_grad_(value.requires_grad)
    return new.train(old.training)


def _placed(layer: Any) -> dict[str, Any]:
    return {"device": layer.weight.device, "dtype": layer.weight.dtype}


def _from(name: str, old: nn.Module) -> nn.Module:
    kind, wrapper = type(old), "FromSpikingJelly"
    if (reason := alteration(old)) is not None:
        _refuse(name, old, reason, wrapper)
    new: Any
    if kind is nn.Sequential:
        return Sequential(**{n: _from(f"{name}.{n}", part) for n, part in old.named_children()}).train(old.training)
    theirs: Any = old
    if kind in (nn.Linear, layers.Linear):
        size = theirs.in_features, theirs.out_features
        return _copy(old, DelayedLinear(*size, max_delay_steps=0, bias=theirs.bias is not None, **_placed(old)))
    if kind is layers.Conv2d:
        if isinstance(theirs.padding, str):
            _refuse(name, old, f"padding={theirs.padding!r} is not a number", wrapper)
        _only(name, old, wrapper, dilation=1, groups=1, padding_mode="zeros")
        new = DelayedConv2d(
            theirs.in_channels, theirs.out_channels, theirs.kernel_size, stride=theirs.stride, padding=theirs.padding,
            max_delay_steps=0, bias=theirs.bias is not None, **_placed(old),
        )  # fmt: skip
        return _copy(old, new)
    if kind in (layers.BatchNorm1d, layers.BatchNorm2d):
        # Step by step its statistics in training are those of each step.
        _only(name, old, wrapper, affine=True, track_running_stats=True, step_mode="m")
        if theirs.momentum is None:
            _refuse(name, old, "momentum=None exists on one side only", wrapper)
        ours_ = BatchNorm if kind is layers.BatchNorm1d else BatchNorm2d
        new = ours_(theirs.num_features, theirs.eps, theirs.momentum, **_placed(old))
        return _copy(old, new, "running_mean", "running_var")
    if kind is layers.MaxPool2d:
        _only(name, old, wrapper, padding=0, dilation=1, ceil_mode=False, return_indices=False)
        return MaxPool2d(theirs.kernel_size, theirs.stride)
    if kind is layers.AvgPool2d:
        _only(name, old, wrapper, padding=0, ceil_mode=False, divisor_override=None)
        return AvgPool2d(theirs.kernel_size, theirs.stride)
    if kind is layers.Flatten:
        _only(name, old, wrapper, start_dim=1, end_dim=-1)
        return Flatten()
    if kind is layers.Dropout:
        return Dropout(theirs.p).train(old.training)
    if kind is neuron.LIFNode:
        _only(name, old, wrapper, _neuron_precision=None)
        soft = theirs.v_reset is None
        return LIF(
            theirs.tau, threshold=theirs.v_threshold, v_reset=0.0 if soft else theirs.v_reset,
            reset="soft" if soft else "hard", detach_reset=theirs.detach_reset, decay_input=theirs.decay_input,
            surrogate=_surrogate_from(name, old),
        )  # fmt: skip
    _refuse(name, old, "has no counterpart of the same numbers here", wrapper)


def _to(name: str, old: nn.Module) -> nn.Module:
    kind, wrapper = kind_of(old), "ToSpikingJelly"
    if (reason := alteration(old)) is not None:
        _refuse(name, old, reason, wrapper)
    mine: Any = old
    if kind is Sequential:
        net = nn.Sequential()
        for n, part in old.named_children():
            net.add_module(n, _to(f"{name}.{n}", part))
        return net.train(old.training)
    if kind in (DelayedLinear, nn.Linear, Linear):
        if kind is DelayedLinear:
            _only(name, old, wrapper, max_delay_steps=0, delay_count=1)
        new = layers.Linear(mine.in_features, mine.out_features, mine.bias is not None)
        return _copy(old, new.to(**_placed(old)))
    if kind is DelayedConv2d:
        _only(name, old, wrapper, max_delay_steps=0)
        new = layers.Conv2d(
            mine.in_channels, mine.out_channels, mine.kernel_size, mine.stride, mine.padding, bias=mine.bias is not None
        )
        return _copy(old, new.to(**_placed(old)))
    if kind in (BatchNorm, BatchNorm2d):
        theirs = layers.BatchNorm1d if kind is BatchNorm else layers.BatchNorm2d
        new = theirs(mine.num_features, mine.eps, mine.momentum).to(**_placed(old))
        return _copy(old, new, "running_mean", "running_var")
    if kind in (MaxPool2d, AvgPool2d):
        pool = layers.MaxPool2d if kind is MaxPool2d else layers.AvgPool2d
        return pool(mine.kernel_size, mine.stride)
    if kind is Flatten:
        return layers.Flatten()
    if kind is Dropout:
        return layers.Dropout(mine.p).train(old.training)
    if kind is LIF:
        if mine.per_neuron():
            _refuse(name, old, f"{', '.join(mine.per_neuron())} of each neuron exists on one side only", wrapper)
        _only(name, old, wrapper, strict=False)
        if mine.reset == "soft":
            _only(name, old, wrapper, v_reset=0.0)
        if mine.tau_steps <= 1:
            _refuse(name, old, f"tau_steps={mine.tau_steps:g} exists on one side only, expected more than 1", wrapper)
        return neuron.LIFNode(
            mine.tau_steps, mine.decay_input, mine.threshold, None if mine.reset == "soft" else mine.v_reset,
            _surrogate_to(name, old), mine.detach_reset,
        )  # fmt: skip
    _refuse(name, old, "has no counterpart of the same numbers in SpikingJelly", wrapper)


SURROGATES: dict[type, Callable[[float], Surrogate]] = {
    surrogate.ATan: ATan,
    surrogate.Sigmoid: Sigmoid,
    surrogate.PiecewiseQuadratic: lambda alpha: Triangle(1 / alpha, alpha),
}


def _surrogate_from(name: str, layer: Any) -> Surrogate:
    given = layer.surrogate_function
    if type(given) not in SURROGATES or not given.spiking:
        _refuse(name, layer, f"surrogate_function={given!r} has no counterpart of the same numbers", "FromSpikingJelly")
    return SURROGATES[type(given)](float(given.alpha))


def _surrogate_to(name: str, layer: Any) -> Any:
    given = layer.surrogate
    if type(given) is ATan:
        return surrogate.ATan(given.alpha)
    if type(given) is Sigmoid:
        return surrogate.Sigmoid(given.alpha)
    if type(given) is Triangle and abs(given.height * given.width - 1) < 1e-12:
        return surrogate.PiecewiseQuadratic(given.height)
    _refuse(name, layer, f"surrogate={given!r} has no counterpart of the same numbers", "ToSpikingJelly")
