"""Contrastive pairs by maximum likelihood, and how far they determine the embedding.

Ge, Tang, Fan and Jin (ICLR 2024, arXiv 2303.01566), their third example. Pairs (x, x') of rows
carry a sign s, similar or not, with

    P(s = 1 | x, x') = sigmoid(f(x) . f(x') + offset),      z = f(x) + noise, noise ~ N(0, I_r),

and the paper has no offset. Here f is linear, f(x) = (x - mean) W', and an offset is fitted, for
the share of similar pairs is whatever the sampling made it. A feature map in front
(``Nystroem``, ``SplineTransformer``) makes f nonlinear in x.

f is determined up to an orthogonal map, which linear probes can undo: the transformation group is
O(r).
"""

from __future__ import annotations

import warnings
from collections.abc import Callable
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy.linalg import orthogonal_procrustes
from scipy.optimize import minimize
from scipy.special import expit, ndtr
from sklearn.base import BaseEstimator, ClassNamePrefixFeaturesOutMixin, TransformerMixin
from sklearn.exceptions import ConvergenceWarning
from sklearn.utils.validation import check_array, check_is_fitted

from paperworks.statistics.checking import positive, probability, whole
from paperworks.statistics.pretraining.checking import fit_rows, new_rows
from paperworks.statistics.pretraining.informative import Alternative

FloatArray = NDArray[np.float64]
Pairs = tuple[ArrayLike, ArrayLike, ArrayLike]
View = Callable[[FloatArray, np.random.Generator], ArrayLike]


class ContrastiveModel(ClassNamePrefixFeaturesOutMixin, TransformerMixin, BaseEstimator):
    """Linear embedding in which similar rows have a large inner product.

    Use it before a linear probe, where you know of pairs that belong together (two views of one
    thing, neighbours in time), or of changes that leave the label alone. Take
    :class:`FactorModel` where you know nothing but the rows.

    Parameters
    ----------
    n_components : int, default=2
        Dimensions r of the embedding, at most the number of features.
    view : callable or None, default=None
        ``view(X, rng)`` returns another view of each row of X, (m, d); used where :meth:`fit` is
        given no pairs. None replaces each entry, with probability ``corruption``, by that of
        another row (Bahri et al. 2022, SCARF, which replaces a fixed number).
    corruption : float, default=0.3
        See ``view``.
    n_pairs : int, default=4
        Pairs made of each row, half of them similar (both views of one row), where :meth:`fit`
        is given none.
    alpha : float, default=1e-4
        Strength of a penalty on the squared entries of W (on features of unit variance), per
        pair. The paper has none; it keeps W finite where pairs can be told apart perfectly.
    max_iter : int, default=500
        L-BFGS steps, at most.
    random_state : int, Generator or None, default=None
        Of the views, the pairs and the start.

    Attributes
    ----------
    components_ : (r, d) float
        W, on the features as given.
    mean_ : (d,) float
    offset_ : float
    loss_ : float
        Mean log loss of the signs, in nats, without the penalty.
    null_loss_ : float
        That of the offset alone.
    n_pairs_ : int
    n_iter_ : int
    converged_ : bool

    Notes
    -----
    O(P d r) a step for P pairs. The loss is not convex in W; the start is random.

    Examples
    --------
    >>> import numpy as np
    >>> rng = np.random.default_rng(0)
    >>> A, B = rng.normal(size=(2, 4000, 5))
    >>> s = rng.random(4000) < 1 / (1 + np.exp(-4 * A[:, 0] * B[:, 0]))
    >>> model = ContrastiveModel(1, random_state=0).fit(A, pairs=(A, B, s))
    >>> np.abs(model.components_).round().tolist()
    [[2.0, 0.0, 0.0, 0.0, 0.0]]
    """

    def __init__(
        self,
        n_components: int = 2,
        *,
        view: View | None = None,
        corruption: float = 0.3,
        n_pairs: int = 4,
        alpha: float = 1e-4,
        max_iter: int = 500,
        random_state: Any = None,
    ) -> None:
        self.n_components = n_components
        self.view = view
        self.corruption = corruption
        self.n_pairs = n_pairs
        self.alpha = alpha
        self.max_iter = max_iter
        self.random_state = random_state

    def fit(self, X: ArrayLike, y: Any = None, *, pairs: Pairs | None = None) -> ContrastiveModel:
        """Maximise the likelihood of the signs of pairs.

        Parameters
        ----------
        X : (m, d) float
            Rows, for their mean and scale, and for pairs where none are given.
        y : ignored
        pairs : (A, B, s) or None
            Rows A and B, (P, d) each, and s (P,): 1 or True where they are similar, 0 or False
            where they are not. None makes pairs of views of X.
        """
        X = fit_rows(self, X, least=2)
        d = X.shape[1]
        r = whole("n_components", self.n_components, 1)
        if r > d:
            raise ValueError(
                f"n_components must be at most the number of features, got {r} with "
                f"n_features = {d}"
            )
        alpha = positive("alpha", self.alpha, zero=True)
        if self.view is not None and not callable(self.view):
            raise ValueError(f"view must be a function of (X, rng) or None, got {self.view!r}")
        rng = np.random.default_rng(self.random_state)
        self.mean_ = X.mean(axis=0)
        scale = X.std(axis=0)
        scale[scale == 0] = 1.0
        first, second, sign = self._pairs(X, rng) if pairs is None else _checked(pairs, d)
        first, second = (first - self.mean_) / scale, (second - self.mean_) / scale
        share = sign.mean()
        start = np.append(rng.standard_normal(r * d) / np.sqrt(r * d), 0.0)
        start[-1] = np.log(share / (1 - share))
        found = minimize(
            _loss,
            start,
            args=(first, second, sign, r, alpha),
            jac=True,
            method="L-BFGS-B",
            options={"maxiter": whole("max_iter", self.max_iter, 1), "ftol": 1e-12, "gtol": 1e-6},
        )
        self.converged_ = bool(found.success)
        if not self.converged_:
            warnings.warn(
                f"the embedding did not converge in {self.max_iter} steps ({found.message}); "
                "raise max_iter",
                ConvergenceWarning,
                stacklevel=2,
            )
        self.components_ = found.x[:-1].reshape(r, d) / scale
        self.offset_ = float(found.x[-1])
        self.loss_ = float(_loss(found.x, first, second, sign, r, 0.0)[0])
        self.null_loss_ = float(-share * np.log(share) - (1 - share) * np.log(1 - share))
        self.n_pairs_ = len(sign)
        self.n_iter_ = max(int(found.nit), 1)
        return self

    def _pairs(
        self, X: FloatArray, rng: np.random.Generator
    ) -> tuple[FloatArray, FloatArray, FloatArray]:
        m = len(X)
        each = whole("n_pairs", self.n_pairs, 2)
        probability("corruption", self.corruption)
        first, second, sign = [], [], []
        for i in range(each):
            similar = i % 2 == 0
            # Another row, never the same: shift by 1 .. m-1.
            other = X if similar else X[(np.arange(m) + rng.integers(1, m, size=m)) % m]
            first.append(self._view(X, X, rng))
            second.append(self._view(other, X, rng))
            sign.append(np.full(m, float(similar)))
        return np.concatenate(first), np.concatenate(second), np.concatenate(sign)

    def _view(self, rows: FloatArray, X: FloatArray, rng: np.random.Generator) -> FloatArray:
        if self.view is None:
            donors = X[rng.integers(len(X), size=rows.shape), np.arange(rows.shape[1])]
            return np.where(rng.random(rows.shape) < self.corruption, donors, rows)
        seen = check_array(self.view(rows.copy(), rng), dtype=np.float64, input_name="the view")
        if seen.shape != rows.shape:
            raise ValueError(f"view must keep the shape {rows.shape}, it returned {seen.shape}")
        return seen

    @property
    def _n_features_out(self) -> int:
        return len(self.components_)

    def transform(self, X: ArrayLike) -> FloatArray:
        """Embed the rows of ``X`` (n, d), as (n, r) floats."""
        X = new_rows(self, X)
        return (X - self.mean_) @ self.components_.T

    def predict_similar(self, A: ArrayLike, B: ArrayLike) -> FloatArray:
        """Probability that rows of ``A`` and ``B``, (n, d) each, are similar, (n,)."""
        first, second = self.transform(A), self.transform(B)
        if len(first) != len(second):
            raise ValueError(f"A and B must pair up, got {len(first)} and {len(second)} rows")
        return expit((first * second).sum(axis=1) + self.offset_)

    # What the informative condition asks of a model; see the module `informative`.

    def local_kappa(self, X: FloatArray | None = None) -> float:
        """Ratio of Hellinger distances, at most, for small changes of W, averaged over ``X``.

        The information of z about W is E[x x'] in each row of W; that of the signs is
        E[p (1 - p) g g'], g the gradient of f(x) . f(x'), with the offset profiled out. Rotations
        of the embedding change neither and are taken out.
        """
        centred = self._rows(X)
        rng = np.random.default_rng(0)
        n, (r, d) = len(centred), self.components_.shape
        # Whitened features, so that the information of z is the identity.
        _, singular, axes = np.linalg.svd(centred, full_matrices=False)
        kept = singular > 1e-10 * singular[0]
        white = axes[kept].T / singular[kept] * np.sqrt(n)
        W = self.components_ @ np.linalg.pinv(white).T
        features = centred @ white
        d = features.shape[1]
        first = features[np.tile(np.arange(n), max(1, 4000 // n))]
        second = features[rng.permutation(np.tile(np.arange(n), max(1, 4000 // n)))]
        u, v = first @ W.T, second @ W.T
        p = expit((u * v).sum(axis=1) + self.offset_)
        gradient = v[:, :, None] * first[:, None, :] + u[:, :, None] * second[:, None, :]
        gradient = np.column_stack([gradient.reshape(len(first), r * d), np.ones(len(first))])
        information = (gradient * (p * (1 - p))[:, None]).T @ gradient / len(first)
        efficient = information[:-1, :-1]
        if information[-1, -1] > 0:
            column = information[:-1, -1:]
            efficient = efficient - column @ column.T / information[-1, -1]
        turns = [
            (np.eye(r)[:, [i]] @ W[[j]] - np.eye(r)[:, [j]] @ W[[i]]).ravel()
            for i in range(r)
            for j in range(i)
        ]
        if turns:
            left, size, _ = np.linalg.svd(np.array(turns).T)
            rank = int((size > 1e-10 * max(size[0], 1e-300)).sum())
            others = left[:, rank:]
            efficient = others.T @ efficient @ others
        least = float(np.linalg.eigvalsh(efficient)[0]) if efficient.size else np.inf
        return float(1 / np.sqrt(least)) if least > 1e-12 else float("inf")

    def alternative(
        self, size: float, rng: np.random.Generator, n_samples: int, X: FloatArray | None = None
    ) -> Alternative:
        """Another member of the class, and its distances from this one; see `informative`."""
        centred = self._rows(X)
        here = centred @ self.components_.T
        change = rng.standard_normal(self.components_.shape)
        moved = centred @ change.T
        there = here + size * moved / max(np.sqrt((moved**2).sum(axis=1).mean()), 1e-300)
        rotation, _ = orthogonal_procrustes(there, here)
        i, j = rng.integers(len(centred), size=(2, n_samples))
        apart = np.abs(
            expit((here[i] * here[j]).sum(axis=1) + self.offset_)
            - expit((there[i] * there[j]).sum(axis=1) + self.offset_)
        )
        latent = 2 * ndtr(np.linalg.norm(there @ rotation - here, axis=1) / 2) - 1
        return Alternative(
            float(apart.mean()), float(apart.std() / np.sqrt(n_samples)), float(latent.mean())
        )

    def _rows(self, X: Any) -> FloatArray:
        check_is_fitted(self)
        if X is None:
            raise ValueError(
                "a ContrastiveModel does not model x; give rows X to average the condition over"
            )
        return new_rows(self, X) - self.mean_


def _loss(
    flat: FloatArray,
    first: FloatArray,
    second: FloatArray,
    sign: FloatArray,
    r: int,
    alpha: float,
) -> tuple[float, FloatArray]:
    """Mean log loss of the signs with its penalty, and its gradient."""
    W, offset = flat[:-1].reshape(r, -1), flat[-1]
    u, v = first @ W.T, second @ W.T
    logit = (u * v).sum(axis=1) + offset
    value = np.mean(np.logaddexp(0.0, logit) - sign * logit)
    slope = (expit(logit) - sign) / len(sign)
    gradient = (v * slope[:, None]).T @ first + (u * slope[:, None]).T @ second
    value += 0.5 * alpha * np.sum(W**2)
    return float(value), np.append((gradient + alpha * W).ravel(), slope.sum())


def _checked(pairs: Any, d: int) -> tuple[FloatArray, FloatArray, FloatArray]:
    """Pairs as float arrays, or an error that says what is wrong with them."""
    if not isinstance(pairs, (tuple, list)) or len(pairs) != 3:
        raise ValueError("pairs must be three arrays (A, B, s): rows, rows, and whether similar")
    first = check_array(pairs[0], dtype=np.float64, input_name="pairs[0]")
    second = check_array(pairs[1], dtype=np.float64, input_name="pairs[1]")
    sign = check_array(pairs[2], dtype=np.float64, ensure_2d=False, input_name="pairs[2]")
    if first.shape != second.shape or sign.shape != (len(first),):
        raise ValueError(
            f"pairs must be A (P, d), B (P, d) and s (P,), got {first.shape}, {second.shape} "
            f"and {sign.shape}"
        )
    if first.shape[1] != d:
        raise ValueError(f"pairs have {first.shape[1]} features, X has {d}")
    values = np.unique(sign)
    if not np.isin(values, (0.0, 1.0)).all():
        raise ValueError(
            f"the signs of pairs must be 0 or 1, got {values[:5].tolist()}; "
            "map -1 to 0 where -1 means dissimilar"
        )
    if len(values) < 2:
        raise ValueError(
            f"all pairs have the sign {int(values[0])}; contrastive learning needs similar and "
            "dissimilar ones"
        )
    return first, second, sign
