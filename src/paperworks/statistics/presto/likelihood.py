"""The cumulative-logit likelihood with a weight vector per boundary, and its derivatives.

Faletto and Bien, "Predicting Rare Events by Shrinking Towards Proportional Odds" (ICML 2023,
arXiv 2305.18700), model (5) and the likelihood inside estimator (9). With boundaries k = 1..K-1,

    P(y <= k | x) = sigmoid(eta_k),    eta_k = intercept_k + x . coef_k,

a sample of class c between the boundaries c-1 and c has the probability

    sigmoid(eta_c) - sigmoid(eta_{c-1})
        = sigmoid(eta_c) * sigmoid(-eta_{c-1}) * (1 - exp(-(eta_c - eta_{c-1}))).

The last form is why this module is short. Minus its logarithm is a convex function of three
linear forms: the upper boundary, the lower boundary and the gap between them. In the coordinates
of the penalty (the first weight vector, then the differences of adjacent ones) the gap of class c
depends on difference c alone, and the Hessian is made of weighted Gram matrices of size d + 1.

The likelihood itself is defined wherever the gaps of the *observed* classes are positive. The
model wants all gaps positive; `guarded` adds them as a weak barrier of the same form, for the
solver to use where the likelihood alone lets boundaries cross on training rows.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace
from typing import NamedTuple

import numpy as np
from scipy.special import expit

_BLOCK = 1024  # rows per Gram update: the scaled copy stays in cache


class Forms(NamedTuple):
    """The linear forms: ``lower`` and ``upper`` boundary (n,), and ``gap`` by `Design.gaps`.

    The first class has no lower boundary (-inf), the last no upper one (+inf). In a direction of
    search those entries are 0.
    """

    lower: np.ndarray
    upper: np.ndarray
    gap: np.ndarray

    def moved(self, direction: Forms, step: float) -> Forms:
        """The forms after a step along ``direction``."""
        return Forms(*(form + step * move for form, move in zip(self, direction, strict=True)))

    def room(self, direction: Forms) -> float:
        """The longest step along ``direction`` that keeps every gap non-negative."""
        closing = direction.gap < 0
        if not closing.any():
            return np.inf
        return float(np.min(-self.gap[closing] / direction.gap[closing]))


@dataclass(frozen=True)
class Design:
    """Standardised features with a last column of ones, the rows sorted by class.

    Parameters theta of shape (K-1, d+1) hold in row 0 the first boundary (weights, intercept),
    and in row k the difference of boundary k+1 and boundary k. Weights sum to 1. ``barrier`` is
    the weight of a gap that the likelihood does not see, relative to one that it does.
    """

    X: np.ndarray
    weights: np.ndarray
    bounds: np.ndarray
    mean: np.ndarray
    scale: np.ndarray
    barrier: float = 0.0

    @classmethod
    def build(cls, X: np.ndarray, codes: np.ndarray, weights: np.ndarray) -> Design:
        """From features (n, d), class codes 0..K-1 (n,), all present, and positive weights."""
        order = np.argsort(codes, kind="stable")
        X, codes = X[order], codes[order]
        weights = weights[order] / weights.sum()
        mean = weights @ X
        X = X - mean
        scale = np.sqrt(weights @ X**2)
        # A constant column is rounding noise about its mean: it stays in the model with weight 0.
        constant = scale <= 10 * np.finfo(float).eps * np.abs(mean)
        X[:, constant] = 0.0
        scale[constant] = 1.0
        X = np.column_stack([X / scale, np.ones(len(X))])
        bounds = np.searchsorted(codes, np.arange(codes[-1] + 2))
        return cls(X, weights, bounds, mean, scale)

    def guarded(self, barrier: float) -> Design:
        """The same problem with every gap of every row in it."""
        return replace(self, barrier=barrier)

    @property
    def n_boundaries(self) -> int:
        """K - 1."""
        return len(self.bounds) - 2

    def rows(self, c: int) -> slice:
        """The rows of class ``c``."""
        return slice(int(self.bounds[c]), int(self.bounds[c + 1]))

    def gaps(self) -> Iterator[tuple[int, slice, np.ndarray]]:
        """Each inner class, the rows whose gap counts there, and the weights of those gaps."""
        for c in range(1, self.n_boundaries):
            rows = self.rows(c)
            if self.barrier == 0:
                yield c, rows, self.weights[rows]
            else:
                weights = self.barrier * self.weights
                weights[rows] = self.weights[rows]
                yield c, slice(0, len(self.X)), weights

    def start(self) -> np.ndarray:
        """The intercept-only model, (K-1, d+1): feasible, and the null model's optimum."""
        shares = np.add.reduceat(self.weights, self.bounds[:-1])
        below, above = np.cumsum(shares)[:-1], np.cumsum(shares[::-1])[-2::-1]
        theta = np.zeros((self.n_boundaries, self.X.shape[1]))
        theta[:, -1] = np.diff(np.log(below / above), prepend=0.0)
        return theta

    def forms(self, theta: np.ndarray, *, direction: bool = False) -> Forms:
        """The linear forms at ``theta``, or of a ``direction``. O(n d)."""
        absent = 0.0 if direction else np.inf
        lower, upper = np.full(len(self.X), -absent), np.full(len(self.X), absent)
        boundaries = np.cumsum(theta, axis=0)
        for k, boundary in enumerate(boundaries):
            upper[self.rows(k)] = self.X[self.rows(k)] @ boundary
            lower[self.rows(k + 1)] = self.X[self.rows(k + 1)] @ boundary
        # Not upper - lower, which would cancel.
        gap = [self.X[rows] @ theta[c] for c, rows, _ in self.gaps()]
        return Forms(lower, upper, np.concatenate([np.empty(0), *gap]))

    def loss(self, forms: Forms) -> float:
        """Weighted mean of minus log P(y = observed); inf where a gap is closed."""
        if not np.all(forms.gap > 0):
            return np.inf
        softplus = np.logaddexp(0.0, -forms.upper) + np.logaddexp(0.0, forms.lower)
        barrier = -np.log(-np.expm1(-forms.gap))
        return float(self.weights @ softplus + self._gap_weights() @ barrier)

    def gradient(self, forms: Forms) -> np.ndarray:
        """Gradient of :meth:`loss` in theta, (K-1, d+1). O(n d)."""
        upper = -self.weights * expit(-forms.upper)
        lower = self.weights * expit(forms.lower)
        gap = self._gap_weights() * np.exp(-forms.gap) / np.expm1(-forms.gap)
        by_boundary = np.empty((self.n_boundaries, self.X.shape[1]))
        for k in range(self.n_boundaries):
            here, above = self.rows(k), self.rows(k + 1)
            by_boundary[k] = upper[here] @ self.X[here] + lower[above] @ self.X[above]
        gradient = np.cumsum(by_boundary[::-1], axis=0)[::-1]  # difference j moves all from j on
        for c, rows, part in self._split(gap):
            gradient[c] += part @ self.X[rows]
        return gradient

    def hessian(self, forms: Forms) -> np.ndarray:
        """Hessian of :meth:`loss` in theta.ravel(). O(n d^2) time, O((K d)^2) memory."""
        m, size = self.n_boundaries, self.X.shape[1]
        upper = self.weights * expit(forms.upper) * expit(-forms.upper)
        lower = self.weights * expit(forms.lower) * expit(-forms.lower)
        gap = self._gap_weights() * np.exp(-forms.gap) / np.expm1(-forms.gap) ** 2
        by_boundary = np.empty((m, size, size))
        for k in range(m):
            here, above = self.rows(k), self.rows(k + 1)
            by_boundary[k] = self._gram(here, upper[here]) + self._gram(above, lower[above])
        tails = np.cumsum(by_boundary[::-1], axis=0)[::-1]
        H = np.empty((m, size, m, size))
        for i in range(m):
            for j in range(m):
                H[i, :, j, :] = tails[max(i, j)]
        for c, rows, part in self._split(gap):
            H[c, :, c, :] += self._gram(rows, part)
        return H.reshape(m * size, m * size)

    def duality_gap(self, forms: Forms) -> float:
        """Bound on what the barrier costs: objective minus the constrained optimum.

        A barrier's slope is a Lagrange multiplier of its gap, so at a stationary point the sum
        of multipliers times gaps is the duality gap; it is at most ``barrier * (K - 2)``.
        """
        if self.barrier == 0:
            return 0.0
        gap = self._gap_weights() * forms.gap * np.exp(-forms.gap) / -np.expm1(-forms.gap)
        total = 0.0
        for c, _, part in self._split(gap):
            total += part.sum() - part[self.rows(c)].sum()
        return float(total)

    def _gap_weights(self) -> np.ndarray:
        return np.concatenate([np.empty(0), *(weights for _, _, weights in self.gaps())])

    def _split(self, values: np.ndarray) -> Iterator[tuple[int, slice, np.ndarray]]:
        """Each inner class, its rows and its part of ``values``, which are laid out as gaps."""
        first = 0
        for c, rows, weights in self.gaps():
            yield c, rows, values[first : first + len(weights)]
            first += len(weights)

    def _gram(self, rows: slice, curvature: np.ndarray) -> np.ndarray:
        total = np.zeros((self.X.shape[1], self.X.shape[1]))
        X, root = self.X[rows], np.sqrt(curvature)[:, None]
        for first in range(0, len(X), _BLOCK):
            block = slice(first, first + _BLOCK)
            Z = X[block] * root[block]
            total += Z.T @ Z  # numpy sends Z.T @ Z to a symmetric product: half the work
        return total
