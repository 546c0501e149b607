"""Proximal Newton for the PRESTO estimator, and its warm-started regularisation path.

Faletto and Bien (ICML 2023, arXiv 2305.18700), estimator (9): minimise over the first weight
vector and the differences of adjacent ones

    loss(theta) + alpha * (base_penalty * |coef_1|_1 + sum_k |coef_k - coef_{k-1}|_1).

subject to boundaries in order, eta_1 <= ... <= eta_{K-1}, on every training row: the model's
probabilities are then non-negative there, and the problem is convex. The optimum without the
constraint is found first. Where it satisfies the constraint, as it does unless the data are few
for their features, it is the optimum. Where not, a log barrier on the gaps is driven down to
`_BARRIERS[-1]`, with the duality gap as the certificate.

Departures from the authors' modified `ordinalNet`, and why:

* the observed Hessian in place of the Fisher information: it is positive semidefinite wherever
  the likelihood is defined, and converges quadratically;
* the constraint. The authors' code halves any step at which a class of a training row gets a
  negative probability, ten times at most, and can so stop at that wall away from the optimum;
* convergence is declared by the KKT residual, not by a small change of the objective.

One iteration costs O(n d^2) for the Hessian; the l1 problem on the quadratic model has
(K-1)(d+1) unknowns whatever n is.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cache

import numpy as np
from numba import njit
from scipy.linalg import LinAlgError, cho_factor, cho_solve
from threadpoolctl import ThreadpoolController

from paperworks.statistics.presto.likelihood import Design

_BARRIERS = (1e-4, 1e-5, 1e-6)  # of the weight of an observation


@dataclass(frozen=True)
class Solution:
    """One point of a path, in the coordinates of :class:`Design`."""

    theta: np.ndarray
    objective: float
    kkt_residual: float
    duality_gap: float
    n_iter: int
    converged: bool


@cache
def _threads() -> ThreadpoolController:
    return ThreadpoolController()


@njit(cache=True)
def _descend(H, r, theta, penalty, tol, sweeps):  # pragma: no cover - compiled
    """Coordinate descent on the quadratic model; ``r`` is its gradient at ``theta``."""
    for _ in range(sweeps):
        largest = 0.0
        for j in range(theta.size):
            z = theta[j] - r[j] / H[j, j]
            new = np.sign(z) * max(abs(z) - penalty[j] / H[j, j], 0.0)
            move = new - theta[j]
            if move != 0.0:
                theta[j] = new
                for i in range(theta.size):
                    r[i] += move * H[j, i]
                largest = max(largest, abs(move) * np.sqrt(H[j, j]))
        if largest <= tol:
            return


def _l1(theta: np.ndarray, penalty: np.ndarray) -> float:
    used = theta != 0  # an infinite penalty on a zero costs nothing
    return float(penalty[used] @ np.abs(theta[used]))


def kkt_residual(gradient: np.ndarray, theta: np.ndarray, penalty: np.ndarray) -> float:
    """Largest distance of minus the gradient from the penalty's subdifferential at ``theta``."""
    at_zero = np.maximum(np.abs(gradient) - penalty, 0.0)
    signed = np.where(theta != 0, penalty, 0.0) * np.sign(theta)
    return float(np.max(np.where(theta != 0, np.abs(gradient + signed), at_zero)))


def solve_quadratic(
    H: np.ndarray, g: np.ndarray, theta: np.ndarray, penalty: np.ndarray, tol: float
) -> np.ndarray:
    """Minimise g.(z - theta) + (z - theta).H(z - theta)/2 + penalty.|z| over z, all (m,).

    Coordinate descent finds the support; a linear solve on it, stopped at the best of the sign
    changes on its way (the feature-sign search of Lee et al., 2007), finishes in a handful of
    rounds what coordinate descent alone would crawl towards.
    """
    z, r = theta.copy(), g.copy()
    for _ in range(200):
        _descend(H, r, z, penalty, 0.1 * tol, 10)
        if kkt_residual(r, z, penalty) <= tol:
            break
        support = np.flatnonzero((z != 0) | (penalty == 0))
        inner = H[np.ix_(support, support)]
        try:
            factor = cho_factor(inner)
        except LinAlgError:  # collinear features: coordinate descent goes on alone
            continue
        here, price = z[support], penalty[support]
        step = -cho_solve(factor, r[support] + price * np.sign(here))
        with np.errstate(divide="ignore", invalid="ignore"):
            reach = np.where((price > 0) & (here * step < 0), -here / step, np.inf)
        lengths = np.append(reach[reach < 1], 1.0)
        points = here + lengths[:, None] * step
        points[lengths[:, None] == reach] = 0.0
        slope, curvature = r[support] @ step, step @ inner @ step
        values = lengths * slope + 0.5 * lengths**2 * curvature + np.abs(points) @ price
        there = points[np.argmin(values)]
        z[support] = there
        r += H[:, support] @ (there - here)
    return z


def minimise(
    design: Design, theta: np.ndarray, penalty: np.ndarray, *, tol: float, max_iter: int
) -> Solution:
    """Minimise from a strictly feasible ``theta`` (K-1, d+1) with ``penalty`` of that shape.

    ``max_iter`` bounds the Newton iterations of each stage (one, and one more per barrier).
    """
    # The products are many and small: BLAS threads would wait for each other more than they work.
    with _threads().limit(limits=1, user_api="blas"):
        free, residual, n_iter = _newton(design, theta, penalty, tol, max_iter)
        stage = design.guarded(_BARRIERS[-1])
        if np.all(stage.forms(free).gap > 0):
            theta, gap = free, 0.0
        else:
            for barrier in _BARRIERS:
                stage = design.guarded(barrier)
                # Only the last one is the answer.
                enough = tol if barrier == _BARRIERS[-1] else max(tol, 0.1 * barrier)
                theta, residual, more = _newton(stage, theta, penalty, enough, max_iter)
                n_iter += more
            gap = stage.duality_gap(stage.forms(theta))
        objective = design.loss(design.forms(theta)) + _l1(theta.ravel(), penalty.ravel())
    return Solution(theta, objective, residual, gap, max(n_iter, 1), residual <= tol)


def _newton(
    design: Design, theta: np.ndarray, penalty: np.ndarray, tol: float, max_iter: int
) -> tuple[np.ndarray, float, int]:
    """Proximal Newton with a backtracking line search; also the KKT residual and iterations."""
    shape = theta.shape
    theta, penalty = theta.ravel(), penalty.ravel()
    forms = design.forms(theta.reshape(shape))
    value = design.loss(forms) + _l1(theta, penalty)
    gradient = design.gradient(forms).ravel()
    residual = kkt_residual(gradient, theta, penalty)
    n_iter = 0
    while residual > tol and n_iter < max_iter:
        n_iter += 1
        H = design.hessian(forms)
        # Keeps the model strictly convex under collinear or constant features; too small to
        # slow the convergence.
        H.flat[:: len(H) + 1] += 1e-12 * np.trace(H) / len(H)
        target = solve_quadratic(H, gradient, theta, penalty, 0.01 * min(residual, 1.0))
        move = target - theta
        slope = gradient @ move + _l1(target, penalty) - _l1(theta, penalty)
        direction = design.forms(move.reshape(shape), direction=True)
        step = min(1.0, 0.9 * forms.room(direction))
        slack = 10 * np.finfo(float).eps * abs(value)  # the loss is known no better than this
        while step > 1e-12:
            trial = target if step == 1.0 else theta + step * move
            trial_value = design.loss(forms.moved(direction, step)) + _l1(trial, penalty)
            if trial_value <= value + 1e-4 * step * slope + slack:
                break
            step *= 0.5
        else:
            break  # no step helps: the residual says how far it came
        theta, value = trial, trial_value
        forms = design.forms(theta.reshape(shape))  # afresh, so that rounding does not pile up
        gradient = design.gradient(forms).ravel()
        residual = kkt_residual(gradient, theta, penalty)
    return theta.reshape(shape), residual, n_iter


def penalty_factors(design: Design, base_penalty: float, standardize: bool) -> np.ndarray:
    """What multiplies alpha for each parameter, (K-1, d+1); intercepts are free."""
    factors = np.ones((design.n_boundaries, design.X.shape[1]))
    if not standardize:
        factors[:, :-1] /= design.scale  # |coef| = |standardised coef| / scale
    factors[0] *= base_penalty
    factors[:, -1] = 0.0
    return factors


def scaled(alpha: float, factors: np.ndarray) -> np.ndarray:
    """``alpha * factors``, with 0 where a factor is 0 even when alpha is infinite."""
    return np.where(factors > 0, alpha, 0.0) * np.where(factors > 0, factors, 1.0)


def alpha_grid(
    design: Design, factors: np.ndarray, n_alphas: int, eps: float, *, tol: float, max_iter: int
) -> tuple[np.ndarray, np.ndarray]:
    """Geometric grid from the smallest alpha that leaves every penalised weight at 0.

    Returns the grid, falling, and the null model (K-1, d+1) from which the path starts.
    """
    null = minimise(design, design.start(), scaled(np.inf, factors), tol=tol, max_iter=max_iter)
    gradient = np.abs(design.gradient(design.forms(null.theta)))
    penalised = factors > 0
    alpha_max = float(np.max(gradient[penalised] / factors[penalised], initial=0.0))
    alpha_max = max(alpha_max, np.finfo(float).resolution)  # constant features: any grid will do
    return np.geomspace(alpha_max, alpha_max * eps, n_alphas), null.theta


def solve_path(
    design: Design,
    alphas: np.ndarray,
    factors: np.ndarray,
    start: np.ndarray,
    *,
    tol: float,
    max_iter: int,
) -> list[Solution]:
    """Solve for each alpha in the order given, each from the solution before it."""
    solutions: list[Solution] = []
    for alpha in alphas:
        solution = minimise(design, start, scaled(alpha, factors), tol=tol, max_iter=max_iter)
        solutions.append(solution)
        start = solution.theta
    return solutions
