"""Robust least squares for many fits of one law at once: starts, bootstrap replicates, curves.

Levenberg and Marquardt's method on Huber's loss, every fit a row of one batch with its own damping;
bounds are held by freezing what pushes against them. A loop over ``scipy.optimize.least_squares``
finds the same minima (the tests hold it to that) and takes some 30 times as long for a bootstrap of
small data, where the time is all Python's.

The curvature of Huber's loss is 1 up to ``delta`` and 0 beyond, which makes Newton's steps fast and
rash; ``delta / |r|`` beyond, as iteratively reweighted least squares has it, makes them sure and
slow. So a step takes the first while its damping is small and the second when it has had to rise.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from paperworks.scaling.fitting.law import FloatArray, Law

Space = Literal["log", "linear"]

_BATCH = 2_000_000  # numbers in the Jacobian of one batch: about what the caches hold
_RISEN = 0.1  # damping at which the sure curvature has replaced the fast one
_LONGEST = 4.0  # of a step, in the logarithm of a parameter
_MOST_DAMPING = 1e12


@dataclass(frozen=True)
class Minima:
    """Fits of B rows: ``theta`` (B, p), ``loss``, ``converged`` (B,); iterations of the longest."""

    theta: FloatArray
    loss: FloatArray
    converged: NDArray[np.bool_]
    iterations: int


def minimise(
    law: Law,
    logx: FloatArray,
    y: FloatArray,
    theta: FloatArray,
    *,
    weights: FloatArray | None = None,
    delta: float = math.inf,
    space: Space = "log",
    tolerance: float = 1e-10,
    max_iterations: int = 200,
) -> Minima:
    """Minimise ``sum_i w_i huber(r_i)`` for every row of ``theta`` by itself.

    Parameters
    ----------
    law : Law
        What is fitted.
    logx : (n, v) float
        Logarithms of its variables.
    y : (n,) or (B, n) float
        What was measured, the same for all rows or one for each.
    theta : (B, p) float
        Where each row starts; moved into the bounds.
    weights : (B, n) float, optional
        Of the points in each row; a bootstrap's are how often each was drawn.
    delta : float
        Where Huber's loss turns from ``r^2 / 2`` into a line, in units of r.
    space : {"log", "linear"}
        Whether r is the error of log y or of y.
    tolerance : float
        A row ends when its step is this small beside ``1 + |theta|``, or when the decrease that it
        promises is a hundredth of ``tolerance`` of the loss.
    max_iterations : int
        A row that has not ended by then has not converged.

    Returns
    -------
    Minima

    Notes
    -----
    An iteration costs O(n p^2) for each row that has not ended.
    """
    rows, p = theta.shape
    size = max(1, _BATCH // max(1, len(logx) * p))
    parts = []
    for at in range(0, rows, size):
        part = slice(at, at + size)
        problem = _Problem(
            law,
            logx,
            y if y.ndim == 1 else y[part],
            None if weights is None else weights[part],
            delta,
            space,
        )
        parts.append(_descend(problem, theta[part], tolerance, max_iterations))
    return Minima(
        np.concatenate([part.theta for part in parts]),
        np.concatenate([part.loss for part in parts]),
        np.concatenate([part.converged for part in parts]),
        max(part.iterations for part in parts),
    )


def residuals(
    law: Law, logx: FloatArray, y: FloatArray, theta: FloatArray, space: Space
) -> FloatArray:
    """Errors (B, n) of the law at ``theta`` (B, p)."""
    return _Problem(law, logx, y, None, math.inf, space).errors(theta, slice(None))[0]


class _Problem:
    """The loss of a batch, and its derivatives."""

    def __init__(
        self,
        law: Law,
        logx: FloatArray,
        y: FloatArray,
        weights: FloatArray | None,
        delta: float,
        space: Space,
    ) -> None:
        self.law, self.logx, self.weights, self.delta = law, logx, weights, delta
        self.log = space == "log"
        self.target = np.log(y) if self.log else y
        self.low, self.high = law.bounds

    def errors(
        self, theta: FloatArray, rows: NDArray[np.int64] | slice
    ) -> tuple[FloatArray, FloatArray]:
        """Errors (b, n) and their Jacobian (b, n, p) for these rows of the batch."""
        value, jacobian = self.law.evaluate(theta, self.logx)
        if not self.log:
            value = np.exp(np.minimum(value, 700.0))
            jacobian *= value[..., None]
        target = self.target if self.target.ndim == 1 else self.target[rows]
        return value - target, jacobian

    def loss(self, error: FloatArray, rows: NDArray[np.int64]) -> FloatArray:
        size = np.minimum(np.abs(error), 1e150)  # so that its square is finite
        each = 0.5 * size * size
        if math.isfinite(self.delta):
            each = np.where(size <= self.delta, each, self.delta * (size - 0.5 * self.delta))
        total = each.sum(1) if self.weights is None else (self.weights[rows] * each).sum(1)
        return np.asarray(np.where(np.isfinite(total), total, np.inf))

    def model(
        self, error: FloatArray, jacobian: FloatArray, rows: NDArray[np.int64]
    ) -> tuple[FloatArray, FloatArray, FloatArray]:
        """Gradient (b, p) and both curvatures, the fast and the sure one, (b, p, p) each."""
        slope, fast, sure = error, None, None
        if math.isfinite(self.delta):
            size = np.abs(error)
            fast = (size <= self.delta).astype(float)
            sure = np.minimum(1.0, self.delta / np.maximum(size, np.finfo(float).tiny))
            slope = error * sure
        if self.weights is not None:
            weights = self.weights[rows]
            slope = slope * weights
            fast = weights if fast is None else fast * weights
            sure = weights if sure is None else sure * weights
        gradient = np.matmul(slope[:, None, :], jacobian)[:, 0]
        surely = _gram(jacobian, sure)
        return gradient, surely if fast is sure else _gram(jacobian, fast), surely


def _gram(jacobian: FloatArray, weights: FloatArray | None) -> FloatArray:
    scaled = jacobian if weights is None else jacobian * weights[..., None]
    return np.asarray(np.matmul(scaled.transpose(0, 2, 1), jacobian))


def _descend(problem: _Problem, theta: FloatArray, tolerance: float, most: int) -> Minima:
    theta = np.clip(theta, problem.low, problem.high)
    batch = len(theta)
    damping = np.full(batch, 1e-3)
    converged = np.zeros(batch, dtype=bool)
    given_up = np.zeros(batch, dtype=bool)
    error, jacobian = problem.errors(theta, slice(None))
    every = np.arange(batch)
    loss = problem.loss(error, every)
    given_up |= ~np.isfinite(loss)
    gradient, fast, sure = problem.model(error, jacobian, every)
    iterations = 0
    while iterations < most:
        at = np.flatnonzero(~(converged | given_up))
        if not at.size:
            break
        iterations += 1
        step, promised = _step(problem, theta[at], gradient[at], fast[at], sure[at], damping[at])
        trial = theta[at] + step
        error, jacobian = problem.errors(trial, at)
        trial_loss = problem.loss(error, at)
        better = trial_loss < loss[at]
        # Small for what it is, and not for its damping.
        scale = 1 + damping[at]
        small = (np.abs(step) * scale[:, None] <= tolerance * (1 + np.abs(theta[at]))).all(1)
        # Along a valley that the data leave open a step is long and its worth is nothing.
        floor = 1e-2 * tolerance * loss[at] + 1e-30 * len(problem.logx)
        small |= (promised >= 0) & (promised * scale <= floor)
        # A step must be worth its promise before the model behind it is trusted with a longer one.
        worth = (loss[at] - trial_loss) > 0.25 * promised
        damping[at] = np.where(
            better,
            np.where(worth, np.maximum(damping[at] / 8, 1e-12), damping[at]),
            damping[at] * 6,
        )
        moved = at[better]
        theta[moved] = trial[better]
        loss[moved] = trial_loss[better]
        if moved.size:
            gradient[moved], fast[moved], sure[moved] = problem.model(
                error[better], jacobian[better], moved
            )
        converged[at] = small
        given_up[at] |= damping[at] > _MOST_DAMPING
    return Minima(theta, loss, converged, iterations)


def _step(
    problem: _Problem,
    theta: FloatArray,
    gradient: FloatArray,
    fast: FloatArray,
    sure: FloatArray,
    damping: FloatArray,
) -> tuple[FloatArray, FloatArray]:
    """The damped step of each row within the bounds, and the decrease that it promises."""
    frozen = ((theta <= problem.low) & (gradient > 0)) | ((theta >= problem.high) & (gradient < 0))
    free = ~frozen
    pull = np.where(free, gradient, 0.0)
    surely = np.minimum(1.0, damping / _RISEN)[:, None, None]
    curvature = fast + surely * (sure - fast)
    diagonal = np.einsum("bpp->bp", sure)
    matrix = curvature * (free[:, :, None] & free[:, None, :])
    # What the data say nothing of has no curvature: without a floor its step has no length.
    floor = np.maximum(diagonal, 1e-6 * diagonal.max(1, keepdims=True) + np.finfo(float).tiny)
    index = np.arange(theta.shape[1])
    matrix[:, index, index] += np.where(free, damping[:, None] * floor, 1.0)
    try:
        step = -np.linalg.solve(matrix, pull[..., None])[..., 0]
    except np.linalg.LinAlgError:
        step = -pull / (floor * (1 + damping[:, None]))
    step = np.where(np.isfinite(step), step, 0.0)
    # Where the loss is flat a step is long; the model behind it is not worth that much.
    step *= np.minimum(1.0, _LONGEST / np.maximum(np.abs(step).max(1, keepdims=True), _LONGEST))
    step = np.clip(theta + step, problem.low, problem.high) - theta
    bend = np.einsum("bp,bpq,bq->b", step, curvature, step)
    promised = -(np.einsum("bp,bp->b", step, gradient) + 0.5 * bend)
    return np.asarray(step), np.asarray(promised)
