"""The parts of the cochlea, each against closed forms or a plain loop, and each comparison seen to fail."""

import math
from collections.abc import Callable
from dataclasses import replace
from itertools import pairwise

import numpy as np
import pytest

pytest.importorskip("soundfile")
from scipy import integrate, special

from snn_delays.data.encoders.cochlea import membrane as membrane_module
from snn_delays.data.encoders.cochlea.cells import (
    BushyCell,
    Fibres,
    HairCell,
    bushy_spikes,
    fibre_spikes,
    firing_probability,
)
from snn_delays.data.encoders.cochlea.membrane import Membrane, TransferFunction, velocities
from snn_delays.errors import ConfigError
from tests.support.recordings_made_up import vowel

DT = 1 / 24_000
OF = Membrane()


# Basilar membrane


def g_of(w: float, c: float, of: Membrane) -> complex:
    stiffness, damping = of.c0 * math.exp(-of.alpha * c) - of.a, of.delta * math.sqrt(of.c0 * of.m)
    xi = stiffness - of.m * w * w - 1j * w * damping * math.exp(-of.alpha * c / 2)
    return w * np.sqrt(of.rho / (of.h * xi))


def phase_by_quadrature(w: float, c: float, of: Membrane = OF) -> complex:
    # xi comes close to zero where w is resonant: the integrator gets the place
    resonant = np.clip(-math.log((of.m * w * w + of.a) / of.c0) / of.alpha, 0, c)

    def integral(part: Callable[[complex], float]) -> float:
        options = {"points": [resonant], "limit": 500, "epsabs": 1e-11, "epsrel": 1e-11}
        return integrate.quad(lambda x: part(g_of(w, x, of)), 0, c, **options)[0]

    parts = integral(np.real), integral(np.imag)
    return 2 * g_of(w, 0.0, of) / of.alpha + complex(*parts)


PLACES = [(f, c) for f in (50.0, 440.0, 3000.0, 20_000.0) for c in (0.5, 2.0, 3.5)]


@pytest.mark.parametrize(("hertz", "c"), PLACES)
def test_the_phase_in_closed_form_is_the_integral(hertz: float, c: float) -> None:
    w = 2 * np.pi * hertz
    expected = phase_by_quadrature(w, c)
    result = TransferFunction(np.array([w]), OF)
    assert result.G(c)[0] == pytest.approx(expected, rel=1e-8)
    assert result.g(c)[0] == pytest.approx(g_of(w, c, OF), rel=1e-12)
    assert abs(phase_by_quadrature(w, c, replace(OF, delta=0.16)) - expected) > 1e-6 * abs(expected)


@pytest.mark.parametrize(("hertz", "c"), [place for place in PLACES if place != (20_000.0, 3.5)])
def test_the_transfer_function_is_the_published_one(hertz: float, c: float) -> None:
    w = 2 * np.pi * hertz

    def pressure(place: float) -> complex:
        phase = phase_by_quadrature(w, place) if place else 2 * g_of(w, 0.0, OF) / OF.alpha
        return np.sqrt(phase / g_of(w, place, OF)) * special.hankel1(0, phase)

    q = 2 * w / OF.alpha * math.sqrt(2 / (OF.h * OF.c0))
    stapes = math.sqrt(2 * OF.c0 / OF.h) * (1j * special.j0(q) + special.y0(q)) / (special.j1(q) - 1j * special.y1(q))
    xi = OF.rho / OF.h * (w / g_of(w, c, OF)) ** 2
    expected = 2 * w / xi * pressure(c) / pressure(0.0) * stapes
    assert TransferFunction(np.array([w]), OF).at(c)[0] == pytest.approx(expected, rel=1e-5, abs=0)
    assert TransferFunction(np.array([w]), OF).at(c * 1.001)[0] != pytest.approx(expected, rel=1e-4, abs=0)


def published_velocity(sound: np.ndarray, c: float) -> np.ndarray:
    """The definition, at the length of the sound itself: no padding, no table, a complex transform."""
    n = sound.size // 2 + 1
    w = 2 * np.pi * np.linspace(1, 24_000, n)
    return np.real(np.fft.ifft(TransferFunction(w, OF).at(c) * np.fft.fft(sound)[:n]))


def velocity(sound: np.ndarray, channels: int, causal: bool = False) -> np.ndarray:
    blocks: dict[int, list[np.ndarray]] = {}
    for segment, _, block in velocities(sound, OF, channels, 48_000, causal=causal):
        blocks.setdefault(segment, []).append(block)
    return np.concatenate([np.concatenate(parts) for parts in blocks.values()], axis=1)


def test_the_velocity_is_the_published_one_but_for_the_grid_of_frequencies() -> None:
    sound = vowel(0.3)
    result = velocity(sound, 8)
    assert result.shape == (8, sound.size // 2 + 1)
    assert result.dtype == np.float32
    # The published sampling gains two samples of sound over the whole: padded, little of it falls on the sound.
    padded = np.pad(sound, (0, 15 * sound.size))
    errors, wrong = [], []
    for row, c in zip(result, OF.places(8)):
        expected = published_velocity(padded, c)[: row.size]
        errors.append(np.linalg.norm(row - expected) / np.linalg.norm(expected))
        wrong.append(np.linalg.norm(row[1:] - expected[:-1]) / np.linalg.norm(expected))
    assert max(errors[1:]) < 0.03  # the first receives 20 kHz, where a tenth of a sample counts
    assert all(error < late / 2 for error, late in zip(errors, wrong)), "one step late"


def test_the_folded_table_is_the_complex_transform(monkeypatch: pytest.MonkeyPatch) -> None:
    sound = vowel(0.1)
    n = membrane_module._padded(sound.size // 2 + 1 + membrane_module.RINGING)
    spectrum = np.fft.fft(sound, 2 * n)[:n]
    result = velocity(sound, 3)
    for row, c in zip(result, OF.places(3)):
        response = TransferFunction(2 * np.pi * np.linspace(1, 24_000, n), OF).at(c)
        expected = np.real(np.fft.ifft(response * spectrum))[: row.size]
        assert np.abs(row - expected).max() < 1e-3 * np.abs(expected).max()
    membrane_module._table.cache_clear()
    monkeypatch.setattr(membrane_module, "NEGLIGIBLE", 0.1)  # rows cut too short are noticed
    short = velocity(sound, 3)
    membrane_module._table.cache_clear()
    assert np.abs(short - result).max() > 1e-3 * np.abs(result).max()


def test_the_published_membrane_answers_before_the_sound_and_the_causal_one_after() -> None:
    click = np.zeros(9600, dtype=np.float32)
    click[4800] = 1.0  # 2400 at the rate of the membrane
    for causal in (False, True):
        low = velocity(click, 4, causal)[3] ** 2
        after = low[2400:].sum() / low.sum()
        assert after > 0.99 if causal else after < 0.01


def test_long_recordings_in_segments(monkeypatch: pytest.MonkeyPatch) -> None:
    sound = vowel(0.6)
    whole = velocity(sound, 6)
    monkeypatch.setattr(membrane_module, "SEGMENT", 4000)
    cut = velocity(sound, 6)
    assert cut.shape == whole.shape
    error = np.linalg.norm(cut - whole, axis=1) / np.linalg.norm(whole, axis=1)
    assert error.max() < 0.03
    monkeypatch.setattr(membrane_module, "RINGING", 50)  # cut too closely, the low channels notice
    close = velocity(sound, 6)
    assert np.linalg.norm((close - whole)[5]) > 0.1 * np.linalg.norm(whole[5])


@pytest.mark.parametrize("n", [1, 300, 2049, 20_000, 49_152])
def test_padded_lengths_are_few_and_near(n: int) -> None:
    padded = membrane_module._padded(n)
    assert n <= padded <= max(1.25 * n, 512)
    assert padded % 2 == 0


# Hair cell


def hair_cell_by_hand(velocity: np.ndarray, cell: HairCell) -> list[float]:
    k = cell.g * cell.a / (cell.a + cell.b)
    c = cell.store * cell.y * k / (cell.l * k + cell.y * (cell.l + cell.r))
    q, w = c * (cell.l + cell.r) / k, c * cell.r / cell.x
    out = []
    for v in velocity.tolist():
        k = cell.g * (v + cell.a) / (v + cell.a + cell.b) if v + cell.a > 0 else 0.0
        dq = cell.y * max(cell.store - q, 0) + cell.x * w - k * q
        dc = k * q - (cell.l + cell.r) * c
        dw = cell.r * c - cell.x * w
        q, c, w = max(q + DT * dq, 0), max(c + DT * dc, 0), max(w + DT * dw, 0)
        out.append(cell.h * c * DT)
    return out


def test_hair_cell_equals_the_loop_and_continues_across_a_cut() -> None:
    cell = HairCell()
    drive = (200 * np.random.default_rng(0).standard_normal((2, 500))).astype(np.float32)
    state = cell.at_rest(2)
    whole = firing_probability(drive, state, cell, DT)
    expected = [hair_cell_by_hand(row, cell) for row in drive]
    np.testing.assert_allclose(whole, expected, rtol=1e-6)
    wrong = [hair_cell_by_hand(row, replace(cell, x=60.0)) for row in drive]
    assert np.abs(whole / np.array(wrong) - 1).max() > 1e-4
    cut_state = cell.at_rest(2)
    parts = [firing_probability(drive[:, part], cut_state, cell, DT) for part in (slice(0, 123), slice(123, None))]
    assert np.array_equal(np.concatenate(parts, axis=1), whole)
    assert np.array_equal(cut_state, state)


def test_hair_cell_at_rest_stays_there_and_adapts_to_a_tone() -> None:
    cell = HairCell()
    state = cell.at_rest(1)
    rest = state.copy()
    silent = firing_probability(np.zeros((1, 2000), np.float32), state, cell, DT)
    np.testing.assert_allclose(state, rest, rtol=1e-9)
    assert silent[0, 0] / DT == pytest.approx(cell.h * rest[0, 1], rel=1e-6)
    loud = firing_probability(np.full((1, 4800), 300, np.float32), state, cell, DT)[0]
    assert loud[:48].max() > 3 * loud[-1] > 3 * silent[0, -1]


# Fibres


def bernoulli(probability: np.ndarray, fibres: int, dead: int, rng: np.random.Generator) -> np.ndarray:
    """As defined: one draw per fibre and step."""
    ready_at = np.zeros(fibres, dtype=int)
    count = np.zeros(probability.size, dtype=int)
    for t, p in enumerate(probability):
        fired = (rng.random(fibres) < p) & (ready_at <= t)
        ready_at[fired] = t + dead
        count[t] = fired.sum()
    return count


def fire(probability: np.ndarray, fibres: Fibres, seed: int) -> np.ndarray:
    recent = fibres.at_rest(probability.shape[0], DT)
    return fibre_spikes(probability.astype(np.float32), recent, fibres, np.random.default_rng(seed))


def test_fibres_fire_as_one_draw_per_fibre_and_step_would() -> None:
    rng = np.random.default_rng(1)
    n_steps, trials, bins = 240, 2000, 24
    profile = 0.002 + 0.3 * np.clip(np.sin(np.arange(n_steps) / 12), 0, 1) ** 3  # from spontaneous to louder than ever
    fibres = Fibres(per_channel=10)
    ours = fire(np.tile(profile, (trials, 1)), fibres, 0)
    theirs = np.array([bernoulli(profile, 10, 24, rng) for _ in range(400)])

    def apart(other: np.ndarray) -> float:
        """Largest distance of the means in any 0.4 ms, in standard errors."""
        a, b = (x.reshape(len(x), bins, -1).sum(axis=2) for x in (ours, other))
        return float((np.abs(a.mean(0) - b.mean(0)) / np.sqrt(a.var(0) / len(a) + b.var(0) / len(b) + 1e-9)).max())

    assert apart(theirs) < 4.5
    # the whole distribution in a step, not the mean alone
    early = slice(0, 24)  # no fibre is dead twice here: the sum over it is binomial
    for seen in (ours[:, early].sum(1), theirs[:, early].sum(1)):
        chance = 1 - np.prod(1 - profile[early])
        assert seen.mean() == pytest.approx(10 * chance, abs=4 * math.sqrt(10 * chance * (1 - chance) / len(seen)))
        assert seen.var() == pytest.approx(10 * chance * (1 - chance), rel=0.25)
    # canaries: a dead time of 1.5 ms, and none, are seen
    for dead in (36, 1):
        assert apart(np.array([bernoulli(profile, 10, dead, rng) for _ in range(400)])) > 6


def test_a_fibre_keeps_its_dead_time_across_a_cut() -> None:
    probability = np.full((20, 1000), 0.4, np.float32)
    fibres = Fibres(per_channel=1)
    recent, rng = fibres.at_rest(20, DT), np.random.default_rng(0)
    cuts = [0, 5, 6, 300, 310, 1000]  # parts shorter than the dead time, too
    count = np.concatenate([fibre_spikes(probability[:, a:b], recent, fibres, rng) for a, b in pairwise(cuts)], axis=1)
    gaps = np.concatenate([np.diff(np.flatnonzero(row)) for row in count])
    assert count.max() == 1
    assert gaps.min() == 24
    assert gaps.mean() == pytest.approx(24 - 1 + 1 / 0.4, rel=0.02)
    forty = fire(np.ones((1, 100)), Fibres(), 0)[0]
    assert forty.tolist() == [40 if t % 24 == 0 else 0 for t in range(100)]
    with pytest.raises(ConfigError, match="fibres per channel"):
        Fibres(per_channel=0)


# Bushy cell


def bushy_by_hand(count: np.ndarray, refractory: int = 24) -> list[bool]:
    current = v = 0.0
    last = -(10**9)
    out = []
    for t, arrivals in enumerate(count.tolist()):
        current = current * math.exp(-1 / 12) + arrivals
        v = min(v * math.exp(-1 / 24) + 13e3 / 40 / 24_000 * current, 1.0)
        if t - last <= refractory:
            v = 0.0
        out.append(v >= 1.0)
        if out[-1]:
            v, last = 0.0, t
    return out


def test_bushy_cell_equals_the_loop_and_continues_across_a_cut() -> None:
    rng = np.random.default_rng(0)
    count = rng.poisson(np.repeat(rng.uniform(0, 1.2, (5, 30)), 100, axis=1)).astype(np.uint8)
    cell = BushyCell()
    state = cell.at_rest(5)
    whole = bushy_spikes(count, state, cell, 40, DT)
    assert np.array_equal(whole, [bushy_by_hand(row) for row in count])
    assert 0.005 < whole.mean() < 0.05
    assert not np.array_equal(whole, [bushy_by_hand(row, 23) for row in count])
    gaps = np.concatenate([np.diff(np.flatnonzero(row)) for row in whole])
    assert gaps.min() > 24
    cut_state = cell.at_rest(5)
    parts = [bushy_spikes(count[:, part], cut_state, cell, 40, DT) for part in (slice(0, 777), slice(777, None))]
    assert np.array_equal(np.concatenate(parts, axis=1), whole)
    assert np.array_equal(cut_state, state)
