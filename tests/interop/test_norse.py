"""Norse: its cells in our networks, our layers under ``SequentialState`` and ``Lift``."""

import io

import pytest
import torch
from torch import nn

from snn_delays.errors import ConfigError, ShapeError
from snn_delays.nn import LIF, BatchNorm, DelayedLinear, Sequential, detach_state, move_state
from tests.support.peers import assert_chunk_law, currents, fires, measured, same

pytest.importorskip("norse")
import norse.torch as nt

from snn_delays.interop import FromNorse, ToNorse

# Currents as for one step of a neuron that integrates dt / tau of them.
GAIN = 8.0
CELLS = {
    "LIFCell": nt.LIFCell,
    "LIFBoxCell": nt.LIFBoxCell,
    "LIFAdExCell": nt.LIFAdExCell,
    "LSNNCell": nt.LSNNCell,
    "LIFRefracCell": nt.LIFRefracCell,
    "LIFRecurrentCell": lambda: nt.LIFRecurrentCell(6, 6),
    "LIFAdExRecurrentCell": lambda: nt.LIFAdExRecurrentCell(6, 6),
    "SequentialState": lambda: nt.SequentialState(nt.LIFCell(), nn.Linear(6, 6), nt.LIFBoxCell()),
}
OVER_TIME = {
    "LIF": nt.LIF,
    "LIFRecurrent": lambda: nt.LIFRecurrent(6, 6),
    "sequence": lambda: nt.SequentialState(nt.LIF(), nn.Linear(6, 6), nt.LIFAdEx()),
}


def by_itself(module, over_time: bool):
    """The module in the loop that its users write."""

    def run(x):
        state, outputs = None, []
        if over_time:
            return module(x)[0]
        for step in x:
            y, state = module(step, state)
            outputs.append(y)
        return torch.stack(outputs)

    return run


def delayed() -> Sequential:
    return Sequential(DelayedLinear(6, 8, max_delay_steps=5), BatchNorm(8), LIF(3.0, threshold=0.6)).double().eval()


@pytest.mark.parametrize("kind", [*CELLS, *OVER_TIME])
def test_theirs_in_ours_is_theirs_alone(kind: str) -> None:
    module = {**CELLS, **OVER_TIME}[kind]().double()
    with torch.no_grad():
        for inner in module.modules():
            if isinstance(inner, nn.Linear):
                inner.weight.mul_(8).abs_()
    x = GAIN * currents()
    want = measured(by_itself(module, kind in OVER_TIME), module.parameters(), x)
    assert fires(want[0])
    wrapped = FromNorse(module)
    assert same(measured(lambda x: wrapped(x)[0], wrapped.parameters(), x), want)
    assert_chunk_law(wrapped, x)
    assert not same(measured(by_itself(module, kind in OVER_TIME), module.parameters(), 0.8 * x), want)


def test_states_are_those_of_norse_and_map_both_ways() -> None:
    cell, x = nt.LIFCell(), GAIN * currents()
    wrapped = FromNorse(cell)
    y, state = wrapped(x[:10])
    assert isinstance(state, nt.LIFFeedForwardState)
    assert torch.equal(wrapped(x[10:11], state)[0][0], cell(x[10], state)[0])
    theirs = cell(x[0], None)[1]
    assert torch.equal(wrapped(x[1:2], theirs)[0][0], cell(x[1], theirs)[0])
    file = io.BytesIO()
    torch.save(detach_state(state), file)
    file.seek(0)
    loaded = torch.load(file, weights_only=True)
    assert torch.equal(wrapped(x[10:], loaded)[0], wrapped(x[10:], state)[0])
    assert not torch.equal(wrapped(x[10:], loaded)[0], wrapped(x[10:])[0])
    assert move_state(loaded, dtype=torch.float32).v.dtype == torch.float32
    assert fires(y)


def test_ours_under_lift_and_sequential_state_is_ours_alone() -> None:
    network, x = delayed(), currents()
    cell = nt.LIFBoxCell(nt.LIFBoxParameters(tau_mem_inv=torch.tensor(500.0), v_th=torch.tensor(0.3)))
    chain = Sequential(network, FromNorse(cell))
    want = measured(lambda x: chain(x)[0], chain.parameters(), x)
    assert fires(want[0])
    stepped = nt.SequentialState(ToNorse(network), cell)
    assert stepped.stateful_layers == [True, True]
    assert same(measured(lambda x: nt.Lift(stepped)(x)[0], network.parameters(), x), want, 1e-12)
    y, state = nt.Lift(stepped)(x[:11])
    rest, _ = nt.Lift(stepped)((x[11:], state))
    torch.testing.assert_close(torch.cat([y, rest]), want[0])
    assert not torch.equal(nt.Lift(stepped)(x[11:])[0], rest)
    at_once = nt.SequentialState(network, FromNorse(cell))
    assert same(measured(lambda x: at_once(x)[0], network.parameters(), x), want)


@pytest.mark.parametrize(
    ("module", "message"),
    [
        (lambda: nt.Lift(nt.LIFCell()), "inside the Lift"), (lambda: nn.Linear(2, 2), "Linear is no module of Norse"),
        (lambda: nt.LIF(record_states=True), "record_states=False"), (lambda: nt.LIFCell, "wraps a layer"),
    ],
)  # fmt: skip
def test_what_has_no_state_of_its_own_is_refused(module, message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        FromNorse(module())


def test_a_state_that_does_not_fit_is_refused() -> None:
    x = GAIN * currents()
    wrapped = FromNorse(nt.LIFBoxCell())
    _, one = wrapped(x[:, :1])
    assert torch.isfinite(nt.LIFBoxCell()(x[0], one)[0]).all(), "Norse broadcasts it"
    with pytest.raises(ShapeError, match="an input of another shape"):
        wrapped(x, one)
    with pytest.raises(ShapeError, match="expected LIFFeedForwardState"):
        FromNorse(nt.LIFCell())(x, one)
    with pytest.raises(ShapeError, match="expected LIFFeedForwardState"):
        FromNorse(nt.SequentialState(nt.LIFCell()))(x, (one,))
    with pytest.raises(ConfigError, match="expected a layer or network of snn_delays"):
        ToNorse(nt.LIFCell())
