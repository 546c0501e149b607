"""Private multiplicative weights: a model of the distribution that learns from its mistakes.

Hardt and Rothblum, "A Multiplicative Weights Mechanism for Privacy-Preserving Data Analysis"
(FOCS 2010), as used by Dwork et al. (arXiv 1411.2664) for exponentially many adaptive queries.

The model is a distribution over a finite domain, uniform at first. Sparse vector compares its
answer with the holdout's. Where they are apart by ``a`` or more, the model is multiplied by
``exp(+-step * q)`` and its relative entropy to the holdout falls by at least
``step * a - step^2 / 8`` (Hoeffding's lemma), ``2 a^2`` at ``step = 4 a``. It starts at no more
than ``log(size)``, so that at most ``log(size) / (2 a^2)`` updates happen however many queries
come. That is the budget, with constants about a tenth of the paper's.

Departures: sparse vector with a fresh noisy threshold after each update (Dwork and Roth 2014)
stands where the paper compares each query with noise of its own; the paper's cut of small weights
is left out, since the domain is held in memory whole.
"""

from __future__ import annotations

import hashlib
import math
import random
from dataclasses import dataclass
from typing import Any, ClassVar, Literal

import numpy as np
from numpy.typing import ArrayLike, NDArray

from paperworks.statistics.adaptive.mechanisms import Reply, State
from paperworks.statistics.adaptive.queries import UNIT
from paperworks.statistics.adaptive.thresholdout import SparseVector


class FiniteDomain:
    """All values that a sample can take, one a row.

    Parameters
    ----------
    points : (size, ...) array
        Distinct rows, fixed before the holdout is looked at. A structured array is fine.

    Attributes
    ----------
    points : (size, ...) array
        As given.
    size : int
        How many there are.

    Raises
    ------
    ValueError
        If there are no points, fewer than two, or two that are equal.

    Notes
    -----
    Memory and time of a query are linear in ``size``. For continuous features use :meth:`grid`;
    what is promised then is about the rounded samples: the truth of a query is its mean over
    cells' middles. For a query that changes by at most ``L`` within a cell that costs ``L``.

    Examples
    --------
    >>> from paperworks.statistics.adaptive import FiniteDomain
    >>> domain = FiniteDomain.grid([0, 0.5, 1], [0, 1, 2, 3])
    >>> domain.size
    6
    >>> domain.points[domain.nearest([[0.1, 2.9]])]
    array([[0.25, 2.5 ]])
    """

    def __init__(self, points: ArrayLike) -> None:
        self.points = np.asarray(points)
        if self.points.ndim == 0 or len(self.points) < 2:
            raise ValueError("a domain needs at least two points")
        self.size = len(self.points)
        self._rows = {key: i for i, key in enumerate(_keys(self.points))}
        if len(self._rows) < self.size:
            raise ValueError(
                f"the points of a domain must be distinct, got {self.size:,} of which "
                f"{len(self._rows):,} are; use np.unique(points, axis=0)"
            )
        self._edges: tuple[NDArray[np.float64], ...] | None = None

    @classmethod
    def grid(cls, *edges: ArrayLike) -> FiniteDomain:
        """The middles of all cells of a grid.

        Parameters
        ----------
        *edges : (bins + 1,) float
            Rising edges, one array for each feature. They must not depend on the holdout.

        Returns
        -------
        FiniteDomain
            Its points are (product of bins, features).

        Raises
        ------
        ValueError
            If edges do not rise or are not finite.
        """
        arrays = tuple(np.asarray(each, dtype=np.float64) for each in edges)
        for i, each in enumerate(arrays):
            rising = each.ndim == 1 and len(each) > 1 and bool((np.diff(each) > 0).all())
            if not rising or not np.isfinite(each).all():
                raise ValueError(f"edges of feature {i} must be finite and rise, got {each}")
        middles = [(each[1:] + each[:-1]) / 2 for each in arrays]
        mesh = np.meshgrid(*middles, indexing="ij")
        domain = cls(np.column_stack([each.ravel() for each in mesh]))
        domain._edges = arrays
        return domain

    def nearest(self, samples: ArrayLike) -> NDArray[np.int64]:
        """Which point each sample is, or for a grid in which cell it lies.

        Parameters
        ----------
        samples : (n, ...) array
            Beyond a grid's outer edges the outer cell is taken.

        Returns
        -------
        (n,) int64
            Rows of ``points``.

        Raises
        ------
        ValueError
            If a sample is none of the points, or has another number of features.
        """
        rows = np.asarray(samples)
        if rows.shape[1:] != self.points.shape[1:]:
            raise ValueError(
                f"samples must have the domain's shape {self.points.shape[1:]}, "
                f"got {rows.shape[1:]}"
            )
        if self._edges is not None:
            cells = [
                np.searchsorted(edges[1:-1], rows[:, i], side="right")
                for i, edges in enumerate(self._edges)
            ]
            return np.ravel_multi_index(cells, [len(each) - 1 for each in self._edges])
        if self.points.dtype.names is None:
            rows = rows.astype(self.points.dtype)
        found = [self._rows.get(key, -1) for key in _keys(rows)]
        if -1 in found:
            first = found.index(-1)
            raise ValueError(
                f"sample {first} is no point of the domain: {rows[first]}; list every possible "
                "value, or use FiniteDomain.grid"
            )
        return np.array(found, dtype=np.int64)

    def describe(self) -> dict[str, Any]:
        """Size and SHA-256 of the points."""
        digest = hashlib.sha256("\x1f".join(map(repr, _keys(self.points))).encode())
        return {"size": self.size, "sha256": digest.hexdigest()}


def _keys(points: NDArray[Any]) -> list[Any]:
    """Rows as hashable values, in which 0.0 and -0.0 are one."""
    if points.dtype.names is not None or points.ndim == 1:
        return points.tolist()
    return list(map(tuple, points.reshape(len(points), -1).tolist()))


def most_updates(size: int, apart: float) -> int:
    """How often a model over ``size`` points can be wrong by ``apart`` or more, at step 4 apart."""
    return max(1, math.floor(math.log(size) / (2 * apart * apart)))


@dataclass(frozen=True)
class MultiplicativeWeights(SparseVector):
    """A learnt model of the distribution answers; the holdout corrects it where it is wrong.

    The choice for very many queries about few features: the error grows with the logarithm of
    the number of queries. Queries are functions of a point of a finite domain, and the holdout
    is never handed to them.

    Parameters
    ----------
    queries : int
        How many will be answered in all.
    budget : int
        How many updates there may be; :func:`plan_holdout` sets as many as can ever be needed.
    threshold : float
        How far the model may be off, for values in [0, 1], before the holdout answers.
    scale : float
        Scale of the Laplace noise in the holdout's answers, as in :class:`Thresholdout`.
    domain : FiniteDomain
        All values that a sample can take.
    step : float
        Rate of the updates: four times the smallest error that leads to one.

    Raises
    ------
    ValueError
        If a parameter is out of range.

    Notes
    -----
    A query costs ``O(domain.size + n)``, and an update rewrites the model in the state file.

    Examples
    --------
    >>> from paperworks.statistics.adaptive import FiniteDomain, plan_holdout
    >>> domain = FiniteDomain(range(16))
    >>> mechanism = plan_holdout(
    ...     1_000_000, queries=10**12, mechanism="multiplicative-weights", domain=domain
    ... )
    >>> mechanism.error_bound(1_000_000) < 0.25
    True
    """

    domain: FiniteDomain
    step: float

    name: ClassVar[str] = "multiplicative-weights"
    guess: ClassVar[Literal["none", "train", "model"]] = "model"

    def __post_init__(self) -> None:
        super().__post_init__()
        if not isinstance(self.domain, FiniteDomain):
            raise ValueError(f"domain must be a FiniteDomain, got {type(self.domain).__name__}")

    def start(self, n: int, draw: random.Random) -> State:
        """Remember a uniform model."""
        return {**super().start(n, draw), "log_weights": np.zeros(self.domain.size)}

    def model(self, state: State) -> NDArray[np.float64]:
        """The model's probability of each point, (size,)."""
        weights = np.exp(state["log_weights"])
        return weights / weights.sum()

    def expect(self, state: State, values: NDArray[np.int64], n: int) -> int:
        """The model's sum over ``n`` samples of a query with these values on the domain."""
        return round(float(self.model(state) @ values) * n)

    def learn(self, state: State, values: NDArray[np.int64], guess: float, reply: Reply) -> None:
        """Move the model from its ``guess`` in [0, 1] towards the holdout's answer."""
        direction = math.copysign(self.step, reply.value - guess)
        moved = state["log_weights"] + direction * values / UNIT
        state["log_weights"] = moved - moved.max()

    def describe(self) -> dict[str, Any]:
        """Everything that decides its answers, as JSON values."""
        plain = {
            name: getattr(self, name)
            for name in ("queries", "budget", "threshold", "scale", "step")
        }
        return {"mechanism": self.name, **plain, "domain": self.domain.describe()}
