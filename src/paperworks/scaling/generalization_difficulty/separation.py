"""How close two classes come: the smallest distance between points of different classes.

Boopathy et al., arXiv 2305.01034, take it as the resolution that a task needs and estimate it by
extreme value theory: distances of random pairs of different classes, the largest of their
reciprocals, the moment estimator of their tail (Dekkers, Einmahl and de Haan, Annals of Statistics
1989), and the quantile that one of all pairs exceeds. Four million pairs and the 2,000 most extreme
are the authors'.

With ``x`` the reciprocals in order, ``k`` of them in the tail above ``x_0``,

    M1, M2 = means of log(x / x_0) and its square over the tail,
    gamma  = M1 + gamma_minus,        gamma_minus = 1 - 1 / (2 (1 - M1^2 / M2)),
    scale  = x_0 M1 (1 - gamma_minus) for gamma < 0,  x_0 M1 else,
    1 / distance = x_0 + scale ((k N / n)^gamma - 1) / gamma,

where ``n`` pairs were drawn of ``N`` that exist. No pair drawn can be closer than the closest, so
that the smallest distance drawn is an upper bound.

Departures. The authors' program leaves ``1 - gamma_minus`` out for gamma < 0 too, and counts each
pair twice in ``N``. By default every pair is looked at where that takes a minute or so: the
distance that the authors print for MNIST is such a minimum too, and the estimate is far less sharp.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Literal

import numpy as np
from numpy.typing import ArrayLike

from paperworks.scaling.generalization_difficulty.dimension import as_labels
from paperworks.scaling.generalization_difficulty.neighbors import (
    FloatArray,
    IntArray,
    Points,
    as_points,
    closest_rivals,
    distinct_rows,
    only,
)

# Points up to which "auto" looks at every pair: 60,000 took 20 s on one core.
_EXACT = 100_000


@dataclass(frozen=True, eq=False)
class ClassDistance:
    """A smallest distance between classes; made by :func:`class_distance`.

    Attributes
    ----------
    distance : float
        The distance.
    low, high : float
        Percentile interval of the bootstrap over points; equal to ``distance`` where every pair was
        looked at.
    confidence : float
        Its level.
    method : str
        "evt", or "exact".
    tail_index : float or None
        ``gamma``: above 0 classes touch (about 1 / dimension), below 0 a gap lies between them.
        None for "exact".
    closest_seen : float
        The smallest distance among the pairs that were looked at.
    pairs, all_pairs : int
        How many pairs were looked at, and how many there are.
    draws : (B,) ndarray of float64
        The bootstrap's estimates.

    Examples
    --------
    >>> found = class_distance([[0.0], [1.0], [3.0]], [0, 0, 1])
    >>> found.distance, found.method, found.all_pairs
    (2.0, 'exact', 2)
    """

    distance: float
    low: float
    high: float
    confidence: float
    method: str
    tail_index: float | None
    closest_seen: float
    pairs: int
    all_pairs: int
    draws: FloatArray = field(repr=False)


def class_distance(
    X: ArrayLike,
    y: ArrayLike,
    *,
    method: Literal["auto", "evt", "exact"] = "auto",
    pairs: int = 4_000_000,
    tail: int = 2000,
    confidence: float = 0.95,
    resamples: int = 200,
    rng: int | np.random.Generator | None = None,
) -> ClassDistance:
    """The smallest distance between points of different classes.

    Parameters
    ----------
    X : (n, ...) array_like
        The points, one a row.
    y : (n,) array_like
        Their classes, two or more.
    method : {"auto", "evt", "exact"}
        "exact" looks at every pair; "evt" is extreme value theory on random pairs, the paper's way.
        Default "auto": exact up to 100,000 points. Where no more pairs exist than ``pairs`` all of
        them are looked at in any case.
    pairs, tail : int
        Pairs to draw, and how many of the closest to fit. Defaults 4,000,000 and 2,000, the
        authors'.
    confidence, resamples, rng
        Of the bootstrap, and of the pairs drawn.

    Returns
    -------
    ClassDistance

    Raises
    ------
    ValueError
        If there is one class only, or equal points carry different labels (no resolution tells them
        apart), or settings are out of range.

    Notes
    -----
    "exact" takes O(n^2 d'), "evt" O(pairs d'), with d' at most about 256; both compute few
    distances in full. The interval resamples points, not pairs: pairs that share a point move
    together.

    Examples
    --------
    >>> import numpy as np
    >>> X = np.array([[0.0, 0.0], [0.0, 1.0], [3.0, 1.0], [4.0, 0.0]])
    >>> class_distance(X, ["a", "a", "b", "b"]).distance
    3.0
    """
    table = as_points(X)
    labels = as_labels(y, len(table), "y")
    keep, which = distinct_rows(table)
    refuse_equal_rivals(labels, keep, which)
    return separation(
        Points.of(only(table, keep)),
        labels[keep],
        method=method,
        pairs=pairs,
        tail=tail,
        confidence=confidence,
        resamples=resamples,
        rng=np.random.default_rng(rng),
    )


def separation(
    points: Points,
    labels: IntArray,
    *,
    method: str,
    pairs: int,
    tail: int,
    confidence: float,
    resamples: int,
    rng: np.random.Generator,
) -> ClassDistance:
    """:func:`class_distance` of points that are prepared already."""
    if method not in ("auto", "evt", "exact"):
        raise ValueError(f"the class distance is 'auto', 'evt' or 'exact', got {method!r}")
    if tail < 10 or pairs < 10 * tail:
        raise ValueError(
            f"tail must be >= 10 and pairs at least 10 times as many, got {tail} and {pairs}"
        )
    if not 0 < confidence < 1 or resamples < 1:
        raise ValueError(
            f"confidence must be between 0 and 1, got {confidence}, "
            f"and resamples >= 1, got {resamples}"
        )
    sizes = np.bincount(labels).astype(object)  # whole numbers of any size
    if len(sizes) < 2:
        raise ValueError("classes have no distance: y holds one class only")
    all_pairs = int((sizes.sum() ** 2 - (sizes**2).sum()) // 2)
    if method == "auto":
        method = "exact" if len(points) <= _EXACT else "evt"
    if method == "exact" or all_pairs <= pairs:
        distance, i, j = closest_rivals(points, labels)
        _refuse_zero(distance, i, j)
        return ClassDistance(
            distance, distance, distance, confidence, "exact", None, distance,
            all_pairs, all_pairs, np.full(resamples, distance),
        )  # fmt: skip
    first, second = _draw_pairs(labels, pairs, rng)
    distances, first, second = _closest(points, first, second, 2 * tail)
    _refuse_zero(float(distances[0]), int(first[0]), int(second[0]))
    value, gamma = extrapolate(1 / distances[: tail + 1], pairs, all_pairs)
    draws = _bootstrap(
        distances, first, second, len(points), tail, pairs, all_pairs, resamples, rng
    )
    edge = (1 - confidence) / 2
    low, high = np.quantile(draws, [edge, 1 - edge])
    return ClassDistance(
        value, float(low), float(high), confidence, "evt", gamma, float(distances[0]),
        pairs, all_pairs, draws,
    )  # fmt: skip


def extrapolate(reciprocals: FloatArray, drawn: int, existing: int) -> tuple[float, float]:
    """Distance of the closest of ``existing`` pairs from the tail of ``drawn``, and the tail index.

    ``reciprocals`` are the k + 1 largest reciprocal distances, largest first.
    """
    threshold, k = reciprocals[-1], len(reciprocals) - 1
    logs = np.log(reciprocals[:-1] / threshold)
    m1, m2 = float(logs.mean()), float((logs * logs).mean())
    seen = float(1 / reciprocals[0])
    spread = 1 - m1 * m1 / m2 if m2 > 0 else 0.0
    if spread <= 1e-12:  # all of the tail at one value: nothing to extrapolate
        return seen, float("-inf")
    gamma_minus = 1 - 0.5 / spread
    gamma = m1 + gamma_minus
    scale = threshold * m1 * (1 - gamma_minus if gamma < 0 else 1.0)
    log_factor = np.log(k * (existing / drawn))
    # (a^gamma - 1) / gamma, which is log a at gamma = 0.
    growth = np.expm1(gamma * log_factor) / gamma if gamma else log_factor
    return min(float(1 / (threshold + scale * growth)), seen), gamma


def _draw_pairs(
    labels: IntArray, count: int, rng: np.random.Generator
) -> tuple[IntArray, IntArray]:
    """``count`` random pairs of different labels, drawn with replacement, all equally likely."""
    order = np.argsort(labels, kind="stable")
    size = np.bincount(labels)
    start = np.cumsum(size) - size
    n = len(labels)
    chance = size * (n - size) / (size * (n - size)).sum()
    own = rng.choice(len(size), size=count, p=chance)
    first = start[own] + rng.integers(size[own])
    second = rng.integers(n - size[own])  # a place among all but the own class
    second += np.where(second >= start[own], size[own], 0)
    return order[first], order[second]


def _closest(
    points: Points, first: IntArray, second: IntArray, keep: int
) -> tuple[FloatArray, IntArray, IntArray]:
    """The ``keep`` closest of the given pairs, closest first: distances and both ends."""
    bound = points.pairs(first, second, short=True)
    start = np.argpartition(bound, keep)[:keep]
    reach = points.pairs(first[start], second[start]).max()
    near = np.flatnonzero(bound <= reach + points.doubt)
    square = points.pairs(first[near], second[near])
    order = np.argsort(square, kind="stable")[:keep]
    near = near[order]
    return np.sqrt(square[order]), first[near], second[near]


def _bootstrap(
    distances: FloatArray,
    first: IntArray,
    second: IntArray,
    n: int,
    tail: int,
    drawn: int,
    existing: int,
    resamples: int,
    rng: np.random.Generator,
) -> FloatArray:
    """Estimates with points resampled: a pair counts as often as both of its points together."""
    found = np.empty(resamples)
    for at in range(resamples):
        weight = np.bincount(rng.integers(n, size=n), minlength=n)
        times = weight[first] * weight[second]
        values = np.repeat(distances, times)[: tail + 1]
        # Where the draw misses so many close pairs that the kept ones run out, the tail is shorter.
        found[at] = extrapolate(1 / values, drawn, existing)[0] if len(values) > 2 else np.nan
    return found[np.isfinite(found)]


def refuse_equal_rivals(labels: IntArray, keep: IntArray, which: IntArray) -> None:
    """Raise a ValueError where equal rows carry different labels."""
    clash = np.flatnonzero(labels[keep][which] != labels)
    if len(clash):
        _refuse_zero(0.0, int(keep[which[clash[0]]]), int(clash[0]))


def _refuse_zero(distance: float, i: int, j: int) -> None:
    if not distance > 0:
        raise ValueError(
            f"points {i} and {j} are equal and carry different labels: no resolution tells them "
            "apart; remove such points, or give the class distance as a number"
        )
