"""Least squares to machine precision, on the triangular factor of a sketch.

With ``S A = Q R`` the columns of ``A inv(R)`` are nearly orthonormal: at m rows its singular
values lie within about ``1 +- sqrt(d / m)``. So conjugate gradients on ``A'A e = A'(b - A x)``
with the preconditioner ``R'R`` cut the error by about ``sqrt(m / d)`` an iteration, whatever the
condition of A. It starts at the solution of the sketched problem, without which sketching loses
digits, and starts anew from the true residual until that no longer falls (iterative refinement).

Where A is not ill conditioned, BLAS forms ``A'A`` in the time of a few walks, so ``inv(R)' A'A
inv(R)``, nearly the identity, is made and factored once and takes the place of the conjugate
gradients. It is off by about the unit of rounding times the condition squared, by which every
refinement, one walk each, then cuts the error.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
from scipy.linalg import cho_factor, cho_solve, solve_triangular

from paperworks.numerics.sketching.sketches import Floats
from paperworks.numerics.sketching.sources import Rows

EPS = float(np.finfo(np.float64).eps)
# One cycle of conjugate gradients takes the error down so far at most, then looks again.
CYCLE = 1e-14
CYCLES = 20
# Up to here the Gram matrix is good for a refinement that gains a digit or more, and quicker.
GRAM_CONDITION, GRAM_COLUMNS = 3e6, 512


@dataclass(frozen=True)
class Refined:
    """Where the iterations ended; arrays over the k right-hand sides."""

    X: Floats
    error: Floats  # about ||A (x - x*)||
    residual: Floats  # ||b - A x||
    converged: bool
    iterations: int
    passes: int


def refine(
    source: Rows,
    X: Floats,
    R: Floats,
    *,
    tol: float | None,
    max_iterations: int,
    n_jobs: int | None,
) -> Refined:
    """Improve `X`, (d, k), until ``||A (x - x*)|| <= tol * ||A x*||`` or rounding forbids it."""
    iterations = passes = 0
    # Rounding errors are measured with the columns of A scaled alike: their units are arbitrary.
    lengths = np.linalg.norm(R, axis=0)
    singular = np.linalg.svd(R / lengths, compute_uv=False)
    size, condition = singular[0], singular[0] / singular[-1]
    factor = None
    if condition <= GRAM_CONDITION and R.shape[0] <= GRAM_COLUMNS and max_iterations > 0:
        half = solve_triangular(R, source.gram(n_jobs), trans="T", check_finite=False)
        factor = cho_factor(solve_triangular(R, half.T, trans="T", check_finite=False))
        passes += 1
    best: tuple[Floats, Floats, Floats] | None = None
    converged = False
    for _ in range(CYCLES):
        gradient, squares = source.normal(X, use_b=True, n_jobs=n_jobs)
        passes += 1
        half = solve_triangular(R, gradient, trans="T", check_finite=False)
        error, residual = np.linalg.norm(half, axis=0), np.sqrt(squares)
        fit = np.linalg.norm(R @ X, axis=0)
        # What a backward stable method may be off by, and what it takes to call this converged.
        left_over = EPS * condition * residual
        floor = EPS * size * np.linalg.norm(lengths[:, None] * X, axis=0) + left_over
        # Random rounding of n terms leaves less of the second part, which is worth a try.
        least = floor - left_over + left_over * min(1.0, 2.0 / math.sqrt(source.n or 1))
        goal = least if tol is None else np.maximum(tol * fit, least)
        improved = best is None or bool((error < 0.5 * best[1]).any())
        if best is None or error.max() < best[1].max():
            best = (X, error, residual)
        enough = 4.0 * floor if tol is None else np.maximum(tol * fit, 4.0 * floor)
        converged = bool((best[1] <= enough).all())
        if bool((error <= goal).all()) or not improved or iterations >= max_iterations:
            break
        if factor is not None:
            X = X + solve_triangular(R, cho_solve(factor, half), check_finite=False)
            iterations += 1
            continue
        step, done = _conjugate_gradients(
            source,
            half,
            R,
            goal=np.maximum(0.25 * goal, CYCLE * error),
            most=max_iterations - iterations,
            n_jobs=n_jobs,
        )
        X = X + step
        iterations += done
        passes += done
    assert best is not None
    return Refined(*best, converged, iterations, passes)


def _conjugate_gradients(
    source: Rows, half: Floats, R: Floats, *, goal: Floats, most: int, n_jobs: int | None
) -> tuple[Floats, int]:
    """Solve ``inv(R)' A'A inv(R) y = half`` for each column, and return ``inv(R) y``.

    Columns that have reached their goal stand still while the others go on.
    """
    y, r, p = np.zeros_like(half), half.copy(), half.copy()
    square = (r * r).sum(0)
    done = 0
    while done < most and bool((np.sqrt(square) > goal).any()):
        X = solve_triangular(R, p, check_finite=False)
        image, curvature = source.normal(X, use_b=False, n_jobs=n_jobs)
        image = -solve_triangular(R, image, trans="T", check_finite=False)
        done += 1
        active = (np.sqrt(square) > goal) & (curvature > 0.0)
        alpha = np.where(active, square / np.where(active, curvature, 1.0), 0.0)
        y += alpha * p
        r -= alpha * image
        after = (r * r).sum(0)
        beta = np.where(active, after / np.where(active, square, 1.0), 0.0)
        p = np.where(active, r + beta * p, p)
        square = np.where(active, after, square)
        if not active.any():
            break
    return solve_triangular(R, y, check_finite=False), done
