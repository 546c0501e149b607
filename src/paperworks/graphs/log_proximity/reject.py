"""Reject curves: do distances set pairs within a class apart from pairs between classes?

Ivashkin and Chebotarev (arXiv 1605.01046), section 4. At each threshold, the share of pairs between
classes that lie nearer (x) against the share of pairs within a class that do (y). It looks at the
distances themselves and needs no clustering. The curve is invariant under increasing functions of
the distance. Departure: equal distances are passed at once, where the authors shuffle them.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike


@dataclass(frozen=True, eq=False, repr=False)
class RejectCurve:
    """A reject curve.

    Attributes
    ----------
    between : (k,) float64
        Share of pairs of different classes at or below each threshold, from 0 to 1.
    within : (k,) float64
        Share of pairs of one class at or below it, from 0 to 1.
    area : float
        Under the curve: the chance that a random pair within a class is nearer than a random pair
        between classes. 1 is perfect, 0.5 says nothing.

    Examples
    --------
    >>> curve = reject_curve([[0, 1, 4], [1, 0, 3], [4, 3, 0]], ["a", "a", "b"])
    >>> curve.area, curve.at([0.0, 0.5]).tolist(), curve.within.tolist()
    (1.0, [1.0, 1.0], [0.0, 1.0, 1.0, 1.0])
    """

    between: np.ndarray
    within: np.ndarray
    area: float

    def __repr__(self) -> str:
        return f"RejectCurve(area={self.area:.4g}, {len(self.between)} points)"

    def at(self, between: ArrayLike) -> np.ndarray:
        """``within`` where ``between`` has these values, to draw or to average curves."""
        x = np.asarray(between, dtype=np.float64)
        last = np.concatenate([np.diff(self.between) > 0, [True]])  # the top of a vertical piece
        return np.interp(x, self.between[last], self.within[last])


def reject_curve(distances: ArrayLike, labels: ArrayLike) -> RejectCurve:
    """The reject curve of distances between labelled nodes.

    Parameters
    ----------
    distances : (n, n) float
        Symmetric; the diagonal is not looked at. Infinite entries count as farthest.
    labels : (n,)
        Class of each node.

    Returns
    -------
    RejectCurve

    Raises
    ------
    ValueError
        For shapes that do not match, NaN, and labels that have only pairs of one kind.

    Notes
    -----
    O(n^2 log n).

    Examples
    --------
    >>> import networkx as nx
    >>> from paperworks.graphs import GraphProximity
    >>> karate = nx.karate_club_graph()
    >>> club = [karate.nodes[i]["club"] for i in karate]
    >>> proximity = GraphProximity(karate, weight=None)
    >>> for name in ("comm", "log-comm"):
    ...     print(name, round(reject_curve(proximity.distance(name, 0.5), club).area, 2))
    comm 0.76
    log-comm 0.83
    """
    D = np.asarray(distances, dtype=np.float64)
    labels = np.asarray(labels)
    if D.ndim != 2 or D.shape[0] != D.shape[1] or labels.shape != (len(D),):
        raise ValueError(
            f"distances must be (n, n) and labels (n,), got shapes {D.shape} and {labels.shape}"
        )
    rows, cols = np.triu_indices(len(D), k=1)
    values = D[rows, cols]
    if np.isnan(values).any():
        raise ValueError(f"distances must not be NaN, got {int(np.isnan(values).sum())} of them")
    if not np.array_equal(values, D[cols, rows]):
        gap = np.abs(values[np.isfinite(values)] - D[cols, rows][np.isfinite(values)])
        if gap.size and gap.max() > 1e-8 * np.abs(values[np.isfinite(values)]).max():
            raise ValueError(f"distances must be symmetric, got a difference of {gap.max()}")
    same = labels[rows] == labels[cols]
    if same.all() or not same.any():
        kind = "within a class" if same.all() else "between classes"
        raise ValueError(f"a reject curve needs pairs of both kinds, got only pairs {kind}")
    order = np.argsort(values, kind="stable")
    values, same = values[order], same[order]
    ends = np.append(values[1:] != values[:-1], True)  # one point for each distance that occurs
    within = np.concatenate([[0.0], np.cumsum(same)[ends] / same.sum()])
    between = np.concatenate([[0.0], np.cumsum(~same)[ends] / (~same).sum()])
    return RejectCurve(between, within, float(np.trapezoid(within, between)))
