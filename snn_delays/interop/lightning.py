"""A callback for Lightning's Trainer: sigma is annealed, delays stay in their window, firing rates are logged."""

import sys
from functools import partial
from typing import TYPE_CHECKING, Any

from torch import Tensor, nn

from snn_delays.arguments import integer
from snn_delays.interop.shared import require
from snn_delays.nn.neuron import Neuron
from snn_delays.nn.norm import synchronise_batch_norm
from snn_delays.nn.optimise import SigmaSchedule, clamping

if TYPE_CHECKING or "lightning.pytorch" not in sys.modules:
    require("pytorch_lightning", "lightning")
    from pytorch_lightning import Callback
else:  # the same under its other name
    from lightning.pytorch import Callback


class DelayCallback(Callback):
    """What a network with delays needs from a ``Trainer``, beside its LightningModule.

    Sigma is annealed epoch by epoch from ``start`` to ``end``, as by :class:`snn_delays.SigmaSchedule`; where that
    stands is in Lightning's checkpoints. After every optimiser step delays and bounded parameters of neurons are
    clamped, as by :func:`snn_delays.keep_delays_in_window`, which may be there as well. In validation the spikes per
    neuron and step of every population are logged as ``rate/NAME``, padding included. Of several processes, batch norms
    take their statistics together (:func:`snn_delays.nn.synchronise_batch_norm`).

    Args:
        epochs: in which sigma is annealed; 0: it is left alone.
        start, end, offset: as of :class:`snn_delays.SigmaSchedule`, in steps.

    Raises ConfigError as SigmaSchedule does, when fitting begins.
    """

    def __init__(self, *, epochs: int = 0, start: float | None = None, end: float = 0.5, offset: float = 0.0) -> None:
        self.epochs = integer("epochs", epochs, 0)
        self._sigma = {"start": start, "end": end, "offset": offset}
        self._schedule: SigmaSchedule | None = None
        self._loaded: dict[str, Any] | None = None
        self._hooks: list[Any] = []
        self._spikes: dict[str, list[float]] = {}

    def on_train_start(self, trainer: Any, pl_module: nn.Module) -> None:
        """Begin to anneal, or go on; watch the optimisers."""
        if trainer.world_size > 1:
            synchronise_batch_norm(pl_module)
        if self.epochs:
            self._schedule = SigmaSchedule(pl_module, steps=self.epochs, **self._sigma)  # type: ignore[arg-type]
            if self._loaded is not None:
                self._schedule.load_state_dict(self._loaded)
        clamp = clamping(pl_module)
        self._hooks += [optimiser.register_step_post_hook(clamp) for optimiser in trainer.optimizers]

    def on_train_epoch_end(self, trainer: Any, pl_module: nn.Module) -> None:
        """Anneal sigma."""
        if self._schedule is not None:
            self._schedule.step()

    def teardown(self, trainer: Any, pl_module: nn.Module, stage: str) -> None:
        """Leave the optimisers alone."""
        while self._hooks:
            self._hooks.pop().remove()

    def on_validation_epoch_start(self, trainer: Any, pl_module: nn.Module) -> None:
        """Count spikes."""
        self._spikes = {}
        self._counting = [
            layer.register_forward_hook(partial(self._count, name))
            for name, layer in pl_module.named_modules()
            if isinstance(layer, Neuron) and layer.fires
        ]

    def on_validation_epoch_end(self, trainer: Any, pl_module: Any) -> None:
        """Log firing rates."""
        for hook in self._counting:
            hook.remove()
        pl_module.log_dict(
            {f"rate/{name}": spikes / places for name, (spikes, places) in self._spikes.items()}, sync_dist=True
        )

    def state_dict(self) -> dict[str, Any]:
        """Where annealing stands."""
        return {} if self._schedule is None else self._schedule.state_dict()

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Go on from there once training begins."""
        self._loaded = state_dict or None

    def _count(self, name: str, _: nn.Module, __: Any, output: tuple[Tensor, Any]) -> None:
        spikes, places = self._spikes.get(name, (0.0, 0))
        self._spikes[name] = [spikes + float(output[0].sum()), places + output[0].numel()]
