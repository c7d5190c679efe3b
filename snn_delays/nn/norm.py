"""Between synapse and neurons, and after them: batch norm over time and batch, and dropout for a whole recording."""

import math
import re
import warnings
from collections.abc import Sequence
from typing import Any, ClassVar, NamedTuple

import torch
import torch.distributed as dist
import torch.nn.functional as F
from torch import Tensor, nn

from snn_delays.arguments import integer, real
from snn_delays.errors import ConfigError, ShapeError
from snn_delays.nn import door
from snn_delays.nn.kinds import has_hooks
from snn_delays.nn.module import SpikingModule
from snn_delays.nn.neuron import LIF, MembraneState
from snn_delays.nn.specs import Device
from snn_delays.ops.backends import without_reading
from snn_delays.ops.norm_lif import norm_lif
from snn_delays.ops.state import loadable


@loadable
class DropoutState(NamedTuple):
    """The mask in force, scaled, ``[batch, ...]`` in the shape of one step; the same for every step."""

    mask: Tensor


def probability(p: float) -> float:
    """A probability of dropout as a float. Raises ConfigError unless ``0 <= p < 1``."""
    p = real("the dropout probability", p)
    if not 0 <= p < 1:
        raise ConfigError(f"the dropout probability must lie in [0, 1), got {p}")
    return p


class Dropout(SpikingModule):
    """Silence each neuron with probability ``p`` for all steps of a sample, scale the others by ``1 / (1 - p)``.

    The mask is the state, so a sequence cut into chunks keeps it. In evaluation the layer does nothing, without state.

    Args:
        p: probability of silence.

    State: :class:`DropoutState`. Shapes: ``[time, batch, ...]`` to the same. Raises ConfigError unless ``0 <= p < 1``,
    ShapeError if the state is of another batch.

    Source: Hammouamri et al., ICLR 2024 (dropout on spikes, one mask per forward pass).
    """

    SHOWN = ("p=",)

    def __init__(self, p: float) -> None:
        super().__init__()
        self.p = probability(p)

    def forward(self, x: Tensor, state: DropoutState | None = None) -> tuple[Tensor, DropoutState | None]:
        """Masked spikes and the mask."""
        x = door.admit(self, x, door.SERIES)
        state = self.mask_for(x, state)
        return (x, None) if state is None else (x * state.mask, state)

    def mask_for(self, x: Tensor, state: DropoutState | None) -> DropoutState | None:
        """The mask for an input: the one of the state, else a new one; None where the layer does nothing."""
        if not self.training or self.p == 0:
            if state is not None:
                door.check_state(self, state, DropoutState)
            return None
        mask = door.held(self, state, DropoutState, x, shape=x.shape[1:], what="dropout mask")
        if mask is None:
            keep = torch.rand(x.shape[1:], dtype=x.dtype, device=x.device) >= self.p
            mask = keep.to(x.dtype) / (1 - self.p)
        return DropoutState(mask)


RENAMED = {"gamma": "weight", "beta": "bias", "features": "num_features"}
OLD_KEY = re.compile(r"(parametrizations\.)?(gamma|beta)(_orig|_mask|\..*)?")


def _renamed(old: str) -> Any:
    """A property that serves an attribute under its old name."""

    def get(norm: "BatchNorm") -> Any:
        message = f"{type(norm).__name__}.{old} is now .{RENAMED[old]}; the old name goes with the next version"
        warnings.warn(message, DeprecationWarning, stacklevel=2)
        return getattr(norm, RENAMED[old])

    return property(get, doc=f"Old name of ``{RENAMED[old]}``.")


class BatchNorm(SpikingModule):
    r"""Normalise each neuron's current over all steps of all samples.

    .. math:: y = \text{weight}\,(x - \mu) / \sqrt{\sigma^2 + \epsilon} + \text{bias}

    In training the statistics are those of the chunk and the running statistics follow them. Where ``valid`` is given,
    only valid steps count and the others come out as zero, so that padding does not matter. In evaluation the running
    statistics are used, the layer is a scale and a shift, and only then does it obey the chunk law.
    :meth:`scale_and_shift` is what folding needs.

    Args:
        num_features: neurons.
        eps: added to the variance.
        momentum: weight of a new batch in the running statistics.

    Where :func:`synchronise_batch_norm` was called, the statistics are those of the chunks of all processes.

    Shapes: ``[time, batch, num_features]``; no state. Raises ShapeError for another last axis.

    Source: Ioffe & Szegedy, 2015, over time and batch as in Hammouamri et al., ICLR 2024.
    """

    FORM: ClassVar[door.Form] = door.FLAT
    SHOWN = ("num_features", "eps=", "momentum=")
    synchronised = False

    def __init__(
        self,
        num_features: int,
        eps: float = 1e-5,
        momentum: float = 0.1,
        *,
        device: Device = None,
        dtype: torch.dtype | None = None,
    ) -> None:
        super().__init__()
        factory: Any = {"device": device, "dtype": dtype}
        self.num_features = num_features = integer("num_features", num_features, 1)
        self.eps, self.momentum = real("eps", eps), real("momentum", momentum)
        if not (0 < self.eps < math.inf and 0 <= self.momentum <= 1):
            raise ConfigError(f"eps must be > 0 and momentum lie in [0, 1], got {eps} and {momentum}")
        self.weight = nn.Parameter(torch.ones(num_features, **factory))
        self.bias = nn.Parameter(torch.zeros(num_features, **factory))
        self.running_mean: Tensor
        self.running_var: Tensor
        self.register_buffer("running_mean", torch.zeros(num_features, **factory))
        self.register_buffer("running_var", torch.ones(num_features, **factory))

    gamma, beta, features = (_renamed(old) for old in RENAMED)

    def _load_from_state_dict(self, state_dict: dict[str, Any], prefix: str, *args: Any) -> None:
        """As torch, from states saved under the names ``gamma`` and ``beta`` as well, pruned or parametrised too."""
        for key in list(state_dict):
            name = OLD_KEY.fullmatch(key.removeprefix(prefix)) if key.startswith(prefix) else None
            if name:
                state_dict[f"{prefix}{name[1] or ''}{RENAMED[name[2]]}{name[3] or ''}"] = state_dict.pop(key)
        super()._load_from_state_dict(state_dict, prefix, *args)

    def forward(self, x: Tensor, state: None = None, valid: Tensor | None = None) -> tuple[Tensor, None]:
        """Normalised current; there is no state."""
        door.check_stateless(self, state)
        x = self._admit(x, valid)
        if not self.training:
            scale, shift = self.scale_and_shift()
            return x * self._spread(scale) + self._spread(shift), None
        rows = x.flatten(0, 1) if valid is None else x[valid]
        if self._together():
            y = self._over_processes(rows)
        else:
            self._check_count(rows.numel() // self.num_features)
            y = F.batch_norm(
                rows, self.running_mean, self.running_var, self.weight, self.bias, True, self.momentum, self.eps
            )
        return (y.view(x.shape) if valid is None else x.new_zeros(x.shape).index_put((valid,), y)), None

    def run_with(
        self, following: Sequence[nn.Module], x: Tensor, states: Sequence[Any], valid: Tensor | None
    ) -> tuple[Tensor, list[Any]] | None:
        """In training, this norm, the LIF neurons that follow and their dropout as one operation.

        See :func:`snn_delays.ops.norm_lif.norm_lif`; the running statistics follow as in :meth:`forward`.
        """
        if not self.training or type(self) is not BatchNorm or not following or type(following[0]) is not LIF:
            return None
        if self._together():
            return None
        neuron = following[0]
        dropout = following[1] if len(following) > 1 and type(following[1]) is Dropout else None
        if x.ndim != 3 or has_hooks(self) or has_hooks(neuron) or (dropout is not None and has_hooks(dropout)):
            return None
        door.check_stateless(self, states[0])
        x = self._admit(x, valid)
        kept = None if dropout is None else dropout.mask_for(x, states[2])
        count = x.shape[0] * x.shape[1] if valid is None else valid.sum().double()
        if not without_reading(x.device):
            self._check_count(count := int(count))
        v0 = door.held(neuron, states[1], MembraneState, x, door.summed_in(x))
        mask = None if kept is None else kept.mask
        y, v, mean, variance = norm_lif(
            x, self.weight, self.bias, v0, valid, mask, eps=self.eps, decay=neuron.decay, **neuron.options()
        )
        with torch.no_grad():
            self.running_mean.lerp_(mean.to(self.running_mean.dtype), self.momentum)
            self.running_var.lerp_((variance * (count / (count - 1))).to(self.running_var.dtype), self.momentum)
        after = [None, MembraneState(v)]
        return y, after if dropout is None else [*after, kept]

    def _together(self) -> bool:
        return self.synchronised and dist.is_available() and dist.is_initialized()

    def _over_processes(self, rows: Tensor) -> Tensor:
        """As ``F.batch_norm`` in training, over the rows of all processes."""
        dtype, rows = rows.dtype, rows.to(torch.promote_types(rows.dtype, torch.float32))
        axes = [0, *range(2, rows.ndim)]
        spread = (-1, *[1] * (rows.ndim - 2))
        here = rows.sum(axes, dtype=torch.float64)
        sums = _Summed.apply(torch.cat([here, here.new_tensor([rows.numel() // self.num_features])]))
        self._check_count(count := int(sums[-1]))
        mean = (sums[:-1] / count).to(rows.dtype)
        centred = rows - mean.view(spread)
        variance = (_Summed.apply(centred.square().sum(axes, dtype=torch.float64)) / count).to(rows.dtype)
        with torch.no_grad():
            self.running_mean.lerp_(mean.to(self.running_mean.dtype), self.momentum)
            self.running_var.lerp_((variance * (count / (count - 1))).to(self.running_var.dtype), self.momentum)
        scale = torch.rsqrt(variance + self.eps) * self.weight
        return (centred * scale.view(spread) + self.bias.view(spread)).to(dtype)

    def _spread(self, values: Tensor) -> Tensor:
        return values.view(-1, *[1] * (self.FORM.axes - 3))

    def _admit(self, x: Tensor, valid: Tensor | None) -> Tensor:
        """The current as it is computed. Raises ShapeError for another number of neurons, or another ``valid``."""
        x = door.admit(self, x, self.FORM, self.weight)
        door.check_valid(self, valid, x)
        if x.shape[2] != self.num_features:
            what, rest = ("neurons", "") if self.FORM is door.FLAT else ("maps", ", y, x")
            raise ShapeError(
                f"batch norm of {self.num_features} {what} got a current of shape {tuple(x.shape)}, expected "
                f"[time, batch, {self.num_features}{rest}]"
            )
        return x

    def _check_count(self, count: int) -> None:
        if count < 2:
            raise ShapeError(f"batch norm needs at least two valid steps to normalise in training, got {count}")

    def scale_and_shift(self) -> tuple[Tensor, Tensor]:
        """The affine map of evaluation, ``y = scale x + shift``, each ``[num_features]``."""
        scale = self.weight * torch.rsqrt(self.running_var + self.eps)
        return scale, self.bias - self.running_mean * scale


class _Summed(torch.autograd.Function):
    """The sum over processes; its gradient is the sum of theirs."""

    @staticmethod
    def forward(ctx: Any, x: Tensor) -> Tensor:
        x = x.clone()
        dist.all_reduce(x)
        return x

    backward = forward


def synchronise_batch_norm(network: nn.Module) -> None:
    """Have every batch norm of a network take its statistics over all processes, where ``torch.distributed`` runs.

    Only those of this package; ``torch.nn.SyncBatchNorm.convert_sync_batchnorm`` is for those of torch.
    """
    for layer in network.modules():
        if isinstance(layer, BatchNorm):
            layer.synchronised = True


class BatchNorm2d(BatchNorm):
    """Normalise each map's current over all places and all steps of all samples: :class:`BatchNorm` for convolutions.

    Shapes: ``[time, batch, num_features, y, x]``; no state. Raises ShapeError for other shapes.
    """

    FORM = door.MAPS
