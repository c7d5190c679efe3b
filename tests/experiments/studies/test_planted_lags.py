"""What DelayShift is for: on streams with a planted lag it finds the lag to the step, and the token shift cannot."""

import itertools
import math

import numpy as np
import pytest
import torch

from experiments.studies import planted_lags
from experiments.studies.planted_lags import MAX_DELAY, STEPS, Found, ShiftAlone, find_lag, table
from experiments.studies.planted_lags_figure import planted_lags_figure
from experiments.studies.token_streams import UNSCORED, FixedLagCopy, PeriodicStream
from snn_delays.errors import ConfigError, ShapeError

CHANCE_NATS = math.log(8)


def generator(seed=0):
    return np.random.default_rng(seed)


def test_a_copy_is_learned_to_the_exact_step_and_the_token_shift_is_left_at_chance():
    task = FixedLagCopy(copy_lag=15)
    learned, token = (find_lag(task, kind, steps=200) for kind in ("learned", "token"))
    assert learned.delay == 15
    assert learned.share[15] > 0.5
    assert learned.begun[15] < 0.15  # not where it began
    assert learned.loss_nats < 0.05
    assert learned.accuracy > 0.99
    assert token.loss_nats > CHANCE_NATS - 0.01
    assert abs(token.accuracy - 1 / 8) < 0.02
    assert token.delay is None


def test_delays_that_do_not_move_do_not_find_it():
    """Canary: without a rate on the delays, the same training fails; its delays stay as drawn."""
    task = FixedLagCopy(copy_lag=15)
    still = find_lag(task, "learned", steps=200, lr_delay=0.0)
    assert still.accuracy < 0.6
    assert still.loss_nats > 0.5
    drawn = find_lag(task, "fixed", steps=1)
    np.testing.assert_array_equal(still.begun, drawn.begun)


def test_a_period_is_learned_up_to_the_best_that_its_last_round_allows():
    task = PeriodicStream(period=24)
    learned = find_lag(task, "learned", steps=200)
    one_look = task.optimum(STEPS, looks=1)
    assert learned.delay == task.lag == 23
    assert abs(learned.loss_nats - one_look.loss_nats) < 0.15
    assert learned.loss_nats > task.optimum(STEPS).loss_nats  # nobody does better
    assert abs(learned.accuracy - one_look.accuracy) < 0.04


def test_the_shift_alone_obeys_the_chunk_law():
    network = ShiftAlone(8, 5, kind="learned", max_delay_steps=6)
    with torch.no_grad():
        network.shift.weight.normal_()
    tokens = torch.randint(0, 8, (20, 3))
    whole, _ = network(tokens)
    first, state = network(tokens[:7])
    second, _ = network(tokens[7:], state)
    torch.testing.assert_close(torch.cat([first, second]), whole)
    assert (network(tokens[7:])[0] - whole[7:]).abs().max() > 0.01  # canary: without the state it differs


def test_copies_by_hand():
    tokens, targets = FixedLagCopy(tokens=5, copy_lag=3).draw(7, 20, generator())
    assert tokens.shape == targets.shape == (20, 7)
    assert tokens.dtype == targets.dtype == np.int64
    assert (targets[:3] == UNSCORED).all()
    np.testing.assert_array_equal(targets[3:], tokens[:-3])
    assert sorted(set(tokens.ravel().tolist())) == [0, 1, 2, 3, 4]
    again, _ = FixedLagCopy(tokens=5, copy_lag=3).draw(7, 20, generator())
    np.testing.assert_array_equal(again, tokens)
    assert (FixedLagCopy(tokens=5, copy_lag=3).draw(7, 20, generator(1))[0] != tokens).any()


def test_periods_by_hand():
    tokens, targets = PeriodicStream(period=4, noise=0.0).draw(50, 13, generator())
    np.testing.assert_array_equal(tokens[4:], tokens[:-4])
    assert (targets[:3] == UNSCORED).all()
    np.testing.assert_array_equal(targets[3:-1], tokens[4:])
    np.testing.assert_array_equal(targets[3:], tokens[:10])  # seen P - 1 steps ago
    assert len({tuple(column) for column in tokens[:4].T}) > 40  # a word of its own for every sequence
    tokens, targets = PeriodicStream(period=4, noise=0.2).draw(2000, 40, generator())
    np.testing.assert_array_equal(targets[3:-1], tokens[4:])
    same = (tokens[4:] == tokens[:-4]).mean()
    assert abs(same - (0.64 + 0.36 / 8)) < 0.01
    assert abs((tokens[3:] == tokens[:-3]).mean() - 1 / 8) < 0.01  # another lag says nothing


def test_the_optimum_by_hand():
    task = PeriodicStream(tokens=8, period=5, noise=0.2)
    same = 0.64 + 0.36 / 8
    one = task.optimum_after(1)
    assert one.accuracy == pytest.approx(same)
    other = (1 - same) / 7
    assert one.loss_nats == pytest.approx(-same * math.log(same) - 7 * other * math.log(other))
    assert task.optimum_after(0) == pytest.approx((math.log(8), 1 / 8))
    assert PeriodicStream(noise=1.0).optimum_after(3) == pytest.approx((math.log(8), 1 / 8))
    assert PeriodicStream(noise=0.0).optimum_after(2) == pytest.approx((0.0, 1.0))
    known = 0.8 + 0.2 / 8  # whoever knows the word
    assert task.optimum_after(20).accuracy == pytest.approx(known, abs=1e-5)
    # Steps 4 to 8 have one look before them, 9 to 11 two.
    two = task.optimum_after(2)
    assert task.optimum(12) == pytest.approx([(5 * a + 3 * b) / 8 for a, b in zip(one, two)])
    assert task.optimum(12, looks=1) == pytest.approx(one)
    assert FixedLagCopy().optimum(20) == (0.0, 1.0)
    assert FixedLagCopy().optimum(20, looks=0) == pytest.approx((math.log(8), 1 / 8))


def test_the_optimum_is_that_of_bayes_rule_over_all_sequences_of_looks():
    task, looks = PeriodicStream(tokens=3, noise=0.4), 4
    like = np.full((3, 3), 0.4 / 3) + 0.6 * np.eye(3)  # of a token, given the word's letter
    loss = accuracy = 0.0
    for seen in itertools.product(range(3), repeat=looks):
        joint = like[:, list(seen)].prod(1) / 3
        following = like.T @ (joint / joint.sum())
        loss -= joint.sum() * (following * np.log(following)).sum()
        accuracy += joint.sum() * following.max()
    assert task.optimum_after(looks) == pytest.approx((loss, accuracy))


def test_a_reader_who_counts_comes_to_the_optimum():
    """Drawn streams, and Bayes' rule on their own past: the generator and the formula are of the same task."""
    task = PeriodicStream(period=5)
    tokens, targets = task.draw(1500, 30, generator())
    like = np.full((8, 8), 0.2 / 8) + 0.8 * np.eye(8)
    loss, right = [], []
    for step in range(task.lag, 30):
        word = np.ones((1500, 8))
        for lag in task.lags(step):
            word *= like[tokens[step - lag]]
        following = word / word.sum(1, keepdims=True) @ like
        loss.append(-np.log(following[np.arange(1500), targets[step]]).mean())
        right.append((following.argmax(1) == targets[step]).mean())
    best = task.optimum(30)
    assert np.mean(loss) == pytest.approx(best.loss_nats, abs=0.02)
    assert np.mean(right) == pytest.approx(best.accuracy, abs=0.01)


def test_lags_that_help():
    assert PeriodicStream(period=11).lags(32) == (10, 21, 32)
    assert FixedLagCopy(copy_lag=30).lags(32) == (30,)
    assert FixedLagCopy(copy_lag=33).lags(32) == ()


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: FixedLagCopy(tokens=1), "at least 2 tokens, got 1"),
        (lambda: FixedLagCopy(copy_lag=0), "copy_lag must be at least 1 step, got 0"),
        (lambda: PeriodicStream(period=1), "period must be at least 2 steps, got 1"),
        (lambda: PeriodicStream(noise=1.5), "noise must be a probability, got 1.5"),
        (lambda: PeriodicStream(noise=math.nan), "noise must be a probability, got nan"),
        (lambda: FixedLagCopy(copy_lag=9).draw(1, 9, generator()), "scored from step 9 on; 9 steps are too few"),
        (lambda: PeriodicStream(period=9).optimum(8), "scored from step 8 on; 8 steps are too few"),
    ],
)
def test_what_cannot_be(make, message):
    with pytest.raises(ConfigError, match=message):
        make()


def made_up(share_at, accuracy=1.0):
    share = np.zeros(MAX_DELAY + 1) if share_at is None else np.eye(MAX_DELAY + 1)[share_at]
    return Found(0.5, accuracy, share, share, 123)


def test_the_table_has_every_number():
    task = PeriodicStream(period=11)
    by_kind = {kind: [made_up(10, 0.7), made_up(21, 0.75)] for kind in ("learned", "fixed", "dense")}
    by_kind["token"] = [made_up(None, 0.125), made_up(None, 0.125)]
    printed = table({"shift": {task: by_kind}})
    assert "| period 11: accuracy, % | 75.3; one look 68.5 | 72.5 (70.0 to 75.0)" in printed
    assert "| period 11: loss, nats | 0.965; one look 1.236 | 0.500 (0.500 to 0.500)" in printed
    assert "| 10, 21, 32 | 10 (100%), 21 (100%) |" in printed
    assert printed.count("| none |") == 1
    assert "Chance: 12.5 %, 2.079 nats." in printed


def test_the_picture_shows_shares_marks_and_accuracies():
    shares = {"copy": np.eye(9)[[7, 7]], "period": np.eye(9)[[4, 4]]}
    planted = {"copy": (7,), "period": (4, 8)}
    accuracy = {"network": {"copy": {"learned": [1.0, 0.9], "token": [0.1, 0.2]}}}
    optimum = {"copy": 1.0, "period": 0.7}
    begun = {"copy": np.full(9, 1 / 9), "period": np.full(9, 1 / 9)}
    figure = planted_lags_figure(shares, planted, accuracy, optimum, chance=0.125, begun=begun)
    copy, period, right = figure.axes
    assert [bar.get_height() for bar in copy.patches] == [0.0] * 7 + [1.0, 0.0]
    assert [line.get_xdata()[0] for line in period.lines[1:]] == [4, 8]  # under the line of first delays
    dots = [collection.get_offsets()[:, 1].tolist() for collection in right.collections[1:]]
    assert dots == [[100.0, 90.0], [10.0, 20.0]]
    with pytest.raises(ShapeError, match="planted lags of copy but learned delays of copy, period"):
        planted_lags_figure(shares, {"copy": (7,)}, accuracy, optimum, chance=0.1)
    with pytest.raises(ShapeError, match="accuracies of copy, whose optimum is not given"):
        planted_lags_figure(shares, planted, accuracy, {"period": 0.7}, chance=0.1)
    with pytest.raises(ShapeError, match="has 9 delays but had 3 before"):
        planted_lags_figure(shares, planted, accuracy, optimum, chance=0.1, begun={**begun, "copy": np.ones(3)})


def test_what_is_measured_is_the_copy_with_integer_delays(monkeypatch: pytest.MonkeyPatch) -> None:
    real, made = planted_lags.with_integer_delays, []

    def kept(network):
        made.append(real(network))
        with torch.no_grad():
            made[-1].head.weight.zero_()
            made[-1].head.bias.zero_()
        return made[-1]

    monkeypatch.setattr(planted_lags, "with_integer_delays", kept)
    task = planted_lags.COPIES[0]
    found = planted_lags.find_lag(task, "learned", steps=2)
    assert len(made) == 1
    assert found.loss_nats == pytest.approx(math.log(task.tokens), abs=1e-6)  # of the copy, whose head is empty


@pytest.mark.parametrize("wrong", [{"network": "shfit"}, {"steps": 0}])
def test_a_study_that_cannot_be(wrong: dict) -> None:
    with pytest.raises(ConfigError, match="find_lag trains shift or block on lags up to 32"):
        planted_lags.find_lag(planted_lags.COPIES[0], "learned", **wrong)
