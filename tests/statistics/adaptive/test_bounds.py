"""The accountant's formulas against closed forms, brute force and simulation."""

from __future__ import annotations

import itertools
import math

import numpy as np
import pytest
from scipy import stats
from scipy.optimize import minimize_scalar

from paperworks.statistics.adaptive import bounds


@pytest.mark.parametrize("rho", [1e-4, 1e-2, 0.3])
@pytest.mark.parametrize("factor", [2.0, 4.0, 6.0])
def test_delta_lies_above_the_exact_one_of_the_gaussian_mechanism(rho, factor):
    epsilon = rho + factor * math.sqrt(rho)
    found = bounds.zcdp_delta(rho, epsilon)
    mu = math.sqrt(2 * rho)  # the Gaussian mechanism is rho-zCDP, and its delta is known
    exact = stats.norm.cdf(mu / 2 - epsilon / mu) - math.exp(epsilon) * stats.norm.cdf(
        -mu / 2 - epsilon / mu
    )

    def by_order(log):
        a = 1 + math.exp(log)
        return (a - 1) * (a * rho - epsilon) + a * math.log1p(-1 / a) - math.log(a - 1)

    best = math.exp(minimize_scalar(by_order, bounds=(-5, 12), method="bounded").fun)
    assert exact < best <= found * (1 + 1e-9)
    assert found < 1.3 * best


def test_delta_is_one_where_nothing_is_hidden():
    assert bounds.zcdp_delta(0.1, 0.1) == 1
    assert bounds.zcdp_delta(0.1, 0.05) == 1


@pytest.mark.parametrize("rho", [1e-6, 1e-4, 1e-2])
def test_posterior_gap_is_the_best_over_epsilon(rho):
    epsilons = np.geomspace(rho, 2, 20_000)
    brute = min(
        math.expm1(e) + 2 * bounds.zcdp_delta(rho, e) / 0.05 for e in epsilons[epsilons > rho]
    )
    assert bounds.posterior_gap(0.05, rho) == pytest.approx(brute, rel=1e-3)
    assert bounds.posterior_gap(0.05, 1.0) == math.inf


@pytest.mark.parametrize("repeats", [1, 5])
def test_the_posterior_mean_is_within_the_gap(repeats):
    """A sample whose posterior is known: 200 coins, their mean told with noise, several times."""
    n, scale, failure, rng = 200, 0.1, 0.1, np.random.default_rng(0)
    heads = np.arange(n + 1)
    prior = stats.binom.pmf(heads, n, 0.5)
    told = rng.choice(heads, 20_000, p=prior) / n
    told = told + rng.normal(0, scale / math.sqrt(repeats), told.size)
    weights = prior * stats.norm.pdf(told[:, None], heads / n, scale / math.sqrt(repeats))
    posterior = weights @ (heads / n) / weights.sum(axis=1)
    gap = bounds.posterior_gap(failure, repeats / (2 * (n * scale) ** 2))
    broken = int((np.abs(posterior - 0.5) > gap).sum())
    assert broken <= stats.binom.ppf(0.9999, told.size, failure)
    # And it is no empty bound: a fifteenth of it is broken often.
    assert gap < 1
    assert (np.abs(posterior - 0.5) > gap / 15).mean() > failure


def test_gaussian_error_is_noise_and_gap():
    n, queries, scale, failure = 50_000, 200, 0.01, 0.05
    noise = scale * math.sqrt(2 * math.log(2 * queries / 0.025))
    gap = bounds.posterior_gap(0.025, queries / (2 * (n * scale) ** 2))
    assert bounds.gaussian_error(n, queries, scale, failure) == pytest.approx(noise + gap)
    draws = np.abs(np.random.default_rng(0).normal(0, scale, (2_000, queries))).max(axis=1)
    assert (draws > noise).mean() <= 0.025


def test_laplace_error_of_few_queries_is_pure_privacy():
    n, scale = 10_000, 0.02
    noise = bounds._laplace_noise(3, scale, 0.05)
    assert bounds.laplace_error(n, 3, scale, 0.05) == pytest.approx(
        noise + math.expm1(3 / (n * scale))
    )
    draws = np.abs(np.random.default_rng(0).laplace(0, scale, (4_000, 3))).max(axis=1)
    assert (draws > noise).mean() <= 0.05
    exact = scale * math.log(3 / 0.05)
    assert noise == pytest.approx(exact + scale)  # what the conditional mean costs
    # For many queries composition wins.
    assert bounds.laplace_error(n, 400, 0.2, 0.05) < bounds._laplace_noise(400, 0.2, 0.05) + (
        math.expm1(400 / (n * 0.2))
    )


@pytest.mark.parametrize(("queries", "budget", "values"), [(4, 2, 3), (5, 5, 2), (3, 9, 2)])
def test_reachable_queries_are_those_of_the_tree(queries, budget, values):
    """Walk every history: at each query nothing is learnt, or one of ``values`` answers."""
    nodes = 0
    histories = [()]
    for _ in range(queries):
        histories = [h for h in histories if sum(x is not None for x in h) < budget]
        nodes += len(histories)
        histories = [(*h, x) for h, x in itertools.product(histories, (None, *range(values)))]
    found = bounds.log_reachable(queries, budget, values)
    assert math.exp(found) == pytest.approx(nodes, rel=1e-9)


def test_reachable_queries_of_astronomic_numbers_keep_their_digits():
    queries, budget, values = 10**15, 7, 1000
    exact = sum(math.comb(queries, j + 1) * values**j for j in range(budget))
    assert bounds.log_reachable(queries, budget, values) == pytest.approx(math.log(exact))


@pytest.mark.parametrize("queries", [100_001, 10**9])
def test_the_short_form_for_huge_budgets_is_above_the_sum_and_close(queries):
    short = bounds.log_reachable(queries, 100_001, 50)
    j = np.arange(100_001)
    log_terms = np.cumsum(np.log(queries - j) - np.log(j + 1)) + j * math.log(50)
    exact = log_terms.max() + math.log(np.exp(log_terms - log_terms.max()).sum())
    assert exact <= short < 1.3 * exact


def test_noise_of_sparse_vector_holds_as_often_as_it_says_and_not_much_more():
    queries, budget, scale, failure = 300, 10, 0.01, 0.2
    comparison, answer = bounds.sparse_noise(queries, budget, scale, failure)
    rng = np.random.default_rng(0)
    eta = np.abs(rng.laplace(0, 4 * scale, (4_000, queries))).max(axis=1)
    gamma = np.abs(rng.laplace(0, 2 * scale, (4_000, budget))).max(axis=1)
    xi = np.abs(rng.laplace(0, scale, (4_000, budget))).max(axis=1)
    limit = stats.binom.ppf(0.999, 4_000, failure) / 4_000
    assert (eta + gamma > comparison).mean() < limit
    assert (xi > answer).mean() < limit
    # Each part is exact, so that halving a failure's share would show.
    assert (eta > 4 * scale * math.log(2 * queries / failure)).mean() == pytest.approx(
        1 - (1 - failure / 2 / queries) ** queries, abs=0.02
    )


def test_hoeffding_against_the_binomial():
    n, failure = 400, 0.05
    far = bounds.hoeffding(n, 0.0, failure)
    exact = 2 * stats.binom.sf(math.floor(n * (0.5 + far)), n, 0.5)
    assert 0.1 * failure < exact <= failure


def test_transfer_overtakes_description_length_for_huge_holdouts():
    setting = {"queries": 10**6, "threshold": 0.025, "scale": 8e-5, "values": 25_001}
    setting |= {"failure": 0.05}
    for n, budget, wins in ((10**6, 30, False), (10**9, 50_000, True)):
        best = bounds.sparse_error(n=n, budget=budget, **setting)
        transfer = bounds.sparse_transfer(n=n, budget=budget, **setting)
        assert (best == transfer) is wins
