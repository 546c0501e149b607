"""Thresholdout against the paper's figure 1 in closed form, and its promise by simulation."""

from __future__ import annotations

import random

import numpy as np
import pytest
from scipy import stats
from scipy.integrate import quad

from paperworks.statistics.adaptive import (
    BudgetExhausted,
    ReusableHoldout,
    Thresholdout,
    plan_holdout,
)
from paperworks.statistics.adaptive.queries import UNIT


def guard_with(apart, mechanism, n=400, **options):
    """The training mean is 0.25 and the holdout's is ``apart`` above it."""
    train = np.repeat([0.25, 0.25], n)
    return ReusableHoldout(train, np.full(n, 0.25 + apart), mechanism, **options)


@pytest.mark.parametrize("apart", [0.0, 0.08, 0.1, 0.14, -0.1])
def test_the_holdout_answers_as_often_as_the_paper_says(apart):
    threshold, scale, runs = 0.1, 0.01, 1500
    mechanism = Thresholdout(1, 1, threshold, scale)
    values = np.full(400, round((0.25 + apart) * UNIT))
    draw = random.Random(0)
    above = sum(
        mechanism.answer(mechanism.start(400, draw), values, 100 * UNIT, draw).cost
        for _ in range(runs)
    )
    gamma, eta = stats.laplace(scale=2 * scale), stats.laplace(scale=4 * scale)
    chance, _ = quad(
        lambda g: gamma.pdf(g) * eta.cdf(abs(apart) - threshold - g), -0.5, 0.5, points=[0]
    )
    low, high = stats.binom.ppf([1e-4, 1 - 1e-4], runs, chance)
    assert low <= above <= high


def test_thresholds_have_noise_of_twice_the_scale():
    mechanism, draw = Thresholdout(1, 1, 0.1, 0.01), random.Random(0)
    drawn = [mechanism.start(400, draw)["threshold"] / (400 * UNIT) for _ in range(3000)]
    assert stats.kstest(drawn, stats.laplace(0.1, 0.02).cdf).pvalue > 1e-4


def test_the_training_set_answers_exactly_and_free_of_cost():
    guard = guard_with(0.01, Thresholdout(50, 1, 0.2, 0.002), random_state=0)
    for left in range(49, 0, -1):
        answer = guard.ask(lambda x: x)
        assert (answer.value, answer.source, answer.cost) == (0.25, "train", 0)
        assert (answer.queries_left, answer.budget_left) == (left, 1)


def test_training_sets_of_another_size_are_put_on_the_holdouts_scale():
    train = np.r_[np.zeros(3), np.ones(4)]
    guard = ReusableHoldout(train, np.full(50, 0.5), Thresholdout(5, 1, 0.3, 0.001))
    assert guard.ask(lambda x: x).value == pytest.approx(4 / 7, abs=1e-6)


def test_the_holdout_answers_with_laplace_noise_on_a_grid():
    scale, runs = 0.01, 1500
    guard = guard_with(0.4, Thresholdout(runs, runs, 0.05, scale), random_state=0)
    answers = [guard.ask(lambda x: x) for _ in range(runs)]
    assert {answer.source for answer in answers} == {"holdout"}
    errors = np.array([answer.value for answer in answers]) - 0.65
    # The grid has half the noise's scale, so the law is checked through its spread.
    assert np.abs(errors).mean() == pytest.approx(scale, rel=0.1)
    assert abs(np.median(errors)) < scale / 4
    steps = np.array([answer.value for answer in answers]) * 200
    np.testing.assert_allclose(steps, np.rint(steps), atol=1e-9)


def test_it_refuses_when_the_holdout_has_answered_its_last():
    guard = guard_with(0.4, Thresholdout(100, 3, 0.05, 0.001))
    costs = [guard.ask(lambda x: x).cost for _ in range(3)]
    assert costs == [1, 1, 1]
    assert guard.status().queries_left == 0
    with pytest.raises(BudgetExhausted, match="the budget of 3 answers from the holdout is spent"):
        guard.ask(lambda x: x)


def test_the_threshold_is_drawn_anew_after_an_answer_only():
    guard = guard_with(0.0, Thresholdout(10, 5, 0.1, 0.001), random_state=0)
    before = guard._ledger.state()["threshold"]
    guard.ask(lambda x: np.full(len(x), 0.5))
    assert guard._ledger.state()["threshold"] == before
    far = guard_with(0.5, Thresholdout(10, 5, 0.05, 0.01), random_state=0)
    before = far._ledger.state()["threshold"]
    assert far.ask(lambda x: x).cost == 1
    assert far._ledger.state()["threshold"] != before


def test_one_sample_changes_an_outcome_by_the_stated_factor_at_most():
    """Pure privacy of one unit, epsilon = 2 / (n scale), on the worst neighbours."""
    n, scale, runs = 10, 0.2, 3000
    epsilon = 2 / (n * scale)
    mechanism, draw, outcomes = Thresholdout(1, 1, 0.05, scale), random.Random(0), []
    for last in (0, UNIT):
        values, cells = np.r_[np.zeros(n - 1, dtype=int), last], np.zeros(12)
        for _ in range(runs):
            reply = mechanism.answer(mechanism.start(n, draw), values, n * UNIT // 10, draw)
            cells[0 if not reply.cost else 1 + round(reply.value * 10)] += 1
        outcomes.append(cells)
    a, b = outcomes
    assert (a != b).any()
    # Smoothed by three deviations of the counts.
    for x, y in ((a, b), (b, a)):
        assert (x - 3 * np.sqrt(x) <= np.exp(epsilon) * (y + 3 * np.sqrt(y) + 5)).all()


def test_the_promise_holds_where_a_plain_holdout_breaks_it():
    """Features chosen by their agreement with random labels: the paper's attack."""
    n, d, runs, confidence, tolerance = 1200, 1200, 15, 0.8, 0.2
    mechanism = plan_holdout(
        n, queries=d + 1, tolerance=tolerance, confidence=confidence, mechanism="thresholdout"
    )
    broken = plain_broken = 0
    for seed in range(runs):
        rng = np.random.default_rng(seed)
        draw = [(rng.integers(0, 2, (d, n), dtype=np.int8).T, rng.integers(0, 2, n)) for _ in "th"]
        guard = ReusableHoldout(*draw, mechanism, random_state=seed)
        said = np.array([guard.ask(lambda X, y, i=i: X[:, i] == y).value for i in range(d)])
        X, y = draw[1]
        plain = (y[:, None] == X).mean(axis=0)

        def vote(seen, X, y):
            signs = np.where(seen > 0.5, 1, -1)
            return ((2 * X.astype(int) - 1) @ signs > 0) == y

        answers = np.append(said, guard.ask(lambda X, y, s=said: vote(s, X, y)).value)
        broken += np.abs(answers - 0.5).max() > tolerance
        plain_broken += abs(vote(plain, X, y).mean() - 0.5) > tolerance
    assert plain_broken == runs
    assert broken <= stats.binom.ppf(0.999, runs, 1 - confidence)
