"""Checkpoints of other code as networks of ours: the same logits, and one clear line for what is none."""

from collections.abc import Callable
from itertools import pairwise
from pathlib import Path
from typing import Any

import nir
import numpy as np
import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn

import snn_delays
from snn_delays import DelayClassifier, discretize
from snn_delays.discrete.conversion import canonical
from snn_delays.errors import CheckpointError, ConfigError, DataError
from snn_delays.export.nir import interpret, write_nir
from snn_delays.runs.foreign import read_checkpoint
from snn_delays.runs.imported import import_network

pytest.importorskip("DCLS", reason="dcls is not installed")
pytest.importorskip("spikingjelly", reason="spikingjelly is not installed")
from DCLS.construct.modules import Dcls1d
from spikingjelly.activation_based import functional, layer, neuron

STEPS, BATCH, SIZES, K, TAU = 40, 5, (6, 9, 8, 3), 9, 1.005
RECIPE, WINDOW = "hammouamri_2024_shd", ("model.max_delay_ms=80",)


class Published(nn.Module):
    """The network of Hammouamri et al.: in each layer K - 1 silent steps before, (K - 1) // 2 after; membranes."""

    def __init__(
        self, *, version: str = "gauss", sig: float = 1.2, bias: bool = False, norm: bool = True, count=1, plif=False
    ):
        super().__init__()
        parts: list[nn.Module] = []
        for i, (inputs, outputs) in enumerate(pairwise(SIZES)):
            last = i == len(SIZES) - 2
            parts.append(self.synapse(inputs, outputs, version, sig, bias, count))
            if norm and not last:
                parts.append(layer.BatchNorm1d(outputs, step_mode="m"))
                for name, low, high in (("weight", 0.7, 2.0), ("bias", 0, 1), ("running_mean", 0, 1)):
                    getattr(parts[-1], name).data.uniform_(low, high)
                parts[-1].running_var.uniform_(0.5, 2.0)
            options = {"step_mode": "m", "detach_reset": True, "store_v_seq": True}
            kind = neuron.ParametricLIFNode if plif else neuron.LIFNode
            parts.append(kind(1.3 + i if plif else TAU, False, 1e9 if last else 1.0, **options))
            if not last:
                parts.append(layer.Dropout(0.4, step_mode="m"))
        self.model = nn.Sequential(*parts)

    def synapse(self, inputs: int, outputs: int, version: str, sig: float, bias: bool, count: int) -> nn.Module:
        synapse = Dcls1d(inputs, outputs, kernel_count=count, dilated_kernel_size=K, bias=bias, version=version)
        with torch.no_grad():
            synapse.P.uniform_(-(K // 2), K // 2)
            synapse.weight.mul_(6)
            if synapse.SIG is not None:
                synapse.SIG.fill_(sig)
        return synapse

    def delayed(self, synapse: nn.Module, x: Tensor) -> Tensor:
        return synapse(F.pad(x.permute(1, 2, 0), (K - 1, (K - 1) // 2))).permute(2, 0, 1)

    def forward(self, x: Tensor) -> Tensor:
        functional.reset_net(self)
        self.rates = []
        for part in self.model:
            if isinstance(part, Dcls1d):
                x = self.delayed(part, x)
            elif isinstance(part, layer.BatchNorm1d):
                x = part(x.unsqueeze(3)).squeeze(3)
            else:
                x = part(x)
            if isinstance(part, neuron.LIFNode | neuron.ParametricLIFNode):
                self.rates.append(float(x.mean()))
        return self.model[-1].v_seq


class WithoutDelays(Published):
    """Its control: linear layers."""

    def synapse(self, inputs: int, outputs: int, *_: Any) -> nn.Module:
        linear = layer.Linear(inputs, outputs, bias=False, step_mode="m")
        linear.weight.data.mul_(4)
        return linear


def spikes(seed: int = 0) -> Tensor:
    return (torch.rand(STEPS, BATCH, SIZES[0], generator=torch.Generator().manual_seed(seed)) < 0.3).float()


def saved(network: nn.Module, path: Path) -> Path:
    torch.save(network.eval().state_dict(), path)
    return path


def layer_by_layer(network: Any, x: Tensor, tail: int) -> Tensor:
    """Each layer of ours as the published code has it: what is on its way at its end is lost."""
    for part in network:
        x, _ = part(F.pad(x, (0, 0, 0, 0, 0, tail)))
    return x


def logits(v: Tensor) -> Tensor:
    return v.softmax(2).sum(0)


@pytest.fixture
def file(tmp_path: Path) -> Path:
    return tmp_path / "best.pt"


@pytest.mark.parametrize(
    "options",
    [
        {},
        {"count": 2},
        {"bias": True},
        {"bias": True, "norm": False},
        {"version": "max", "sig": 0.6},
        {"sig": 0.0},
        {"plif": True},
    ],
    ids=str,
)
@torch.no_grad()
def test_published_networks_have_the_same_logits(file: Path, options: dict[str, Any]) -> None:
    theirs, x, tail = Published(**options), spikes(), (K - 1) // 2
    taps = ("model.taps=triangle",) if "version" in options else ()
    source = "dcls" if options.get("norm") is False else "snn-delays"
    if source == "dcls":
        torch.save(theirs.eval().model.state_dict(), file)
    else:
        saved(theirs, file)
    import_network(file, source, RECIPE, changes=(*WINDOW, *taps))
    ours = snn_delays.load(file.with_suffix(".safetensors"))
    want = theirs(x)
    assert all(0.02 < rate < 0.7 for rate in theirs.rates[:-1]), theirs.rates
    assert float(want.abs().max()) > 0.5
    torch.testing.assert_close(logits(layer_by_layer(ours, x, tail)), logits(want), rtol=0, atol=1e-5)
    torch.testing.assert_close(layer_by_layer(ours, x, tail), want, rtol=1e-5, atol=1e-5)
    # As one network the same until the readout receives what the published code loses.
    whole = ours(F.pad(x, (0, 0, 0, 0, 0, 3 * tail)))[0]
    torch.testing.assert_close(whole[: STEPS + tail], want[: STEPS + tail], rtol=1e-5, atol=1e-5)
    assert not torch.allclose(whole, want, atol=1e-3), "nothing was on its way at the end"
    card = ours.card
    assert (card.sensor, card.recipe.model.hidden, card.recipe.model.delays) == ((6,), (9, 8), "learned")
    assert (card.recipe.name, card.source) == ("best", "unknown, imported from best.pt")
    assert source == "dcls" or (card.recipe.data.tail_steps, card.recipe.data.padding) == (3 * tail, "published")


@pytest.mark.parametrize("wrong", ["mirror", "offset", "norm"])
@torch.no_grad()
def test_canary_a_wrong_import_is_noticed(file: Path, wrong: str) -> None:
    theirs = Published(bias=True)
    ours = import_network(saved(theirs, file), "snn-delays", RECIPE, changes=WINDOW)
    for group in ours:
        if wrong == "mirror":
            group.synapse.delay.copy_(K - 1 - group.synapse.delay)
        elif wrong == "offset":
            group.synapse.sigma.sub_(0.27)
        elif "norm" in dict(group.named_children()):
            group.norm.running_mean.add_(0.3)
    assert not torch.allclose(logits(layer_by_layer(ours, spikes(), 4)), logits(theirs(spikes())), atol=1e-2)


@torch.no_grad()
def test_controls_have_fixed_integers_or_none(file: Path) -> None:
    theirs = Published(version="max", sig=0.0)
    for part in theirs.model:
        if isinstance(part, Dcls1d):
            part.P.round_()
    ours = import_network(saved(theirs, file), "snn-delays", RECIPE, changes=WINDOW)
    assert (ours.card.recipe.model.delays, ours.hidden1.synapse.taps) == ("fixed", "linear")
    torch.testing.assert_close(logits(layer_by_layer(ours, spikes(), 4)), logits(theirs(spikes())), rtol=0, atol=1e-5)
    plain = WithoutDelays()
    out = file.with_name("none.safetensors")
    ours = import_network(saved(plain, file), "snn-delays", RECIPE, out=out)
    assert (ours.card.recipe.model.delays, ours.hidden1.synapse.max_delay_steps) == ("none", 0)
    torch.testing.assert_close(ours(spikes())[0], plain(spikes()), rtol=1e-5, atol=1e-5)
    assert 0.02 < plain.rates[0] < 0.7


@pytest.mark.parametrize(("version", "taps"), [("v1", "linear_normalized"), ("v0", "linear")])
@torch.no_grad()
def test_versions_of_dcls_without_a_width(file: Path, version: str, taps: str) -> None:
    theirs = Published(version=version).eval()
    saved(theirs.model, file)
    ours = import_network(file, "dcls", RECIPE, changes=(*WINDOW, f"model.taps={taps}"))
    torch.testing.assert_close(logits(layer_by_layer(ours, spikes(), 4)), logits(theirs(spikes())), rtol=0, atol=1e-5)
    with pytest.raises(CheckpointError, match=r"no SIG.*linear \(v0\)"):
        import_network(file, "dcls", RECIPE, changes=WINDOW, out=file.with_name("another"))


@torch.no_grad()
def test_epochs_and_float64_are_kept(file: Path) -> None:
    theirs = Published().double().eval()
    torch.save({"epoch": 17, "acc": 0.5, "net": {**theirs.state_dict(), **dict(theirs.named_parameters())}}, file)
    ours = import_network(file, "snn-delays", RECIPE, changes=WINDOW)
    assert (ours.card.epoch, ours.card.recipe.training.precision) == (17, "64-true")
    want = theirs(spikes().double())
    torch.testing.assert_close(layer_by_layer(ours, spikes().double(), 4), want, rtol=1e-6, atol=1e-6)


@pytest.mark.parametrize("recurrent", [False, True])
@torch.no_grad()
def test_a_network_written_to_nir_comes_back(tmp_path: Path, recurrent: bool) -> None:
    network = DelayClassifier(6, (9, 8), 3, max_delay_steps=5, tau_steps=2.0, recurrent=recurrent).double().eval()
    for group in list(network)[:-1]:
        group.norm.bias.uniform_(0.2, 0.8)
        group.norm.running_var.uniform_(0.2, 0.8)
    discrete = discretize(network)
    write_nir(canonical(discrete, dt_ms=5.0), tmp_path / "n.nir")
    ours = import_network(tmp_path / "n.nir", "nir", RECIPE)
    assert (ours.card.dt_ms, ours.card.recipe.model.delays, ours.card.recipe.max_delay_steps) == (5.0, "fixed", 5)
    x = spikes().double()
    assert 0.02 < float(discrete.hidden2(discrete.hidden1(x)[0])[0].mean()) < 0.9
    torch.testing.assert_close(ours(x)[0], discrete(x)[0])


def foreign_graph(*, fires: bool = False, rest: float = 0, skip: bool = False) -> nir.NIRGraph:
    """A chain as other tools write it: seconds, no notes, neurons that fire above the threshold and scale inputs."""
    rng = np.random.default_rng(0)
    size, ones = (4, 5, 2), np.ones

    def lif(n: int, tau: float = 0.02) -> nir.LIF:
        return nir.LIF(tau=tau * ones(n), r=ones(n), v_leak=0 * ones(n), v_threshold=ones(n), v_reset=0 * ones(n))

    last = lif(2) if fires else nir.LI(tau=0.03 * ones(2), r=ones(2), v_leak=rest * ones(2))
    nodes = {
        "input": nir.Input({"input": np.array([size[0]])}),
        # Weights and spikes that meet the threshold exactly.
        "a": nir.Affine(rng.integers(-2, 4, (5, 4)).astype(float), rng.integers(0, 2, 5) * 0.5),
        "b": lif(5), "late": nir.Delay(np.array([0.0, 0.01, 0.02, 0.03, 0.0])),
        "c": nir.Linear(rng.normal(size=(2, 5))), "d": last, "output": nir.Output({"output": np.array([size[2]])}),
    }  # fmt: skip
    names = list(nodes)
    edges = list(pairwise(names))
    nodes["skip"] = nir.Linear(rng.normal(size=(2, 4)))
    past = [("input", "skip"), ("skip", "d")]
    return nir.NIRGraph(nodes if skip else {name: nodes[name] for name in names}, [*edges, *past] if skip else edges)


@torch.no_grad()
def test_a_graph_of_another_tool_fires_above_its_threshold(tmp_path: Path) -> None:
    graph = foreign_graph()
    nir.write(tmp_path / "n.nir", graph)
    ours = import_network(tmp_path / "n.nir", "nir", RECIPE, changes=("data.dt_ms=10",))
    counts = np.random.default_rng(1).integers(0, 2, (60, 4)).astype(float)
    want = interpret(graph, counts, dt=0.01, keep=("b", "d"))
    assert 0.05 < want["b"].mean() < 0.9
    x = torch.from_numpy(counts)[:, None]
    np.testing.assert_allclose(ours(x)[0][:, 0].numpy(), want["d"], atol=1e-12)
    ours.hidden1.neuron.threshold = 1.0
    assert not np.allclose(ours(x)[0][:, 0].numpy(), want["d"], atol=1e-3), "no tie: the test says nothing"


class Unsafe:
    def __reduce__(self) -> tuple[Callable[..., Any], tuple[str]]:
        return pytest.fail, ("a pickle was run",)


def renamed(state: dict[str, Tensor], old: str, new: str | None) -> dict[str, Tensor]:
    return {new if key == old else key: value for key, value in state.items() if key != old or new is not None}


BAD: dict[str, tuple[Callable[[dict[str, Tensor]], Any], str]] = {
    "objects": (lambda s: {**s, "model.0.P": Unsafe()}, "objects that are no tensors.*state_dict"),
    "no tensors": (lambda s: {"config": {"a": 1}}, "holds no state_dict"),
    "another version": (lambda s: {f"blocks.{key}": value for key, value in s.items()}, "no checkpoint of snn-delays"),
    "a missing key": (lambda s: renamed(s, "model.1.running_var", None), "model.1 has bias.* no running_var"),
    "an unknown key": (lambda s: {**s, "model.0.mask": s["model.0.weight"]}, "model.0 has mask, which no synapse"),
    "some PLIF": (lambda s: {**s, "model.2.w": torch.zeros(())}, "model.4 is before no PLIF and others are"),
    "another neuron": (lambda s: {**s, "model.2.beta": torch.zeros(9)}, "model.2 has beta and no weight; known are"),
    "w of each": (lambda s: {**s, "model.2.w": torch.zeros(9)}, "expected one number for a layer"),
    "a filter": (lambda s: {k.replace("model.8", "model.9"): v for k, v in s.items()}, "3 modules.* between model.4"),
    "NaN": (lambda s: {**s, "model.0.weight": s["model.0.weight"] * torch.nan}, "model.0.weight has numbers that are"),
    "a bomb": (lambda s: {**s, "model.0.weight": torch.zeros(1).expand(10**5, 10**5, 1)}, "no dense tensor"),
    "no memory": (lambda s: {**s, "model.0.weight": s["model.0.weight"].to("meta")}, "no dense tensor"),
    "sparse": (lambda s: {**s, "model.0.weight": s["model.0.weight"].to_sparse()}, "no dense tensor"),
    "a shape": (lambda s: {**s, "model.0.P": s["model.0.P"][..., :3, :]}, "model.0.P has shape"),
    "a skip": (lambda s: {**s, **{f"model.4.{k}": torch.zeros(*lead, 8, 15, 1) for k, lead in
                                  (("weight", ()), ("P", (1,)), ("SIG", (1,)))}}, "chains, without skips"),
    "positions": (lambda s: {**s, "model.4.P": s["model.4.P"] + 9}, "model.4 lie outside a window of K = 9"),
    "widths": (lambda s: {**s, "model.4.SIG": s["model.4.SIG"] * torch.rand(8, 9, 1)}, "SIG for each synapse"),
    "readout": (lambda s: {**s, **{f"model.9.{key.split('.')[2]}": tensor[:3] for key, tensor in s.items()
                                   if key.startswith("model.5.") and tensor.ndim}}, "readout model.8 has a norm"),
    "one layer": (lambda s: {k: v for k, v in s.items() if k.startswith("model.8")}, "1 synapses"),
    "some delays": (lambda s: {k: v[..., 0] if k == "model.4.weight" else v for k, v in s.items()
                               if k not in ("model.4.P", "model.4.SIG")}, "model.4 has no delays"),
    "bias": (lambda s: {**s, "model.0.bias": torch.zeros(2)}, r"norm of model.0 has shape \(2,\)"),
}  # fmt: skip


@pytest.mark.parametrize("case", BAD)
def test_what_is_no_such_checkpoint_gets_one_line(file: Path, case: str) -> None:
    spoil, message = BAD[case]
    torch.save(spoil(dict(Published().state_dict())), file)
    with pytest.raises(CheckpointError, match=message) as caught:
        import_network(file, "snn-delays", RECIPE, changes=WINDOW)
    assert "\n" not in str(caught.value)
    assert len(str(caught.value)) < 420
    assert list(file.parent.iterdir()) == [file]


def test_damaged_files_recipes_and_targets(file: Path, tmp_path: Path) -> None:
    with pytest.raises(CheckpointError, match="No such file"):
        read_checkpoint(tmp_path / "nothing.pt")
    saved(Published(), file)
    with pytest.raises(ConfigError, match="'keras'"):
        import_network(file, "keras", RECIPE)
    with pytest.raises(ConfigError, match="recipe nmnist_subset is for no network"):
        import_network(file, "snn-delays", "nmnist_subset")
    file.with_suffix(".safetensors").write_bytes(b"mine")
    with pytest.raises(ConfigError, match="is there already"):
        import_network(file, "snn-delays", RECIPE, changes=WINDOW)
    file.write_bytes(file.read_bytes()[:500])
    with pytest.raises(CheckpointError, match="cannot read"):
        read_checkpoint(file)


@pytest.mark.parametrize(
    ("options", "error", "message"),
    [
        ({"fires": True}, CheckpointError, "d is the last population"),
        ({"rest": -0.5}, CheckpointError, "neurons rest at -0.5"),
        ({"skip": True}, DataError, "'d'.* receives from"),
    ],
)
def test_graphs_that_no_recipe_describes(tmp_path: Path, options: dict, error: type, message: str) -> None:
    nir.write(tmp_path / "n.nir", foreign_graph(**options))
    with pytest.raises(error, match=message) as caught:
        import_network(tmp_path / "n.nir", "nir", RECIPE)
    assert "\n" not in str(caught.value)


def test_graphs_written_by_us_keep_float32(tmp_path: Path) -> None:
    network = discretize(DelayClassifier(6, (9,), 3, max_delay_steps=0, tau_steps=2.0))
    write_nir(canonical(network, dt_ms=1.0), tmp_path / "n.nir")
    ours = import_network(tmp_path / "n.nir", "nir", RECIPE)
    assert (ours.card.recipe.model.delays, ours.card.recipe.training.precision) == ("none", "32-true")
