"""Compiled loops of Sinkhorn-Newton-Sparse: log-sum-exp, sparsification, conjugate gradients.

Everything is in units of ``reg``: ``C = M / reg``, ``u = f / reg``, ``v = g / reg``, so that the
plan is ``P[i, j] = exp(u[i] + v[j] - C[i, j])``. The log-sum-exps skip the terms that are too
small to change a float64 sum: at small ``reg`` that is nearly all of them, and a comparison costs
a tenth of an exponential.

The loops are serial and release the GIL. Threads inside them were tried and dropped: the passes
are short and bound by memory, and numba's threading layer kills a process that was forked after
its first use. Solve many problems in parallel from threads instead.
"""

from __future__ import annotations

import numba
import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float64]
Ints = NDArray[np.intp]

# exp(-44) = 7.8e-20: even a million dropped terms stay below float64's rounding of the sum.
NEGLIGIBLE = -44.0
# All but "ninf": the maxima start at minus infinity, and without these the loops do not vectorise.
_FAST = {"nnan", "nsz", "arcp", "contract", "reassoc"}


@numba.njit(cache=True, nogil=True, fastmath=_FAST)
def scale_rows(C: Floats, log_a: Floats, v: Floats, u: Floats, column_log: Floats) -> None:
    """Set ``u`` so that the rows of the plan sum to a, and sum the columns. O(n m).

    ``u[i] = log_a[i] - log(sum_j exp(v[j] - C[i, j]))``, and with it
    ``column_log[j] = log(sum_i exp(u[i] - C[i, j]))``. Two walks along the rows of C.
    """
    n, m = C.shape
    largest = np.full(m, -np.inf)
    for i in range(n):
        top = -np.inf
        for j in range(m):
            top = max(top, v[j] - C[i, j])
        cut = top + NEGLIGIBLE
        total = 0.0
        for j in range(m):
            x = v[j] - C[i, j]
            if x > cut:
                total += np.exp(x - top)
        u[i] = log_a[i] - top - np.log(total)
        for j in range(m):
            largest[j] = max(largest[j], u[i] - C[i, j])
    sums = np.zeros(m)
    for i in range(n):
        for j in range(m):
            x = u[i] - C[i, j] - largest[j]
            if x > NEGLIGIBLE:
                sums[j] += np.exp(x)
    for j in range(m):
        column_log[j] = largest[j] + np.log(sums[j])


@numba.njit(cache=True, nogil=True, fastmath=_FAST)
def write_plan(C: Floats, u: Floats, v: Floats) -> Floats:
    """The plan itself, with zeros where float64 has no normal number small enough. O(n m)."""
    n, m = C.shape
    plan = np.zeros((n, m))
    for i in range(n):
        for j in range(m):
            x = u[i] + v[j] - C[i, j]
            if x > -708.0:
                plan[i, j] = np.exp(x)
    return plan


@numba.njit(cache=True, nogil=True, fastmath=_FAST)
def count_entries(C: Floats, u: Floats, v: Floats, row_cut: Floats, col_cut: Floats) -> Ints:
    """Where each row starts when the entries of the plan above the cuts are stored. O(n m).

    An entry is kept where ``log P[i, j] >= min(row_cut[i], col_cut[j])``.
    """
    n, m = C.shape
    start = np.zeros(n + 1, np.intp)
    for i in range(n):
        count = 0
        for j in range(m):
            count += u[i] + v[j] - C[i, j] >= min(row_cut[i], col_cut[j])
        start[i + 1] = start[i] + count
    return start


@numba.njit(cache=True, nogil=True, fastmath=_FAST)
def gather_entries(
    C: Floats, u: Floats, v: Floats, row_cut: Floats, col_cut: Floats, start: Ints
) -> tuple[NDArray[np.int32], Floats]:
    """Column and value of each entry that :func:`count_entries` counted. O(n m)."""
    n, m = C.shape
    column = np.empty(start[n], np.int32)
    value = np.empty(start[n])
    k = 0
    for i in range(n):
        if start[i + 1] > start[i]:
            for j in range(m):
                x = u[i] + v[j] - C[i, j]
                if x >= min(row_cut[i], col_cut[j]):
                    column[k] = j
                    value[k] = np.exp(x)
                    k += 1
    return column, value


@numba.njit(cache=True, nogil=True, fastmath=_FAST)
def newton_direction(
    start: Ints,
    column: NDArray[np.int32],
    value: Floats,
    row_mass: Floats,
    diagonal: Floats,
    residual: Floats,
    tol: float,
    max_cg: int,
) -> tuple[Floats, int]:
    """Solve ``(diag(diagonal) - P' diag(1/row_mass) P) d = residual`` for the kept entries P.

    Conjugate gradients with the matrix's own diagonal as preconditioner, until the l1 norm of
    the residual has fallen by ``tol``. O(nnz) an iteration. Returns ``d`` and the iterations.
    """
    n = row_mass.shape[0]
    m = diagonal.shape[0]
    scale = diagonal.copy()
    for i in range(n):
        for k in range(start[i], start[i + 1]):
            scale[column[k]] -= value[k] * value[k] / row_mass[i]
    for j in range(m):
        # Cancellation may leave nothing where one entry holds a whole row and column.
        scale[j] = max(scale[j], 1e-14 * diagonal[j])

    d = np.zeros(m)
    r = residual.copy()
    z = r / scale
    p = z.copy()
    rz = np.dot(r, z)
    goal = tol * np.abs(r).sum()
    iterations = 0
    while iterations < max_cg and np.abs(r).sum() > goal:
        q = diagonal * p
        for i in range(n):
            t = 0.0
            for k in range(start[i], start[i + 1]):
                t += value[k] * p[column[k]]
            t /= row_mass[i]
            for k in range(start[i], start[i + 1]):
                q[column[k]] -= value[k] * t
        curvature = np.dot(p, q)
        if curvature <= 0.0:  # rounding: the matrix is positive semidefinite
            break
        alpha = rz / curvature
        d += alpha * p
        r -= alpha * q
        z = r / scale
        rz_next = np.dot(r, z)
        p = z + (rz_next / rz) * p
        rz = rz_next
        iterations += 1
    return d, iterations
