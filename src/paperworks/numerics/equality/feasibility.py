"""Where the constraints themselves are the trouble: dependent, singular, or without a solution."""

from __future__ import annotations

from typing import Any

import numpy as np
import scipy.sparse as sp
from scipy.sparse.linalg import lsmr

from paperworks.numerics.equality.inputs import Floats, Jacobian, Problem

DENSE = 300_000  # entries of G up to which LAPACK is asked


def least_squares(G: Any, y: Floats, *, damp: float = 0.0, transpose: bool = False) -> Floats:
    """The shortest minimiser of ``|G d - y|^2 + damp^2 |d|^2``; of ``G^T`` on request."""
    A = G.T if transpose else G
    if A.shape[0] * A.shape[1] <= DENSE:
        A = A.toarray() if sp.issparse(A) else A
        if damp:
            A = np.vstack([A, damp * np.eye(A.shape[1])])
            y = np.concatenate([y, np.zeros(A.shape[1])])
        return np.linalg.lstsq(A, y, rcond=None)[0]
    return lsmr(A, y, damp=damp, atol=1e-12, btol=1e-12, maxiter=10 * max(A.shape))[0]


def first_multipliers(g_f: Floats, G: Jacobian) -> Floats:
    """Multipliers that bring the gradient of the Lagrangian nearest to zero."""
    return least_squares(G, -g_f, transpose=True)


def extent(G: Jacobian) -> float:
    """Frobenius norm of a Jacobian."""
    return float(np.sqrt((G.multiply(G) if sp.issparse(G) else G**2).sum()))


def stationary(c: Floats, G: Jacobian, tol: float, length: float = 0.0) -> bool:
    """Whether no direction lessens ``|c|`` to first order, though it is not zero.

    `length` is what counts as a usual norm of G, for where G itself vanishes.
    """
    pull = float(np.linalg.norm(G.T @ c))
    return pull <= tol * float(np.linalg.norm(c)) * max(extent(G), length)


def restore(problem: Problem, x: Floats, goal: float, maxiter: int = 100) -> tuple[Floats, bool]:
    """Lessen ``|c|`` alone until it is `goal`, by Levenberg-Marquardt steps.

    Returns the point and whether it was reached. Where it was not, the point is as good as
    stationary for ``|c|``, or the steps ran out.
    """
    _, c = problem.value(x)
    _, G = problem.slope(x)
    damp, length = 1e-3, extent(G)
    for _ in range(maxiter):
        size = float(np.linalg.norm(c))
        if size <= goal:
            return x, True
        length = max(length, extent(G))
        if stationary(c, G, 1e-9, length):
            return x, False
        weight = np.sqrt(damp) * max(size, 1e-12)
        step = least_squares(G, -c, damp=float(weight))
        _, after = problem.value(x + step)
        if np.isfinite(after).all() and np.linalg.norm(after) < size:
            x, c = x + step, after
            _, G = problem.slope(x)
            damp = max(damp / 9, 1e-16)
        else:
            damp *= 10
            if damp > 1e12:
                return x, False
    return x, float(np.linalg.norm(c)) <= goal


def dependent(G: Jacobian, rng: np.random.Generator, tol: float = 1e-8) -> tuple[int, list[int]]:
    """Rank of the Jacobian's rows, each scaled to length one, and the rows that take part.

    A row takes part if it has weight in a combination that vanishes. Up to 300,000 entries
    the singular values say so. Beyond, three random vectors are projected off the range of G by
    LSMR: what is left of them, where anything is, combines the dependent rows. The rank is then
    only known to be full or not, and -1 stands for the latter.
    """
    m = G.shape[0]
    length = np.sqrt((G.multiply(G) if sp.issparse(G) else G**2).sum(1))
    weights = 1 / np.where(length > 0, length, 1.0)
    if m * G.shape[1] <= DENSE:
        A = (G.toarray() if sp.issparse(G) else np.asarray(G)) * weights[:, None]
        U, s, _ = np.linalg.svd(A, full_matrices=True)
        rank = int(np.sum(s > tol * max(1.0, s.max(initial=0.0))))
        null = U[:, rank:]
    else:
        A = sp.diags_array(weights) @ G
        Y = rng.standard_normal((m, 3))
        null = np.column_stack([y - A @ least_squares(A, y) for y in Y.T])
        sizes = np.linalg.norm(null, axis=0)
        real = (sizes > 1e-3) & (np.linalg.norm(A.T @ null, axis=0) <= 1e-6 * sizes)
        null = null[:, real] / np.where(real, sizes, 1.0)[real]
        rank = -1 if null.size else m
    if not null.size:
        return rank, []
    return rank, [int(i) for i in np.flatnonzero(np.abs(null).max(1) > 1e-6)]
