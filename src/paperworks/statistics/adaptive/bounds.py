"""The accountant's formulas: how far answers can be from the truth, proven.

All of them are about queries with values in [0, 1] and ``n`` independent samples of one
distribution. ``failure`` is the probability with which a bound may be broken by any answer.

Two ways to a bound, and the smaller one counts:

Transfer (Jung et al. 2019, arXiv 1909.03577). If all answers together are (epsilon, delta)
differentially private, then with probability ``1 - delta / d`` the truth of every query is within
``e^epsilon - 1 + 2 d`` of its mean under the posterior of the sample given the answers. An answer
is within its own noise of that mean: by Jensen's inequality no convex function has a larger mean
for the conditional expectation of the noise than for the noise itself. Tail bounds that are made
from one hold for both, and the Gaussian and Laplace errors need no further term; where only a
bound on all noise at once is known (``alpha`` but for probability ``beta``), an answer is within
``alpha + c`` but for probability ``beta / c``. Privacy composes as zero-concentrated (Bun and
Steinke 2016), turned into delta as by Canonne et al. (2004.00010).

Description length (Dwork et al. 2015, arXiv 1506.02629, section 4). If few answers depend on the
holdout and each is one of few values, then few queries can ever be reached, and Hoeffding's
inequality holds for all of them at once. It asks for no noise, and is the better one for holdouts
of practical size.
"""

from __future__ import annotations

import math

import numpy as np
from scipy.optimize import minimize_scalar
from scipy.special import logsumexp


def zcdp_delta(rho: float, epsilon: float) -> float:
    """A delta for which rho-zCDP implies (epsilon, delta)-differential privacy.

    Canonne et al., corollary 13, at the order that is best for its exponent; any order is valid.
    """
    if epsilon <= rho:
        return 1.0
    order = (epsilon + rho) / (2 * rho)
    # log of exp((a - 1)(a rho - epsilon)) (1 - 1/a)^a / (a - 1)
    log = (order - 1) * (order * rho - epsilon) + order * math.log1p(-1 / order)
    return min(1.0, math.exp(log - math.log(order - 1)))


def posterior_gap(failure: float, rho: float) -> float:
    """How far the posterior mean of any query is from its truth, under rho-zCDP.

    Minimises ``e^epsilon - 1 + 2 delta(epsilon) / failure`` over epsilon.
    """

    def gap(log_epsilon: float) -> float:
        epsilon = math.exp(log_epsilon)
        return math.expm1(epsilon) + 2 * zcdp_delta(rho, epsilon) / failure

    if rho >= 1:
        return math.inf
    # delta falls below failure * rho near here; a wide bracket around it holds the minimum.
    middle = math.log(rho + 2 * math.sqrt(rho * math.log(1 / min(failure * rho, 0.5))))
    found = minimize_scalar(
        gap, bounds=(middle - 2, middle + 1), method="bounded", options={"xatol": 1e-3}
    )
    return float(found.fun)


def gaussian_error(n: int, queries: int, scale: float, failure: float) -> float:
    """Error of ``queries`` means, each with Gaussian noise of deviation ``scale``."""
    rho = queries / (2 * (n * scale) ** 2)
    noise = scale * math.sqrt(2 * math.log(2 * queries / (failure / 2)))
    return noise + posterior_gap(failure / 2, rho)


def laplace_error(n: int, queries: int, scale: float, failure: float) -> float:
    """Error of ``queries`` means, each with Laplace noise of scale ``scale``."""
    epsilon = 1 / (n * scale)
    composed = _laplace_noise(queries, scale, failure / 2) + posterior_gap(
        failure / 2, queries * epsilon * epsilon / 2
    )
    if queries * epsilon > 1:
        return composed
    # For few queries pure privacy is better: it never fails.
    pure = _laplace_noise(queries, scale, failure) + math.expm1(queries * epsilon)
    return min(pure, composed)


def _laplace_noise(queries: int, scale: float, failure: float) -> float:
    """Bound on the conditional expectation of Laplace noise, over all queries.

    Jensen's inequality with the convex function ``max(|x| - s, 0)``, whose mean under Laplace
    noise is ``scale * exp(-s / scale)``, and Markov's, at the best ``s``.
    """
    return scale * (math.log(queries / failure) + 1)


def splitting_error(n: int, queries: int, failure: float) -> float:
    """Error of ``queries`` means, each of ``n // queries`` fresh samples (Hoeffding)."""
    size = n // queries
    return hoeffding(size, math.log(queries), failure) if size else math.inf


def hoeffding(n: int, log_count: float, failure: float) -> float:
    """Largest distance of ``exp(log_count)`` sample means from their truths."""
    return math.sqrt((log_count + math.log(2 / failure)) / (2 * n))


def log_reachable(queries: int, budget: int, values: int) -> float:
    """Log of how many different queries an analyst can reach.

    Of ``queries`` answers at most ``budget`` depend on the holdout, each one of ``values``; a
    query is known once its place and those answers are.
    """
    most = min(budget, queries)
    if most > 100_000:  # C(m, k) <= (e m / k)^k, and the last term is the largest
        last = most * (math.log(queries / most) + 1) + (most - 1) * math.log(values)
        return math.log(most) + last
    j = np.arange(most)
    # The log of C(queries, j + 1), summed up: log-gamma loses its digits for 10^15 queries.
    places = np.cumsum(np.log(queries - j) - np.log(j + 1))
    return float(logsumexp(places + j * math.log(values)))


def sparse_noise(queries: int, budget: int, scale: float, failure: float) -> tuple[float, float]:
    """Bounds on the noise of a comparison and on that of an answer, ``scale`` as in the answer.

    The thresholds' noise has twice that scale and is drawn at most ``budget`` times, that of the
    comparisons four times and is drawn for every query. Half of the failure goes to the latter.
    Both are two-sided.
    """
    threshold = 2 * scale * math.log(4 * budget / failure)
    comparison = 4 * scale * math.log(2 * queries / failure)
    return threshold + comparison, scale * math.log(4 * budget / failure)


def sparse_error(
    n: int,
    queries: int,
    budget: int,
    threshold: float,
    scale: float,
    values: int,
    failure: float,
) -> float:
    """Error of answers by sparse vector: :func:`sparse_transfer` or description length."""
    sample = _sparse_sample(queries, budget, threshold, scale, values, failure / 2)
    described = sample + hoeffding(n, log_reachable(queries, budget, values), failure / 2)
    return min(described, sparse_transfer(n, queries, budget, threshold, scale, values, failure))


def sparse_transfer(
    n: int,
    queries: int,
    budget: int,
    threshold: float,
    scale: float,
    values: int,
    failure: float,
) -> float:
    """Error of answers by sparse vector, by the transfer theorem.

    A unit of budget is a comparison above the threshold and an answer, each ``1 / (n scale)``-
    differentially private.
    """
    rho = budget / (n * scale) ** 2
    part = failure / 2
    c = min(6 * scale, 0.5)  # near the best: the noise grows as 6 scale log(1 / beta)
    sample = _sparse_sample(queries, budget, threshold, scale, values, c * part)
    return sample + c + posterior_gap(part, rho)


def _sparse_sample(
    queries: int, budget: int, threshold: float, scale: float, values: int, failure: float
) -> float:
    comparison, answer = sparse_noise(queries, budget, scale, failure)
    return max(threshold + comparison, answer + 0.5 / (values - 1))
