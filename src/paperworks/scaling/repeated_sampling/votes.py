"""Counting votes over all subsets of k of n samples of one problem, exactly or by drawing some."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy.special import gammaln, xlog1py, xlogy

from paperworks.scaling.repeated_sampling.coverage import FloatArray, IntArray

# Random permutations held at once.
_CHUNK = 1_000_000


def exact_majority(counts: IntArray, good: NDArray[np.bool_], n: int, k: int) -> float:
    """Chance that the most frequent answer of k of n samples is right, ties shared.

    Counts of a draw without replacement are independent binomials given their sum. For a right
    answer seen x times, the others must be seen less often, or just as often at the price of a
    share: ``1 / (1 + t)`` of t ties is the integral of ``u^t`` over (0, 1), which Gauss's rule does
    exactly.
    """
    rate = k / n
    seen = np.arange(k + 1)
    chances = [_binomial(seen[: m + 1], int(m), rate) for m in counts]
    mute = n - int(counts.sum())
    silent = _binomial(seen[: mute + 1], mute, rate)
    total = 0.0
    for j in np.flatnonzero(good):
        for x in range(1, min(k, int(counts[j])) + 1):
            nodes, gauss = np.polynomial.legendre.leggauss((k - x) // x // 2 + 1)
            for u, w in zip((nodes + 1) / 2, gauss / 2, strict=True):
                rest = silent
                for i, chance in enumerate(chances):
                    if i != j:
                        factor = chance[: x + 1].copy()
                        factor[x:] *= u
                        rest = np.convolve(rest, factor)[: k - x + 1]
                if rest.size > k - x:
                    total += w * chances[j][x] * rest[k - x]
    return float(total / _binomial(np.array([k]), n, rate)[0])


def _binomial(y: IntArray, m: int, rate: float) -> FloatArray:
    """Chance of ``y`` hits in ``m`` trials."""
    ways = gammaln(m + 1) - gammaln(y + 1) - gammaln(m - y + 1)
    return np.asarray(np.exp(ways + xlogy(y, rate) + xlog1py(m - y, -rate)))


def sampled_vote(
    codes: IntArray,
    good: NDArray[np.bool_],
    weight: FloatArray,
    ks: IntArray,
    draws: int,
    rng: np.random.Generator,
) -> tuple[FloatArray, FloatArray]:
    """Mean of the vote over random subsets of each size in ``ks``, and that mean's variance."""
    order = np.argsort(ks)
    wins = np.empty((draws, ks.size))
    silent = good.size  # an extra column takes the votes of samples without an answer
    ballots = np.where(codes < 0, silent, codes)
    step = max(1, _CHUNK // codes.size)
    for first in range(0, draws, step):
        rows = np.arange(min(step, draws - first))
        drawn = rng.permuted(np.tile(np.arange(codes.size), (rows.size, 1)), axis=1)
        tally = np.zeros((rows.size, silent + 1))
        done = 0
        for at in order:
            part = drawn[:, done : ks[at]]
            cell = rows[:, None] * (silent + 1) + ballots[part]
            tally += np.bincount(
                cell.ravel(), weights=weight[part].ravel(), minlength=tally.size
            ).reshape(tally.shape)
            done = int(ks[at])
            wins[first + rows, at] = winners(tally[:, :silent], good)
    return wins.mean(0), wins.var(0, ddof=1) / draws


def winners(tally: NDArray[Any], good: NDArray[np.bool_]) -> FloatArray:
    """Share of right answers among the leaders of each row; 0 in a row without votes."""
    top = tally.max(1, keepdims=True) if tally.shape[1] else np.zeros((len(tally), 1))
    # Sums of the same weights in another order differ in the last bits.
    leads = (tally >= top * (1 - 1e-12)) & (top > 0)
    return np.asarray((leads & good).sum(1) / np.maximum(leads.sum(1), 1))
