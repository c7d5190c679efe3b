"""Recipes name their neurons: each key reaches the layer, what is left open is as published, other keys are refused."""

from pathlib import Path
from typing import Any

import pytest
import torch

from snn_delays.errors import ConfigError
from snn_delays.nn import BRF, LIF, PLIF, CSiLIF, CubaLIF, SEAdLIF, SiLIF
from snn_delays.ops import ATan, Boxcar, Exponential, MultiGaussian
from snn_delays.recipes.build import build_network
from snn_delays.recipes.files import load_recipe, parse_recipe, to_toml
from snn_delays.recipes.keys import refuse_unused
from snn_delays.training.optimise import optimise
from tests.support import tiny_runs


def recipe(neuron: dict[str, Any], **model: Any) -> Any:
    table = {key: dict(value) if isinstance(value, dict) else value for key, value in tiny_runs.TABLE.items()}
    table["model"] |= {"neuron": neuron, **model}
    return parse_recipe(table, "my.toml")


def neuron(section: dict[str, Any], **model: Any) -> Any:
    return build_network(recipe(section, **model), (12,), 3).hidden1.neuron


def test_each_key_reaches_the_neurons() -> None:
    dt = recipe({}).data.dt_ms
    assert type(neuron({})) is LIF
    assert neuron({"decay_input": True}).decay_input
    plif = neuron({"kind": "plif", "per_neuron": True, "learn_threshold": True, "decay_input": True})
    assert (type(plif), plif.decay_input, plif.threshold.ndim, plif.tau_steps_w.ndim) == (PLIF, True, 1, 1)
    cuba = neuron({"kind": "cuba_lif", "tau_syn_ms": 3 * dt, "learn_tau": True}, reset="soft")
    assert (type(cuba), cuba.reset) == (CubaLIF, "soft")
    assert float(cuba.tau_syn_steps.detach()) == pytest.approx(3)
    assert type(neuron({"kind": "cuba_lif", "tau_syn_ms": 3 * dt}).tau_syn_steps) is float
    adaptive = neuron({"kind": "se_adlif", "tau_u_ms": [2 * dt, 4 * dt], "q": 60.0}, threshold=0.7)
    assert (type(adaptive), adaptive.q, adaptive.threshold) == (SEAdLIF, 60.0, 0.7)
    assert adaptive.tau_u_steps == pytest.approx((2.0, 4.0))
    assert neuron({"kind": "silif", "random_state": True}).random_state
    assert float(neuron({"kind": "c_silif", "dt_max": 5.0}).log_dt.detach().max()) <= torch.tensor(5.0).log()
    brf = neuron({"kind": "brf", "omega": [1.0, 2.0], "dt": 0.02})
    assert (brf.dt, bool(brf.omega.max() <= 2)) == (0.02, True)


@pytest.mark.parametrize(
    ("kind", "surrogate", "detached"),
    [("se_adlif", Exponential(5.0, 0.4), True), ("silif", Boxcar(0.5), False), ("c_silif", Boxcar(0.5), False)],
)
def test_what_is_left_open_is_as_published_and_written_out(kind: str, surrogate: Any, detached: bool) -> None:
    made = neuron({"kind": kind})
    assert (made.surrogate, made.detach_reset) == (surrogate, detached)
    written = recipe({"kind": kind})
    assert parse_recipe(written.model_dump(mode="json", exclude_none=True), "again") == written
    chosen = neuron({"kind": kind}, surrogate={"kind": "atan", "scale": 2.0}, detach_reset=not detached)
    assert (chosen.surrogate, chosen.detach_reset) == (ATan(2.0), not detached)
    narrow = neuron({"kind": kind}, surrogate={"scale": 0.25}).surrogate
    assert narrow == type(surrogate)(0.25)


def test_a_resonator_has_its_own_surrogate_and_no_reset() -> None:
    made = neuron({"kind": "brf"})
    assert (type(made), made.surrogate) == (BRF, MultiGaussian(0.5, 0.15))
    assert "lower model.threshold (now 1) or raise model.neuron.dt;" in recipe({"kind": "brf"}).remedy(silent=True)
    assert "tau_mem_ms" not in recipe({"kind": "silif"}).remedy(silent=True)
    assert "raise model.tau_mem_ms" in recipe({"kind": "plif"}).remedy(silent=True)
    with pytest.raises(ConfigError, match=r"model.detach_reset = False does nothing with model.neuron.kind = 'brf'"):
        refuse_unused(recipe({"kind": "brf"}, detach_reset=False))


@pytest.mark.parametrize(
    ("section", "model", "message"),
    [
        ({"kind": "plif", "learn_tua": True}, {}, "unknown key 'model.neuron.learn_tua'; did you mean 'learn_tau'"),
        ({"kind": "silif", "q": 3.0}, {}, "neuron.q does nothing with kind = 'silif'; its keys are random_state"),
        ({"kind": "lif", "tau_syn_ms": 3.0}, {}, "neuron.tau_syn_ms does nothing with kind = 'lif'"),
        ({"kind": "cuba_lif"}, {}, "neuron.kind = 'cuba_lif' needs neuron.tau_syn_ms"),
        ({"kind": "adlif"}, {}, "model.neuron.kind: Input should be"),
        ({"kind": "silif"}, {"kind": "convolutional", "maps": [3]}, "needs kind = 'classifier'"),
    ],
)
def test_keys_that_do_nothing_are_refused(section: dict[str, Any], model: dict[str, Any], message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        recipe(section, **model)


def test_a_key_of_the_base_that_other_neurons_do_not_read_is_left_out(tmp_path: Path) -> None:
    (tmp_path / "a.toml").write_text(to_toml(recipe({}, reset="soft")))
    (tmp_path / "b.toml").write_text('base = "a.toml"\nname = "b"\n[model.neuron]\nkind = "silif"\n')
    above = load_recipe(tmp_path / "b.toml")
    assert (above.model.neuron.kind, above.model.reset) == ("silif", "hard")
    with pytest.raises(ConfigError, match=r"model\.reset = 'soft' does nothing with model.neuron.kind = 'silif'"):
        refuse_unused(recipe({"kind": "silif"}, reset="soft"))


def test_training_decays_learned_time_constants_and_clamps_what_has_bounds() -> None:
    made = recipe({"kind": "plif", "learn_threshold": True})
    network = build_network(made, (12,), 3)
    optimisation = optimise(made.training, network, 5)
    decayed, others = (group["params"] for group in optimisation.optimisers["weight"].param_groups)
    plif: Any = network.hidden1.neuron
    assert any(p is plif.tau_steps_w for p in decayed)
    assert any(p is plif.threshold for p in others)
    with torch.no_grad():
        plif.threshold.fill_(-3.0)
    network(torch.rand(9, 2, 12))[0].sum().backward()
    optimisation.step()
    assert float(plif.threshold.detach()) == pytest.approx(0.01)
    network = build_network(recipe({"kind": "se_adlif"}), (12,), 3)
    assert len(optimise(made.training, network, 5).neurons) == len(made.model.hidden)
    assert type(build_network(recipe({"kind": "c_silif"}), (12,), 3).hidden1.neuron) is CSiLIF
    assert type(neuron({"kind": "silif"})) is SiLIF
