"""The regularisation path of PRESTO, on features and labels as a person has them.

Faletto and Bien (ICML 2023, arXiv 2305.18700), estimator (9). The grid of penalties follows the
authors' code: geometric, from the smallest alpha that empties the model. What is solved and how
stands in the solver's module.
"""

from __future__ import annotations

import warnings
from dataclasses import dataclass
from numbers import Integral

import numpy as np
from numpy.typing import ArrayLike
from sklearn.exceptions import ConvergenceWarning
from sklearn.utils.multiclass import check_classification_targets
from sklearn.utils.validation import _check_sample_weight, check_array, check_X_y

from paperworks.statistics.presto.likelihood import Design
from paperworks.statistics.presto.solver import (
    Solution,
    alpha_grid,
    penalty_factors,
    solve_path,
)


@dataclass(frozen=True)
class PrestoPath:
    """A regularisation path: A penalties, K classes, d features.

    Attributes
    ----------
    alphas : (A,) float
        The penalties, in the order solved (falling, unless given otherwise).
    coefs : (A, K-1, d) float
        Weight vector of each boundary, on the features as given.
    intercepts : (A, K-1) float
        Intercept of each boundary.
    objectives : (A,) float
        Penalised mean negative log-likelihood.
    kkt_residuals : (A,) float
        The certificate of optimality: the largest violation, over all parameters on standardised
        features, of "minus the gradient lies in the subdifferential of the penalty". The problem
        is convex, so 0 means a global optimum.
    duality_gaps : (A,) float
        How far the objective may lie above the optimum because boundaries meet on training rows:
        0 where none do, at most (K - 2) * 1e-6 where a barrier keeps them in order.
    n_iters : (A,) int
        Newton iterations.
    converged : (A,) bool
        Whether the residual came down to the tolerance.
    classes : (K,)
        The labels in order.
    """

    alphas: np.ndarray
    coefs: np.ndarray
    intercepts: np.ndarray
    objectives: np.ndarray
    kkt_residuals: np.ndarray
    duality_gaps: np.ndarray
    n_iters: np.ndarray
    converged: np.ndarray
    classes: np.ndarray


def presto_path(
    X: ArrayLike,
    y: ArrayLike,
    *,
    alphas: ArrayLike | None = None,
    n_alphas: int = 20,
    eps: float = 1e-2,
    base_penalty: float = 1.0,
    standardize: bool = True,
    sample_weight: ArrayLike | None = None,
    tol: float = 1e-7,
    max_iter: int = 100,
) -> PrestoPath:
    """Fit PRESTO for a sequence of penalties, each started from the one before.

    Parameters
    ----------
    X : (n, d) float
        Features.
    y : (n,) labels
        Ordered by ``np.unique``.
    alphas : (A,) float, optional
        The penalties; by default ``n_alphas`` of them, geometric from the smallest one that
        leaves every penalised weight at 0 down to ``eps`` times that (20 and 0.01 are the
        authors' numbers).
    n_alphas, eps
        See ``alphas``.
    base_penalty, standardize, sample_weight, tol, max_iter
        As in :class:`PrestoClassifier`.

    Returns
    -------
    PrestoPath
        Coefficients, objective and KKT residual for each penalty.

    Warns
    -----
    ConvergenceWarning
        Where a residual stayed above ``tol``.

    Notes
    -----
    About four Newton iterations a penalty, each O(n d^2) time; O(n d + (K d)^2) memory.

    Examples
    --------
    >>> import numpy as np
    >>> X = np.linspace(-1, 1, 40).reshape(-1, 1)
    >>> y = np.repeat([0, 1, 0, 1, 2], 8)
    >>> path = presto_path(X, y, n_alphas=5)
    >>> path.coefs.shape, bool(path.converged.all())
    ((5, 2, 1), True)
    """
    features, labels = check_X_y(X, y, dtype=np.float64)
    check_classification_targets(labels)
    weights = _check_sample_weight(sample_weight, features, dtype=np.float64)
    design, classes = build_design(features, labels, weights)
    factors = checked_factors(design, base_penalty, standardize)
    path, _ = fit_path(design, classes, factors, alphas, n_alphas, eps, tol, max_iter)
    warn_unconverged(path.kkt_residuals, tol)
    return path


def build_design(X: np.ndarray, y: np.ndarray, weights: np.ndarray) -> tuple[Design, np.ndarray]:
    """The problem without rows of weight 0, and the classes in order."""
    if np.any(weights < 0):
        raise ValueError(
            f"sample_weight must be >= 0, got {weights.min():g}; weight 0 leaves a row out"
        )
    kept = weights > 0
    classes, codes = np.unique(y[kept], return_inverse=True)
    if len(classes) < 2:
        raise ValueError(
            f"y needs at least two classes, got {len(classes)} class with positive weight"
        )
    return Design.build(X[kept], codes, weights[kept]), classes


def checked_factors(design: Design, base_penalty: float, standardize: bool) -> np.ndarray:
    """What multiplies alpha for each parameter, (K-1, d+1)."""
    if not 0 <= base_penalty < np.inf:
        raise ValueError(f"base_penalty must be >= 0 and finite, got {base_penalty!r}")
    return penalty_factors(design, base_penalty, standardize)


def fit_path(
    design: Design,
    classes: np.ndarray,
    factors: np.ndarray,
    alphas: ArrayLike | None,
    n_alphas: int,
    eps: float,
    tol: float,
    max_iter: int,
) -> tuple[PrestoPath, list[Solution]]:
    """The path, in the features' own units and in the solver's."""
    if alphas is None:
        if not isinstance(n_alphas, Integral) or n_alphas < 1:
            raise ValueError(f"n_alphas must be an integer >= 1, got {n_alphas!r}")
        if not 0 < eps <= 1:
            raise ValueError(f"eps must lie in (0, 1], got {eps!r}")
        grid, start = alpha_grid(design, factors, n_alphas, eps, tol=tol, max_iter=max_iter)
    else:
        grid = check_array(alphas, ensure_2d=False, dtype=np.float64, ensure_all_finite=False)
        if grid.ndim != 1 or not np.all(grid >= 0):
            raise ValueError(f"alphas must be a list of numbers >= 0, got {alphas!r}")
        start = design.start()
    solutions = solve_path(design, grid, factors, start, tol=tol, max_iter=max_iter)
    fitted = [unscale(design, solution) for solution in solutions]
    path = PrestoPath(
        alphas=grid,
        coefs=np.stack([coef for coef, _ in fitted]),
        intercepts=np.stack([intercept for _, intercept in fitted]),
        objectives=np.array([solution.objective for solution in solutions]),
        kkt_residuals=np.array([solution.kkt_residual for solution in solutions]),
        duality_gaps=np.array([solution.duality_gap for solution in solutions]),
        n_iters=np.array([solution.n_iter for solution in solutions]),
        converged=np.array([solution.converged for solution in solutions]),
        classes=classes,
    )
    return path, solutions


def unscale(design: Design, solution: Solution) -> tuple[np.ndarray, np.ndarray]:
    """Weights and intercepts of each boundary, on the features as given."""
    boundaries = np.cumsum(solution.theta, axis=0)
    coef = boundaries[:, :-1] / design.scale
    return coef, boundaries[:, -1] - coef @ design.mean


def warn_unconverged(residuals: np.ndarray, tol: float) -> None:
    """Warn with the worst residual where it is above ``tol``."""
    if np.max(residuals) > tol:
        warnings.warn(
            f"PRESTO did not converge: KKT residual {np.max(residuals):.1e} > tol {tol:.1e}. "
            "Raise max_iter; if the classes can be separated perfectly, alpha = 0 (or a tiny one) "
            "has no finite optimum: raise alpha",
            ConvergenceWarning,
            stacklevel=3,  # the caller of fit or presto_path
        )
