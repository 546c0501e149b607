"""PRESTO as scikit-learn estimators: relaxed proportional odds for a rare last class.

Faletto and Bien, "Predicting Rare Events by Shrinking Towards Proportional Odds" (ICML 2023,
arXiv 2305.18700): model (5), estimator (9), tuning as in the paper's section 4.

    P(y <= k | x) = sigmoid(intercept_[k] + coef_[k] . x),    k = 0..K-2

    minimise  -(1/n) sum_i log P(y_i | x_i)
              + alpha * (base_penalty * |coef_0|_1 + sum_k |coef_k - coef_{k-1}|_1)
    subject to P(y <= k | x_i) not decreasing in k, for every training row x_i

with the weights measured on standardised features. Departures: `base_penalty` frees the first
weight vector, so that an infinite `alpha` is proportional odds and not the empty model; folds are
stratified, for a rare class is easily missing from a plain fold; crossing boundaries on new rows
are mended (see :meth:`PrestoClassifier.predict_proba`), where the authors' code stops. What
departs in the optimisation stands in the solver's module.
"""

from __future__ import annotations

from collections.abc import Callable
from numbers import Integral, Real
from typing import Any

import numpy as np
from numpy.typing import ArrayLike
from sklearn.base import BaseEstimator, ClassifierMixin
from sklearn.model_selection import check_cv
from sklearn.utils.multiclass import check_classification_targets
from sklearn.utils.validation import (
    _check_sample_weight,
    check_is_fitted,
    validate_data,
)

from paperworks.statistics.presto.likelihood import Design
from paperworks.statistics.presto.path import (
    build_design,
    checked_factors,
    fit_path,
    unscale,
    warn_unconverged,
)
from paperworks.statistics.presto.probabilities import class_probabilities, crosses
from paperworks.statistics.presto.solver import Solution, minimise, scaled


class _Boundaries(ClassifierMixin, BaseEstimator):
    """What both estimators do with a solution."""

    def _keep(self, design: Design, solution: Solution) -> None:
        self.coef_, self.intercept_ = unscale(design, solution)
        self.objective_ = solution.objective
        self.kkt_residual_ = solution.kkt_residual
        self.duality_gap_ = solution.duality_gap
        self.converged_ = solution.converged
        self.n_iter_ = solution.n_iter

    def decision_path(self, X: ArrayLike) -> np.ndarray:
        """Log-odds of lying at or below each boundary, ``X @ coef_.T + intercept_``.

        Parameters
        ----------
        X : (n, d) float
            Features.

        Returns
        -------
        (n, K-1) float
            Not decreasing along a row, unless the boundaries cross there.
        """
        check_is_fitted(self)
        X = validate_data(self, X, dtype=np.float64, reset=False)
        return X @ self.coef_.T + self.intercept_

    def crosses(self, X: ArrayLike) -> np.ndarray:
        """Where the boundaries cross, so that :meth:`predict_proba` has mended them.

        Parameters
        ----------
        X : (n, d) float
            Features.

        Returns
        -------
        (n,) bool
            True where P(y <= k) falls with k.
        """
        return crosses(self.decision_path(X))

    def predict_proba(self, X: ArrayLike) -> np.ndarray:
        """Probability of each class.

        Boundaries with weights of their own are not parallel, and cross somewhere. Where they
        cross, the cumulative probabilities are replaced by their isotonic regression, the
        nearest non-decreasing sequence in squared distance; that can only bring them closer to
        the truth, which is non-decreasing. A class between pooled boundaries gets 0.

        Parameters
        ----------
        X : (n, d) float
            Features.

        Returns
        -------
        (n, K) float64
            Non-negative, rows sum to 1; the rare class is the last column.
        """
        return class_probabilities(self.decision_path(X))

    def decision_function(self, X: ArrayLike) -> np.ndarray:
        """Class scores as scikit-learn wants them; :meth:`decision_path` has the boundaries.

        Parameters
        ----------
        X : (n, d) float
            Features.

        Returns
        -------
        (n,) float for two classes, (n, K) float for more
            Log-odds of the second class; or the log-probability of each class, floored at the
            smallest positive float.
        """
        check_is_fitted(self)
        if len(self.classes_) == 2:
            return -self.decision_path(X)[:, 0]
        return np.log(np.maximum(self.predict_proba(X), np.finfo(float).tiny))

    def predict(self, X: ArrayLike) -> np.ndarray:
        """The most probable class of each row of ``X`` (n, d)."""
        scores = self.decision_function(X)
        chosen = (scores > 0).astype(int) if scores.ndim == 1 else scores.argmax(axis=1)
        return self.classes_[chosen]


class PrestoClassifier(_Boundaries):
    """Relaxed proportional odds: a weight vector per boundary, shrunk towards a common one.

    Models P(y <= k | x) = sigmoid(intercept_[k] + coef_[k] . x) for the boundaries between
    adjacent ordered classes, with an l1 penalty on the differences of adjacent weight vectors
    and on the first. For a rare last class that is the end of a sequence of commoner ones, the
    common boundaries lend their data to the rare one. Prefer :class:`PrestoClassifierCV` to
    choose ``alpha``; prefer a plain proportional-odds model (``alpha=np.inf, base_penalty=0``)
    where its assumption holds, and a multinomial model where the classes have no order.

    Parameters
    ----------
    alpha : float, default=0.01
        Strength of the penalty, >= 0. 0 is unconstrained cumulative logits; ``np.inf`` sets every
        penalised parameter to 0. Measured against the *mean* loss on standardised features, so
        useful values lie between about 0.5 (all zero) and 0.001.
    base_penalty : float, default=1.0
        Weight of the penalty on the first weight vector relative to that on the differences. 1 is
        the paper's estimator; 0 leaves it free, and ``alpha=np.inf`` is then proportional odds.
    standardize : bool, default=True
        Penalise weights on features scaled to unit variance, as the authors' code does.
        Coefficients are always returned on the features as given. With False the penalty is on
        those.
    tol : float, default=1e-7
        Largest KKT residual (on standardised features, against the mean loss).
    max_iter : int, default=100
        Newton iterations, at most (for the likelihood, and again for each of three barriers where
        boundaries meet on training rows).

    Attributes
    ----------
    classes_ : (K,)
        The labels, as ``np.unique`` sorts them; that order is the model's. Labels with another
        order are given as integer codes, such as an ordered pandas categorical's ``.codes``.
    coef_ : (K-1, d) float
        Weights of each boundary. A positive weight makes *lower* classes likelier (statsmodels
        and mord have the opposite sign).
    intercept_ : (K-1,) float
        Intercept of each boundary: increasing wherever 0 lies among the training rows (in their
        convex hull), as it does for centred features. Far from them boundaries may have crossed.
    objective_ : float
        Penalised mean negative log-likelihood.
    kkt_residual_, duality_gap_ : float
        Certificate of optimality; see :class:`PrestoPath`.
    converged_ : bool
        Whether ``kkt_residual_ <= tol``.
    n_iter_ : int
        Newton iterations.
    n_features_in_ : int
        d.

    Raises
    ------
    ValueError
        For parameters out of range, negative sample weights, or fewer than two classes.

    Notes
    -----
    O(n d^2) a Newton iteration, about ten of them; O(n d + (K d)^2) memory, so d up to about a
    thousand. Rows of weight 0 are left out, as if they were not there.

    Examples
    --------
    >>> import numpy as np
    >>> rng = np.random.default_rng(0)
    >>> X = rng.normal(size=(300, 2))
    >>> y = np.digitize(X[:, 0] + rng.logistic(size=300), [1.0, 3.0])
    >>> model = PrestoClassifier(alpha=0.02).fit(X, y)
    >>> model.coef_.shape, model.predict_proba(X).shape, model.converged_
    ((2, 2), (300, 3), True)
    """

    def __init__(
        self,
        alpha: float = 0.01,
        *,
        base_penalty: float = 1.0,
        standardize: bool = True,
        tol: float = 1e-7,
        max_iter: int = 100,
    ) -> None:
        self.alpha = alpha
        self.base_penalty = base_penalty
        self.standardize = standardize
        self.tol = tol
        self.max_iter = max_iter

    def fit(
        self, X: ArrayLike, y: ArrayLike, sample_weight: ArrayLike | None = None
    ) -> PrestoClassifier:
        """Fit to ``X`` (n, d) and ordered labels ``y`` (n,), weighted by ``sample_weight`` (n,)."""
        X, y, weights = _validate(self, X, y, sample_weight)
        if not isinstance(self.alpha, Real) or not self.alpha >= 0:
            raise ValueError(f"alpha must be >= 0 (np.inf is allowed), got {self.alpha!r}")
        design, self.classes_ = build_design(X, y, weights)
        factors = checked_factors(design, self.base_penalty, self.standardize)
        penalty = scaled(float(self.alpha), factors)
        solution = minimise(design, design.start(), penalty, tol=self.tol, max_iter=self.max_iter)
        self._keep(design, solution)
        warn_unconverged(np.array([self.kkt_residual_]), self.tol)
        return self


class PrestoClassifierCV(_Boundaries):
    """PRESTO with ``alpha`` chosen by cross-validation along the path.

    Parameters
    ----------
    n_alphas, eps, alphas
        The grid, as in :func:`presto_path`; computed once, from all rows.
    cv : int, splitter or iterable, default=5
        Folds; an integer means stratified ones, unshuffled. The authors' folds are not
        stratified, and may miss a rare class.
    scoring : {"log_loss", "brier", "rare_brier"}, default="log_loss"
        The held-out loss to minimise: of the class probabilities (floored at 1e-15), their
        squared error summed over classes (the authors' choice), or the squared error of the last
        class alone. The largest alpha among equals is taken. The log loss is the default for it
        weighs an error on a rare class as one on a common class.
    base_penalty, standardize, tol, max_iter
        As in :class:`PrestoClassifier`.

    Attributes
    ----------
    alpha_ : float
        The alpha chosen.
    alphas_ : (A,) float
        The grid, falling.
    scores_ : (A, folds) float
        Held-out loss.
    path_ : PrestoPath
        The path on all rows; ``coef_``, ``intercept_``, ``objective_``, ``kkt_residual_``,
        ``duality_gap_``, ``converged_`` and ``n_iter_`` are its entries at ``alpha_``.
    classes_, n_features_in_
        As in :class:`PrestoClassifier`.

    Notes
    -----
    folds + 1 paths. A class that is missing from a fold's training rows gets probability 0 there.

    Examples
    --------
    >>> import numpy as np
    >>> rng = np.random.default_rng(0)
    >>> X = rng.normal(size=(300, 2))
    >>> y = np.digitize(X[:, 0] + rng.logistic(size=300), [1.0, 3.0])
    >>> model = PrestoClassifierCV(n_alphas=5).fit(X, y)
    >>> model.scores_.shape, bool(model.alpha_ in model.alphas_)
    ((5, 5), True)
    """

    def __init__(
        self,
        *,
        n_alphas: int = 20,
        eps: float = 1e-2,
        alphas: ArrayLike | None = None,
        cv: Any = 5,
        scoring: str = "log_loss",
        base_penalty: float = 1.0,
        standardize: bool = True,
        tol: float = 1e-7,
        max_iter: int = 100,
    ) -> None:
        self.n_alphas = n_alphas
        self.eps = eps
        self.alphas = alphas
        self.cv = cv
        self.scoring = scoring
        self.base_penalty = base_penalty
        self.standardize = standardize
        self.tol = tol
        self.max_iter = max_iter

    def fit(
        self, X: ArrayLike, y: ArrayLike, sample_weight: ArrayLike | None = None
    ) -> PrestoClassifierCV:
        """Choose ``alpha`` and fit; arguments as in :meth:`PrestoClassifier.fit`."""
        X, y, weights = _validate(self, X, y, sample_weight)
        if self.scoring not in _LOSSES:
            raise ValueError(f"scoring must be one of {', '.join(_LOSSES)}, got {self.scoring!r}")
        design, self.classes_ = build_design(X, y, weights)
        factors = checked_factors(design, self.base_penalty, self.standardize)
        self.path_, solutions = fit_path(
            design,
            self.classes_,
            factors,
            self.alphas,
            self.n_alphas,
            self.eps,
            self.tol,
            self.max_iter,
        )
        self.alphas_ = self.path_.alphas
        self.scores_ = np.column_stack(
            [
                self._held_out(X[train], y[train], weights[train], X[test], y[test], weights[test])
                for train, test in check_cv(self.cv, y, classifier=True).split(X, y)
            ]
        )
        best = int(np.argmin(self.scores_.mean(axis=1)))
        self.alpha_ = float(self.alphas_[best])
        self._keep(design, solutions[best])
        warn_unconverged(self.path_.kkt_residuals, self.tol)
        return self

    def _held_out(
        self,
        X: np.ndarray,
        y: np.ndarray,
        weights: np.ndarray,
        X_test: np.ndarray,
        y_test: np.ndarray,
        weights_test: np.ndarray,
    ) -> np.ndarray:
        """Loss of each alpha on one fold, (A,)."""
        design, classes = build_design(X, y, weights)
        factors = checked_factors(design, self.base_penalty, self.standardize)
        path, _ = fit_path(design, classes, factors, self.alphas_, 0, 0.0, self.tol, self.max_iter)
        observed = y_test[:, None] == self.classes_
        columns = np.searchsorted(self.classes_, classes)
        losses = []
        for coef, intercept in zip(path.coefs, path.intercepts, strict=True):
            probabilities = np.zeros(observed.shape)
            probabilities[:, columns] = class_probabilities(X_test @ coef.T + intercept)
            losses.append(_LOSSES[self.scoring](probabilities, observed))
        return np.average(losses, axis=1, weights=weights_test)


def _log_loss(probabilities: np.ndarray, observed: np.ndarray) -> np.ndarray:
    return -np.log(np.maximum(probabilities[observed], 1e-15))


def _brier(probabilities: np.ndarray, observed: np.ndarray) -> np.ndarray:
    return ((probabilities - observed) ** 2).sum(axis=1)


def _rare_brier(probabilities: np.ndarray, observed: np.ndarray) -> np.ndarray:
    return (probabilities[:, -1] - observed[:, -1]) ** 2


_LOSSES: dict[str, Callable[[np.ndarray, np.ndarray], np.ndarray]] = {
    "log_loss": _log_loss,
    "brier": _brier,
    "rare_brier": _rare_brier,
}


def _validate(
    estimator: Any, X: ArrayLike, y: ArrayLike, sample_weight: ArrayLike | None
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    features, labels = validate_data(estimator, X, y, dtype=np.float64)
    check_classification_targets(labels)
    if not isinstance(estimator.max_iter, Integral) or estimator.max_iter < 1:
        raise ValueError(f"max_iter must be an integer >= 1, got {estimator.max_iter!r}")
    if not estimator.tol > 0:
        raise ValueError(f"tol must be > 0, got {estimator.tol!r}")
    weights = _check_sample_weight(sample_weight, features, dtype=np.float64)
    return features, labels, weights
