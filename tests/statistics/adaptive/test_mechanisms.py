"""Splitting, Laplace and Gaussian: their answers and their promises, by simulation."""

from __future__ import annotations

import numpy as np
import pytest
from scipy import stats

from paperworks.statistics.adaptive import (
    BudgetExhausted,
    Gaussian,
    Laplace,
    ReusableHoldout,
    Splitting,
    Thresholdout,
    plan_holdout,
)

X = np.random.default_rng(0).random(500)


@pytest.mark.parametrize(
    ("mechanism", "law"),
    [
        (Gaussian(3000, 0.02), stats.norm(scale=0.02)),
        (Laplace(3000, 0.02), stats.laplace(scale=0.02)),
    ],
)
def test_answers_are_the_mean_with_the_stated_noise(mechanism, law):
    guard = ReusableHoldout(None, X, mechanism, random_state=0)
    errors = [guard.ask(lambda x: x).value - X.mean() for _ in range(3000)]
    assert stats.kstest(errors, law.cdf).pvalue > 1e-4


def test_parts_of_a_split_are_disjoint_and_whole():
    guard = ReusableHoldout(None, X, Splitting(5), random_state=0)
    parts = np.array([guard.ask(lambda x: x).value for _ in range(5)])
    assert len(set(parts)) == 5
    assert parts.mean() == pytest.approx(X.mean(), abs=1e-6)


def test_parts_of_sorted_rows_are_alike():
    values = np.repeat([0.0, 1.0], 500)
    guard = ReusableHoldout(None, values, Splitting(2), random_state=0)
    assert guard.ask(lambda x: x).value == pytest.approx(0.5, abs=0.1)


def test_one_sample_changes_a_sum_by_one_unit_at_most():
    """The noise is scaled to the range, whatever it is."""
    guard = ReusableHoldout(None, X, Gaussian(2000, 0.02), random_state=0)
    wide = [guard.ask(lambda x: 10 * x - 5, low=-5, high=5).value for _ in range(2000)]
    assert np.std(wide) == pytest.approx(0.2, rel=0.1)
    assert np.mean(wide) == pytest.approx(10 * X.mean() - 5, abs=0.03)


def test_answers_stay_in_the_range():
    guard = ReusableHoldout(None, np.zeros(100), Laplace(300, 0.5), low=-1, random_state=0)
    found = [guard.ask(lambda x: x - 1, low=-1, high=1).value for _ in range(300)]
    assert min(found) == -1
    assert max(found) <= 1


def test_it_refuses_beyond_the_budget_and_does_not_run_the_query():
    guard = ReusableHoldout(None, X, Gaussian(2, 0.1))
    assert guard.ask(lambda x: x).queries_left == 1
    assert guard.ask(lambda x: x).queries_left == 0
    ran = []
    with pytest.raises(BudgetExhausted, match="all 2 queries have been asked"):
        guard.ask(lambda x: ran.append(1) or x)
    assert not ran
    assert guard.status().queries_asked == 2


def majority_error(mechanism, n, queries, seed):
    """The largest error that the strongest simple attack finds: random bits, then their vote."""
    bits = np.random.default_rng(seed).integers(0, 2, (queries - 1, n)).T * 2 - 1
    guard = ReusableHoldout(None, bits, mechanism, random_state=seed)
    said = np.array([guard.ask(lambda x, i=i: x[:, i] > 0).value for i in range(queries - 1)])
    vote = guard.ask(lambda x: x @ np.where(said >= 0.5, 1, -1) > 0).value
    return np.abs(np.append(said, vote) - 0.5).max()


@pytest.mark.parametrize("name", ["splitting", "laplace", "gaussian"])
def test_the_promise_holds_under_attack(name):
    n, queries, runs, confidence = 3000, 32, 60, 0.8
    mechanism = plan_holdout(n, queries=queries, mechanism=name, confidence=confidence)
    bound = mechanism.error_bound(n, confidence)
    assert bound < 0.65  # it promises something
    errors = np.array([majority_error(mechanism, n, queries, seed) for seed in range(runs)])
    broken = int((errors > bound).sum())
    assert broken <= stats.binom.ppf(0.999, runs, 1 - confidence)
    assert errors.mean() > bound / 8  # and it is not idle


@pytest.mark.parametrize(
    ("make", "word"),
    [
        (lambda: Gaussian(0, 0.1), "queries must be a whole number >= 1, got 0"),
        (lambda: Gaussian(2.5, 0.1), "queries must be a whole number >= 1, got 2.5"),
        (lambda: Gaussian(True, 0.1), "queries must be a whole number >= 1, got True"),
        (lambda: Gaussian(2, 0.0), "scale must be > 0 and finite, got 0.0"),
        (lambda: Laplace(2, float("nan")), "scale must be > 0 and finite, got nan"),
        (lambda: Laplace(2, "a"), "scale must be > 0 and finite, got 'a'"),
        (lambda: Thresholdout(10, 0, 0.1, 0.1), "budget must be a whole number >= 1, got 0"),
        (lambda: Thresholdout(10, 1, -0.1, 0.1), "threshold must be > 0 and finite, got -0.1"),
        (lambda: Gaussian(2, 0.1).error_bound(0), "n must be a whole number >= 1"),
        (lambda: Gaussian(2, 0.1).error_bound(9, 1.0), "strictly between 0 and 1, got 1.0"),
        (lambda: ReusableHoldout(None, X, Splitting(501)), "parts of 500 samples would be empty"),
        (lambda: ReusableHoldout(None, X, "gaussian"), "what plan_holdout returns, got 'gauss"),
        (lambda: ReusableHoldout(None, X, Thresholdout(9, 1, 0.1, 0.1)), "needs a training set"),
    ],
)
def test_bad_parameters(make, word):
    with pytest.raises(ValueError, match=word):
        make()
