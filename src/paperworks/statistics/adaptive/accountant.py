"""The accountant: parameters that keep a promise, and how many queries a promise lasts for."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import numpy as np
from scipy.optimize import minimize_scalar

from paperworks.statistics.adaptive import bounds
from paperworks.statistics.adaptive.mechanisms import (
    Gaussian,
    Laplace,
    Mechanism,
    Splitting,
)
from paperworks.statistics.adaptive.queries import ROUNDING
from paperworks.statistics.adaptive.thresholdout import Thresholdout
from paperworks.statistics.adaptive.weights import (
    FiniteDomain,
    MultiplicativeWeights,
    most_updates,
)
from paperworks.statistics.checking import probability, whole

MECHANISMS = ("splitting", "laplace", "gaussian", "thresholdout", "multiplicative-weights")

_MOST = 10**15  # queries and samples are searched up to here
# Thresholdout: half of the tolerance for what the training set may be off, as much noise as costs
# a tenth, and the rest for the generalisation of the holdout's own answers.
_THRESHOLD, _NOISE = 0.5, 0.1


def plan_holdout(
    n: int,
    *,
    queries: int | None = None,
    tolerance: float | None = None,
    confidence: float = 0.95,
    mechanism: str = "gaussian",
    domain: FiniteDomain | None = None,
) -> Mechanism:
    """Parameters of a mechanism with a proven error: a budget in queries, or in accuracy.

    With ``queries`` the noise that makes the proven error smallest; with ``tolerance`` as many
    queries as its accuracy lasts for. With both, the promise is checked; Thresholdout needs both,
    and its budget is as large as they allow.

    Parameters
    ----------
    n : int
        Samples in the holdout.
    queries : int, optional
        How many will be asked.
    tolerance : float, optional
        Largest distance of any answer from the truth, for values in [0, 1].
    confidence : float, default=0.95
        Probability with which all answers together keep it.
    mechanism : {"splitting", "laplace", "gaussian", "thresholdout", "multiplicative-weights"}
        See the classes of these names. Default "gaussian".
    domain : FiniteDomain, optional
        For "multiplicative-weights", which needs it.

    Returns
    -------
    Mechanism
        For :class:`ReusableHoldout`; ``error_bound(n, confidence)`` is at most ``tolerance``.

    Raises
    ------
    ValueError
        If an argument is missing or out of range, or if ``n`` samples are too few for the
        promise: it then says about how many are needed, and what is possible with these.

    Notes
    -----
    What is promised, and when: the samples of the holdout are independent draws from one
    distribution, nobody has seen them or anything made from them but through the guard, and every
    query is a function of one sample. Then, whatever the analyst asks, with probability
    ``confidence`` no answer is further than the tolerance from the query's mean under the
    distribution. Up to a second for a search over queries.

    Examples
    --------
    >>> from paperworks.statistics.adaptive import plan_holdout
    >>> plan_holdout(100_000, tolerance=0.1).queries
    330
    >>> plan_holdout(100_000, tolerance=0.1, mechanism="splitting").queries
    219
    >>> plan_holdout(100_000, queries=10_000, tolerance=0.1, mechanism="thresholdout").budget
    19
    """
    n, failure = whole("n", n, 1), 1 - probability("confidence", confidence)
    if mechanism not in MECHANISMS:
        raise ValueError(f"mechanism must be one of {', '.join(MECHANISMS)}, got {mechanism!r}")
    if queries is None and tolerance is None:
        raise ValueError("give queries (how many) or tolerance (how accurate), or both")
    if queries is not None:
        queries = whole("queries", queries, 1)
    if tolerance is not None:
        tolerance = probability("tolerance", tolerance)
    if (domain is not None) != (mechanism == "multiplicative-weights"):
        word = "needs" if domain is None else "takes no"
        raise ValueError(f"{mechanism} {word} domain: the FiniteDomain of all possible samples")
    if mechanism == "thresholdout":
        if queries is None or tolerance is None:
            raise ValueError(
                "thresholdout needs both queries and tolerance; its budget follows from them"
            )
        return _thresholdout(n, queries, tolerance, failure)

    def build(n: int, queries: int) -> Mechanism:
        return _BUILDERS[mechanism](n, queries, failure, domain)

    def error(n: int, queries: int) -> float:
        return build(n, queries)._error(n, failure) + ROUNDING

    if tolerance is None:
        assert queries is not None
        return build(n, queries)
    asked = queries if queries is not None else 1
    if error(n, asked) > tolerance:
        enough = _least(lambda samples: error(samples, asked) <= tolerance, n)
        possible = error(n, asked)
        word = f"the tolerance can be {possible:.3f}" if possible < 1 else "nothing can be promised"
        raise ValueError(
            f"{n:,} samples are too few for {asked:,} {_word(asked)} with tolerance "
            f"{tolerance:g} at confidence {confidence:g} by {mechanism}: about {enough} are "
            f"needed; with {n:,} {word}"
        )
    if queries is not None:
        return build(n, asked)
    return build(n, _most(lambda count: error(n, count) <= tolerance))


def _word(queries: int) -> str:
    return "query" if queries == 1 else "queries"


def _splitting(n: int, queries: int, failure: float, domain: Any) -> Mechanism:
    return Splitting(queries)


def _best_scale(error: Callable[[float], float], guess: float) -> float:
    """The scale of noise near ``guess`` with the smallest error."""
    found = minimize_scalar(
        lambda log: error(math.exp(log)),
        bounds=(math.log(guess) - 3, math.log(guess) + 3),
        method="bounded",
        options={"xatol": 1e-3},
    )
    return _four_digits(math.exp(found.x))


def _four_digits(value: float) -> float:
    """Rounded down to four digits, so that every machine plans the same and shares a file."""
    unit = 10.0 ** (math.floor(math.log10(value)) - 3)
    return float(f"{math.floor(value / unit * (1 + 1e-9)) * unit:.4g}")


def _gaussian(n: int, queries: int, failure: float, domain: Any) -> Mechanism:
    scale = _best_scale(
        lambda scale: min(bounds.gaussian_error(n, queries, scale, failure), 1e3 + scale),
        queries**0.25 / math.sqrt(n),
    )
    return Gaussian(queries, scale)


def _laplace(n: int, queries: int, failure: float, domain: Any) -> Mechanism:
    scale = _best_scale(
        lambda scale: min(bounds.laplace_error(n, queries, scale, failure), 1e3 + scale),
        queries**0.25 / math.sqrt(n) / 2,
    )
    return Laplace(queries, scale)


def _weights(n: int, queries: int, failure: float, domain: Any) -> Mechanism:
    """The best threshold, and for it as many updates as there can be, and the best noise."""

    def build(log_threshold: float, share: float) -> MultiplicativeWeights:
        threshold = _four_digits(math.exp(log_threshold))
        noise = share * threshold
        step = _four_digits(4 * (threshold - noise))
        budget = min(most_updates(domain.size, step / 4), queries)
        # Noise beyond this happens with a quarter of the failure, so that the budget suffices.
        unit, _ = bounds.sparse_noise(queries, budget, 1.0, failure / 4)
        scale = _four_digits(noise / unit)
        return MultiplicativeWeights(queries, budget, threshold, scale, domain, step)

    def error(log_threshold: float, share: float) -> float:
        return min(build(log_threshold, share)._error(n, failure), 1e3 - log_threshold)

    # Two minima: a model that learns, and one that is corrected at every query.
    grid = np.linspace(math.log(1e-4), 0.0, 25)
    starts = [(log, share) for share in (0.05, 0.2) for log in grid]
    log, share = min(starts, key=lambda start: error(*start))
    found = minimize_scalar(
        lambda log: error(log, share),
        bounds=(log - 0.4, min(log + 0.4, 0.0)),
        method="bounded",
        options={"xatol": 0.01},
    )
    return build(found.x if found.fun < error(log, share) else log, share)


_BUILDERS: dict[str, Callable[[int, int, float, Any], Mechanism]] = {
    "splitting": _splitting,
    "gaussian": _gaussian,
    "laplace": _laplace,
    "multiplicative-weights": _weights,
}


def _thresholdout(n: int, queries: int, tolerance: float, failure: float) -> Thresholdout:
    def build(n: int, budget: int, tolerance: float) -> Thresholdout | None:
        """The mechanism of this budget, or None where no noise keeps the tolerance."""
        threshold = _THRESHOLD * tolerance
        unit, _ = bounds.sparse_noise(queries, budget, 1.0, failure / 2)
        described = Thresholdout(
            queries, budget, threshold, _four_digits(_NOISE * tolerance / unit)
        )
        if described._error(n, failure) + ROUNDING <= tolerance:
            return described
        scale = _best_scale(
            lambda scale: min(
                bounds.sparse_transfer(n, queries, budget, threshold, scale, 1 << 20, failure),
                1e3 + scale,
            ),
            tolerance / unit,
        )
        private = Thresholdout(queries, budget, threshold, scale)
        return private if private._error(n, failure) + ROUNDING <= tolerance else None

    if build(n, 1, tolerance) is None:
        enough = _least(lambda samples: build(samples, 1, tolerance) is not None, n)
        word = ""
        if build(n, 1, 0.999) is not None:
            low, high = tolerance, 0.999
            while high - low > 1e-3:
                middle = (low + high) / 2
                low, high = (low, middle) if build(n, 1, middle) else (middle, high)
            word = f"; with {n:,} the tolerance can be {high:.3f}"
        raise ValueError(
            f"{n:,} samples are too few for {queries:,} {_word(queries)} with tolerance "
            f"{tolerance:g} by thresholdout, even with a budget of 1: about {enough} are needed"
            f"{word}. Thresholdout(queries, budget, threshold, scale) itself takes any parameters, "
            "and promises what its error_bound says"
        )
    budget = _most(lambda budget: build(n, budget, tolerance) is not None, queries)
    made = build(n, budget, tolerance)
    assert made is not None
    return made


def _most(good: Callable[[int], bool], limit: int = _MOST) -> int:
    """The largest whole number that is good, where 1 is and goodness ends once."""
    low, high = 1, 4
    while high <= limit and good(high):
        low, high = high, 4 * high
    high = min(high, limit + 1)
    while high - low > max(1, low // 1_000):
        middle = (low + high) // 2
        low, high = (middle, high) if good(middle) else (low, middle)
    return low


def _least(good: Callable[[int], bool], start: int) -> str:
    """About the smallest number of samples that is good, to two digits."""
    low, high = start, 2 * start
    while not good(high):
        if high > _MOST:
            return f"more than {_MOST:,}"
        low, high = high, 2 * high
    while high - low > max(1, low // 200):
        middle = (low + high) // 2
        low, high = (low, middle) if good(middle) else (middle, high)
    digits = max(len(str(high)) - 2, 0)
    return f"{math.ceil(high / 10**digits) * 10**digits:,}"
