"""Multiplicative weights: the update, its theorem, the domain, and the promise."""

from __future__ import annotations

import random

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy import stats
from scipy.special import rel_entr

from paperworks.statistics.adaptive import (
    BudgetExhausted,
    FiniteDomain,
    MultiplicativeWeights,
    ReusableHoldout,
    plan_holdout,
)
from paperworks.statistics.adaptive.mechanisms import Reply
from paperworks.statistics.adaptive.queries import UNIT
from paperworks.statistics.adaptive.weights import most_updates


def test_an_update_multiplies_the_weights():
    mechanism = MultiplicativeWeights(5, 5, 0.1, 0.01, FiniteDomain(range(4)), 0.4)
    state = mechanism.start(100, random.Random(0))
    np.testing.assert_allclose(mechanism.model(state), 0.25)
    query = np.array([0.0, 1.0, 0.5, 0.0])
    units = np.rint(query * UNIT).astype(np.int64)
    assert mechanism.expect(state, units, 100) == 0.375 * 100 * UNIT
    mechanism.learn(state, units, 0.375, Reply(0.9, "holdout", 1))
    up = np.exp(0.4 * query)
    np.testing.assert_allclose(mechanism.model(state), up / up.sum())
    mechanism.learn(state, units, 0.5, Reply(0.1, "holdout", 1))
    np.testing.assert_allclose(mechanism.model(state), 0.25)


@given(st.integers(0, 10**6))
def test_the_relative_entropy_falls_as_the_theorem_says(seed):
    """By at least 2 a^2 for a query that is wrong by a, at step 4 a."""
    rng = np.random.default_rng(seed)
    size = int(rng.integers(2, 20))
    truth, query = rng.dirichlet(np.full(size, 0.3)), rng.random(size)
    model = rng.dirichlet(np.full(size, 1.0)) + 1e-9
    model /= model.sum()
    apart = abs(float(query @ (truth - model)))
    if not 0 < 4 * apart < 4:
        return
    domain = FiniteDomain(range(size))
    mechanism = MultiplicativeWeights(5, 5, 0.1, 0.01, domain, 4 * apart)
    state = {"log_weights": np.log(model)}
    units = np.rint(query * UNIT).astype(np.int64)
    said = Reply(float(query @ truth), "holdout", 1)
    mechanism.learn(state, units, float(query @ model), said)
    fall = rel_entr(truth, model).sum() - rel_entr(truth, mechanism.model(state)).sum()
    assert fall >= 2 * apart**2 - 1e-5


def test_no_adversary_finds_more_errors_than_there_can_be():
    """Ask each time for the set of points where the model is too low: its largest error."""
    rng = np.random.default_rng(0)
    domain = FiniteDomain(range(64))
    sample = rng.choice(64, 20_000, p=rng.dirichlet(np.full(64, 0.05)))
    shares = np.bincount(sample, minlength=64) / 20_000
    threshold, apart = 0.05, 0.04
    budget = most_updates(64, apart)
    mechanism = MultiplicativeWeights(5000, budget, threshold, 1e-4, domain, 4 * apart)
    guard = ReusableHoldout(None, sample, mechanism, random_state=0)
    for _ in range(5000):
        low = shares > mechanism.model(guard._ledger.state())
        if guard.ask(lambda x, low=low: low[x]).cost == 0:
            break
    assert 10 < guard.status().budget_spent <= budget
    # Now the model is right about every set, to the threshold.
    model = mechanism.model(guard._ledger.state())
    assert np.abs(model - shares).sum() / 2 < threshold + 0.01


@pytest.mark.parametrize("seed", range(3))
def test_answers_beyond_the_number_of_samples_are_near_the_truth(seed):
    """As many queries as there are samples, ten times over; an attack breaks plain means."""
    n, size, queries = 400, 256, 4000
    rng = np.random.default_rng(seed)
    truth = rng.dirichlet(np.full(size, 2.0))
    sample = rng.choice(size, n, p=truth)
    shares = np.bincount(sample, minlength=size) / n
    domain = FiniteDomain(range(size))
    mechanism = MultiplicativeWeights(queries, 500, 0.15, 1e-3, domain, 0.4)
    guard = ReusableHoldout(None, sample, mechanism, random_state=seed)

    def attack(ask):
        order, score = np.random.default_rng(seed), np.zeros(size)
        for _ in range(queries - 1):
            query = order.integers(0, 2, size)
            score += (ask(query) - query @ truth) * (query - 0.5)
        last = (score > 0).astype(int)
        return abs(ask(last) - last @ truth)

    plain = attack(lambda query: query @ shares)
    guarded = attack(lambda query: guard.ask(lambda x: query[x]).value)
    assert plain > 0.2
    assert guarded < 0.15


def test_the_promise_holds():
    """A bound of some use at this size needs a small domain; the adversary knows the truth."""
    n, queries, runs, confidence = 20_000, 150, 20, 0.8
    domain = FiniteDomain(range(4))
    mechanism = plan_holdout(
        n,
        queries=queries,
        mechanism="multiplicative-weights",
        domain=domain,
        confidence=confidence,
    )
    bound = mechanism.error_bound(n, confidence)
    assert bound < 0.3
    truth, broken = np.array([0.85, 0.05, 0.05, 0.05]), 0
    for seed in range(runs):
        rng = np.random.default_rng(seed)
        sample = rng.choice(4, n, p=truth)
        guard = ReusableHoldout(None, sample, mechanism, random_state=seed)
        worst = 0.0
        for _ in range(queries):  # none is refused: the budget suffices
            query = rng.integers(0, 2, 4)
            answer = guard.ask(lambda x, query=query: query[x])
            worst = max(worst, abs(answer.value - query @ truth))
        assert guard.status().budget_spent >= 1
        broken += worst > bound
    assert broken <= stats.binom.ppf(0.999, runs, 1 - confidence)


def test_queries_see_the_domain_only():
    seen = []
    domain = FiniteDomain([[0, 0], [0, 1], [1, 0], [1, 1]])
    mechanism = MultiplicativeWeights(5, 5, 0.4, 1e-3, domain, 0.4)
    guard = ReusableHoldout(None, np.array([[1, 1]] * 30), mechanism, random_state=0)
    answer = guard.ask(lambda x: seen.append(x) or x[:, 0])
    assert all(len(each) <= 4 for each in seen)
    assert answer.source == "holdout"
    assert answer.value == pytest.approx(1, abs=0.02)
    assert guard.ask(lambda x: x[:, 1] * 0).source == "model"


def test_updates_run_out_too():
    domain = FiniteDomain(range(2))
    mechanism = MultiplicativeWeights(50, 1, 0.1, 1e-3, domain, 0.1)
    guard = ReusableHoldout(None, np.ones(100, dtype=int), mechanism)
    guard.ask(lambda x: x)
    with pytest.raises(BudgetExhausted, match="budget of 1 answers from the holdout"):
        guard.ask(lambda x: x)


def test_nearest_points_of_a_list_and_of_a_grid():
    domain = FiniteDomain([["a", "x"], ["b", "y"]])
    assert domain.nearest([["b", "y"], ["a", "x"]]).tolist() == [1, 0]
    floats = FiniteDomain([-0.0, 1.0])
    assert floats.nearest(np.array([0, 1], dtype=np.float32)).tolist() == [0, 1]
    grid = FiniteDomain.grid([0, 1, 2], [0, 10, 20, 30])
    samples = np.array([[0.5, 5], [1.0, 10.0], [9, -3], [0.2, 29]])
    middles = grid.points[grid.nearest(samples)]
    np.testing.assert_allclose(middles, [[0.5, 5], [1.5, 15], [1.5, 5], [0.5, 25]])


def test_a_grid_rounds_within_its_cells():
    rng = np.random.default_rng(0)
    edges = [np.linspace(0, 1, 8), np.linspace(-2, 2, 5)]
    domain = FiniteDomain.grid(*edges)
    assert domain.size == 28
    X = np.column_stack([rng.uniform(0, 1, 200), rng.uniform(-2, 2, 200)])
    assert (np.abs(domain.points[domain.nearest(X)] - X) <= [1 / 14 + 1e-12, 0.5]).all()


@pytest.mark.parametrize(
    ("make", "word"),
    [
        (lambda: FiniteDomain([3]), "at least two points"),
        (lambda: FiniteDomain([1, 2, 2]), "must be distinct, got 3 of which 2 are"),
        (lambda: FiniteDomain(range(3)).nearest([0, 7]), "sample 1 is no point of the domain: 7"),
        (lambda: FiniteDomain([[0, 1], [1, 1]]).nearest([1]), r"shape \(2,\), got \(\)"),
        (lambda: FiniteDomain.grid([0, 1], [1, 1]), "edges of feature 1 must be finite and rise"),
        (lambda: FiniteDomain.grid([0, np.inf]), "edges of feature 0 must be finite"),
        (lambda: MultiplicativeWeights(5, 5, 0.1, 0.01, 4, 0.4), "domain must be a FiniteDomain"),
    ],
)
def test_bad_domains(make, word):
    with pytest.raises(ValueError, match=word):
        make()
