"""The best subtrees to cut at every threshold, as one integer program.

Khakhar, Mell and Bastani (ICML 2023, arXiv 2302.08703), section 3: with ``cost[v]`` the negative
log-likelihood of node ``v``, ``removed[i, v]`` in {0, 1} and thresholds ``tau[0] < tau[1] < ...``,

    minimise   sum_i sum_v removed[i, v]
    subject to removed[i, v] >= removed[i, parent(v)]                 a subtree goes as a whole
               sum_v (removed[i, v] - removed[i, parent(v)]) <= m     at most m of them
               sum_v cost[v] (1 - removed[i, v]) <= tau[i]            what stays is sure enough
               removed[i, v] >= removed[i + 1, v]                     nested in the threshold

The paper has a second variable for the roots of the cut subtrees; it is the difference above, and
goes. Departures: among cuts that remove equally many nodes the one that removes the most cost is
taken (the paper leaves it open); costs are not cut off at 10 nats, as the authors' code does for
its solver's sake; and the program is solved only where it is needed: the best cut of each
threshold alone is found by dynamic programming (:mod:`paperworks.statistics.pac_code.single`), and
where those happen to be nested, they are its solution.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray
from scipy.optimize import Bounds, LinearConstraint, milp
from scipy.sparse import coo_array

from paperworks.statistics.pac_code.single import single_cuts

FloatArray = NDArray[np.float64]
BoolArray = NDArray[np.bool_]

_ROUNDING = 1e-9
"""Relative slack of a threshold, for sums in another order."""


class CutError(RuntimeError):
    """The solver did not prove its answer optimal."""


def best_cuts(
    parent: NDArray[np.int64],
    cost: FloatArray,
    thresholds: FloatArray,
    max_holes: int,
    *,
    allowed: BoolArray | None = None,
    time_limit: float | None = None,
) -> BoolArray:
    """Removed nodes at every threshold: the smallest nested cuts, by SciPy's ``milp`` (HiGHS).

    Parameters
    ----------
    parent : (n,) int
        Parents of nodes numbered in preorder; -1 for node 0.
    cost : (n,) float
        Negative log-likelihood of each node, >= 0.
    thresholds : (k,) float
        Increasing. Below 0 everything goes.
    max_holes : int
        m, at least 1.
    allowed : (n,) bool, optional
        Where a cut may be; the root always.
    time_limit : float, optional
        Seconds for the solver.

    Returns
    -------
    (k, n) bool
        Not increasing in the threshold.

    Raises
    ------
    CutError
        Where the solver ran out of time.

    Notes
    -----
    O(n^2 max_holes + k n) where the best cuts are nested by themselves. Else k n binary variables:
    exponential at worst, milliseconds to seconds for tens of nodes.
    """
    slack = _ROUNDING * max(float(cost.sum()), 1.0)
    limits = np.where(thresholds < 0, -1.0, thresholds + slack)
    removed = single_cuts(parent, cost, limits, max_holes, allowed)
    if (removed[:-1] >= removed[1:]).all():
        return removed
    # Where the best cut is all or nothing alone, it is so among nested ones.
    between = np.flatnonzero(removed.any(1) & ~removed.all(1))
    least = removed[between].sum(1)
    removed[between] = solve(parent, cost, limits[between], max_holes, allowed, time_limit, least)
    return removed


def solve(
    parent: NDArray[np.int64],
    cost: FloatArray,
    thresholds: FloatArray,
    max_holes: int,
    allowed: BoolArray | None = None,
    time_limit: float | None = None,
    least: NDArray[np.int64] | None = None,
) -> BoolArray:
    """The integer program itself; parameters as for :func:`best_cuts`, thresholds not negative.

    ``least`` (k,) bounds the removed nodes of each level from below. A bound that holds makes no
    difference to the answer, and much to the time.
    """
    n, k = len(parent), len(thresholds)
    inner = np.arange(1, n)
    children = np.bincount(parent[1:], minlength=n)
    rows: list[NDArray[np.int64]] = []
    columns: list[NDArray[np.int64]] = []
    values: list[FloatArray] = []
    low: list[FloatArray] = []
    high: list[FloatArray] = []
    count = 0

    def add(row: NDArray, column: NDArray, value: NDArray) -> None:
        rows.append(count + row)
        columns.append(column)
        values.append(value.astype(float))

    def close(lows: FloatArray, highs: FloatArray) -> None:
        nonlocal count
        low.append(lows)
        high.append(highs)
        count += len(lows)

    for i in range(k):
        first = i * n
        add(inner - 1, first + inner, np.ones(n - 1))
        add(inner - 1, first + parent[1:], -np.ones(n - 1))
        # Where no cut may be, a node goes exactly when its parent does.
        stiff = np.zeros(n - 1) if allowed is None else np.where(allowed[1:], 1.0, 0.0)
        close(np.zeros(n - 1), np.ones(n - 1) if allowed is None else stiff)
        add(np.zeros(n, dtype=int), first + np.arange(n), 1.0 - children)
        close(np.array([-np.inf]), np.array([float(max_holes)]))
        add(np.zeros(n, dtype=int), first + np.arange(n), cost)
        close(np.array([cost.sum() - thresholds[i]]), np.array([np.inf]))
        if least is not None:
            add(np.zeros(n, dtype=int), first + np.arange(n), np.ones(n))
            close(np.array([float(least[i])]), np.array([np.inf]))
        if i + 1 < k:
            add(np.arange(n), first + np.arange(n), np.ones(n))
            add(np.arange(n), first + n + np.arange(n), -np.ones(n))
            close(np.zeros(n), np.ones(n))
    matrix = coo_array(
        (np.concatenate(values), (np.concatenate(rows), np.concatenate(columns))),
        shape=(count, k * n),
    ).tocsr()
    # All the ties together weigh less than one node.
    ties = 0.5 * cost / (k * max(float(cost.sum()), 1e-300))
    result = milp(
        np.tile(1.0 - ties, k),
        integrality=np.ones(k * n),
        bounds=Bounds(0, 1),
        constraints=LinearConstraint(matrix, np.concatenate(low), np.concatenate(high)),
        options={"mip_rel_gap": 0.0} | ({} if time_limit is None else {"time_limit": time_limit}),
    )
    if result.status != 0 or result.x is None:
        raise CutError(
            f"the integer program of {k} thresholds and {n} nodes was not solved: "
            f"{result.message} Give it more time_limit, fewer thresholds, or method='greedy'."
        )
    return result.x.reshape(k, n) > 0.5
