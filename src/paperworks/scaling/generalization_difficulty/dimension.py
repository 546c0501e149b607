"""Intrinsic dimension by maximum likelihood over nearest neighbours.

Levina and Bickel, "Maximum Likelihood Estimation of Intrinsic Dimension", NIPS 2004, with the
average of MacKay and Ghahramani's comment (2005): inverses are averaged over points and over
neighbours, then inverted. This is the estimator of Boopathy et al., arXiv 2305.01034, who take
k = 5 and 10,000 random points against the whole training set.

Where points have a constant density on an m-dimensional piece, the ratios log(T_k / T_j) of
neighbour distances are exponential with mean 1/m, so that their mean estimates 1/m without bias.

Departures. Equal rows are dropped first: a neighbour at distance zero has no logarithm. The number
is not rounded to a whole one. An interval and warnings come with it.
"""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np
from numpy.typing import ArrayLike
from scipy.sparse import csr_array

from paperworks.scaling.generalization_difficulty.neighbors import (
    FloatArray,
    IntArray,
    Points,
    as_points,
    distinct_rows,
    nearest,
    only,
)
from paperworks.scaling.levels import check_bootstrap

# Estimates with few and many neighbours that differ by more depend on the scale looked at.
_DRIFT = 0.15


@dataclass(frozen=True, eq=False)
class DimensionEstimate:
    """An intrinsic dimension with its interval; made by :func:`intrinsic_dimension`.

    Attributes
    ----------
    dimension : float
        The estimate.
    low, high : float
        Percentile interval of the bootstrap over points, widened for what neighbours share. It
        holds the noise of sampling, and none of the estimator's bias (see the warnings).
    confidence : float
        Its level.
    k : int
        Neighbours per point.
    by_k : dict of int to float
        The estimate with fewer and with twice as many neighbours: how much the scale matters.
    points, queries, duplicates : int
        Distinct points, how many of them were asked for their neighbours, and how many rows were
        dropped as equal to an earlier one.
    draws : (B,) ndarray of float64
        The bootstrap's estimates.
    warnings : tuple of str
        What makes the estimate doubtful; empty where nothing was seen.

    Examples
    --------
    >>> import numpy as np
    >>> found = intrinsic_dimension(np.random.default_rng(0).random((500, 2)), rng=0)
    >>> found.low < found.dimension < found.high, found.warnings
    (True, ())
    """

    dimension: float
    low: float
    high: float
    confidence: float
    k: int
    by_k: dict[int, float]
    points: int
    queries: int
    duplicates: int
    warnings: tuple[str, ...]
    draws: FloatArray = field(repr=False)


def intrinsic_dimension(
    X: ArrayLike,
    *,
    k: int = 5,
    queries: int | None = 10_000,
    groups: ArrayLike | None = None,
    confidence: float = 0.95,
    resamples: int = 1000,
    rng: int | np.random.Generator | None = None,
) -> DimensionEstimate:
    """How many coordinates the points need locally, by nearest-neighbour maximum likelihood.

    Parameters
    ----------
    X : (n, ...) array_like
        The points, one a row; images are flattened. uint8 and float32 are computed in float32,
        float64 in float64.
    k : int
        Neighbours per point, at least 2. Default 5, the authors': fewer are noisier, more look
        farther, past the scale on which the data are flat.
    queries : int or None
        How many random points to take neighbours of, among all points. Default 10,000, the
        authors'; None for all.
    groups : (n,) array_like, optional
        Neighbours are taken outside a point's own group. For states along trajectories give the
        episode: neighbours in time lie on a curve, whatever the dimension of the states.
    confidence : float
        Level of the interval.
    resamples : int
        Bootstrap draws.
    rng : int, Generator or None
        Draws the queries and the bootstrap.

    Returns
    -------
    DimensionEstimate

    Raises
    ------
    ValueError
        For data with fewer distinct points than 2 ``k`` + 1, and for settings out of range.

    Notes
    -----
    O(queries n d'), where d' is d or about 256, whichever is less: see
    :mod:`paperworks.scaling.generalization_difficulty.neighbors`.

    The estimate is too low where points are few for their dimension, near edges, and where the
    density changes within a neighbourhood; noise lifts it, since noise fills all directions. For
    other estimators (TwoNN, correlation, local PCA) use scikit-dimension.

    Levina and Bickel, NIPS 2004, equation 8; MacKay and Ghahramani 2005.

    Examples
    --------
    A sheet rolled up in ten dimensions:

    >>> import numpy as np
    >>> rng = np.random.default_rng(0)
    >>> u, v = rng.uniform(0, 9, (2, 3000))
    >>> sheet = np.stack([u * np.cos(u), u * np.sin(u), v], axis=1) @ rng.standard_normal((3, 10))
    >>> round(intrinsic_dimension(sheet, rng=0).dimension, 1)
    2.0
    """
    table = as_points(X)
    keep, _ = distinct_rows(table)
    labels = None if groups is None else as_labels(groups, len(table), "groups")[keep]
    return estimate(
        Points.of(only(table, keep)),
        k=k,
        queries=queries,
        groups=labels,
        duplicates=len(table) - len(keep),
        confidence=confidence,
        resamples=resamples,
        rng=np.random.default_rng(rng),
    )


def estimate(
    points: Points,
    *,
    k: int,
    queries: int | None,
    groups: IntArray | None,
    duplicates: int,
    confidence: float,
    resamples: int,
    rng: np.random.Generator,
) -> DimensionEstimate:
    """:func:`intrinsic_dimension` of distinct points that are prepared already."""
    check_settings(k=k, confidence=confidence, resamples=resamples)
    if queries is not None and queries < 2:
        raise ValueError(f"queries must be >= 2 or None for all, got {queries}")
    n = len(points)
    if n < 2 * k + 1:
        raise ValueError(
            f"k = {k} needs {2 * k + 1} distinct points or more, got {n}; give more, or a smaller k"
        )
    asked = np.arange(n)
    if queries is not None and queries < n:
        asked = np.sort(rng.choice(n, queries, replace=False))
    distances, around = nearest(points, 2 * k, asked, groups=groups)
    if not distances[:, 0].min() > 0:
        raise ValueError(
            "two distinct points lie closer than rounding can tell apart; "
            "give float64, or rescale the columns"
        )
    logs = np.log(distances)
    inverse = _inverse(logs, k)
    dimension = float(1 / inverse.mean())
    means = _resampled_means(inverse, resamples, rng)
    widen = _shared_noise(inverse, asked, around[:, :k], n)
    # Never below half the mean: a few points say little, and no dimension is infinite.
    means = np.maximum(inverse.mean() + widen * (means - inverse.mean()), inverse.mean() / 2)
    draws = 1 / means
    tail = (1 - confidence) / 2
    low, high = np.quantile(draws, [tail, 1 - tail])
    sizes = sorted({max(2, k // 2), k, 2 * k})
    by_k = {size: float(1 / _inverse(logs, size).mean()) for size in sizes}
    return DimensionEstimate(
        dimension=dimension,
        low=float(low),
        high=float(high),
        confidence=confidence,
        k=k,
        by_k=by_k,
        points=n,
        queries=len(asked),
        duplicates=duplicates,
        warnings=_warnings(dimension, by_k, points.rows.shape, duplicates),
        draws=draws,
    )


def check_settings(*, k: int, confidence: float, resamples: int) -> None:
    """Raise a ValueError for settings that make no sense."""
    if k < 2:
        raise ValueError(f"k must be >= 2, got {k}: one neighbour gives no ratio of distances")
    check_bootstrap(confidence, resamples)


def as_labels(labels: ArrayLike, n: int, name: str) -> IntArray:
    """Labels of any kind as numbers from 0, one for each of ``n`` points."""
    given = np.asarray(labels)
    if given.shape != (n,):
        raise ValueError(f"{name} must hold one entry for each of {n} points, got {given.shape}")
    if given.dtype.kind == "f" and not np.isfinite(given).all():
        raise ValueError(f"{name} must be finite, but entry {np.argmin(np.isfinite(given))} is not")
    return np.unique(given, return_inverse=True)[1].astype(np.int64)


def _inverse(logs: FloatArray, k: int) -> FloatArray:
    """Each point's estimate of 1/m from its k nearest neighbours."""
    return np.asarray(logs[:, k - 1] - logs[:, : k - 1].mean(axis=1))


def _resampled_means(values: FloatArray, resamples: int, rng: np.random.Generator) -> FloatArray:
    found = np.empty(resamples)
    for at in range(resamples):
        found[at] = values[rng.integers(len(values), size=len(values))].mean()
    return found


def _shared_noise(values: FloatArray, asked: IntArray, around: IntArray, n: int) -> float:
    """By what factor neighbours that err together widen the interval of the mean, 1 or more.

    A sum over pairs of neighbours of the products of their errors, as in standard errors that allow
    for correlation in space (Conley 1999).
    """
    k = around.shape[1]
    links = csr_array((np.ones(around.size), (np.repeat(asked, k), around.ravel())), shape=(n, n))
    linked = links + links.T
    linked.data[:] = 1.0
    error = np.zeros(n)
    error[asked] = values - values.mean()
    square = float(error @ error)
    shared = float(error @ (linked @ error)) / square if square else 0.0
    return float(np.sqrt(1.0 + max(0.0, shared)))


def _warnings(
    dimension: float, by_k: dict[int, float], shape: tuple[int, ...], duplicates: int
) -> tuple[str, ...]:
    found = []
    if max(by_k.values()) > (1 + _DRIFT) * min(by_k.values()):
        seen = ", ".join(f"{value:.1f} with {size}" for size, value in by_k.items())
        found.append(f"the dimension depends on the scale: {seen} neighbours")
    n, columns = shape
    if dimension > 1.1 * columns:
        found.append(
            f"{dimension:.1f} is more than the {columns} columns: neighbours lie in clumps, or on "
            "paths that do not come near each other"
        )
    # Eckmann and Ruelle 1992: n points show no dimension beyond about 2 log10 n.
    most = 2 * np.log10(n)
    if dimension > most:
        found.append(
            f"{n:,} points show dimensions up to about {most:.0f} reliably: "
            f"{dimension:.1f} is probably too low"
        )
    if duplicates:
        found.append(f"{duplicates:,} rows equal to an earlier one were left out")
    return tuple(found)
