"""Bootstrap of means over problems, for rows that stand for many problems each.

Efron, "Better Bootstrap Confidence Intervals", JASA 1987 (BCa). SciPy's ``bootstrap`` draws
resamples x problems indices and jackknifes by problem, which is too much at 100,000 problems; a
mean over rows with multiplicities needs multinomial weights only, and its acceleration is a third
moment.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray
from scipy.special import ndtr, ndtri

from paperworks.scaling.levels import check_bootstrap

FloatArray = NDArray[np.float64]


def resampled_means(
    values: FloatArray, counts: NDArray[np.int64], resamples: int, rng: np.random.Generator
) -> FloatArray:
    """Means of ``values`` (U, K), row u counting ``counts[u]`` problems, in each resample: (B, K).

    Drawing as many problems as there are, with replacement, is a multinomial draw of the rows.
    """
    total = int(counts.sum())
    weights = rng.multinomial(total, counts / total, size=resamples)
    return weights @ values / total


def mean_interval(
    values: FloatArray,
    counts: NDArray[np.int64],
    *,
    confidence: float,
    resamples: int,
    rng: np.random.Generator,
) -> tuple[FloatArray, FloatArray]:
    """BCa interval for the mean of each column: two arrays of shape (K,)."""
    check_bootstrap(confidence, resamples)
    draws = resampled_means(values, counts, resamples, rng)
    total = counts.sum()
    mean = counts @ values / total
    centred = values - mean
    square, cube = counts @ centred**2, counts @ centred**3
    with np.errstate(divide="ignore", invalid="ignore"):
        acceleration = np.where(square > 0, cube / (6 * square**1.5), 0.0)
    # Draws level with the mean count half, so that a symmetric discrete case is not called biased.
    below = ((draws < mean).mean(0) + (draws <= mean).mean(0)) / 2
    bias = ndtri(np.clip(below, 0.5 / resamples, 1 - 0.5 / resamples))

    def end(level: float) -> FloatArray:
        z = bias + ndtri(level)
        adjusted = ndtr(bias + z / np.maximum(1 - acceleration * z, 1e-3))
        return np.array(
            [np.quantile(column, at) for column, at in zip(draws.T, adjusted, strict=True)]
        )

    tail = (1 - confidence) / 2
    # Where few draws differ, the adjusted quantile can pass the mean itself: keep it inside.
    return np.minimum(end(tail), mean), np.maximum(end(1 - tail), mean)
