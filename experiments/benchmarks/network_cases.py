"""The cases of the published network: a training step, long sequences, inference with integer delays."""

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from typing import Any

import torch
from torch import Tensor

from experiments.benchmarks.delay_cases import chosen_backend
from experiments.benchmarks.network_checks import check_inference, check_steps, check_timed
from experiments.benchmarks.peers import PublishedNetwork
from experiments.benchmarks.run import Case, Side
from experiments.benchmarks.sides import missing, spikes
from experiments.benchmarks.sizes import Sizes
from experiments.benchmarks.step import TrainingStep, of_ours, of_peer
from snn_delays.discrete.discretize import discretize
from snn_delays.models import DelayClassifier
from snn_delays.nn import BatchNorm, SpikingModule, layers_with_delays

NAME = "hammouamri_2024_shd_2x256"
CLASSES, DROPOUT, TAU_MS = 20, 0.4, 10.05


@dataclass(frozen=True)
class Setting:
    """A network and its input. ``right``: the padding of the published code, ``(K - 1) // 2``."""

    sizes: Sizes
    steps: int
    batch: int
    window: int
    tau_steps: float
    sigma_steps: float

    classes = CLASSES

    @property
    def right(self) -> int:
        """Steps of silence that the published code appends to the input of every layer."""
        return (self.window - 1) // 2

    def network(self, dropout: float = 0.0, hidden: tuple[int, ...] | None = None) -> Any:
        """The published network at these sizes, always with the same parameters."""
        torch.manual_seed(0)
        return DelayClassifier.published(
            NAME, in_features=self.sizes.inputs, hidden=hidden or self.sizes.hidden, max_delay_steps=self.window - 1,
            tau_steps=self.tau_steps, sigma_steps=self.sigma_steps, dropout=dropout,
        )  # fmt: skip

    def narrow(self) -> Any:
        """The network at the size of the checks in float64."""
        return self.network(hidden=self.sizes.check_hidden)

    def signal(self, batch: int, device: torch.device, steps: int | None = None) -> Tensor:
        """Input spikes."""
        return spikes(steps or self.steps, batch, self.sizes.inputs, device)

    def peer(self, ours: Any, right: int) -> Any:
        """A network of ours out of the peers' layers."""
        return PublishedNetwork(ours, self.tau_steps, right)

    def __str__(self) -> str:
        widths = "-".join(map(str, (self.sizes.inputs, *self.sizes.hidden, CLASSES)))
        return f"{widths}, K={self.window}, T={self.steps}, B={self.batch}, float32, input at 5 %"


def shd_setting(sizes: Sizes, sigma_steps: float) -> Setting:
    """The network of SHD at 10 ms a step."""
    return Setting(sizes, sizes.steps, sizes.batch, sizes.window, TAU_MS / 10, sigma_steps)


def training_step(sigma_steps: float, sizes: Sizes, device: torch.device) -> Case:
    """Forward, loss, backward, Adam and clamp of the network of SHD, with its dropout."""
    case = f"training step of the published SHD network, sigma {sigma_steps:g}"
    setting = shd_setting(sizes, sigma_steps)
    return training_case(case, setting, device, (setting.right, 0))


def long_training_step(which: int, sizes: Sizes, device: torch.device) -> Case:
    """The same at 1 ms a step, where windows are long; Gaussian taps as wide as training starts with."""
    window = sizes.long_windows[which]
    setting = Setting(sizes, sizes.long_steps, sizes.long_batch, window, TAU_MS, window // 2 + 0.27)
    return training_case(f"training step, T={sizes.long_steps}, K={window}", setting, device, (0,))


def inference(sizes: Sizes, device: torch.device) -> Case:
    """The discretised network against the published evaluation, both without gradients."""
    setting = shd_setting(sizes, 0.5)
    trained = setting.network(DROPOUT)
    x = spikes(setting.steps, setting.batch, sizes.inputs, device)
    trained.to(device)
    _settle(trained, x)
    ours = discretize(trained)
    sides = [Side("snn_delays", f"{setting}; discretize(network); delays: {chosen(ours, x)}", partial(_run, ours, x))]
    line = missing("dcls", "spikingjelly")
    peers: dict[int, PublishedNetwork] = {}
    for right in () if line else (setting.right, 0):
        peers[right] = PublishedNetwork(trained, setting.tau_steps, right).discretized()
        name, how = _peer_names(right)
        what = f"{setting}; its evaluation: version max, SIG = 0, rounded positions; {how}"
        sides.append(Side(name, what, partial(_run, peers[right], x)))
    check = partial(check_inference, ours, peers, x, sizes)
    return Case("inference of the discretised SHD network", tuple(sides), check, (line,) if line else ())


def training_case(name: str, setting: Setting, device: torch.device, paddings: tuple[int, ...]) -> Case:
    """A training step of ours and of each peer, one for every padding."""
    x = setting.signal(setting.batch, device)
    target = (torch.arange(setting.batch) % setting.classes).to(device)
    published = f"{setting}, sigma {setting.sigma_steps:g}, dropout {DROPOUT}"
    ours = setting.network(DROPOUT).to(device)
    step = TrainingStep(of_ours(ours), x, target)
    how = "forward, loss, backward, Adam, clamp"
    sides = [Side("snn_delays", f"{published}; {how}; delays: {chosen(ours, x)}", step)]
    notes: tuple[str, ...] = ()
    if device.type == "cuda":
        graph, notes = _graph(setting, device, x, target)
        sides += [Side("snn_delays, CUDA graph", f"{published}; {how}", one, step) for one in graph]
    if line := missing("dcls", "spikingjelly"):
        notes, paddings = (*notes, line), ()
    for right in paddings:
        side, padding = _peer_names(right)
        peer = of_peer(setting.peer(ours, right))
        sides.append(Side(side, f"{published}; {how}; {padding}", TrainingStep(peer, x, target)))

    def check() -> None:
        check_timed(setting, setting.network().to(device), x)
        check_steps(setting, paddings, device)

    return Case(name, tuple(sides), check, notes)


def _peer_names(right: int) -> tuple[str, str]:
    if right:
        return "dcls + spikingjelly, as published", f"{right} steps of padding on the right of every layer"
    return "dcls + spikingjelly", "causal padding alone"


def _graph(
    setting: Setting, device: torch.device, x: Tensor, target: Tensor
) -> tuple[list[Callable[[], None]], tuple[str, ...]]:
    """The training step as a CUDA graph, or the line that says why it cannot be one."""
    try:
        return [TrainingStep(of_ours(setting.network(DROPOUT).to(device)), x, target).captured()], ()
    except RuntimeError as error:
        return [], (f"left out: the training step as a CUDA graph: {str(error).splitlines()[0]}",)


@torch.no_grad()
def _settle(network: DelayClassifier, x: Tensor) -> None:
    """Running statistics of the norms as a trained network has them, so that its neurons fire in evaluation."""
    norms = [module for module in network.modules() if isinstance(module, BatchNorm)]
    before = [norm.momentum for norm in norms]
    for norm in norms:
        norm.momentum = 1.0
    network(x[:, :32])
    for norm, momentum in zip(norms, before):
        norm.momentum = momentum
    network.eval()


def _run(network: Callable[[Tensor], object], x: Tensor) -> None:
    with torch.no_grad():
        network(x)


def chosen(network: SpikingModule, x: Tensor) -> str:
    """Backends that the planner takes for the delays of every layer."""
    found: list[str] = []
    layers = layers_with_delays(network).values()

    def note(layer: Any, given: Any) -> None:
        found.append(chosen_backend(layer, given[0]))

    hooks = [layer.register_forward_pre_hook(note) for layer in layers]
    with torch.set_grad_enabled(any(p.requires_grad for p in network.parameters())):
        network(x)
    for hook in hooks:
        hook.remove()
    return ", ".join(found)
