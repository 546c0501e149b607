"""Scores of predicted quantiles: pinball loss, weighted interval score, coverage, width, crossing.

Fakoor, Kim, Mueller, Smola and Tibshirani, "Flexible Model Aggregation for Quantile Regression"
(JMLR 2023, arXiv 2103.00083), section 2. Departure: the paper sums the weighted interval score
over the levels; here it is the mean, so that scores of different sets of levels compare, and with
many levels it nears the continuous ranked probability score.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike

from paperworks.statistics.quantile_aggregation.levels import (
    FloatArray,
    Levels,
    central_intervals,
    check_levels,
    check_table,
    check_target,
)


@dataclass(frozen=True)
class QuantileScores:
    """What :func:`quantile_scores` found of ``n`` rows and ``m`` levels.

    Attributes
    ----------
    levels : (m,) float
        The quantile levels.
    pinball : (m,) float
        Mean pinball loss of each level, in the unit of y.
    wis : float
        Weighted interval score: twice the mean pinball loss over levels and rows. Lower is better.
    below : (m,) float
        Share of rows with y at or below each quantile; near ``levels`` where calibrated.
    intervals : (k,) float
        Nominal coverage of each central interval (levels that have their mirror), ascending.
    coverage : (k,) float
        Share of rows with y inside each, ends included.
    width : (k,) float
        Mean width of each, in the unit of y. A crossed interval counts as negative.
    crossing : float
        Share of rows where some quantile lies below that of a smaller level.

    Examples
    --------
    >>> import numpy as np
    >>> from paperworks.statistics import quantile_scores
    >>> scores = quantile_scores([1.0, 5.0], [[0, 2], [3, 1]], [0.25, 0.75])
    >>> scores.intervals, scores.coverage, scores.width, scores.crossing
    (array([0.5]), array([0.5]), array([0.]), 0.5)
    """

    levels: FloatArray
    pinball: FloatArray
    wis: float
    below: FloatArray
    intervals: FloatArray
    coverage: FloatArray
    width: FloatArray
    crossing: float


def quantile_scores(y: ArrayLike, q: ArrayLike, levels: Levels | None = None) -> QuantileScores:
    """Score predicted quantiles against what was observed.

    Parameters
    ----------
    y : (n,) float
        Observations.
    q : (n, m) float
        Predicted quantiles, one column for each level. They may cross.
    levels : (m,) float, optional
        Levels between 0 and 1, increasing; 0.05, 0.10, ..., 0.95 by default.

    Returns
    -------
    QuantileScores

    Raises
    ------
    ValueError
        For shapes that do not fit, levels out of range or order, NaN or infinities.

    Notes
    -----
    The pinball loss of level t is ``t * (y - q)`` above the quantile and ``(1 - t) * (q - y)``
    below it. For levels that are symmetric about 1/2 the score is also, up to the factor ``1/m``,
    the sum over central intervals [l, u] of miscoverage a of ``a * (u - l) + 2 * dist(y, [l, u])``
    plus ``|y - median|`` (the paper's equations 7 and 8). O(n m).

    Examples
    --------
    >>> import numpy as np
    >>> from paperworks.statistics import quantile_scores
    >>> y = np.array([0.0, 1.0, 2.0, 3.0])
    >>> q = np.tile([0.5, 1.5, 2.5], (4, 1))
    >>> scores = quantile_scores(y, q, [0.25, 0.5, 0.75])
    >>> scores.pinball
    array([0.375, 0.5  , 0.375])
    >>> round(scores.wis, 4), scores.coverage, scores.width
    (0.8333, array([0.5]), array([2.]))
    """
    tau = check_levels(levels)
    table = check_table(q, tau)
    if not len(table):
        raise ValueError("q has no rows: there is nothing to score")
    target = check_target(y, len(table))
    intervals = central_intervals(tau)
    losses = pinball(target, table, tau)
    lower = table[:, [pair[1] for pair in intervals]]
    upper = table[:, [pair[2] for pair in intervals]]
    inside = (lower <= target[:, None]) & (target[:, None] <= upper)
    return QuantileScores(
        levels=tau,
        pinball=losses.mean(axis=0),
        wis=float(2 * losses.mean()),
        below=(target[:, None] <= table).mean(axis=0),
        intervals=np.array([pair[0] for pair in intervals]),
        coverage=inside.mean(axis=0),
        width=(upper - lower).mean(axis=0),
        crossing=float((np.diff(table, axis=1) < 0).any(axis=1).mean()),
    )


def pinball(y: FloatArray, q: FloatArray, levels: FloatArray) -> FloatArray:
    """Pinball loss of each row and level, ``(n, m)``."""
    error = y[:, None] - q
    return np.maximum(levels * error, (levels - 1) * error)
