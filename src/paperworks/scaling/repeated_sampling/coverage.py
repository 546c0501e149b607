"""Coverage: the share of problems that at least one of k samples solves.

Brown et al., "Large Language Monkeys: Scaling Inference Compute with Repeated Sampling", arXiv
2407.21787, equation 1; the estimator itself is from Chen et al., "Evaluating Large Language Models
Trained on Code", arXiv 2107.03374, equation 1.

Of ``n`` samples of a problem ``c`` are correct. The chance that ``k`` of them, drawn without
replacement, hold a correct one is ``1 - C(n-c, k) / C(n, k)``; it is unbiased for the chance that
``k`` fresh samples do.

Departures. The usual code takes one product of ``c`` factors per problem in a Python loop. Here
all problems and all ``k`` go at once, at a cost that does not grow with ``n``: a ratio of binomials
is symmetric in ``c`` and ``k``, so at most 64 factors are multiplied, and past that Stirling's
series takes over in a form without cancellation. The paper reports no interval for coverage; here
problems are the units of a bootstrap.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike, NDArray

from paperworks.scaling.repeated_sampling.bootstrap import mean_interval

FloatArray = NDArray[np.float64]
IntArray = NDArray[np.int64]

# Up to here the product is taken factor by factor, which is exact to rounding. Past it both c and
# k are larger, c k / n is at least 64^2 / n, and the closed form loses no more than n / 64 ulps.
_FACTORS = 64
# Below this many wrong samples to spare, and with c and k past _FACTORS, the chance of k misses is
# below 1e-24: coverage is 1 in float64, and Stirling's series is not needed where it is poor.
_FEW = 16.0


@dataclass(frozen=True)
class Coverage:
    """Coverage at several k, with an interval over problems.

    Parameters
    ----------
    k : ndarray of int, shape (K,)
        Numbers of samples.
    coverage : ndarray of float, shape (K,)
        The unbiased estimate at each k, a fraction of problems.
    low, high : ndarray of float, shape (K,)
        Ends of the bootstrap interval.
    confidence : float
        Level of the interval.
    problems : int
        How many problems the estimate is over.
    """

    k: IntArray
    coverage: FloatArray
    low: FloatArray
    high: FloatArray
    confidence: float
    problems: int


def pass_at_k(n: ArrayLike, c: ArrayLike, k: ArrayLike) -> FloatArray:
    """Unbiased pass@k of each problem: ``1 - C(n-c, k) / C(n, k)``.

    Parameters
    ----------
    n : int or array of int, shape (P,)
        Samples drawn of each problem; a single number where all have the same.
    c : int or array of int, shape (P,)
        Correct samples of each problem, ``0 <= c <= n``.
    k : int or array of int, shape (K,)
        Numbers of samples, ``1 <= k <= n``.

    Returns
    -------
    ndarray of float64, shape (P, K)
        Without the axes whose input was a single number.

    Raises
    ------
    ValueError
        On values that are no whole numbers, on ``c > n`` and on ``k > n``.

    Notes
    -----
    Cost O(P K) time and memory, at most 64 steps each, whatever n. The relative error stays below
    about ``1e-15 * max(64, n)``.

    Examples
    --------
    >>> pass_at_k(10, [0, 1, 10], [1, 5]).round(3).tolist()
    [[0.0, 0.0], [0.1, 0.5], [1.0, 1.0]]
    """
    drawn, right, ks = check_counts(n, c, k)
    return _pass_at_k(drawn.ravel(), right.ravel(), ks.ravel()).reshape(right.shape + ks.shape)


def coverage(
    n: ArrayLike,
    c: ArrayLike,
    k: ArrayLike,
    *,
    confidence: float = 0.95,
    resamples: int = 1000,
    rng: int | np.random.Generator = 0,
) -> Coverage:
    """Share of problems solved by at least one of k samples, with an interval over problems.

    Parameters
    ----------
    n, c, k
        As in :func:`pass_at_k`.
    confidence : float
        Level of the interval, default 0.95.
    resamples : int
        Bootstrap draws of the problems, default 1000: enough for two digits of a 95 % interval.
    rng : int or numpy.random.Generator
        Source of the bootstrap draws. The default is fixed, so that a number in a report can be
        had again; the estimate itself does not depend on it.

    Returns
    -------
    Coverage

    Raises
    ------
    ValueError
        As :func:`pass_at_k`, and for ``confidence`` outside (0, 1) or ``resamples < 1``.

    Notes
    -----
    The interval is the bias-corrected and accelerated bootstrap (BCa) over problems. It answers
    "what if other problems of this kind had been drawn", and holds the luck of the samples too. It
    says nothing of problems of another kind. Where every problem has the same pass@k the interval
    has no width; that is a limit of the bootstrap and no certainty.

    Problems with the same ``(n, c)`` are one row with a weight, so the cost is O(U (K + resamples))
    with U distinct rows.

    Examples
    --------
    >>> result = coverage(100, [0, 1, 5, 60], [1, 10])
    >>> result.coverage.round(4).tolist()
    [0.165, 0.379]
    >>> bool((result.low <= result.coverage).all() and (result.coverage <= result.high).all())
    True
    """
    drawn, right, ks = check_counts(n, c, k)
    ks = np.atleast_1d(ks)
    values, counts = distinct_rows(drawn, right, ks)
    mean = counts @ values / counts.sum()
    low, high = mean_interval(
        values, counts, confidence=confidence, resamples=resamples, rng=np.random.default_rng(rng)
    )
    return Coverage(ks, mean, low, high, confidence, int(counts.sum()))


def distinct_rows(n: IntArray, c: IntArray, k: IntArray) -> tuple[FloatArray, IntArray]:
    """pass@k, shape (U, K), of the distinct (n, c) pairs, and how many problems have each."""
    pairs, counts = np.unique(np.stack([n.ravel(), c.ravel()], 1), axis=0, return_counts=True)
    return _pass_at_k(pairs[:, 0], pairs[:, 1], k), counts


def check_counts(n: ArrayLike, c: ArrayLike, k: ArrayLike) -> tuple[IntArray, IntArray, IntArray]:
    """``n`` and ``c`` broadcast to one shape and ``k``, as int64, or a ValueError."""
    drawn, right, ks = whole(n, "n"), whole(c, "c"), whole(k, "k")
    if drawn.ndim > 1 or right.ndim > 1 or ks.ndim > 1:
        raise ValueError(
            "n, c and k are single numbers or one-dimensional, got shapes "
            f"{drawn.shape}, {right.shape}, {ks.shape}"
        )
    if drawn.ndim and right.ndim and drawn.shape != right.shape:
        raise ValueError(f"n and c must have the same length, got {drawn.size} and {right.size}")
    drawn, right = np.broadcast_arrays(drawn, right)
    if drawn.size == 0 or ks.size == 0:
        raise ValueError("there is nothing to count: need at least one problem and one k")
    for name, values, least in (("n", drawn, 1), ("c", right, 0), ("k", ks, 1)):
        if values.min() < least:
            raise ValueError(f"{name} must be >= {least}, got {values.min()}")
    if (right > drawn).any():
        at = int(np.argmax(right > drawn))
        raise ValueError(
            f"c must be <= n, got c = {right.flat[at]} of n = {drawn.flat[at]} at problem {at}"
        )
    if ks.max() > drawn.min():
        short = int((drawn < ks.max()).sum())
        raise ValueError(
            f"k must be <= n, got k = {ks.max()} where {short} of {drawn.size} problem(s) have "
            f"fewer samples (the fewest: {drawn.min()}); draw more, leave k out, or extrapolate "
            "with CoverageLaw"
        )
    return drawn, right, ks


def whole(values: ArrayLike, name: str) -> IntArray:
    """``values`` as int64, or a ValueError where they are no whole numbers."""
    array = np.asarray(values)
    if array.dtype == bool:
        raise ValueError(
            f"{name} must be whole numbers, got booleans; count them first, as in "
            "correct.sum(axis=-1)"
        )
    if array.dtype.kind in "iu":
        return array.astype(np.int64)
    if array.dtype.kind == "f":
        bad = array[~np.isfinite(array) | (array != np.round(array))]
        if bad.size == 0:
            return array.astype(np.int64)
        raise ValueError(f"{name} must be whole numbers, got {bad.flat[0]}")
    raise ValueError(f"{name} must be whole numbers, got an array of {array.dtype}")


def _pass_at_k(n: IntArray, c: IntArray, k: IntArray) -> FloatArray:
    """pass@k for checked input: n, c (P,) and k (K,) give (P, K)."""
    few = np.minimum(c[:, None], k)  # C(n-c, k) / C(n, k) is symmetric in c and k
    many = np.maximum(c[:, None], k).astype(np.float64)
    total = np.broadcast_to(n[:, None], few.shape).astype(np.float64)
    out = np.empty(few.shape)
    short = few <= _FACTORS
    out[short] = _by_factors(total[short], few[short], many[short])
    rest = ~short
    out[rest] = _by_stirling(total[rest], few[rest].astype(np.float64), many[rest])
    return out


def _by_factors(n: FloatArray, few: IntArray, many: FloatArray) -> FloatArray:
    """1 - prod_{i < few} (1 - many / (n - i)), summed as hits so that small values stay exact."""
    hit = np.zeros_like(n)
    order = np.argsort(few, kind="stable")  # the rows that still need a factor are the last ones
    n, few, many = n[order], few[order], many[order]
    for i in range(int(few.max(initial=0))):
        rows = slice(int(np.searchsorted(few, i, side="right")), None)
        hit[rows] += (1.0 - hit[rows]) * np.minimum(many[rows] / (n[rows] - i), 1.0)
    out = np.empty_like(hit)
    out[order] = hit
    return out


def _by_stirling(n: FloatArray, few: FloatArray, many: FloatArray) -> FloatArray:
    """The same for large few and many, from x! = sqrt(2 pi x) (x / e)^x exp(delta(x)).

    The terms in log n cancel in exact arithmetic, so all are written relative to n.
    """
    left = n - few - many
    x = np.maximum(left, _FEW)
    few = np.minimum(few, n - _FEW)  # these rows are overwritten below
    many = np.minimum(many, n - _FEW)
    log_miss = (
        (n - few + 0.5) * np.log1p(-few / n)
        + (n - many + 0.5) * np.log1p(-many / n)
        - (x + 0.5) * np.log1p((x - n) / n)
        + (_delta(n - few) + _delta(n - many) - _delta(n) - _delta(x))
    )
    return np.where(left < _FEW, 1.0, -np.expm1(log_miss))


def _delta(x: FloatArray) -> FloatArray:
    """Stirling's correction log(x!) - log(sqrt(2 pi x) (x / e)^x), to 1e-14 for x >= 16."""
    y = 1.0 / (x * x)
    return (1 / 12 - y * (1 / 360 - y * (1 / 1260 - y / 1680))) / x
